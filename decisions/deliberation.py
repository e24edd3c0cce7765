"""Reading what deciding and publishing need to know."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from uuid import UUID

from django.conf import settings
from django.db.models import Case, F, IntegerField, QuerySet, When

from decisions.clamp import History, Needs
from decisions.models import ConfidenceMap, Decision, VoiceWeights
from decisions.types import JURY, Learnt, Voices
from evaluation.models import Evaluation
from evaluation.types import Action, EvaluationStatus
from pipeline.prepared import Given, Prepared
from signals.models import Signal
from signals.types import Direction, Origin, SignalStatus

Judge = tuple[str, str]
"""A scope and a model: who it is that something was learnt of."""

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
    lambda given: VoiceWeights.objects.filter(scope=given(VoiceWeights, "scope"))
)


def _followed(given: Given) -> QuerySet[Decision]:
    return Decision.objects.filter(
        model=given(Decision, "model"),
        symbol=given(Decision, "symbol"),
        origin=Origin.LIVE,
        decision__in=FOLLOWED,
    )


LAST_FOLLOWED: Prepared[Decision] = Prepared(
    lambda given: (
        _followed(given)
        .order_by("-evaluated_at")
        .values_list("decision", "evaluated_at", "signal__direction")[:1]
    )
)
ENTERED: Prepared[Decision] = Prepared(
    lambda given: (
        _followed(given)
        .filter(
            decision=Action.FOLLOW_ENTER,
            evaluated_at__gt=given(Decision, "evaluated_at", name="since"),
        )
        .values_list("event_id", flat=True)
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


def list_stories(*, signals: Sequence[Signal]) -> dict[int, Story]:
    """Return what was decided on these signals so far, by row id."""
    runs = {signal.id: signal.run for signal in signals}
    mine: dict[int, list[Decision]] = {signal.id: [] for signal in signals}
    for row in DECIDED.rows(signals=list(runs)):
        if row.run == runs[row.signal_id]:
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


def get_history(*, model: str, symbol: str, needs: Needs, now: datetime) -> History:
    """Return what ``model`` advised on ``symbol`` before, as far as the policy's rules need it."""
    entries, history = 0, History()
    if needs.entries:
        hour = timedelta(hours=1)
        entries = len(ENTERED.rows(model=model, symbol=symbol, since=now - hour))
    for word, at, direction in (
        LAST_FOLLOWED.rows(model=model, symbol=symbol) if needs.position else ()
    ):
        if word == Action.FOLLOW_ENTER:
            held_min = (now - at).total_seconds() / 60
            history = History(open_side=Direction(direction).side, held_min=held_min)
    return replace(history, entries_last_hour=entries)


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
    """Return the decisions that wait to be published, oldest first, a ruling after its votes.

    Each knows as ``signal_status`` where its signal stands.
    """
    return _unpublished(limit).rows()


@cache
def _unpublished(limit: int) -> Prepared[Decision]:
    rows = Decision.objects.filter(published_at=None, withheld="")
    members_first = Case(When(model=JURY, then=1), default=0, output_field=IntegerField())
    known = rows.annotate(signal_status=F("signal__status"))
    return Prepared(lambda _: known.order_by("evaluated_at", members_first, "model")[:limit])


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


def get_voices(*, scope: str) -> Voices | None:
    """Return what each model's voice counts in the jury, if it was learnt yet."""
    found = VOICES.rows(scope=scope)
    if not found:
        return None
    [row] = found
    return Voices(version=row.version, weights=row.weights, effective_models=row.effective_models)
