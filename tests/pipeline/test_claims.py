from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID, uuid4

import pytest
from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from pipeline import queries, services
from pipeline.models import StageRun
from pipeline.services import LeaseLost, Opening
from pipeline.types import Claim, RetryIn, RunStatus

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)


class Enrich:
    """Just enough of a stage to claim for."""

    name = "enrich"


def open_one(*, attempts_max: int = 3, due_at: datetime | None = None) -> UUID:
    subject = uuid4()
    services.open_runs(
        [
            Opening(
                stage="enrich",
                subject=subject,
                trace=subject,
                attempts_max=attempts_max,
                due_at=due_at,
            )
        ]
    )
    return subject


def claim(limit: int = 10, worker: str = "a") -> list[Claim]:
    return services.claim(stage=Enrich(), limit=limit, worker=worker)


def lose_lease(run: Claim) -> None:
    StageRun.objects.filter(id=run.id).update(lease_until=Now() - timedelta(seconds=1))


def test_open_work_is_claimed_once() -> None:
    subject = open_one()

    first, second = claim(), claim(worker="b")

    assert [run.subject for run in first] == [subject]
    assert second == []


def test_opening_the_same_work_twice_is_harmless() -> None:
    subject = open_one()

    services.open_runs([Opening(stage="enrich", subject=subject, trace=subject, attempts_max=3)])

    assert StageRun.objects.count() == 1


def test_work_due_later_waits() -> None:
    open_one(due_at=datetime.now(UTC) + timedelta(hours=1))

    assert claim() == []
    assert queries.seconds_until_due(stages=["enrich"]) == pytest.approx(3600, abs=60)


def test_the_longest_waiting_goes_first_and_the_limit_is_kept() -> None:
    late = open_one(due_at=NOW - timedelta(minutes=1))
    early = open_one(due_at=NOW - timedelta(minutes=2))

    assert [run.subject for run in claim(limit=1)] == [early]
    assert [run.subject for run in claim(limit=1)] == [late]


def test_a_dead_workers_work_is_taken_over_under_a_new_token() -> None:
    open_one()
    [first] = claim()
    lose_lease(first)

    [second] = claim(worker="b")

    assert second.token == first.token + 1
    assert second.attempts == 2
    assert StageRun.objects.get().losses == 1


def test_a_worker_that_lost_its_lease_writes_nothing() -> None:
    open_one()
    [first] = claim()
    lose_lease(first)
    [second] = claim(worker="b")

    with pytest.raises(LeaseLost):
        services.finish(first)
    with pytest.raises(LeaseLost):
        services.postpone(first, result=RetryIn("late"), rng=Random(1))

    services.finish(second)
    assert StageRun.objects.get().status == RunStatus.DONE


def test_finished_work_cannot_be_finished_again() -> None:
    open_one()
    [run] = claim()
    services.finish(run)

    with pytest.raises(LeaseLost):
        services.finish(run)


def test_work_that_lost_two_leases_is_suspect_and_claimed_as_such_only() -> None:
    open_one(attempts_max=10)
    for _ in range(2):
        [run] = claim()
        lose_lease(run)

    assert claim() == []
    assert queries.survey(stages=["enrich"]) == {"enrich": 2}
    assert len(services.claim(stage=Enrich(), limit=9, worker="a", suspects=True)) == 1


def test_work_that_lost_three_leases_is_no_longer_claimed_but_listed_as_exhausted() -> None:
    open_one(attempts_max=10)
    for suspects in (False, False, True):
        [run] = services.claim(stage=Enrich(), limit=9, worker="a", suspects=suspects)
        lose_lease(run)

    assert claim() == []
    assert queries.survey(stages=["enrich"]) == {}
    assert [run.attempts for run in queries.list_exhausted(limit=10)] == [3]


def test_a_survey_names_the_stages_that_have_due_work() -> None:
    open_one()
    open_one(due_at=datetime.now(UTC) + timedelta(hours=1))

    assert queries.survey(stages=["enrich", "evaluate"]) == {"enrich": 0}
    assert queries.survey(stages=["evaluate"]) == {}


def test_a_renewed_lease_is_not_taken_over() -> None:
    open_one()
    held = claim(worker="a")
    StageRun.objects.update(lease_until=Now() + timedelta(milliseconds=1))

    renewed = services.renew(claims=held, worker="a")

    time.sleep(0.01)
    assert renewed == {held[0].id}
    assert claim(worker="b") == []


def test_a_lease_that_somebody_else_holds_is_not_renewed() -> None:
    open_one()
    first = claim(worker="a")
    lose_lease(first[0])
    claim(worker="b")
    lose_lease(first[0])

    renewed = services.renew(claims=first, worker="a")

    assert renewed == set()
    assert StageRun.objects.due(losses_max=9).count() == 1


def test_attempts_run_out() -> None:
    open_one(attempts_max=2)
    for _ in range(2):
        [run] = claim()
        services.postpone(run, result=RetryIn("away", after_s=0), rng=Random(1))

    assert claim() == []
    assert [run.attempts for run in queries.list_exhausted(limit=10)] == [2]


def test_postponed_work_keeps_its_reason_and_comes_back_when_due() -> None:
    open_one()
    [run] = claim()

    wait = services.postpone(
        run, result=RetryIn("429", code="RATE_LIMITED", after_s=7), rng=Random(1)
    )

    row = StageRun.objects.get()
    assert wait == timedelta(seconds=7)
    assert (row.status, row.code, row.reason) == (RunStatus.PENDING, "RATE_LIMITED", "429")
    assert claim() == []


def test_work_given_back_at_shutdown_does_not_count_as_an_attempt() -> None:
    open_one()
    held = claim()

    services.give_back(held)

    [again] = claim(worker="b")
    assert again.attempts == 1
    assert StageRun.objects.get().losses == 0


def test_skipped_work_makes_its_holders_token_void() -> None:
    subject = open_one()
    [run] = claim()

    services.skip_runs(traces=[subject], reason="EXPIRED")

    with pytest.raises(LeaseLost):
        services.finish(run)


def test_the_database_refuses_a_second_run_of_the_same_work() -> None:
    subject = open_one()

    with pytest.raises(IntegrityError), transaction.atomic():
        StageRun.objects.create(stage="enrich", subject=subject, trace=subject, attempts_max=1)
