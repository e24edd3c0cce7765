"""Reading evaluations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db.models import Prefetch, Q

from enrichment.models import Enrichment
from evaluation.models import Attempt, Evaluation
from evaluation.types import Case, EvaluationStatus
from signals.models import Signal
from signals.types import Direction, SignalStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """One case for one model."""

    evaluation: Evaluation
    enrichment: Enrichment
    case: Case


def list_assignments(ids: Sequence[UUID]) -> Mapping[UUID, Assignment]:
    """Return the cases of those evaluations that still wait for a verdict.

    A stored case is judged again whatever has become of its signal since.
    """
    is_wanted = Q(signal__status=SignalStatus.ENRICHED) | Q(rerun__isnull=False)
    waiting = Evaluation.objects.filter(
        is_wanted, id__in=ids, status=EvaluationStatus.PENDING
    ).select_related("signal")
    rows = list(waiting)
    found = Enrichment.objects.filter(event_id__in={row.signal.event_id for row in rows})
    enrichments = {(facts.event_id, facts.run): facts for facts in found}
    return {
        row.id: Assignment(
            evaluation=row,
            enrichment=enrichments[row.signal.event_id, row.run],
            case=case_of(row.signal, enrichments[row.signal.event_id, row.run]),
        )
        for row in rows
        if (row.signal.event_id, row.run) in enrichments
    }


def trace_of(evaluation: Evaluation) -> UUID:
    """Return whose trail tells of an evaluation: its signal's, or its own if it is a rerun's.

    A signal's life ends its open work and tells subscribers of its abstentions; neither may
    reach the cases that are only judged again.
    """
    return evaluation.signal.event_id if evaluation.rerun_id is None else evaluation.id


def case_of(signal: Signal, enrichment: Enrichment) -> Case:
    """Return the frozen case of one signal, as every model gets it."""
    return Case(
        event_id=signal.event_id,
        event_type=signal.event_type,
        symbol=signal.symbol,
        side=str(Direction(signal.direction).side),
        entry_price=float(signal.entry_price),
        payload=enrichment.payload,
        facts=enrichment.facts,
        constraints=enrichment.constraints,
        as_of=enrichment.as_of,
    )


def list_evaluations(*, signal: Signal) -> list[Evaluation]:
    """Return the evaluations of one signal's present run, by model, with their attempts.

    What came of judging it again is no part of its life and is left out.
    """
    attempts = Prefetch("attempts", queryset=Attempt.objects.order_by("number"))
    rows = Evaluation.objects.filter(signal=signal, run=signal.run, rerun=None)
    rows = rows.select_related("signal").prefetch_related(attempts)
    return list(rows.order_by("model"))


def get_evaluation(*, evaluation_id: UUID) -> Evaluation | None:
    """Return one evaluation with its attempts."""
    attempts = Prefetch("attempts", queryset=Attempt.objects.order_by("number"))
    rows = Evaluation.objects.select_related("signal").prefetch_related(attempts)
    return rows.filter(id=evaluation_id).first()
