"""Golden signals, judged by every model daily, to see whether a model still says the same.

They go through the machinery that judges stored cases again, so nothing of them is published.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from decisions.types import follow_probability
from evaluation import services as evaluation
from evaluation.models import Evaluation
from evaluation.types import EvaluationStatus
from outcomes import alerting, queries
from outcomes.models import Canary, GoldenSignal
from outcomes.types import CANARY, CanaryStatus
from pipeline import services as pipeline
from pipeline.types import InvalidRequest, NotFound
from signals.models import Signal

ACTOR = "canary"
FLIPS_MAX_SHARE = 0.10  # of the golden signals that may turn round from one day to the next
GOLDEN_MAX = 50  # each is judged daily by every model, which may cost money
SHIFT_MAX = 0.05  # how far the mean probability may move
DIGITS = 6


def add_golden(*, event_id: UUID, note: str, actor: str, now: datetime) -> GoldenSignal:
    """Make a stored signal one of those that every model judges daily; no purge takes it.

    :raises InvalidRequest: if it has no frozen facts to be judged by, or there are enough.
    """
    if not queries.is_judged(event_id=event_id):
        raise InvalidRequest(f"signal {event_id} is not here, or has no frozen facts to judge")
    with transaction.atomic():
        if GoldenSignal.objects.count() >= GOLDEN_MAX:
            raise InvalidRequest(f"there are {GOLDEN_MAX} golden signals already; drop one first")
        row, is_new = GoldenSignal.objects.get_or_create(
            event_id=event_id, defaults={"note": note, "created_at": now, "created_by": actor}
        )
        if is_new:
            _tell("GOLDEN_ADDED", f"signal:{event_id}", actor=actor, now=now, note=note)
    return row


def drop_golden(*, event_id: UUID, actor: str, now: datetime) -> None:
    """Take a signal out of those that are judged daily.

    :raises NotFound: if it is none of them.
    """
    with transaction.atomic():
        if not GoldenSignal.objects.filter(event_id=event_id).delete()[0]:
            raise NotFound(f"{event_id} is no golden signal")
        _tell("GOLDEN_DROPPED", f"signal:{event_id}", actor=actor, now=now)


def accept_canary(*, model: str, actor: str, why: str, now: datetime) -> Canary:
    """Take what a model says since it drifted for its new custom: later days are held to that.

    :raises InvalidRequest: if nothing is said.
    :raises NotFound: if the model's last judged day is no drift.
    """
    said = alerting.said_why(why)
    with transaction.atomic():
        row = queries.latest_canary(model=model)
        if row is None or row.status != CanaryStatus.DRIFTED:
            raise NotFound(f"{model} has not drifted on the last day that was judged")
        row.status = CanaryStatus.ACCEPTED
        row.save(update_fields=["status"])
        alerting.close_alerts(kind=CANARY, subject=model, actor=actor, now=now)
        _tell(
            "CANARY_ACCEPTED",
            f"model:{model}",
            actor=actor,
            now=now,
            day=str(row.day),
            drift=row.reason,
            reason=said,
        )
    return row


def _tell(verb: str, subject: str, *, actor: str, now: datetime, **details: Any) -> None:
    pipeline.record_act(actor=actor, verb=verb, object=subject, at=now, **details)


def send_canaries(*, now: datetime) -> int:
    """Have each model judge the golden signals of the day, once a day; return how many models.

    What costs money is held to the models' own budget and switches, as any judging is.
    """
    golden = list(GoldenSignal.objects.order_by("id").values_list("event_id", flat=True))
    sent = 0
    for model in evaluation.evaluators() if golden else ():
        if Canary.objects.filter(day=now.date(), model=model).exists():
            continue
        rerun = evaluation.open_shadow(
            model=model, prompt_name="", prompt_version=None, actor=ACTOR, now=now
        )
        Canary.objects.bulk_create(
            [Canary(day=now.date(), model=model, rerun_id=rerun.id, created_at=now)],
            ignore_conflicts=True,
        )
        if not Canary.objects.filter(rerun_id=rerun.id).exists():
            continue  # another conductor was first
        for signal in Signal.objects.filter(event_id__in=golden).order_by("id"):
            evaluation.judge_in_shadow(rerun_id=rerun.id, signal=signal, now=now)
        sent += 1
    return sent


def judge_canaries(*, now: datetime) -> int:
    """Compare what came back with the last day on which the model was steady; return how many."""
    judged = 0
    for canary in Canary.objects.filter(status=CanaryStatus.ASKED).order_by("day", "model"):
        rows = list(Evaluation.objects.filter(rerun_id=canary.rerun_id).select_related("signal"))
        if any(row.status == EvaluationStatus.PENDING for row in rows):
            continue
        _judge(canary, rows, now=now)
        judged += 1
    return judged


def _judge(canary: Canary, rows: list[Evaluation], *, now: datetime) -> None:
    answers = {str(row.signal.event_id): _answer(row) for row in rows if row.verdict}
    before = queries.latest_custom(model=canary.model, before=canary.day)
    canary.answers, canary.judged_at = answers, now
    canary.mean_p = _mean(answers, answers)
    canary.model_version = next((row.model_version for row in rows if row.model_version), "")
    _compare(canary, before)
    canary.save()
    if canary.status == CanaryStatus.DRIFTED:
        alerting.open_alert(kind=CANARY, subject=canary.model, message=canary.reason, now=now)
    elif before is not None:
        alerting.close_alerts(kind=CANARY, subject=canary.model, actor=ACTOR, now=now)


def _compare(canary: Canary, before: Canary | None) -> None:
    canary.status = CanaryStatus.STEADY
    if before is None:
        canary.reason = "the first day: nothing to compare with"
        return
    both = canary.answers.keys() & before.answers.keys()
    canary.compared, canary.version_before = len(both), before.model_version
    canary.mean_p_before = _mean(before.answers, both)
    canary.changed = sum(
        canary.answers[key]["action"] != before.answers[key]["action"] for key in both
    )
    reasons = _reasons(canary, shift=_shift(canary, both))
    if reasons:
        canary.status, canary.reason = CanaryStatus.DRIFTED, "; ".join(reasons)[:200]


def _reasons(canary: Canary, *, shift: float | None) -> list[str]:
    found = []
    if canary.model_version != canary.version_before:
        found.append(f"the model is now {canary.model_version}, was {canary.version_before}")
    if canary.changed > FLIPS_MAX_SHARE * canary.compared:
        found.append(f"{canary.changed} of {canary.compared} answers turned round")
    if shift is not None and abs(shift) > SHIFT_MAX:
        found.append(f"the mean probability moved by {shift:+.3f}")
    if canary.compared == 0:
        found.append("it answered none of the signals that it answered before")
    return found


def _shift(canary: Canary, both: Any) -> float | None:
    now, before = _mean(canary.answers, both), canary.mean_p_before
    return None if now is None or before is None else now - before


def _answer(row: Evaluation) -> dict[str, Any]:
    verdict = row.verdict or {}
    p = follow_probability(action=verdict["action"], confidence=float(verdict["confidence"]))
    return {"action": verdict["action"], "p": round(p, DIGITS)}


def _mean(answers: Mapping[str, Mapping[str, Any]], keys: Any) -> float | None:
    found = [float(answers[key]["p"]) for key in keys if key in answers]
    return sum(found) / len(found) if found else None


__all__ = ["accept_canary", "add_golden", "drop_golden", "judge_canaries", "send_canaries"]
