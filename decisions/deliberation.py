"""Reading what deciding and publishing need to know."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db.models import Case, F, IntegerField, When

from decisions.clamp import History
from decisions.models import ConfidenceMap, Decision, VoiceWeights
from decisions.types import JURY, Learnt, Voices
from evaluation.models import Evaluation
from evaluation.types import Action, EvaluationStatus
from signals.models import Signal
from signals.types import Direction, Origin, SignalStatus

Judge = tuple[str, str]
"""A scope and a model: who it is that something was learnt of."""

FOLLOWED = (str(Action.FOLLOW_ENTER), str(Action.FOLLOW_EXIT))


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
    rows = Evaluation.objects.filter(
        signal__in=signals, rerun=None, status=EvaluationStatus.PENDING
    )
    runs = {signal.id: signal.run for signal in signals}
    found = rows.values_list("signal_id", "run").distinct()
    return {signal_id for signal_id, run in found if runs[signal_id] == run}


def list_stories(*, signals: Sequence[Signal]) -> dict[int, Story]:
    """Return what was decided on these signals so far, by row id."""
    runs = {signal.id: signal.run for signal in signals}
    rows = Decision.objects.filter(signal__in=signals)
    mine: dict[int, list[Decision]] = {signal.id: [] for signal in signals}
    for row in rows:
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


def get_history(*, model: str, symbol: str, now: datetime) -> History:
    """Return what ``model`` advised on ``symbol`` before, as the policy's timing rules need it."""
    followed = Decision.objects.filter(
        model=model, symbol=symbol, origin=Origin.LIVE, decision__in=FOLLOWED
    )
    recent = followed.filter(
        decision=str(Action.FOLLOW_ENTER), evaluated_at__gt=now - timedelta(hours=1)
    )
    last = followed.select_related("signal").order_by("-evaluated_at").first()
    held = last if last is not None and last.decision == str(Action.FOLLOW_ENTER) else None
    return History(
        entries_last_hour=recent.values("event_id").distinct().count(),
        open_side=Direction(held.signal.direction).side if held else None,
        held_min=(now - held.evaluated_at).total_seconds() / 60 if held else None,
    )


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
    rows = Decision.objects.filter(published_at=None, withheld="")
    members_first = Case(When(model=JURY, then=1), default=0, output_field=IntegerField())
    known = rows.annotate(signal_status=F("signal__status"))
    return list(known.order_by("evaluated_at", members_first, "model")[:limit])


def list_not_out(*, event_ids: Collection[UUID]) -> tuple[set[UUID], set[UUID]]:
    """Return those of the signals with a decision that waits, and those with one withheld."""
    if not event_ids:
        return set(), set()
    rows = Decision.objects.filter(event_id__in=event_ids)
    found = rows.exclude(published_at__isnull=False, withheld="")
    told = list(found.values_list("event_id", "withheld"))
    withheld = {event_id for event_id, why in told if why}
    return {event_id for event_id, why in told if not why}, withheld


def list_maps(*, scopes: Collection[str], models: Collection[str]) -> dict[Judge, list[Learnt]]:
    """Return what models' stated probabilities are worth by now, by scope and model."""
    rows = ConfidenceMap.objects.filter(scope__in=scopes, model__in=models).order_by("id")
    found: dict[Judge, list[Learnt]] = {}
    for row in rows if scopes else ():
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
    row = VoiceWeights.objects.filter(scope=scope).first()
    if row is None:
        return None
    return Voices(version=row.version, weights=row.weights, effective_models=row.effective_models)
