"""Every read of the outcomes room."""

from __future__ import annotations

import base64
import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt
from django.db.models import (
    Count,
    Exists,
    F,
    FloatField,
    Max,
    Min,
    OuterRef,
    Q,
    QuerySet,
    Sum,
    TextField,
)
from django.db.models.functions import Cast

from decisions.types import JURY, REPLAY
from enrichment.models import Enrichment
from evaluation.types import SourceRate
from outcomes.following import to_ms
from outcomes.models import (
    Alert,
    BiasAudit,
    CalibrationMap,
    Canary,
    Experiment,
    GoldenSignal,
    Outcome,
    Question,
    Score,
    ScoreDay,
    WeightSet,
)
from outcomes.remembering import Remembered
from outcomes.sourcing import EndedSignal, SourceCard, card_of
from outcomes.standing import (
    COLUMNS,
    SEED,
    Standing,
    Verdict,
    baselines,
    judge_jury,
    mean_by_day,
    standing_of,
)
from outcomes.types import (
    ALL,
    DIVIDING,
    SIGNAL,
    WHOLE_DAY,
    CanaryStatus,
    ExperimentStatus,
    OutcomeStatus,
)
from pipeline.types import Batch
from quant.gates import RiskCoverage, break_even, risk_coverage
from quant.pooling import leave_one_out
from quant.scores import Bin, Counts, reliability_of
from quant.types import Array
from signals.models import Signal


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Candles of one symbol that open questions wait for, from the oldest that was not seen."""

    market: str
    symbol: str
    replay_id: UUID | None
    candle_s: int
    since: datetime


def list_needs(*, now: datetime, replay_id: UUID | None = None) -> list[Need]:
    """Return what candles the open questions need; a replay's only when it is named."""
    rows = Outcome.objects.filter(
        status=OutcomeStatus.OPEN, seen_until__lt=now, question__replay_id=replay_id
    )
    grouped = rows.values_list("market", "symbol", "question__candle_s")
    return [
        Need(market=market, symbol=symbol, replay_id=replay_id, candle_s=candle_s, since=since)
        for market, symbol, candle_s, since in grouped.annotate(since=Min("seen_until")).order_by(
            "market", "symbol"
        )
    ]


def list_open(
    *,
    market: str,
    symbol: str,
    replay_id: UUID | None,
    candle_s: int,
    until: datetime,
    after: UUID | None,
    limit: int,
) -> list[Outcome]:
    """Return open outcomes of one symbol that candles until a moment may move, a page at a time."""
    rows = Outcome.objects.filter(
        status=OutcomeStatus.OPEN,
        market=market,
        symbol=symbol,
        seen_until__lt=until,
        question__replay_id=replay_id,
        question__candle_s=candle_s,
    )
    if after is not None:
        rows = rows.filter(pk__gt=after)
    return list(rows.select_related("question").order_by("pk")[:limit])


def list_unappraised(
    *,
    market: str,
    symbol: str,
    replay_id: UUID | None,
    candle_s: int,
    until: datetime,
    limit: int,
) -> list[Outcome]:
    """Return ended signals that were not yet held against time and chance."""
    rows = Outcome.objects.filter(
        status=OutcomeStatus.RESOLVED,
        appraised_at=None,
        market=market,
        symbol=symbol,
        opens_at__lt=until,
        question__model=SIGNAL,
        question__replay_id=replay_id,
        question__candle_s=candle_s,
    )
    return list(rows.select_related("question").order_by("opens_at")[:limit])


def list_unappraised_needs(*, until: datetime, replay_id: UUID | None = None) -> list[Need]:
    """Return what candles are needed to appraise the signals that have ended."""
    rows = Outcome.objects.filter(
        status=OutcomeStatus.RESOLVED,
        appraised_at=None,
        opens_at__lt=until,
        question__model=SIGNAL,
        question__replay_id=replay_id,
    )
    grouped = rows.values_list("market", "symbol", "question__candle_s")
    return [
        Need(market=market, symbol=symbol, replay_id=replay_id, candle_s=candle_s, since=since)
        for market, symbol, candle_s, since in grouped.annotate(since=Min("opens_at")).order_by(
            "market", "symbol"
        )
    ]


def list_without_levels(*, replay_id: UUID | None = None, limit: int) -> list[Question]:
    """Return questions that nothing was known for when they were asked."""
    rows = Question.objects.filter(
        sha256="", outcome__status=OutcomeStatus.OPEN, replay_id=replay_id
    )
    return list(rows.order_by("asked_at")[:limit])


def get_of_signal(*, event_id: UUID, run: int) -> Outcome | None:
    """Return the outcome of a signal's own question."""
    rows = Outcome.objects.select_related("question")
    return rows.filter(
        question__event_id=event_id, question__run=run, question__model=SIGNAL
    ).first()


def list_of_event(*, event_id: UUID) -> list[Outcome]:
    """Return every outcome of one signal: its own first, then those of its decisions."""
    rows = Outcome.objects.select_related("question").filter(question__event_id=event_id)
    return list(rows.order_by("-question__run", "question__model", "question__revision"))


def count_by_status(*, scope: str) -> dict[str, int]:
    """Return how many signals' questions of a scope stand where, or ended how."""
    rows = Outcome.objects.filter(scope=scope, question__model=SIGNAL)
    counts: dict[str, int] = {}
    for status, resolution in rows.values_list("status", "resolution"):
        word = resolution or status
        counts[word] = counts.get(word, 0) + 1
    return counts


def list_unscored(*, scope: str, limit: int) -> list[Outcome]:
    """Return ended outcomes that were not scored yet, in the order they became known, held."""
    rows = Outcome.objects.select_for_update(of=("self",)).select_related("question")
    ended = rows.filter(
        scope=scope,
        status__in=[OutcomeStatus.RESOLVED, OutcomeStatus.UNRESOLVABLE],
        scored_at=None,
    )
    return list(ended.order_by("known_at", "pk")[:limit])


def list_unscored_scopes() -> list[str]:
    """Return the scopes, replays left out, in which ended outcomes wait to be scored."""
    rows = Outcome.objects.filter(
        status__in=[OutcomeStatus.RESOLVED, OutcomeStatus.UNRESOLVABLE], scored_at=None
    )
    return sorted(rows.exclude(scope__startswith=REPLAY).values_list("scope", flat=True).distinct())


def list_known(
    *, scope: str, source: str, event_type: str, before: datetime, limit: int
) -> list[tuple[int, bool]]:
    """Return when the newest outcomes of a source became known (unix ms), and whether it won."""
    rows = Score.objects.filter(
        scope=scope, source=source, model=SIGNAL, event_type=event_type, known_at__lte=before
    )
    found = rows.order_by("-known_at").values_list("known_at", "won")[:limit]
    return [(to_ms(known_at), won) for known_at, won in found]


def hold_sums(*, keys: Sequence[tuple[Any, ...]]) -> list[ScoreDay]:
    """Return the daily sums of those keys, held until the commit."""
    wanted = set(keys)
    rows = ScoreDay.objects.select_for_update().filter(
        scope__in={key[0] for key in keys},
        model__in={key[1] for key in keys},
        source__in={key[4] for key in keys},
        day__in={key[-1] for key in keys},
    )
    return [
        row
        for row in rows.order_by("id")
        if (
            row.scope,
            row.model,
            row.variant,
            row.prompt_version,
            row.source,
            row.symbol,
            row.regime,
            row.event_type,
            row.day,
        )
        in wanted
    ]


def list_scores(*, scope: str, newest: int | None = None) -> list[Score]:
    """Return a scope's scores of models, oldest outcome first; the newest so many at most."""
    rows = Score.objects.filter(scope=scope, p__isnull=False, variant="").exclude(model=SIGNAL)
    if newest is None:
        return list(rows.order_by("known_at", "id"))
    return list(rows.order_by("-known_at", "-id")[:newest])[::-1]


def list_active_maps(*, scope: str) -> list[CalibrationMap]:
    """Return the maps in force of a scope."""
    return list(CalibrationMap.objects.filter(scope=scope, is_active=True).order_by("id"))


def latest_weights(*, scope: str) -> WeightSet | None:
    """Return the jury's weights in force of a scope."""
    return WeightSet.objects.filter(scope=scope, is_active=True).first()


def list_base_rates(*, scope: str, since: datetime) -> list[SourceRate]:
    """Return how often each source's signals won since a moment."""
    rows = Score.objects.filter(scope=scope, model=SIGNAL, known_at__gte=since)
    found = rows.values_list("source", "event_type").annotate(
        n=Count("id"), wins=Count("id", filter=Q(won=True))
    )
    return [
        SourceRate(source=source, event_type=event_type, frac=wins / n, n=n)
        for source, event_type, n, wins in found.order_by("source", "event_type")
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoreboard:
    """How models stand beside one another and beside judges that know nothing."""

    scope: str
    event_type: str
    standings: list[Standing]
    baselines: list[Standing]
    verdict: Verdict | None


Wanted = Mapping[str, Any]
"""Criteria that both scores and daily sums understand; see ``wanted``."""

Place = tuple[datetime, UUID]
"""Where a page of outcomes ends: when the question was asked, and which."""

OPENING = "OPEN_SIGNAL"
CARDS_OVER = 5_000  # of the newest ended signals, what sources have been worth
CURVE_OVER = 5_000  # of the newest signals, how choosy to be
PACE_OVER_DAYS = 14
NOT_BY_DAY = ("model", "prompt_version", "source", "symbol", "regime")


def get_scoreboard(
    *,
    scope: str,
    event_type: str = OPENING,
    by: Sequence[str] = ("model",),
    since: date | None = None,
    until: date | None = None,
    filters: Mapping[str, str] | None = None,
) -> Scoreboard:
    """Return how models stand in a window, and judges that know nothing beside them.

    Lines are divided by ``by``; the signals themselves, judged by their source's base rate, are
    what the baselines are made of.
    """
    chosen = wanted(scope=scope, event_type=event_type, since=since, until=until, filters=filters)
    found: Scoreboard = _remembered(chosen, "board", *by, make=lambda: _board(chosen, by=by))
    return found


def _board(chosen: Wanted, *, by: Sequence[str]) -> Scoreboard:
    groups, stated = _sums_by_day(chosen, by=by)
    own = [key for key in groups if _named(by, key).get("model") == SIGNAL]
    standings = [
        standing_of(_named(by, key), days, stated=stated.get(key))
        for key, days in sorted(groups.items())
        if key not in own
    ]
    return Scoreboard(
        scope=str(chosen["scope"]),
        event_type=str(chosen["event_type"]),
        standings=standings,
        baselines=baselines(groups[own[0]]) if len(own) == 1 else [],
        verdict=_verdict(standings, chosen) if tuple(by) == ("model",) else None,
    )


BOARDS = Remembered(most=128)
"""What was answered of late; a page that nothing has happened to since costs one short query."""


def _remembered(chosen: Wanted, *question: str, make: Callable[[], Any]) -> Any:
    """Return the answer to a question about scores, anew once anything has been scored."""
    scope = str(chosen["scope"])
    whole = ScoreDay.objects.filter(scope=scope, **WHOLE_DAY)
    sums = whole.aggregate(asked=Sum("asked"), plans=Sum("plans"), newest=Max("id"))
    weights = WeightSet.objects.filter(scope=scope, is_active=True).values_list("id", flat=True)
    version = (*sums.values(), weights.first())
    return BOARDS.get((question, *sorted(chosen.items())), version=version, make=make)


def wanted(
    *,
    scope: str,
    event_type: str = OPENING,
    since: date | None = None,
    until: date | None = None,
    filters: Mapping[str, str] | None = None,
) -> Wanted:
    """Return the criteria of a window of published decisions; ``until`` is not included."""
    criteria: dict[str, Any] = {"scope": scope, "event_type": event_type, "variant": ""}
    criteria |= {name: value for name, value in (filters or {}).items() if name in NOT_BY_DAY}
    if since is not None:
        criteria["day__gte"] = since
    if until is not None:
        criteria["day__lt"] = until
    return criteria


def get_reliability(wanted: Wanted, *, model: str) -> list[Bin]:
    """Return how often one model's probabilities came true, from low to high."""
    chosen = {**wanted, "model": model}
    counts = _stated(chosen, by=("model",)).get((model,))
    return [] if counts is None else reliability_of(counts)


def get_risk_coverage(wanted: Wanted, *, model: str) -> RiskCoverage:
    """Return what following one model only from a probability on would have earned, newest first.

    Every signal counts by its own question, whatever was advised; ``CURVE_OVER`` of them at most.
    """
    found: RiskCoverage = _remembered(
        wanted, "curve", model, make=lambda: _curve({**wanted, "model": model})
    )
    return found


def _curve(chosen: Wanted) -> RiskCoverage:
    rows = Score.objects.filter(**chosen, p__isnull=False)
    newest = rows.order_by("-day", "-id").values_list("p", "net_r", "day")[:CURVE_OVER]
    told = [(p, net_r, day.toordinal()) for p, net_r, day in newest]
    return risk_coverage(
        np.array([p for p, _, _ in told], dtype=np.float64),
        np.array([net_r for _, net_r, _ in told], dtype=np.float64),
        days=np.array([day for _, _, day in told], dtype=np.int64),
        rng=np.random.default_rng(SEED),
    )


def count_ended_a_day(*, scope: str, until: date) -> float | None:
    """Return how many signals a day have ended of late, None where none has."""
    since = until - timedelta(days=PACE_OVER_DAYS)
    rows = ScoreDay.objects.filter(
        scope=scope,
        model=SIGNAL,
        variant="",
        event_type=OPENING,
        day__gte=since,
        **WHOLE_DAY,
    )
    found = rows.aggregate(n=Sum("asked"), first=Min("day"))
    return found["n"] / max((until - found["first"]).days, 1) if found["n"] else None


def iterate_scores(wanted: Wanted, *, columns: Sequence[str]) -> Iterator[Sequence[Any]]:
    """Yield scored decisions of a window as rows, oldest outcome first."""
    rows = Score.objects.filter(**wanted)
    if "model" not in wanted:
        rows = rows.exclude(model=SIGNAL)
    return rows.order_by("known_at", "id").values_list(*columns).iterator(chunk_size=2_000)


def get_source_cards(*, scope: str, event_type: str = OPENING) -> list[SourceCard]:
    """Return what the newest ended signals of each source were worth, the busiest source first."""
    rows = Outcome.objects.filter(
        scope=scope,
        question__model=SIGNAL,
        question__event_type=event_type,
        won__isnull=False,
        net_r__isnull=False,
    )
    found: dict[str, list[EndedSignal]] = defaultdict(list)
    newest = rows.select_related("question").order_by("-question__asked_at")[:CARDS_OVER]
    for row in newest:
        ended = _ended(row)
        found[ended.source].append(ended)
    cards = [card_of(source, signals) for source, signals in found.items()]
    return sorted(cards, key=lambda card: (-card.n, card.source))


def _ended(row: Outcome) -> EndedSignal:
    question = row.question
    entry, target, stop = question.entry_price, question.target_price, question.stop_price
    even = None
    if target is not None and stop is not None and stop != entry and row.cost_r is not None:
        reward_risk = float(abs(target - entry) / abs(entry - stop))
        even = break_even(reward_risk=reward_risk, cost_r=row.cost_r)
    return EndedSignal(
        source=question.source,
        day=question.opens_at.toordinal(),
        won=bool(row.won),
        net_r=row.net_r or 0.0,
        break_even=even,
        decay_r=row.decay_r,
        elsewhere_r=row.control_r,
    )


def list_outcomes(
    *,
    scope: str,
    model: str,
    filters: Mapping[str, Any],
    before: Place | None,
    limit: int,
) -> list[Outcome]:
    """Return outcomes of a model's own questions, or of the signals', newest first."""
    rows = Outcome.objects.select_related("question").filter(scope=scope, question__model=model)
    for name, value in filters.items():
        rows = rows.filter(**{name if name == "status" else f"question__{name}": value})
    if before is not None:
        at, pk = before
        earlier = Q(question__asked_at__lt=at) | Q(question__asked_at=at, pk__lt=pk)
        rows = rows.filter(earlier)
    return list(rows.order_by("-question__asked_at", "-pk")[:limit])


def place_of(row: Outcome) -> str:
    """Return an opaque mark for the place after an outcome in ``list_outcomes``."""
    text = f"{row.question.asked_at.isoformat()}|{row.pk}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_place(cursor: str) -> Place:
    """Return the place that ``place_of`` marked.

    :raises ValueError: when the mark is not one of ours.
    """
    text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
    at, _, pk = text.partition("|")
    return datetime.fromisoformat(at).astimezone(UTC), UUID(pk)


def _sums_by_day(
    wanted: Wanted, *, by: Sequence[str]
) -> tuple[dict[tuple[str, ...], Array], dict[tuple[str, ...], Counts]]:
    """Return (days, columns) sums of each group, and the probabilities it stated."""
    rows, columns = _rows_of_days(wanted, by=by), [*by, "day"]
    money = Cast("cost_usd", FloatField())
    if _is_summed(wanted, by=by):
        shown = [money if name == "cost_usd" else F(name) for name in COLUMNS]
        listed = rows.values_list(*columns, *shown)
    else:
        sums = {f"sum_{name}": Sum(money if name == "cost_usd" else name) for name in COLUMNS}
        listed = rows.values_list(*columns).annotate(**sums)
    found: dict[tuple[str, ...], list[tuple[float, ...]]] = defaultdict(list)
    for row in listed.order_by(*columns):
        found[row[: len(by)]].append(row[len(columns) :])
    groups = {key: np.array(days, dtype=np.float64) for key, days in found.items()}
    return groups, _stated(wanted, by=by)


def _is_summed(wanted: Wanted, *, by: Sequence[str]) -> bool:
    """Say whether the days are summed already: where one thing at most divides them."""
    return len(DIVIDING & {*by, *wanted}) <= 1


def _rows_of_days(wanted: Wanted, *, by: Sequence[str]) -> QuerySet[ScoreDay]:
    """Return the fewest daily sums that hold an answer, however many decisions there are."""
    divided = DIVIDING & {*by, *wanted}
    rows = ScoreDay.objects.filter(**wanted)
    if _is_summed(wanted, by=by):
        rows = rows.filter(**dict.fromkeys(DIVIDING - divided, ALL))
    else:
        divided = DIVIDING
    for name in sorted(divided):
        rows = rows.exclude(**{name: ALL})
    return rows


def _stated(wanted: Wanted, *, by: Sequence[str]) -> dict[tuple[str, ...], Counts]:
    """Return how often each group stated each probability, and how often it came true."""
    if not _is_summed(wanted, by=by):
        return _stated_in_scores(wanted, by=by)
    rows = _rows_of_days(wanted, by=by).exclude(model=SIGNAL)
    found: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for *group, bins in rows.values_list(*by, Cast("bins", TextField())):
        found[tuple(group)].append(bins)
    counted = {key: _numbers(texts) for key, texts in found.items()}
    return {key: Counts.of(*told) for key, told in counted.items() if told.size}


EMPTY = "{}"
COMMAS = bytes.maketrans(b":", b",")


def _numbers(bins: Sequence[str]) -> Array:
    """Return step, how often and how often true, (3, n), from the JSON of many days' bins.

    Read as one flat list: a year of days holds more than a million numbers.
    """
    text = ",".join(each for each in bins if each != EMPTY).encode()
    numbers = json.loads(b"[" + text.translate(COMMAS, b'{}[]"') + b"]")
    return np.array(numbers, dtype=np.float64).reshape(-1, 3).T


def _stated_in_scores(wanted: Wanted, *, by: Sequence[str]) -> dict[tuple[str, ...], Counts]:
    rows = Score.objects.filter(**wanted, bin__isnull=False).values_list(*by, "bin")
    found: dict[tuple[str, ...], list[tuple[int, int, int]]] = defaultdict(list)
    counted = rows.annotate(told=Count("id"), wins=Count("id", filter=Q(won=True)))
    for row in counted.order_by():
        *group, step, n, wins = row
        found[tuple(group)].append((step, n, wins))
    return {key: Counts.of(*np.array(told, dtype=np.float64).T) for key, told in found.items()}


def _named(by: Sequence[str], key: tuple[str, ...]) -> dict[str, str]:
    return dict(zip(by, key, strict=True))


PAIRED_OVER = 2_000  # of the newest signals, where each model is held beside each other


def list_paired(
    wanted: Wanted,
) -> tuple[list[str], Array, npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Return models, their probabilities (signals, models), what won, and the day of each."""
    newest = Score.objects.filter(**wanted, model=SIGNAL).order_by("-day", "-id")
    signals = {
        (event_id, run): (place, won, day)
        for place, (event_id, run, won, day) in enumerate(
            newest.values_list("event_id", "run", "won", "day")[:PAIRED_OVER]
        )
    }
    days = [day for _, _, day in signals.values()]
    models = _list_models(wanted) if days else []
    places = {model: place for place, model in enumerate(models)}
    p = np.full((len(signals), len(models)), np.nan)
    if days:
        rows = Score.objects.filter(
            **{**wanted, "day__gte": days[-1], "model__in": models}, p__isnull=False
        )
        for event_id, run, model, stated in rows.values_list("event_id", "run", "model", "p"):
            if (event_id, run) in signals:
                p[signals[event_id, run][0], places[model]] = stated
    won = np.array([each[1] for each in signals.values()], dtype=np.bool_)
    return models, p, won, np.array([day.toordinal() for day in days], dtype=np.int64)


def _list_models(wanted: Wanted) -> list[str]:
    rows = ScoreDay.objects.filter(
        scope=wanted["scope"],
        variant="",
        event_type=wanted["event_type"],
        **WHOLE_DAY,
    )
    return sorted(rows.exclude(model=SIGNAL).values_list("model", flat=True).distinct())


def _verdict(standings: Sequence[Standing], wanted: Mapping[str, Any]) -> Verdict | None:
    """Return how the jury compares with its best member on the signals that both judged."""
    members = [each for each in standings if each.model != JURY and each.brier.value is not None]
    enough = [each for each in members if not each.is_too_few]
    if not enough or all(each.model != JURY for each in standings):
        return None
    best = min(enough, key=lambda each: each.brier.value or 0.0).model
    models, p, won, days = list_paired(wanted)
    one, other = p[:, models.index(JURY)], p[:, models.index(best)]
    both = ~np.isnan(one) & ~np.isnan(other)
    gains = (other[both] - won[both]) ** 2 - (one[both] - won[both]) ** 2
    weights = latest_weights(scope=str(wanted["scope"]))
    held = weights.weights.get(best, {}).get("weight") if weights else None
    return judge_jury(standings, gain=mean_by_day(gains, days[both]), best=best, weight=held)


def get_leave_one_out(*, scope: str, event_type: str = OPENING) -> dict[str, float]:
    """Return by how much the jury's Brier score would worsen without each model, where known."""
    chosen = {"scope": scope, "event_type": event_type, "variant": ""}
    found: dict[str, float] = _remembered(chosen, "marginal", make=lambda: _marginal(chosen))
    return found


def _marginal(chosen: Wanted) -> dict[str, float]:
    models, p, won, _ = list_paired(chosen)
    members = [place for place, model in enumerate(models) if model != JURY]
    if not members:
        return {}
    weights = latest_weights(scope=str(chosen["scope"]))
    held = weights.weights if weights else {}
    equal = 1.0 / len(members)
    counted = [float(held.get(models[place], {}).get("weight", equal)) for place in members]
    values = leave_one_out(p[:, members], won, np.array(counted, dtype=np.float64))
    return {
        models[place]: float(value)
        for place, value in zip(members, values, strict=True)
        if np.isfinite(value)
    }


def list_answers(*, scope: str) -> dict[str, bool]:
    """Return whether each answered signal of a scope won, by symbol, side and moment."""
    rows = Score.objects.filter(scope=scope, model=SIGNAL)
    return {
        f"{symbol}|{side}|{at.isoformat(timespec='seconds')}": won
        for symbol, side, at, won in rows.values_list("symbol", "side", "at", "won")
    }


def get_experiment(*, name: str) -> Experiment | None:
    """Return one experiment."""
    return Experiment.objects.filter(name=name).first()


def list_running_experiments() -> list[Experiment]:
    """Return the experiments under way, oldest first."""
    return list(Experiment.objects.filter(status=ExperimentStatus.RUNNING).order_by("id"))


def list_experiments() -> list[Experiment]:
    """Return every experiment, newest first."""
    return list(Experiment.objects.order_by("-created_at", "-id"))


def list_pairs(*, experiment: Experiment) -> list[tuple[float, float, bool]]:
    """Return both judges' probabilities and what won, in the order it became known."""
    shadow = Score.objects.filter(variant=experiment.name, p__isnull=False)
    mine = {
        (event_id, run): p
        for event_id, run, p in Score.objects.filter(
            model=experiment.champion,
            variant="",
            p__isnull=False,
            event_id__in=shadow.values("event_id"),
        ).values_list("event_id", "run", "p_raw")
    }
    rows = shadow.order_by("known_at", "id").values_list("event_id", "run", "p_raw", "won")
    return [
        (champion, challenger, won)
        for event_id, run, challenger, won in rows
        if (champion := mine.get((event_id, run))) is not None and challenger is not None
    ]


def list_open_alerts() -> list[Alert]:
    """Return what operators should look at, newest first."""
    return list(Alert.objects.filter(closed_at=None).order_by("-opened_at", "-id"))


def list_shadow_names() -> dict[UUID, str]:
    """Return the name of every experiment by what its shadow evaluations belong to."""
    rows = Experiment.objects.exclude(rerun_id=None)
    return {rerun_id: name for rerun_id, name in rows.values_list("rerun_id", "name") if rerun_id}


def latest_custom(*, model: str, before: date) -> Canary | None:
    """Return the last day before another whose answers later ones are held to."""
    kept = (CanaryStatus.STEADY, CanaryStatus.ACCEPTED)
    rows = Canary.objects.filter(model=model, status__in=kept, day__lt=before)
    return rows.order_by("-day").first()


def latest_canary(*, model: str) -> Canary | None:
    """Return the last day on which a model's answers to the golden signals were compared."""
    rows = Canary.objects.filter(model=model).exclude(status=CanaryStatus.ASKED)
    return rows.order_by("-day").first()


def list_golden() -> list[GoldenSignal]:
    """Return the golden signals, oldest first."""
    return list(GoldenSignal.objects.order_by("id"))


def list_canaries(*, days: int) -> list[Canary]:
    """Return what models said of the golden signals on the latest days, newest first."""
    dates = Canary.objects.order_by("-day").values_list("day", flat=True).distinct()[:days]
    return list(Canary.objects.filter(day__in=list(dates)).order_by("-day", "model"))


def is_judged(*, event_id: UUID) -> bool:
    """Say whether a signal is stored with frozen facts, so that it can be judged again."""
    return Enrichment.objects.filter(event_id=event_id).exists()


def list_audits(*, limit: int) -> list[BiasAudit]:
    """Return the latest bias audits, newest first."""
    return list(BiasAudit.objects.order_by("-created_at")[:limit])


def count_alerts() -> dict[str, int]:
    """Return how many open alerts nobody has acknowledged, by their kind."""
    rows = Alert.objects.filter(closed_at=None, acknowledged_at=None)
    counted = rows.values_list("kind").annotate(n=Count("id")).order_by("kind")
    return dict(counted)


def rows_to_purge(*, batch: Batch) -> list[QuerySet[Any]]:
    """Return questions, outcomes and scores of signals that are being purged; the sums stay."""
    return [
        Outcome.objects.filter(question__event_id__in=batch.events),
        Question.objects.filter(event_id__in=batch.events),
        Score.objects.filter(event_id__in=batch.events),
    ]


def list_in_hand(*, batch: Batch) -> Mapping[str, Collection[int]]:
    """Return the signals that every model judges daily: they stay as long as they are golden."""
    golden = GoldenSignal.objects.filter(event_id__in=batch.events).values("event_id")
    signals = Signal.objects.filter(id__in=batch.signals, event_id__in=golden)
    return {"golden signal": set(signals.values_list("id", flat=True))}


def list_auditable(*, limit: int) -> list[Signal]:
    """Return the newest entries that were judged, whose cases can be told in other ways."""
    judged = Enrichment.objects.filter(event_id=OuterRef("event_id"), run=OuterRef("run"))
    rows = Signal.objects.filter(Exists(judged.exclude(facts={})), event_type=OPENING)
    return list(rows.order_by("-id")[:limit])


def get_audit(*, audit_id: UUID) -> BiasAudit | None:
    """Return one bias audit."""
    return BiasAudit.objects.filter(id=audit_id).first()
