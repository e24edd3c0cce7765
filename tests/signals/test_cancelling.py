from __future__ import annotations

from collections.abc import Callable

import pytest
from rest_framework.test import APIClient

from decisions.models import Decision
from decisions.services import publish
from evaluation.models import Evaluation
from pipeline.models import AuditEvent, DeadLetter, StageRun
from pipeline.services import Opening, open_runs
from pipeline.types import InvalidRequest
from signals import services
from signals.models import Signal
from signals.types import SignalEnded, SignalStatus
from tests.factories import NOON, make_decision, make_evaluation, make_letter, make_signal

pytestmark = pytest.mark.django_db


def cancel(signal: Signal, *, reason: str = "sent by mistake") -> Signal:
    return services.cancel(event_id=signal.event_id, actor="ann", reason=reason, now=NOON)


@pytest.mark.parametrize("status", ["ENQUEUED", "ENRICHED", "EVALUATED"])
def test_a_signal_under_way_is_stopped_with_all_that_hangs_on_it(status: str) -> None:
    signal = make_signal(status=status)
    make_evaluation(signal)
    make_letter(signal)
    open_runs(
        [Opening(stage="enrich", subject=signal.event_id, trace=signal.event_id, attempts_max=1)]
    )

    stopped = cancel(signal)

    assert (stopped.status, stopped.terminal_at) == ("CANCELLED", NOON)
    assert stopped.reason == {"reason": "sent by mistake", "by": "ann"}
    assert StageRun.objects.get().status == "SKIPPED"
    evaluation = Evaluation.objects.get()
    assert (evaluation.status, evaluation.reason) == ("SKIPPED", "CANCELLED")
    assert DeadLetter.objects.get().status == "RESOLVED"
    assert AuditEvent.objects.get(verb="CANCELLED").actor == "ann"


def test_what_was_decided_and_not_yet_published_stays_inside() -> None:
    signal = make_signal(status=SignalStatus.EVALUATED)
    decision = make_decision(signal)
    cancel(signal)

    head = publish(now=NOON, limit=10)

    decision = Decision.objects.get(id=decision.id)
    assert head is None
    assert (decision.seq, decision.withheld) == (None, "CANCELLED")


def test_cancelling_again_changes_nothing() -> None:
    signal = make_signal()
    cancel(signal)

    again = cancel(signal, reason="another reason")

    assert again.reason["reason"] == "sent by mistake"
    assert AuditEvent.objects.filter(verb="CANCELLED").count() == 1


@pytest.mark.parametrize("status", ["PUBLISHED", "REJECTED", "EXPIRED", "DEAD"])
def test_what_has_ended_otherwise_cannot_be_cancelled(status: str) -> None:
    signal = make_signal(status=status)

    with pytest.raises(SignalEnded, match=f"has ended as {status} already"):
        cancel(signal)


def test_a_signal_is_not_cancelled_without_a_reason() -> None:
    signal = make_signal()

    with pytest.raises(InvalidRequest, match="must say why"):
        cancel(signal, reason=" ")

    assert Signal.objects.get().status == "ENQUEUED"


def test_operators_cancel_over_http(api: Callable[..., APIClient]) -> None:
    running, over = make_signal(), make_signal(status=SignalStatus.PUBLISHED)
    client = api("ops")

    def post(event_id: object, body: dict[str, str]) -> tuple[int, str]:
        answer = client.post(f"/api/v1/signals/{event_id}/cancel", body, format="json")
        return answer.status_code, answer.json().get("code", answer.json()["status"])

    assert post(running.event_id, {}) == (400, "VALIDATION_ERROR")
    assert post(running.event_id, {"reason": "mistake"}) == (200, "CANCELLED")
    assert post(over.event_id, {"reason": "mistake"}) == (409, "SIGNAL_ENDED")
    assert post("00000000-0000-0000-0000-000000000000", {"reason": "x"}) == (404, "NOT_FOUND")
