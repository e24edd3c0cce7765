from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from pipeline import services
from pipeline.models import AuditEvent, DeadLetter, StageRun
from pipeline.services import Opening
from pipeline.stage import Finished, Stage, perform, settle_all
from pipeline.types import Claim, Done, GiveUp, Result, RetryIn, RunStatus


class Journal:
    """A stage whose every step is told what to do and writes down that it was done."""

    def __init__(self, *, result: Result | Exception | None = None, attempts_max: int = 3) -> None:
        self.result = result or Done("value")
        self.settled: list[Any] = []
        self.given_up: list[GiveUp] = []
        self.refuse: set[UUID] = set()
        self.stage = Stage(
            name="test",
            load=self.load,
            perform=self.perform,
            settle=self.settle,
            give_up=self.give_up,
            deadline_s=0.2,
            concurrency=4,
            attempts_max=attempts_max,
        )

    @staticmethod
    def load(subjects: Sequence[UUID]) -> Mapping[UUID, UUID]:
        return {subject: subject for subject in subjects}

    async def perform(self, work: UUID) -> Result:
        del work
        if isinstance(self.result, Exception):
            raise self.result
        return self.result

    def settle(self, claim: Claim, work: UUID, value: Any, now: datetime) -> None:
        services.record(trace=claim.trace, verb="SETTLED", actor="test", at=now)
        if work in self.refuse:
            raise ZeroDivisionError("told to break")
        self.settled.append(value)

    def give_up(self, run: StageRun, failure: GiveUp, now: datetime) -> None:
        services.record(trace=run.trace, verb="GIVEN_UP", actor="test", at=now)
        self.given_up.append(failure)

    def claim(self, count: int = 1) -> list[Claim]:
        services.open_runs(
            Opening(
                stage="test",
                subject=subject,
                trace=subject,
                attempts_max=self.stage.attempts_max,
            )
            for subject in [uuid4() for _ in range(count)]
        )
        return services.claim(stage=self.stage, limit=count, worker="w")

    def finished(self, claims: Sequence[Claim], result: Result | None = None) -> list[Finished]:
        outcome = result or Done("value")
        return [Finished(self.stage, claim, claim.subject, outcome) for claim in claims]


def test_a_deadline_that_passes_is_a_time_out_to_be_tried_again() -> None:
    async def hang(work: Any) -> Result:
        del work
        await asyncio.sleep(30)
        return Done()

    journal = Journal()
    stage = Stage(**{f: getattr(journal.stage, f) for f in Stage.__slots__} | {"perform": hang})

    result = asyncio.run(perform(stage, None))

    assert isinstance(result, RetryIn)
    assert (result.code, result.reason) == ("TIMEOUT", "no answer within 0.2 s")


def test_an_unforeseen_error_becomes_a_value(caplog: pytest.LogCaptureFixture) -> None:
    journal = Journal(result=KeyError("who knows"))

    with caplog.at_level(logging.CRITICAL):
        result = asyncio.run(perform(journal.stage, None))

    assert result == RetryIn("KeyError: 'who knows'", code="UNFORESEEN")


@pytest.mark.django_db
def test_done_work_is_closed_and_settled_together() -> None:
    journal = Journal()
    claims = journal.claim(3)

    settle_all(journal.finished(claims))

    assert journal.settled == ["value"] * 3
    assert set(StageRun.objects.values_list("status", flat=True)) == {RunStatus.DONE}


@pytest.mark.django_db
def test_one_item_that_breaks_does_not_take_its_batch_with_it() -> None:
    journal = Journal()
    claims = journal.claim(3)
    journal.refuse = {claims[1].subject}
    journal.settled.clear()

    settle_all(journal.finished(claims))

    statuses = {run.subject: run.status for run in StageRun.objects.all()}
    assert [statuses[claim.subject] for claim in claims] == ["DONE", "PENDING", "DONE"]
    assert not AuditEvent.objects.filter(trace=claims[1].trace, verb="SETTLED").exists()


@pytest.mark.django_db
def test_work_whose_lease_was_lost_leaves_no_trace_of_its_settling() -> None:
    journal = Journal()
    [claim] = journal.claim()
    StageRun.objects.update(token=claim.token + 1)

    settle_all(journal.finished([claim]))

    assert AuditEvent.objects.count() == 0
    assert StageRun.objects.get().status == RunStatus.RUNNING


@pytest.mark.django_db
def test_a_failure_that_may_pass_is_tried_again_until_attempts_run_out() -> None:
    journal = Journal(attempts_max=2)
    [first] = journal.claim()
    settle_all(journal.finished([first], RetryIn("away", after_s=0)))
    [second] = services.claim(stage=journal.stage, limit=1, worker="w")

    settle_all(journal.finished([second], RetryIn("still away", code="NETWORK", after_s=0)))

    assert journal.given_up == [GiveUp("still away", code="NETWORK")]
    letter = DeadLetter.objects.get()
    assert (letter.code, letter.reason, letter.attempts) == ("NETWORK", "still away", 2)
    assert StageRun.objects.get().status == RunStatus.FAILED


@pytest.mark.django_db
def test_a_failure_for_good_goes_to_the_dead_letters_at_once() -> None:
    journal = Journal()
    [claim] = journal.claim()

    settle_all(journal.finished([claim], GiveUp("no such coin", code="UNKNOWN_SYMBOL")))

    assert journal.given_up == [GiveUp("no such coin", code="UNKNOWN_SYMBOL")]
    assert DeadLetter.objects.get().status == "OPEN"
