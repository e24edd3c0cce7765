from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from uuid import UUID

import pytest
from pytest_django import Settings

from enrichment.queries import Enriched
from evaluation import services
from evaluation.evaluators.base import Abstained, Evaluator
from evaluation.evaluators.scripted import Scripted
from evaluation.jobs import EVALUATE
from evaluation.models import Attempt, Evaluation
from evaluation.queries import Assignment, list_assignments
from evaluation.types import AttemptStatus, Case, Opinion
from pipeline.models import AuditEvent, DeadLetter, StageRun
from pipeline.types import GiveUp
from signals.models import Signal
from signals.types import SignalStatus
from tests.factories import NOON, make_enrichment, make_signal
from tests.running import run_stage

pytestmark = pytest.mark.django_db


class Ignorant(Scripted):
    """Never knows enough."""

    async def evaluate(self, case: Case) -> Opinion:
        raise Abstained("needs 120 bars, has 7", status=AttemptStatus.INSUFFICIENT_DATA)


class Broken(Scripted):
    """Has a fault that nobody foresaw."""

    async def evaluate(self, case: Case) -> Opinion:
        raise ZeroDivisionError("oops")


Wire = Callable[..., None]


@pytest.fixture
def wire(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    """Let these evaluators be the models of the house."""

    def make(*evaluators: Evaluator) -> None:
        settings.AI_MODELS = tuple(evaluator.name for evaluator in evaluators)
        settings.EVALUATE_RETRY_MS = 1
        found = {evaluator.name: evaluator for evaluator in evaluators}
        monkeypatch.setattr(services, "evaluators", lambda: found)

    yield make


def enriched() -> Signal:
    signal = make_signal(status=SignalStatus.ENRICHED)
    enrichment = make_enrichment(signal, constraints={"max_position_size_pct": 25})
    services.request_evaluations(
        enriched=[Enriched(signal=signal, enrichment=enrichment)], now=NOON
    )
    return signal


def assignment(signal: Signal) -> Assignment:
    ids: list[UUID] = list(Evaluation.objects.filter(signal=signal).values_list("id", flat=True))
    return next(iter(list_assignments(ids).values()))


def test_every_model_gets_its_own_piece_of_work(wire: Wire) -> None:
    wire(Scripted(name="a"), Scripted(name="b"))

    enriched()

    assert sorted(Evaluation.objects.values_list("model", flat=True)) == ["a", "b"]
    assert StageRun.objects.filter(stage="evaluate").count() == 2
    assert StageRun.objects.filter(stage="jury").count() == 1


def test_models_are_given_the_frozen_case_and_nothing_else(wire: Wire) -> None:
    model = Scripted(name="a")
    wire(model)
    enriched()

    run_stage(EVALUATE)

    [case] = model.seen
    assert (case.symbol, case.side, case.payload) == ("BTC", "long", "{}")
    assert case.constraints == {"max_position_size_pct": 25}


def test_a_verdict_is_written_down_with_its_attempt(wire: Wire) -> None:
    wire(Scripted(name="a"))
    signal = enriched()

    run_stage(EVALUATE)

    evaluation = Evaluation.objects.get()
    assert (evaluation.status, evaluation.outcome) == ("DECIDED", "ok")
    assert evaluation.verdict is not None
    assert evaluation.verdict["action"] == "FOLLOW_ENTER"
    assert Attempt.objects.get().status == "ok"
    assert (
        AuditEvent.objects.get(trace=signal.event_id, verb="MODEL_DONE").details["status"] == "ok"
    )


def test_a_vendor_fault_is_tried_again_and_every_attempt_is_kept(wire: Wire) -> None:
    wire(Scripted(name="a", faults=[AttemptStatus.OVERLOADED]))
    enriched()

    run_stage(EVALUATE)

    assert Evaluation.objects.get().status == "DECIDED"
    rows = Attempt.objects.order_by("number").values_list("number", "status")
    assert list(rows) == [(1, "overloaded"), (2, "ok")]


def test_a_vendor_that_stays_away_is_an_abstention_never_an_ignore(wire: Wire) -> None:
    wire(Scripted(name="a", faults=[AttemptStatus.RATE_LIMITED] * 9), Scripted(name="b"))
    enriched()

    run_stage(EVALUATE)

    away = Evaluation.objects.get(model="a")
    assert (away.status, away.outcome, away.verdict) == ("ABSTAINED", "rate_limited", None)
    assert away.attempts.count() == 2
    assert Evaluation.objects.get(model="b").status == "DECIDED"


def test_a_model_that_hangs_is_cut_off_at_its_deadline(wire: Wire, settings: Settings) -> None:
    settings.EVALUATE_DEADLINE_MS = 50
    wire(Scripted(name="a", pause_s=30))
    signal = enriched()

    opinion = asyncio.run(services.ask(assignment(signal)))

    assert (opinion.verdict, opinion.status) == (None, AttemptStatus.TIMEOUT)
    assert opinion.reason == "no verdict within 50 ms"
    assert [attempt.status for attempt in opinion.attempts] == [AttemptStatus.TIMEOUT]


def test_a_model_without_enough_data_abstains_with_its_cause(wire: Wire) -> None:
    wire(Ignorant(name="a"), Scripted(name="b"))
    enriched()

    run_stage(EVALUATE)

    row = Evaluation.objects.get(model="a")
    assert (row.outcome, row.reason) == ("insufficient_data", "needs 120 bars, has 7")


def test_a_fault_of_our_own_is_tried_again_later_and_then_an_abstention(wire: Wire) -> None:
    wire(Broken(name="a"), Scripted(name="b"))
    signal = enriched()
    run_stage(EVALUATE)
    broken = Evaluation.objects.get(model="a")
    run = StageRun.objects.get(subject=broken.id)
    assert (broken.status, run.status, run.code) == ("PENDING", "PENDING", "UNFORESEEN")

    services.fail_evaluation(run, GiveUp("ZeroDivisionError: oops"), datetime.now(UTC))

    broken.refresh_from_db()
    assert (broken.status, broken.outcome) == ("ABSTAINED", "fault")
    assert Signal.objects.get(id=signal.id).status == SignalStatus.PUBLISHED


def test_a_signal_that_ended_takes_its_open_evaluations_with_it(wire: Wire) -> None:
    wire(Scripted(name="a"))
    signal = enriched()

    services.skip_open_evaluations(event_id=signal.event_id, reason="EXPIRED", now=NOON)

    assert Evaluation.objects.get().status == "SKIPPED"
    assert run_stage(EVALUATE) == 1
    assert not Attempt.objects.exists()


def test_a_dead_evaluation_is_asked_again_about_the_same_case(wire: Wire) -> None:
    wire(Broken(name="a"), Scripted(name="b"))
    signal = enriched()
    run_stage(EVALUATE)
    broken = Evaluation.objects.get(model="a")
    run = StageRun.objects.get(subject=broken.id)
    services.fail_evaluation(run, GiveUp("oops"), NOON)
    letter = DeadLetter(trace=signal.event_id, stage="evaluate", subject=broken.id, run=1)
    Signal.objects.filter(id=signal.id).update(status=SignalStatus.PUBLISHED)
    wire(Scripted(name="a"), Scripted(name="b"))

    services.reopen(letter=letter, now=NOON)
    StageRun.objects.filter(id=run.id).update(status="FAILED")
    run_stage(EVALUATE)

    broken.refresh_from_db()
    assert (broken.status, broken.outcome) == ("DECIDED", "ok")
    assert Signal.objects.get(id=signal.id).status == SignalStatus.PUBLISHED
