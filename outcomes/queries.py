"""Every read of the outcomes room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Count, Min, Q

from decisions.types import REPLAY
from evaluation.types import SourceRate
from outcomes.following import to_ms
from outcomes.models import CalibrationMap, Outcome, Question, Score, ScoreDay, WeightSet
from outcomes.types import SIGNAL, OutcomeStatus


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
