"""Bias audits: the same cases mirrored, shuffled and paraphrased, and what changed in the answer.

They are judged by the machinery that judges stored cases again, so nothing is published.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from decisions.types import FOLLOWING, follow_probability
from evaluation import services as evaluation
from evaluation.models import Evaluation
from evaluation.types import EvaluationStatus
from outcomes import alerting, queries
from outcomes.models import BiasAudit
from outcomes.types import BIAS, AuditStatus
from pipeline.types import InvalidRequest

VARIATIONS = ("", "mirror", "shuffle", "paraphrase")
FLIPS_MAX_SHARE = 0.20  # of the cases that may turn round although nothing about them changed
SKEW_MAX = 0.20  # between the shares of longs and of shorts followed, over cases and mirrors
DIGITS = 6

Answers = Mapping[str, Mapping[str, Any]]


def start_audit(*, model: str, cases: int, actor: str, now: datetime) -> BiasAudit:
    """Have a model judge stored entries as they are and in three variations.

    :raises InvalidRequest: if there is no such model, or no stored entry to judge.
    """
    if model not in evaluation.evaluators():
        raise InvalidRequest(f"no model is called {model!r}")
    signals = queries.list_auditable(limit=cases)
    if not signals:
        raise InvalidRequest("no stored entry with frozen facts can be judged")
    with transaction.atomic():
        reruns = {}
        for variation in VARIATIONS:
            rerun = evaluation.open_shadow(
                model=model,
                prompt_name="",
                prompt_version=None,
                actor=actor,
                now=now,
                variation=variation,
            )
            reruns[variation or "plain"] = str(rerun.id)
            for signal in signals:
                evaluation.judge_in_shadow(rerun_id=rerun.id, signal=signal, now=now)
        return BiasAudit.objects.create(
            model=model,
            cases=len(signals),
            result={"reruns": reruns},
            created_at=now,
            created_by=actor,
        )


def finish_audits(*, now: datetime) -> int:
    """Write down what came of audits whose every case was judged; return how many."""
    done = 0
    for audit in BiasAudit.objects.filter(status=AuditStatus.ASKED).order_by("created_at"):
        rows = _rows(audit)
        if any(each.status == EvaluationStatus.PENDING for each in rows):
            continue
        audit.result |= compared(_answers(audit, rows))
        audit.status, audit.ended_at = AuditStatus.DONE, now
        audit.save(update_fields=["result", "status", "ended_at"])
        _alert(audit, now=now)
        done += 1
    return done


def compared(answers: Mapping[str, Answers]) -> dict[str, Any]:
    """Return for each variation how many answers turned round and how far probabilities moved."""
    plain = answers["plain"]
    found: dict[str, Any] = {
        name: _compared(plain, other) for name, other in answers.items() if name != "plain"
    }
    return found | {"skew": _skew([*plain.values(), *answers["mirror"].values()])}


def _compared(plain: Answers, other: Answers) -> dict[str, Any]:
    both = plain.keys() & other.keys()
    if not both:
        return {"n": 0, "flips": 0, "flip_rate": None, "mean_shift": None}
    flips = sum(plain[key]["action"] != other[key]["action"] for key in both)
    moved = sum(abs(plain[key]["p"] - other[key]["p"]) for key in both) / len(both)
    return {
        "n": len(both),
        "flips": flips,
        "flip_rate": round(flips / len(both), DIGITS),
        "mean_shift": round(moved, DIGITS),
    }


def _skew(answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return which share of longs and of shorts was followed; of cases and mirrors together."""
    shares: dict[str, float | None] = {}
    for side in ("long", "short"):
        mine = [each for each in answers if each["side"] == side]
        follows = sum(each["action"] in FOLLOWING for each in mine)
        shares[side] = round(follows / len(mine), DIGITS) if mine else None
    return shares


def _rows(audit: BiasAudit) -> list[Evaluation]:
    ids = [UUID(each) for each in audit.result["reruns"].values()]
    return list(Evaluation.objects.filter(rerun_id__in=ids).select_related("signal"))


def _answers(audit: BiasAudit, rows: Sequence[Evaluation]) -> dict[str, dict[str, dict[str, Any]]]:
    names = {rerun: name for name, rerun in audit.result["reruns"].items()}
    found: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in names.values()}
    for row in rows:
        if row.verdict is None:
            continue
        name, action = names[str(row.rerun_id)], row.verdict["action"]
        is_long = (row.signal.direction == "long") != (name == "mirror")
        found[name][str(row.signal.event_id)] = {
            "action": action,
            "side": "long" if is_long else "short",
            "p": follow_probability(action=action, confidence=float(row.verdict["confidence"])),
        }
    return found


def _alert(audit: BiasAudit, *, now: datetime) -> None:
    found = [
        f"{name}: {audit.result[name]['flips']} of {audit.result[name]['n']} answers turned round"
        for name in VARIATIONS[1:]
        if (audit.result[name]["flip_rate"] or 0.0) > FLIPS_MAX_SHARE
    ]
    skew = audit.result["skew"]
    if None not in skew.values() and abs(skew["long"] - skew["short"]) > SKEW_MAX:
        found.append(f"follows {skew['long']:.0%} of longs and {skew['short']:.0%} of shorts")
    if found:
        alerting.open_alert(kind=BIAS, subject=audit.model, message="; ".join(found), now=now)
    else:
        alerting.close_alerts(kind=BIAS, subject=audit.model, actor="audit", now=now)
