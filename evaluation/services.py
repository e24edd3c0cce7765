"""Every write of the evaluation room: asking the models, and writing down what they say."""

from __future__ import annotations

import asyncio
import time
from dataclasses import fields
from datetime import UTC, datetime
from functools import cache
from typing import Any
from uuid import UUID

from django.conf import settings

from enrichment.models import Enrichment
from evaluation.evaluators.base import Abstained, Evaluator, EvaluatorUnavailable
from evaluation.models import Attempt, Evaluation
from evaluation.queries import Assignment, trace_of
from evaluation.types import Attempt as AttemptMade
from evaluation.types import AttemptStatus, EvaluationStatus, Opinion, Verdict
from pipeline import services as pipeline
from pipeline.models import DeadLetter, StageRun
from pipeline.plugins import build_plugins
from pipeline.types import Claim, GiveUp
from signals import services as signals
from signals.models import Signal
from signals.types import SignalStatus

STAGE = "evaluate"


@cache
def evaluators() -> dict[str, Evaluator]:
    """Return this process's evaluators by model name."""
    return build_plugins(settings.EVALUATORS, Evaluator)


def request_evaluations(*, signal: Signal, enrichment: Enrichment, now: datetime) -> None:
    """Open one piece of work per model; they run beside one another."""
    del enrichment
    rows = [
        Evaluation(signal=signal, run=signal.run, model=name, created_at=now)
        for name in settings.AI_MODELS
    ]
    Evaluation.objects.bulk_create(rows)
    pipeline.open_runs(_opening(row, run=signal.run) for row in rows)
    pipeline.announce("evaluations.requested", signal=signal, now=now)


def _opening(evaluation: Evaluation, *, run: int) -> pipeline.Opening:
    return pipeline.Opening(
        stage=STAGE,
        subject=evaluation.id,
        trace=trace_of(evaluation),
        run=run,
        attempts_max=settings.LEASE_LOSSES_MAX,
    )


async def ask(assignment: Assignment) -> Opinion:
    """Return what the model makes of the case, within the deadline; a fault is an abstention."""
    evaluator = evaluators()[assignment.evaluation.model]
    attempts: list[AttemptMade] = []
    started_at, started = datetime.now(UTC), time.perf_counter()
    try:
        async with asyncio.timeout(settings.EVALUATE_DEADLINE_MS / 1000):
            while True:
                started_at, started = datetime.now(UTC), time.perf_counter()
                try:
                    opinion = await evaluator.evaluate(assignment.case)
                    return _with_earlier(opinion, attempts)
                except EvaluatorUnavailable as error:
                    attempts.append(_failed(error.status, str(error), started_at, started))
                    if len(attempts) >= settings.EVALUATE_TRIES:
                        return _abstention(error.status, str(error), attempts)
                    await asyncio.sleep(_pause_s(error, len(attempts)))
                except Abstained as error:
                    attempts.append(_failed(error.status, str(error), started_at, started))
                    return _abstention(error.status, str(error), attempts)
    except TimeoutError:
        reason = f"no verdict within {settings.EVALUATE_DEADLINE_MS} ms"
        attempts.append(_failed(AttemptStatus.TIMEOUT, reason, started_at, started))
        return _abstention(AttemptStatus.TIMEOUT, reason, attempts)


def _pause_s(error: EvaluatorUnavailable, tries: int) -> float:
    if error.retry_after_s is not None:
        return error.retry_after_s
    pause_s: float = settings.EVALUATE_RETRY_MS / 1000 * 2 ** (tries - 1)
    return pause_s


def _failed(
    status: AttemptStatus, reason: str, started_at: datetime, started: float
) -> AttemptMade:
    return AttemptMade(
        status=status,
        started_at=started_at,
        latency_ms=(time.perf_counter() - started) * 1000,
        error=reason,
    )


def _with_earlier(opinion: Opinion, attempts: list[AttemptMade]) -> Opinion:
    return Opinion(
        verdict=opinion.verdict,
        status=opinion.status,
        attempts=(*attempts, *opinion.attempts),
        reason=opinion.reason,
    )


def _abstention(status: AttemptStatus, reason: str, attempts: list[AttemptMade]) -> Opinion:
    return Opinion(verdict=None, status=status, attempts=tuple(attempts), reason=reason)


def record_opinion(claim: Claim, assignment: Assignment, opinion: Opinion, now: datetime) -> None:
    """Write down a model's verdict or abstention and let the decision follow from it.

    From a case that is only judged again no decision follows.
    """
    evaluation = assignment.evaluation
    evaluation.status = (
        EvaluationStatus.ABSTAINED if opinion.verdict is None else EvaluationStatus.DECIDED
    )
    evaluation.outcome = opinion.status
    evaluation.reason = opinion.reason
    evaluation.verdict = None if opinion.verdict is None else _verdict_json(opinion.verdict)
    evaluation.model_version = evaluators()[evaluation.model].version
    evaluation.latency_ms = sum(attempt.latency_ms for attempt in opinion.attempts)
    _close(evaluation, now=now)
    attempts = [
        Attempt(evaluation=evaluation, number=number, **_columns(attempt))
        for number, attempt in enumerate(opinion.attempts, start=1)
    ]
    Attempt.objects.bulk_create(attempts)
    _tell(
        evaluation,
        enrichment=assignment.enrichment,
        attempt=attempts[-1] if attempts else None,
        actor=f"attempt {claim.attempts}",
        now=now,
    )


def fail_evaluation(run: StageRun, failure: GiveUp, now: datetime) -> None:
    """Turn work that failed for good into an abstention; it is never advice."""
    evaluation = Evaluation.objects.select_related("signal").get(id=run.subject)
    evaluation.status = EvaluationStatus.ABSTAINED
    evaluation.outcome = AttemptStatus.FAULT
    evaluation.reason = failure.reason
    _close(evaluation, now=now)
    enrichment = Enrichment.objects.get(event_id=evaluation.signal.event_id, run=evaluation.run)
    _tell(evaluation, enrichment=enrichment, attempt=None, actor="lens", now=now)


def skip_open_evaluations(*, event_id: UUID, reason: str, now: datetime) -> None:
    """Close the evaluations of a signal that ended before they did."""
    Evaluation.objects.filter(
        signal__event_id=event_id, rerun=None, status=EvaluationStatus.PENDING
    ).update(status=EvaluationStatus.SKIPPED, reason=reason, finished_at=now)


def reopen(*, letter: DeadLetter, now: datetime) -> None:
    """Ask one model again about the same frozen case, after its work failed for good."""
    evaluation = Evaluation.objects.select_related("signal").get(id=letter.subject)
    signal = evaluation.signal
    is_live = evaluation.rerun_id is None
    if (
        is_live
        and signal.status != SignalStatus.ENRICHED
        and not signals.advance(event_id=signal.event_id, to=SignalStatus.ENRICHED, now=now)
    ):
        return
    evaluation.status, evaluation.outcome, evaluation.reason = EvaluationStatus.PENDING, "", ""
    _close(evaluation, now=None)
    pipeline.open_runs([_opening(evaluation, run=letter.run + 1)])


def _close(evaluation: Evaluation, *, now: datetime | None) -> None:
    evaluation.finished_at = now
    evaluation.save(
        update_fields=[
            "status",
            "outcome",
            "reason",
            "verdict",
            "model_version",
            "latency_ms",
            "finished_at",
        ]
    )


def _tell(
    evaluation: Evaluation,
    *,
    enrichment: Enrichment,
    attempt: Attempt | None,
    actor: str,
    now: datetime,
) -> None:
    pipeline.record(
        trace=trace_of(evaluation),
        verb="MODEL_DONE",
        actor=actor,
        at=now,
        run=evaluation.run,
        model=evaluation.model,
        status=evaluation.outcome,
        latency_ms=round(evaluation.latency_ms or 0.0, 3),
        **({"reason": evaluation.reason} if evaluation.reason else {}),
    )
    if evaluation.rerun_id is not None:
        pipeline.settle_letters(traces=[evaluation.id], end=evaluation.status, at=now)
        return
    pipeline.announce(
        "evaluation.finished",
        signal=evaluation.signal,
        evaluation=evaluation,
        enrichment=enrichment,
        attempt=attempt,
        now=now,
    )


def _verdict_json(verdict: Verdict) -> dict[str, object]:
    return {**_columns(verdict), "action": str(verdict.action), "reasons": list(verdict.reasons)}


def _columns(value: Verdict | AttemptMade) -> dict[str, Any]:
    """Return the fields of a value, uncopied."""
    return {field.name: getattr(value, field.name) for field in fields(value)}
