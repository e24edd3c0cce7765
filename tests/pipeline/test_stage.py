from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db.models.functions import Now

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
        self.opens: list[Opening] = []
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

    def settle(self, batch: Sequence[Finished], now: datetime) -> None:
        for item in batch:
            services.record(trace=item.claim.trace, verb="SETTLED", actor="test", at=now)
            services.open_runs(self.opens)
            if item.work in self.refuse:
                raise ZeroDivisionError("told to break")
            self.settled.append(item.value)

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
@pytest.mark.parametrize("result", [RetryIn("away"), GiveUp("no such thing")], ids=["pass", "good"])
def test_a_failure_whose_lease_was_lost_is_left_to_whoever_has_the_work_now(result: Result) -> None:
    journal = Journal()
    [lost, held] = journal.claim(2)
    StageRun.objects.filter(id=lost.id).update(token=lost.token + 1)

    settle_all([*journal.finished([lost], result), *journal.finished([held])])

    statuses = dict(StageRun.objects.values_list("id", "status"))
    assert statuses == {lost.id: RunStatus.RUNNING, held.id: RunStatus.DONE}
    assert journal.given_up == []
    assert not DeadLetter.objects.exists()


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


def opening(subject: UUID, *, given: object = None) -> Opening:
    return Opening(stage="next", subject=subject, trace=subject, attempts_max=3, given=given)


@pytest.mark.django_db
def test_work_that_follows_is_held_from_the_start_as_far_as_there_is_room() -> None:
    journal = Journal()
    subjects = [uuid4() for _ in range(3)]
    journal.opens = [opening(subject, given=str(subject)) for subject in subjects]
    reception = services.Reception(worker="w", room={"next": 2})

    settle_all(journal.finished(journal.claim()), reception)

    rows = {row.subject: row for row in StageRun.objects.filter(stage="next")}
    assert [rows[each].status for each in subjects] == ["RUNNING", "RUNNING", "PENDING"]
    assert [(claim.subject, claim.token, given) for claim, given in reception.taken] == [
        (each, 1, str(each)) for each in subjects[:2]
    ]
    held = rows[subjects[0]]
    assert (held.worker, held.token, held.attempts) == ("w", 1, 1)
    assert held.lease_until is not None
    assert reception.leaves_some, "the third waits for whoever has room"


@pytest.mark.django_db
def test_nothing_is_taken_up_when_what_it_follows_from_could_not_be_written_down() -> None:
    journal = Journal()
    [claim] = journal.claim()
    journal.opens = [opening(uuid4(), given="case")]
    journal.refuse = {claim.subject}
    reception = services.Reception(worker="w", room={"next": 1})

    settle_all(journal.finished([claim]), reception)

    assert (reception.taken, reception.room) == ([], {"next": 1})
    assert not StageRun.objects.filter(stage="next").exists()


@pytest.mark.django_db
def test_handed_work_whose_worker_dies_is_taken_over_under_another_token() -> None:
    journal = Journal()
    journal.opens = [opening(uuid4(), given="case")]
    reception = services.Reception(worker="w", room={"next": 1})
    settle_all(journal.finished(journal.claim()), reception)
    StageRun.objects.filter(stage="next").update(lease_until=Now() - timedelta(seconds=1))

    stage = replace(journal.stage, name="next")
    [again] = services.claim(stage=stage, limit=1, worker="other")

    [(mine, _)] = reception.taken
    assert again.token == mine.token + 1
    with pytest.raises(services.LeaseLost):
        services.finish(mine)
