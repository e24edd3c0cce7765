"""Reading what deciding and publishing need to know."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Case, IntegerField, Q, QuerySet, Subquery, When

from decisions.clamp import History, Needs
from decisions.models import ConfidenceMap, Decision, VoiceWeights
from decisions.types import JURY, Learnt, Voices
from evaluation.models import Evaluation
from evaluation.types import Action, EvaluationStatus
from pipeline.prepared import Given, Place, Prepared
from signals.models import Signal
from signals.types import Direction, Origin, SignalStatus

Judge = tuple[str, str]
"""A scope and a model: who it is that something was learnt of."""

Seat = tuple[str, str]
"""A model and a symbol: who advises on what."""

FOLLOWED = (str(Action.FOLLOW_ENTER), str(Action.FOLLOW_EXIT))


UNFINISHED: Prepared[Evaluation] = Prepared(
    lambda given: (
        Evaluation.objects.filter(
            signal__id__in=given.each(Signal, "id", name="signals"),
            rerun=None,
            status=EvaluationStatus.PENDING,
        )
        .values_list("signal_id", "run")
        .distinct()
    )
)
RULED: Prepared[Decision] = Prepared(
    lambda given: Decision.objects.filter(
        signal__id__in=given.each(Signal, "id", name="signals"), model=JURY
    ).values_list("signal_id", "run")
)
DECIDED: Prepared[Decision] = Prepared(
    lambda given: Decision.objects.filter(signal__id__in=given.each(Signal, "id", name="signals"))
)
NOT_OUT: Prepared[Decision] = Prepared(
    lambda given: (
        Decision.objects.filter(event_id__in=given.each(Decision, "event_id", name="events"))
        .exclude(published_at__isnull=False, withheld="")
        .values_list("event_id", "withheld")
    )
)
MAPS: Prepared[ConfidenceMap] = Prepared(
    lambda given: ConfidenceMap.objects.filter(
        scope__in=given.each(ConfidenceMap, "scope", name="scopes"),
        model__in=given.each(ConfidenceMap, "model", name="models"),
    ).order_by("id")
)
VOICES: Prepared[VoiceWeights] = Prepared(
    lambda given: VoiceWeights.objects.filter(
        scope__in=given.each(VoiceWeights, "scope", name="scopes")
    )
)


def _followed(model: Place, symbol: Place) -> QuerySet[Decision]:
    return Decision.objects.filter(
        model=model, symbol=symbol, origin=Origin.LIVE, decision__in=FOLLOWED
    )


def _last_followed(given: Given) -> QuerySet[Decision, Any]:
    models = given.each(Decision, "model", name="models")
    symbols = given.each(Decision, "symbol", name="symbols")
    latest = [
        Subquery(_followed(model, symbol).order_by("-evaluated_at").values("id")[:1])
        for model, symbol in zip(models, symbols, strict=True)
    ]
    rows = Decision.objects.filter(Q(id__in=latest))
    return rows.values_list("model", "symbol", "decision", "evaluated_at", "signal__direction")


LAST_FOLLOWED: Prepared[Decision] = Prepared(_last_followed)
ENTERED: Prepared[Decision] = Prepared(
    lambda given: (
        Decision.objects.filter(
            model__in=given.each(Decision, "model", name="models"),
            symbol__in=given.each(Decision, "symbol", name="symbols"),
            origin=Origin.LIVE,
            decision__in=FOLLOWED,  # as the index has it, or SQLite does not use that
            evaluated_at__gt=given(Decision, "evaluated_at", name="since"),
        )
        .filter(decision=Action.FOLLOW_ENTER)
        .values_list("model", "symbol", "event_id")
        .distinct()
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What was decided on one run of a signal.

    ``members`` are the models' own, in the order of AI_MODELS; ``rulings`` are the jury's, oldest
    first.
    """

    members: tuple[Decision, ...]
    rulings: tuple[Decision, ...]


def list_unfinished(*, signals: Sequence[Signal]) -> set[int]:
    """Return the row ids of those signals that some model has yet to answer, in their runs."""
    runs = {signal.id: signal.run for signal in signals}
    found = UNFINISHED.rows(signals=list(runs))
    return {signal_id for signal_id, run in found if runs[signal_id] == run}


def list_ruled(*, signals: Sequence[Signal]) -> set[int]:
    """Return the row ids of those signals on which the jury has ruled, in their runs."""
    runs = {signal.id: signal.run for signal in signals}
    return {key for key, run in RULED.rows(signals=list(runs)) if runs[key] == run}


def list_stories(*, signals: Sequence[Signal], made: Sequence[Decision] = ()) -> dict[int, Story]:
    """Return what was decided on these signals so far, by row id; ``made`` is not stored yet."""
    runs = {signal.id: signal.run for signal in signals}
    mine: dict[int, list[Decision]] = {signal.id: [] for signal in signals}
    for row in (*DECIDED.rows(signals=list(runs)), *made):
        if runs.get(row.signal_id) == row.run:
            mine[row.signal_id].append(row)
    return {signal_id: _story(found) for signal_id, found in mine.items()}


def _story(rows: Sequence[Decision]) -> Story:
    order = {name: place for place, name in enumerate(settings.AI_MODELS)}
    members = sorted(
        (row for row in rows if row.model != JURY),
        key=lambda row: (order.get(row.model, len(order)), row.model),
    )
    rulings = sorted((row for row in rows if row.model == JURY), key=lambda row: row.revision)
    return Story(members=tuple(members), rulings=tuple(rulings))


def list_abstentions(*, signal: Signal) -> list[str]:
    """Return each model's cause for not deciding, as text."""
    rows = Evaluation.objects.filter(signal=signal, run=signal.run, rerun=None).order_by("model")
    return [
        f"{row.model}: {row.reason or row.outcome}"
        for row in rows
        if row.status != EvaluationStatus.DECIDED
    ]


@dataclass(frozen=True, slots=True)
class Past:
    """What models advised to follow on symbols before, as far as the policy's rules look back.

    ``entered`` are the signals entered in the last hour, ``last`` is the latest advice to follow,
    its time and the signal's direction. What a batch decides is added as it is decided, so that
    of two signals in one batch the later one sees the earlier.
    """

    entered: dict[Seat, set[UUID]] = field(default_factory=dict)
    last: dict[Seat, tuple[str, datetime, str]] = field(default_factory=dict)

    def history(self, *, model: str, symbol: str, now: datetime) -> History:
        """Return what ``model`` is held to when it advises on ``symbol``."""
        entries = len(self.entered.get((model, symbol), ()))
        word, at, direction = self.last.get((model, symbol), ("", now, ""))
        if word != Action.FOLLOW_ENTER:
            return History(entries_last_hour=entries)
        return History(
            entries_last_hour=entries,
            open_side=Direction(direction).side,
            held_min=(now - at).total_seconds() / 60,
        )

    def add(self, decision: Decision, *, direction: str) -> None:
        """Take note of a live decision that was just made."""
        seat = (decision.model, decision.symbol)
        if decision.decision == Action.FOLLOW_ENTER:
            self.entered.setdefault(seat, set()).add(decision.event_id)
        if decision.decision in FOLLOWED:
            self.last[seat] = (decision.decision, decision.evaluated_at, direction)


def get_past(*, seats: Collection[Seat], needs: Needs, now: datetime) -> Past:
    """Return what these models advised on these symbols before."""
    past = Past()
    if not seats:
        return past
    models, symbols = zip(*sorted(seats), strict=True)
    if needs.entries:
        hour_ago = now - timedelta(hours=1)
        found = ENTERED.rows(models=set(models), symbols=set(symbols), since=hour_ago)
        for model, symbol, event_id in found:
            past.entered.setdefault((model, symbol), set()).add(event_id)
    if needs.position:
        for model, symbol, *latest in LAST_FOLLOWED.rows(models=models, symbols=symbols):
            past.last[model, symbol] = tuple(latest)
    return past


def list_of_signal(*, event_id: UUID) -> list[Decision]:
    """Return everything that was decided on one signal, in the order it was published."""
    rows = Decision.objects.filter(event_id=event_id)
    return list(rows.order_by("published_at", "seq", "evaluated_at", "model"))


def has_unpublished() -> bool:
    """Say whether a publisher has anything to do."""
    return (
        Decision.objects.filter(published_at=None, withheld="").exists()
        or Signal.objects.filter(status=SignalStatus.EVALUATED).exists()
    )


def list_unpublished(*, limit: int) -> list[Decision]:
    """Return what waits to be published, with its signal, oldest first, rulings after votes."""
    return _unpublished(limit).rows()


@cache
def _unpublished(limit: int) -> Prepared[Decision]:
    rows = Decision.objects.filter(published_at=None, withheld="")
    members_first = Case(When(model=JURY, then=1), default=0, output_field=IntegerField())
    in_turn = rows.select_related("signal").order_by("evaluated_at", members_first, "model")
    return Prepared(lambda _: in_turn[:limit])


def list_not_out(*, event_ids: Collection[UUID]) -> tuple[set[UUID], set[UUID]]:
    """Return those of the signals with a decision that waits, and those with one withheld."""
    told = NOT_OUT.rows(events=event_ids)
    withheld = {event_id for event_id, why in told if why}
    return {event_id for event_id, why in told if not why}, withheld


def list_maps(*, scopes: Collection[str], models: Collection[str]) -> dict[Judge, list[Learnt]]:
    """Return what models' stated probabilities are worth by now, by scope and model."""
    found: dict[Judge, list[Learnt]] = {}
    for row in MAPS.rows(scopes=scopes, models=models):
        learnt = Learnt(
            model=row.model,
            prompt_version=row.prompt_version,
            source=row.source,
            version=row.version,
            n=row.n,
            knots=tuple((stated, worth) for stated, worth in row.knots),
        )
        found.setdefault((row.scope, row.model), []).append(learnt)
    return found


def list_voices(*, scopes: Collection[str]) -> dict[str, Voices]:
    """Return by scope what each model's voice counts in the jury, where it was learnt yet."""
    return {
        row.scope: Voices(
            version=row.version, weights=row.weights, effective_models=row.effective_models
        )
        for row in VOICES.rows(scopes=scopes)
    }
