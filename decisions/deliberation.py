"""Reading what deciding and publishing need to know."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db.models import Case, IntegerField, When

from decisions.clamp import History
from decisions.models import ConfidenceMap, Decision, VoiceWeights
from decisions.types import JURY, Learnt, Voices
from evaluation.models import Evaluation
from evaluation.types import Action, EvaluationStatus
from signals.models import Signal
from signals.types import Direction, Origin, SignalStatus

FOLLOWED = (str(Action.FOLLOW_ENTER), str(Action.FOLLOW_EXIT))


def has_open_evaluations(*, signal: Signal) -> bool:
    """Say whether any model has yet to answer on this run of the signal."""
    rows = Evaluation.objects.filter(signal=signal, run=signal.run, rerun=None)
    return rows.filter(status=EvaluationStatus.PENDING).exists()


def list_abstentions(*, signal: Signal) -> list[str]:
    """Return each model's cause for not deciding, as text."""
    rows = Evaluation.objects.filter(signal=signal, run=signal.run, rerun=None).order_by("model")
    return [
        f"{row.model}: {row.reason or row.outcome}"
        for row in rows
        if row.status != EvaluationStatus.DECIDED
    ]


def list_members(*, signal: Signal) -> list[Decision]:
    """Return the models' own decisions on this run of the signal, in the order of AI_MODELS."""
    rows = Decision.objects.filter(signal=signal, run=signal.run).exclude(model=JURY)
    order = {name: place for place, name in enumerate(settings.AI_MODELS)}
    return sorted(rows, key=lambda row: (order.get(row.model, len(order)), row.model))


def latest_ruling(*, signal: Signal) -> Decision | None:
    """Return the jury's last decision on this run of the signal."""
    rows = Decision.objects.filter(signal=signal, run=signal.run, model=JURY)
    return rows.order_by("-revision").first()


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
    """Return the decisions that wait to be published, oldest first, a ruling after its votes."""
    rows = Decision.objects.filter(published_at=None, withheld="")
    members_first = Case(When(model=JURY, then=1), default=0, output_field=IntegerField())
    return list(rows.order_by("evaluated_at", members_first, "model")[:limit])


def list_concluded(*, limit: int) -> list[Signal]:
    """Return fully judged signals, oldest first."""
    return list(Signal.objects.filter(status=SignalStatus.EVALUATED).order_by("id")[:limit])


def list_events_unpublished(*, event_ids: Collection[UUID]) -> set[UUID]:
    """Return those of the signals that still have a decision waiting to be published."""
    rows = Decision.objects.filter(event_id__in=event_ids, published_at=None, withheld="")
    return set(rows.values_list("event_id", flat=True))


def list_events_cancelled(*, event_ids: Collection[UUID]) -> set[UUID]:
    """Return those of the signals that an operator has cancelled."""
    rows = Signal.objects.filter(event_id__in=event_ids, status=SignalStatus.CANCELLED)
    return set(rows.values_list("event_id", flat=True))


def list_events_withheld(*, event_ids: Collection[UUID]) -> set[UUID]:
    """Return those of the signals that had a decision withheld."""
    rows = Decision.objects.filter(event_id__in=event_ids).exclude(withheld="")
    return set(rows.values_list("event_id", flat=True))


def list_maps(*, scope: str, model: str) -> list[Learnt]:
    """Return what one model's stated probability is worth by now, by prompt and source."""
    rows = ConfidenceMap.objects.filter(scope=scope, model=model).order_by("id")
    return [
        Learnt(
            model=row.model,
            prompt_version=row.prompt_version,
            source=row.source,
            version=row.version,
            n=row.n,
            knots=tuple((stated, worth) for stated, worth in row.knots),
        )
        for row in rows
    ]


def get_voices(*, scope: str) -> Voices | None:
    """Return what each model's voice counts in the jury, if it was learnt yet."""
    row = VoiceWeights.objects.filter(scope=scope).first()
    if row is None:
        return None
    return Voices(version=row.version, weights=row.weights, effective_models=row.effective_models)
