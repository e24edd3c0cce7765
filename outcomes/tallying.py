"""Turning ended questions into scores and daily sums, each exactly once.

An outcome is marked as scored in the transaction that writes its scores and adds to the sums, so
a process that dies anywhere leaves it either wholly counted or not at all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol
from uuid import UUID

import numpy as np
from django.db import transaction

from decisions.models import Decision
from decisions.types import JURY, follow_probability, stated_of
from evaluation.models import Evaluation
from evaluation.types import Action, EvaluationStatus
from outcomes import queries
from outcomes.following import to_ms
from outcomes.models import Outcome, Question, Score, ScoreDay
from outcomes.types import ALL, DIVIDING, SIGNAL
from quant.scores import LOG_CLIP, trailing_base_rate

FOLLOWED = frozenset({str(Action.FOLLOW_ENTER), str(Action.FOLLOW_EXIT)})
BASE_RATE_DAYS = 90
BASE_RATE_OVER = 2_000
"""Over how many days, and at most how many outcomes, a source's trailing base rate is taken."""

DAY_MS = 86_400_000

BINS = 1_000
"""Probabilities are counted to three decimals where a figure needs all of them at once."""

KEY = (
    "scope",
    "model",
    "variant",
    "prompt_version",
    "source",
    "symbol",
    "regime",
    "event_type",
    "day",
)
Stated = tuple[int, int, int]
"""A probability's step, how often it was stated, and how often it came true."""

SUMS = (
    "asked",
    "n",
    "wins",
    "followed",
    "followed_wins",
    "followed_r",
    "ignored_r",
    "plan_r",
    "plans",
    "p",
    "brier",
    "brier_raw",
    "brier_base",
    "log_loss",
    "skill",
    "skill_sq",
    "cost_usd",
    "latency_ms",
)


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a model's stated probability counts as, and by which version of its map."""

    p: float
    version: int | None


class Forecaster(Protocol):
    """Says what a stated probability counts as, and is told what was scored with it."""

    def forecast(self, score: Score, members: Mapping[str, float]) -> Forecast:
        """Return what a score's stated probability counts as; ``members`` are the jury's."""

    def learn(self, scores: Sequence[Score]) -> None:
        """Take note of one signal's scores."""


class AsPublished:
    """Takes every probability as it was published, calibrated or not."""

    def forecast(self, score: Score, members: Mapping[str, float]) -> Forecast:
        """Return the published probability."""
        del members
        p = score.p if score.p is not None else score.p_raw
        return Forecast(0.5 if p is None else p, score.calibration_version)

    def learn(self, scores: Sequence[Score]) -> None:
        """Learn nothing: what was published stands."""


def tally(*, scope: str, now: datetime, limit: int, forecaster: Forecaster | None = None) -> int:
    """Score the next ended questions of a scope, in the order their answers became known.

    Returns how many outcomes were taken; 0 when none are left.
    """
    forecaster = forecaster or AsPublished()
    with transaction.atomic():
        ended = queries.list_unscored(scope=scope, limit=limit)
        if not ended:
            return 0
        answered = [each for each in ended if each.question.model == SIGNAL and _has_answer(each)]
        scores = _scores(answered, forecaster)
        Score.objects.bulk_create(scores)
        sums = _Sums()
        for score in scores:
            sums.count(score)
        for each in ended:
            sums.count_plan(each)
        sums.store()
        Outcome.objects.filter(pk__in=[each.pk for each in ended]).update(scored_at=now)
    return len(ended)


def _has_answer(outcome: Outcome) -> bool:
    return outcome.won is not None and outcome.net_r is not None


def _scores(answered: Sequence[Outcome], forecaster: Forecaster) -> list[Score]:
    """Return the scores of every model on every answered signal, members before their jury."""
    said = _Said(answered)
    rates = _base_rates(answered)
    scores = []
    for outcome in answered:
        base_rate = rates[outcome.pk]
        own = _score(outcome, model=SIGNAL, base_rate=base_rate)
        own.p_raw = own.p = base_rate
        told = list(said.scores(outcome, base_rate=base_rate, forecaster=forecaster))
        forecaster.learn(told)
        scores += [own, *told]
    return scores


def _score(outcome: Outcome, *, model: str, base_rate: float) -> Score:
    row = outcome.question
    assert outcome.won is not None
    assert outcome.net_r is not None
    return Score(
        scope=outcome.scope,
        event_id=row.event_id,
        run=row.run,
        model=model,
        source=row.source,
        symbol=row.symbol,
        regime=row.regime,
        event_type=row.event_type,
        side=row.side,
        at=row.opens_at,
        day=row.opens_at.date(),
        known_at=outcome.known_at or row.opens_at,
        base_rate=base_rate,
        won=outcome.won,
        net_r=outcome.net_r,
    )


class _Said:
    """What all models said, or did not say, of a batch of signals."""

    def __init__(self, answered: Sequence[Outcome]) -> None:
        events = {outcome.question.event_id for outcome in answered}
        self._decisions: dict[tuple[UUID, int], dict[str, Decision]] = defaultdict(dict)
        for row in Decision.objects.filter(event_id__in=events).order_by("revision"):
            self._decisions[row.event_id, row.run][row.model] = row
        self._silent: dict[tuple[UUID, int], list[Evaluation]] = defaultdict(list)
        silent = Evaluation.objects.filter(
            signal__event_id__in=events, rerun=None, status=EvaluationStatus.ABSTAINED
        )
        for each in silent.select_related("signal").order_by("model"):
            self._silent[each.signal.event_id, each.run].append(each)
        self._names = queries.list_shadow_names()
        self._shadows: dict[tuple[UUID, int], list[Evaluation]] = defaultdict(list)
        shadows = Evaluation.objects.filter(
            signal__event_id__in=events,
            rerun_id__in=self._names,
            status=EvaluationStatus.DECIDED,
        )
        for each in shadows.select_related("signal").order_by("id"):
            self._shadows[each.signal.event_id, each.run].append(each)

    def scores(
        self, outcome: Outcome, *, base_rate: float, forecaster: Forecaster
    ) -> Iterable[Score]:
        key = (outcome.question.event_id, outcome.question.run)
        members: dict[str, float] = {}
        rows = self._decisions[key]
        for model in sorted(rows, key=lambda name: (name == JURY, name)):
            score = _score(outcome, model=model, base_rate=base_rate)
            _put_decision(score, rows[model])
            forecast = forecaster.forecast(score, members)
            score.p, score.calibration_version = forecast.p, forecast.version
            score.bin = round(forecast.p * BINS)
            members[model] = forecast.p
            yield score
        for each in self._silent[key]:
            score = _score(outcome, model=each.model, base_rate=base_rate)
            score.abstained = each.outcome
            score.cost_usd, score.latency_ms = each.cost_usd, each.latency_ms
            yield score
        for each in self._shadows[key]:
            score = _score(outcome, model=each.model, base_rate=base_rate)
            _put_shadow(score, each, variant=self._names[each.rerun_id] if each.rerun_id else "")
            yield score


def _put_decision(score: Score, decision: Decision) -> None:
    meta = decision.model_meta
    stated = stated_of(
        action=decision.decision,
        confidence=decision.confidence,
        confidence_raw=decision.confidence_raw,
        economics=decision.economics,
        adjustments=decision.policy_adjustments,
    )
    score.p_raw, score.p = stated
    score.decision, score.followed = decision.decision, decision.decision in FOLLOWED
    score.prompt_version = meta.get("prompt_version") or ""
    score.calibration_version = (decision.calibration or {}).get("version")
    cost = meta.get("cost_usd")
    score.cost_usd = None if cost is None else Decimal(cost)
    score.latency_ms = meta.get("latency_ms")


def _put_shadow(score: Score, evaluation: Evaluation, *, variant: str) -> None:
    """Write down what a challenger said; nothing is calibrated, so that pairs compare alike."""
    verdict = evaluation.verdict or {}
    score.variant, score.decision = variant, verdict["action"]
    score.followed = score.decision in FOLLOWED
    score.p_raw = score.p = follow_probability(
        action=score.decision, confidence=float(verdict["confidence"])
    )
    score.bin = round(score.p * BINS)
    score.cost_usd, score.latency_ms = evaluation.cost_usd, evaluation.latency_ms


def _base_rates(answered: Sequence[Outcome]) -> dict[UUID, float]:
    """Return each source's trailing base rate as it was known when the question opened."""
    groups: dict[tuple[str, str, str], list[Outcome]] = defaultdict(list)
    for outcome in answered:
        groups[outcome.scope, outcome.question.source, outcome.question.event_type].append(outcome)
    rates: dict[UUID, float] = {}
    for (scope, source, event_type), group in groups.items():
        known = queries.list_known(
            scope=scope,
            source=source,
            event_type=event_type,
            before=max(each.question.opens_at for each in group),
            limit=BASE_RATE_OVER,
        )
        known += [
            (to_ms(each.known_at), bool(each.won)) for each in group if each.known_at is not None
        ]
        found = trailing_base_rate(
            np.array([to_ms(each.question.opens_at) for each in group], dtype=np.int64),
            known_ms=np.array([at for at, _ in known], dtype=np.int64),
            won=np.array([won for _, won in known], dtype=np.bool_),
            window_ms=BASE_RATE_DAYS * DAY_MS,
        )
        rates |= {each.pk: float(rate) for each, rate in zip(group, found, strict=True)}
    return rates


class _Sums:
    """What a batch adds to the daily sums."""

    def __init__(self) -> None:
        self._rows: dict[tuple[Any, ...], dict[str, Any]] = {}
        self._bins: dict[tuple[Any, ...], list[Stated]] = defaultdict(list)

    def count(self, score: Score) -> None:
        key = tuple(getattr(score, name) for name in KEY)
        added: dict[str, Any] = {
            "asked": 1,
            "cost_usd": score.cost_usd or 0,
            "latency_ms": score.latency_ms or 0.0,
        }
        if score.p is not None and score.p_raw is not None:
            added |= _terms(score, p=score.p, p_raw=score.p_raw)
        for sums in map(self._of, (key, *summed(key))):
            for name, value in added.items():
                sums[name] += value
        if score.bin is not None:
            for wider in summed(key):
                self._bins[wider].append((score.bin, 1, int(score.won)))

    def count_plan(self, outcome: Outcome) -> None:
        """Count what a decision's own plan earned, if it was advice to enter."""
        row = outcome.question
        if row.model == SIGNAL or row.decision not in FOLLOWED or outcome.net_r is None:
            return
        key = _key_of(row)
        for sums in map(self._of, (key, *summed(key))):
            sums["plan_r"] += outcome.net_r
            sums["plans"] += 1

    def store(self) -> None:
        """Add everything to the rows, held in one order so that nobody waits in a circle."""
        keys = sorted(self._rows, key=str)
        if not keys:
            return
        empty = [ScoreDay(**dict(zip(KEY, key, strict=True))) for key in keys]
        ScoreDay.objects.bulk_create(empty, ignore_conflicts=True)
        held = queries.hold_sums(keys=keys)
        for row in held:
            key = tuple(getattr(row, name) for name in KEY)
            for name in SUMS:
                setattr(row, name, getattr(row, name) + self._rows[key][name])
            row.bins = with_stated(row.bins, self._bins.get(key, ()))
        ScoreDay.objects.bulk_create(
            held, update_conflicts=True, update_fields=[*SUMS, "bins"], unique_fields=["id"]
        )

    def _of(self, key: tuple[Any, ...]) -> dict[str, Any]:
        empty: dict[str, Any] = dict.fromkeys(SUMS, 0.0)
        empty |= dict.fromkeys(("asked", "n", "wins", "followed", "followed_wins", "plans"), 0)
        empty["cost_usd"] = Decimal(0)
        return self._rows.setdefault(key, empty)


def with_stated(bins: Mapping[str, Sequence[int]], stated: Iterable[Stated]) -> dict[str, Any]:
    """Return a day's bins with more probabilities counted in."""
    counted = {int(step): [n, wins] for step, (n, wins) in bins.items()}
    for step, n, wins in stated:
        of_step = counted.setdefault(step, [0, 0])
        of_step[0] += n
        of_step[1] += wins
    return {str(step): counted[step] for step in sorted(counted)}


def summed(key: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """Return the keys of a group's whole day, and of its day by each thing that divides it."""
    return [
        tuple(
            ALL if name in DIVIDING and name != kept else value
            for name, value in zip(KEY, key, strict=True)
        )
        for kept in ("", *sorted(DIVIDING))
    ]


def _key_of(row: Question) -> tuple[Any, ...]:
    return (
        row.scope,
        row.model,
        "",
        row.prompt_version,
        row.source,
        row.symbol,
        row.regime,
        row.event_type,
        row.opens_at.date(),
    )


def _terms(score: Score, *, p: float, p_raw: float) -> dict[str, float]:
    """Return what one score adds to the sums."""
    won = float(score.won)
    base = 0.5 if score.base_rate is None else score.base_rate
    brier, brier_base = (p - won) ** 2, (base - won) ** 2
    kept = min(max(p, LOG_CLIP), 1.0 - LOG_CLIP)
    is_followed = score.followed or score.model == SIGNAL
    return {
        "n": 1,
        "wins": int(score.won),
        "followed": int(is_followed),
        "followed_wins": int(is_followed and score.won),
        "followed_r": score.net_r if is_followed else 0.0,
        "ignored_r": 0.0 if is_followed else score.net_r,
        "p": p,
        "brier": brier,
        "brier_raw": (p_raw - won) ** 2,
        "brier_base": brier_base,
        "log_loss": -float(np.log(kept if score.won else 1.0 - kept)),
        "skill": brier_base - brier,
        "skill_sq": (brier_base - brier) ** 2,
    }
