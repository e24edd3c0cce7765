"""Every write of the evaluation room: asking the models, and writing down what they say."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from enrichment.models import Enrichment
from enrichment.queries import Enriched
from evaluation import admission, authoring, grounding, keeping, spending
from evaluation.briefing import REPLAY, brief
from evaluation.evaluators.base import Abstained, Evaluator, EvaluatorUnavailable, LanguageModel
from evaluation.evaluators.cassette import Cassette
from evaluation.evaluators.vendor_policy import BadPolicy, VendorPolicy
from evaluation.models import Attempt, Evaluation, Rerun, SourceRating
from evaluation.queries import (
    Assignment,
    Judged,
    as_stored,
    case_of,
    count_attempts,
    count_tokens,
    list_assignments,
    trace_of,
)
from evaluation.types import Attempt as AttemptMade
from evaluation.types import (
    AttemptStatus,
    EvaluationKind,
    EvaluationStatus,
    Opinion,
    SourceRate,
    Verdict,
)
from pipeline import egress
from pipeline import services as pipeline
from pipeline.models import DeadLetter, StageRun
from pipeline.plugins import build_plugins
from pipeline.stage import Finished
from pipeline.statements import insert, update_each
from pipeline.types import Claim, GiveUp
from signals import services as signals
from signals.models import Signal
from signals.types import SignalStatus

STAGE = "evaluate"
OFF = "off"
CLOSING = (
    "status",
    "outcome",
    "reason",
    "verdict",
    "model_version",
    "latency_ms",
    "cost_usd",
    "grounding_score",
    "ungrounded",
    "finished_at",
)
GRACE_S = 1.0
"""What a language model has beyond its own deadline, so that its attempts are not cut off."""


@cache
def evaluators() -> dict[str, Evaluator]:
    """Return this process's evaluators by model name.

    :raises ImproperlyConfigured: if one does not start, or the policy cannot be read.
    """
    return build_plugins(
        {name: _under_policy(plug) for name, plug in settings.EVALUATORS.items()}, Evaluator
    )


def _under_policy(plug: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a vendor's plug with the policy that each of its calls is held to."""
    if "PROVIDER" not in plug:
        return plug
    try:
        policy = VendorPolicy.from_setting(settings.LLM_POLICY)
    except BadPolicy as error:
        raise ImproperlyConfigured(f"LLM_POLICY: {error}") from error
    options = {**plug["OPTIONS"], "policy": policy}
    if settings.LLM_RECORDING != OFF:
        options["cassette"] = Cassette(
            folder=settings.LLM_RECORDINGS_DIR,
            mode=settings.LLM_RECORDING,
            secrets=[options["api_key"]],
        )
    return {**plug, "OPTIONS": options}


def request_evaluations(*, enriched: Sequence[Enriched], now: datetime) -> None:
    """Open one piece of work per signal and model; they run beside one another.

    The cases are at hand, so the worker that froze them may put them to the models at once.
    """
    asked = [assignment for each in enriched for assignment in _assignments(each, now=now)]
    insert([assignment.evaluation for assignment in asked])
    pipeline.open_runs(
        _opening(assignment.evaluation, run=assignment.evaluation.run, given=assignment)
        for assignment in asked
    )
    signals_asked = [each.signal for each in enriched]
    pipeline.announce("evaluations.requested", signals=signals_asked, now=now)


def _assignments(enriched: Enriched, *, now: datetime) -> list[Assignment]:
    signal, enrichment = enriched.signal, enriched.enrichment
    case = as_stored(case_of(signal, enrichment))
    return [
        Assignment(
            evaluation=Evaluation(signal=signal, run=signal.run, model=name, created_at=now),
            enrichment=enrichment,
            case=case,
        )
        for name in settings.AI_MODELS
    ]


def _opening(
    evaluation: Evaluation, *, run: int, given: Assignment | None = None
) -> pipeline.Opening:
    return pipeline.Opening(
        stage=STAGE,
        subject=evaluation.id,
        trace=trace_of(evaluation),
        run=run,
        attempts_max=settings.LEASE_LOSSES_MAX,
        given=given,
    )


def prepare(*, ids: Sequence[UUID], now: datetime) -> Mapping[UUID, Assignment]:
    """Return the cases that wait for a verdict, with what language models need to be asked."""
    return equip(assignments=list_assignments(ids), now=now)


def resume(*, ids: Sequence[UUID], now: datetime) -> Mapping[UUID, Assignment]:
    """Return cases that a worker had before, with the answers that are kept of it."""
    assignments = list_assignments(ids)
    return brief(assignments, evaluators=evaluators(), now=now, may_be_answered=True)


def equip(*, assignments: Mapping[UUID, Assignment], now: datetime) -> Mapping[UUID, Assignment]:
    """Return these cases with what language models need to be asked about them."""
    return brief(assignments, evaluators=evaluators(), now=now)


def warm_up() -> None:
    """Load what the first question to each vendor would otherwise wait for."""
    egress.tls()
    for evaluator in evaluators().values():
        evaluator.warm_up()


async def ask(assignment: Assignment) -> Opinion:
    """Return what the model makes of the case, within the deadline; a fault is an abstention."""
    given = assignment.refusal or assignment.kept
    if given is not None:
        return given
    evaluator = evaluators()[assignment.evaluation.model]
    grace_s = GRACE_S if isinstance(evaluator, LanguageModel) else 0.0
    attempts: list[AttemptMade] = []
    started_at, started = datetime.now(UTC), time.perf_counter()
    try:
        async with asyncio.timeout(settings.EVALUATE_DEADLINE_MS / 1000 + grace_s):
            while True:
                started_at, started = datetime.now(UTC), time.perf_counter()
                try:
                    opinion = await evaluator.evaluate(assignment.case)
                    opinion = _with_earlier(opinion, attempts)
                    keeping.keep(assignment, opinion, terms=evaluator.terms)
                    return opinion
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


async def hang_up() -> None:
    """Close what this event loop has open to vendors."""
    for evaluator in evaluators().values():
        await evaluator.close()


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


def record_opinions(batch: Sequence[Finished], now: datetime) -> None:
    """Write down what models made of their cases, and let decisions follow from it."""
    _record([_Answer(item.claim, item.work, item.value) for item in batch], now=now)
    asked = [item.work for item in batch if item.work.case.prompt is not None]
    keeping.drop_after_commit([assignment.evaluation.id for assignment in asked])


@dataclass(slots=True)
class _Answer:
    """What one model made of one case, and the rows of its calls."""

    claim: Claim
    assignment: Assignment
    opinion: Opinion
    calls: list[Attempt] = field(default_factory=list)
    last_call: Attempt | None = None
    tokens: int | None = None

    @property
    def evaluation(self) -> Evaluation:
        return self.assignment.evaluation


def _record(answers: Sequence[_Answer], *, now: datetime) -> None:
    """Write answers down and let decisions follow; none does from a case judged again."""
    for answer in answers:
        _conclude(answer, now=now)
    insert([call for answer in answers for call in answer.calls])
    update_each([answer.evaluation for answer in answers], fields=CLOSING)
    judged = [
        Judged(
            evaluation=answer.evaluation,
            enrichment=answer.assignment.enrichment,
            attempt=answer.last_call,
            tokens=answer.tokens,
        )
        for answer in answers
    ]
    for answer in answers:
        _note(answer.evaluation, actor=f"attempt {answer.claim.attempts}", now=now)
    _tell(judged, now=now)


def _conclude(answer: _Answer, *, now: datetime) -> None:
    """Fill in what became of an evaluation, and its calls; nothing is written yet."""
    evaluation, opinion = answer.evaluation, answer.opinion
    evaluation.status = (
        EvaluationStatus.ABSTAINED if opinion.verdict is None else EvaluationStatus.DECIDED
    )
    evaluation.outcome = opinion.status
    evaluation.reason = opinion.reason
    evaluation.verdict = None if opinion.verdict is None else _verdict_json(opinion.verdict)
    evaluation.model_version = _version(evaluation.model, opinion)
    evaluation.latency_ms = sum(attempt.latency_ms for attempt in opinion.attempts)
    evaluation.finished_at = now
    _check_grounds(evaluation, answer.assignment, opinion.verdict)
    is_first = answer.claim.attempts == 1
    answer.calls, told = _calls(answer.assignment, opinion, is_first=is_first, now=now)
    answer.last_call = answer.calls[-1] if answer.calls else told
    answer.tokens = _tokens(answer, is_first=is_first)


def _tokens(answer: _Answer, *, is_first: bool) -> int | None:
    """Return the tokens of all calls of an evaluation; None if no call tells of any."""
    told = [(call.tokens_in, call.tokens_out) for call in answer.calls]
    if not is_first and answer.last_call is not None:
        told.append(count_tokens(evaluation=answer.evaluation))
    known = [(read, written or 0) for read, written in told if read is not None]
    return sum(read + written for read, written in known) if known else None


def record_late(claim: Claim, assignment: Assignment, opinion: Opinion, now: datetime) -> None:
    """Write down calls whose answer came too late to count, for they are paid for.

    Somebody else has the evaluation, or its signal has ended: neither is touched.
    """
    del claim
    if opinion.attempts:
        calls, _ = _calls(assignment, opinion, is_first=False, now=now)
        Attempt.objects.bulk_create(calls)
        Evaluation.objects.filter(id=assignment.evaluation.id).update(
            cost_usd=assignment.evaluation.cost_usd
        )
        keeping.drop_after_commit([assignment.evaluation.id])


def _version(model: str, opinion: Opinion) -> str:
    """Return which model answered: as its vendor reports it, else as it was asked for."""
    evaluator = evaluators().get(model)
    if evaluator is None:
        return ""
    asked = evaluator.model_id if isinstance(evaluator, LanguageModel) else ""
    reported = [attempt.model_reported for attempt in opinion.attempts if attempt.model_reported]
    return (reported[-1] if asked and reported else asked or evaluator.version)[:64]


def _check_grounds(evaluation: Evaluation, assignment: Assignment, verdict: Verdict | None) -> None:
    """Note how many of the numbers that a language model names stand in its case."""
    evaluation.grounding_score, evaluation.ungrounded = None, []
    if verdict is not None and assignment.case.prompt is not None:
        grounds = grounding.score(verdict, json.loads(assignment.case.payload))
        evaluation.grounding_score = grounds.score
        evaluation.ungrounded = list(grounds.unmatched)


def _calls(
    assignment: Assignment, opinion: Opinion, *, is_first: bool, now: datetime
) -> tuple[list[Attempt], Attempt | None]:
    """Return a row for every call with its cost, and let accounts and health follow from them.

    Somebody else may have written calls of the same evaluation, unless it ``is_first``; even
    these very calls, if the opinion was kept. They are not told twice: the last of those that
    are written already is returned beside the rows.
    """
    evaluation, told = assignment.evaluation, None
    before, paid_before = 0, spending.NOTHING
    if not is_first:
        Evaluation.objects.select_for_update().get(id=evaluation.id)
        before, paid_before = count_attempts(evaluation=evaluation)
        opinion, told = _untold(evaluation, opinion)
    costs = [_cost(attempt, assignment) for attempt in opinion.attempts]
    attempts = [
        Attempt(evaluation=evaluation, number=number, **(_columns(made) | {"cost_usd": cost}))
        for number, (made, cost) in enumerate(
            zip(opinion.attempts, costs, strict=True), start=before + 1
        )
    ]
    paid = spending.total(opinion.attempts, costs)
    evaluation.cost_usd = paid_before + paid if paid is not None else paid_before or None
    if assignment.case.prompt is not None:
        _follow_up(assignment, opinion, costs, now=now)
    return attempts, told


def _untold(evaluation: Evaluation, opinion: Opinion) -> tuple[Opinion, Attempt | None]:
    """Return the opinion with those of its calls that are not written down, and the last that is.

    A call is known by its evaluation and the moment at which it began.
    """
    began = [attempt.started_at for attempt in opinion.attempts]
    written = Attempt.objects.filter(evaluation=evaluation, started_at__in=began)
    told = {row.started_at: row for row in written.order_by("number")}
    left = tuple(each for each in opinion.attempts if each.started_at not in told)
    return replace(opinion, attempts=left), next(reversed(told.values()), None)


def _cost(attempt: AttemptMade, assignment: Assignment) -> Decimal | None:
    if assignment.case.prompt is None:
        return None
    if settings.LLM_RECORDING == REPLAY:
        return spending.NOTHING
    return spending.cost_of(attempt, assignment.prices)


def _follow_up(
    assignment: Assignment, opinion: Opinion, costs: Sequence[Decimal | None], *, now: datetime
) -> None:
    """Settle the reservation and note the model's health, with those of the whole batch."""
    evaluation = assignment.evaluation
    paid = spending.payable(opinion.attempts, costs, reserved=evaluation.reserved_usd)
    bill = spending.Bill(
        evaluation=evaluation,
        model=evaluation.model,
        spent_usd=paid,
        calls=len(opinion.attempts),
        day=evaluation.reserved_on or now.date(),
    )
    pipeline.at_end(work=spending.settle, item=bill)
    if opinion.attempts:
        health = admission.Health(
            model=evaluation.model,
            status=opinion.status,
            reason=opinion.reason,
            reported=opinion.attempts[-1].model_reported,
            at=now,
        )
        pipeline.at_end(work=admission.note, item=health)


def _forfeit(evaluations: Sequence[Evaluation], *, now: datetime) -> None:
    """Count what is reserved as spent where nobody can say any more what was."""
    for evaluation in evaluations:
        if evaluation.reserved_usd is not None:
            bill = spending.Bill(
                evaluation=evaluation,
                model=evaluation.model,
                spent_usd=evaluation.reserved_usd,
                calls=0,
                day=evaluation.reserved_on or now.date(),
            )
            pipeline.at_end(work=spending.settle, item=bill)


def fail_evaluation(run: StageRun, failure: GiveUp, now: datetime) -> None:
    """Turn work that failed for good into an abstention; it is never advice."""
    evaluation = Evaluation.objects.select_related("signal").get(id=run.subject)
    evaluation.status = EvaluationStatus.ABSTAINED
    evaluation.outcome = AttemptStatus.FAULT
    evaluation.reason = failure.reason
    evaluation.finished_at = now
    _forfeit([evaluation], now=now)
    evaluation.save(update_fields=CLOSING)
    enrichment = Enrichment.objects.get(event_id=evaluation.signal.event_id, run=evaluation.run)
    _note(evaluation, actor="lens", now=now)
    _tell([Judged(evaluation=evaluation, enrichment=enrichment)], now=now)


def open_shadow(
    *,
    model: str,
    prompt_name: str,
    prompt_version: int | None,
    actor: str,
    now: datetime,
    variation: str = "",
) -> Rerun:
    """Return what evaluations in the shadow belong to; none of them is published.

    ``variation`` says how their cases are told: as they are, mirrored, shuffled or paraphrased.
    """
    return Rerun.objects.create(
        variation=variation,
        model=model,
        prompt_name=prompt_name,
        prompt_version=prompt_version,
        signals=0,
        created_at=now,
        created_by=actor,
    )


def judge_in_shadow(*, rerun_id: UUID, signal: Signal, now: datetime) -> None:
    """Have a challenger judge a live signal's frozen case beside the models that decide."""
    rerun = Rerun.objects.filter(id=rerun_id).first()
    if rerun is None:
        return  # purged after long idleness; no live signal fails for that
    row = Evaluation(
        signal=signal,
        run=signal.run,
        kind=EvaluationKind.REPLAY,
        rerun=rerun,
        model=rerun.model,
        created_at=now,
    )
    Evaluation.objects.bulk_create([row], ignore_conflicts=True)
    if Evaluation.objects.filter(id=row.id).exists():
        pipeline.open_runs([_opening(row, run=signal.run)])


def promote_prompt(*, name: str, version: int, actor: str, now: datetime) -> None:
    """Put a version of a prompt in force.

    :raises PromptRefused: if there is no such version, or it is active already.
    """
    authoring.promote_prompt(name=name, version=version, actor=actor, now=now)


def note_base_rates(*, rates: Sequence[SourceRate], now: datetime) -> None:
    """Take note of how often sources' signals won; language models are told of it."""
    SourceRating.objects.bulk_create(
        [
            SourceRating(
                source=rate.source,
                event_type=rate.event_type,
                frac=rate.frac,
                n=rate.n,
                told_at=now,
            )
            for rate in rates
        ],
        update_conflicts=True,
        update_fields=["frac", "n", "told_at"],
        unique_fields=["source", "event_type"],
    )


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
    evaluation.finished_at = None
    evaluation.save(update_fields=CLOSING)
    pipeline.open_runs([_opening(evaluation, run=letter.run + 1)])


def _note(evaluation: Evaluation, *, actor: str, now: datetime) -> None:
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


def _tell(judged: Sequence[Judged], *, now: datetime) -> None:
    """Let decisions follow from what was judged live; what was judged again ends here."""
    live = [each for each in judged if each.evaluation.rerun_id is None]
    for each in judged:
        if each.evaluation.rerun_id is not None:
            again = each.evaluation
            pipeline.settle_letters(traces=[again.id], end=again.status, at=now)
    if live:
        pipeline.announce("evaluations.finished", judged=live, now=now)


def _verdict_json(verdict: Verdict) -> dict[str, object]:
    return {**_columns(verdict), "action": str(verdict.action), "reasons": list(verdict.reasons)}


def _columns(value: Verdict | AttemptMade) -> dict[str, Any]:
    """Return the fields of a value, uncopied."""
    return {each.name: getattr(value, each.name) for each in fields(value)}
