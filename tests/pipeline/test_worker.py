from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from asgiref.sync import sync_to_async
from django.db.models.functions import Now
from pytest_django import Settings

from pipeline import leases, queries, services, tracing
from pipeline.leases import LeaseOver
from pipeline.models import AuditEvent, DeadLetter, Heartbeat, StageRun
from pipeline.reconcile import reconcile
from pipeline.services import Opening
from pipeline.stage import Finished, Stage
from pipeline.types import Done, GiveUp, Result
from pipeline.worker import Worker


class Errand:
    """A stage that waits a little and notes what it finished."""

    def __init__(self, *, pause_s: float = 0.0, concurrency: int = 50) -> None:
        self.pause_s = pause_s
        self.at_once = 0
        self.most_at_once = 0
        self.done: list[UUID] = []
        self.beside: dict[UUID, int] = {}
        self.buried: list[UUID] = []
        self.stage = Stage(
            name="errand",
            load=self.load,
            perform=self.perform,
            settle=self.settle,
            give_up=self.give_up,
            deadline_s=20,
            concurrency=concurrency,
            attempts_max=3,
        )

    def stage_with(self, **changes: Any) -> Stage:
        return replace(self.stage, **changes)

    @staticmethod
    def load(subjects: Sequence[UUID]) -> Mapping[UUID, UUID]:
        return {subject: subject for subject in subjects}

    async def perform(self, work: UUID) -> Result:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(self.pause_s)
        self.beside[work] = self.at_once - 1
        self.at_once -= 1
        return Done()

    def settle(self, batch: Sequence[Finished], now: datetime) -> None:
        self.done += [item.work for item in batch]

    def give_up(self, run: StageRun, failure: GiveUp, now: datetime) -> None:
        self.buried.append(run.subject)


@pytest.fixture(autouse=True)
def _own_bell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test its own bell: a listener stays a moment after its worker."""
    monkeypatch.setattr(services, "WORK", f"work-{uuid4().hex[:8]}")


def open_errands(count: int, **changes: Any) -> list[UUID]:
    subjects = [uuid4() for _ in range(count)]
    usual: dict[str, Any] = {"stage": "errand", "attempts_max": 3}
    services.open_runs(
        Opening(**(usual | changes), subject=subject, trace=subject) for subject in subjects
    )
    return subjects


async def until(condition: Callable[[], bool], *, within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.django_db(transaction=True)
async def test_many_pieces_of_work_wait_at_once_and_all_are_settled(redis_url: str) -> None:
    errand = Errand(pause_s=0.1)
    subjects = await sync_to_async(open_errands)(120)
    worker = Worker(stages=[errand.stage], name="w")

    running = asyncio.create_task(worker.run())
    await until(lambda: len(errand.done) == 120)
    worker.stop()
    await running

    assert sorted(errand.done) == sorted(subjects)
    assert errand.most_at_once == 50
    assert await StageRun.objects.filter(status="DONE").acount() == 120


@pytest.mark.django_db(transaction=True)
async def test_the_first_question_is_out_before_the_last_is_begun() -> None:
    steps: list[str] = []

    async def perform(_: UUID) -> Result:
        steps.append("begun")
        for _step in range(3):  # as a connection is opened, and a request sent
            await asyncio.sleep(0)
        steps.append("asked")
        return Done()

    await sync_to_async(open_errands)(40)
    errand = Errand()
    worker = Worker(stages=[errand.stage_with(perform=perform)], name="w")
    running = asyncio.create_task(worker.run())
    await until(lambda: len(errand.done) == 40)
    worker.stop()
    await running

    assert "begun" in steps[steps.index("asked") :]


@pytest.mark.django_db(transaction=True)
async def test_work_knows_the_request_that_brought_it_and_what_follows_keeps_it() -> None:
    known: list[tuple[str, str]] = []
    first, second = uuid4(), uuid4()

    async def perform(_: UUID) -> Result:
        known.append((tracing.current_request_id(), tracing.current_event_id()))
        return Done()

    def settle(batch: Sequence[Finished], now: datetime) -> None:
        for item in batch:
            services.record(trace=item.claim.trace, verb="SETTLED", actor="test", at=now)
            if item.claim.subject == first:
                services.open_runs(
                    [Opening(stage="errand", subject=second, trace=first, attempts_max=1)]
                )

    def open_first() -> None:
        with tracing.request("walk-7"):
            services.open_runs(
                [Opening(stage="errand", subject=first, trace=first, attempts_max=1)]
            )

    await sync_to_async(open_first)()
    errand = Errand().stage_with(perform=perform, settle=settle)
    worker = Worker(stages=[errand], name="w")
    running = asyncio.create_task(worker.run())
    done = StageRun.objects.filter(status="DONE")
    async with asyncio.timeout(10):
        while await done.acount() < 2:
            await asyncio.sleep(0.01)
    worker.stop()
    await running

    assert known == [("walk-7", str(first))] * 2
    assert await AuditEvent.objects.filter(request_id="walk-7").acount() == 2


@pytest.mark.django_db(transaction=True)
async def test_a_bell_wakes_an_idle_worker_long_before_its_poll(
    redis_url: str, settings: Settings
) -> None:
    settings.WORKER_POLL_MS = 60_000
    errand = Errand()
    worker = Worker(stages=[errand.stage], name="w")
    running = asyncio.create_task(worker.run())
    await asyncio.sleep(0.5)

    await sync_to_async(open_errands)(1)
    await until(lambda: len(errand.done) == 1)

    worker.stop()
    await running


@pytest.mark.django_db(transaction=True)
async def test_what_follows_is_done_at_once_without_bell_or_poll(settings: Settings) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    settings.WORKER_POLL_MS = 60_000
    first, second = Errand(), Errand(concurrency=1)
    following = replace(second.stage, name="following", equip=lambda given: given)

    def settle(batch: Sequence[Finished], now: datetime) -> None:
        new, trace = uuid4(), batch[0].work
        services.open_runs(
            [Opening(stage="following", subject=new, trace=trace, attempts_max=3, given=new)]
        )

    await sync_to_async(open_errands)(1)
    stages = [replace(first.stage, settle=settle), following]
    running = asyncio.create_task((worker := Worker(stages=stages, name="w")).run())
    await until(lambda: len(second.done) == 1)

    worker.stop()
    await running
    assert await StageRun.objects.filter(status="DONE").acount() == 2


@pytest.mark.django_db(transaction=True)
async def test_without_bells_the_poll_finds_the_work(settings: Settings) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    settings.WORKER_POLL_MS = 50
    errand = Errand()
    worker = Worker(stages=[errand.stage], name="w")
    running = asyncio.create_task(worker.run())
    await asyncio.sleep(0.5)  # it has looked, and found nothing

    await sync_to_async(open_errands)(3)
    await until(lambda: len(errand.done) == 3)

    worker.stop()
    await running


@pytest.mark.django_db(transaction=True)
async def test_stopping_gives_back_what_does_not_finish_in_time(
    redis_url: str, settings: Settings
) -> None:
    settings.WORKER_STOP_S = 0.05
    errand = Errand(pause_s=30)
    await sync_to_async(open_errands)(2)
    worker = Worker(stages=[errand.stage], name="w")
    running = asyncio.create_task(worker.run())
    await until(lambda: errand.at_once == 2)

    worker.stop()
    await running

    rows = [row async for row in StageRun.objects.values_list("status", "attempts")]
    assert rows == [("PENDING", 0), ("PENDING", 0)]
    assert not await Heartbeat.objects.aexists()


@pytest.mark.django_db(transaction=True)
async def test_a_running_worker_reports_itself(redis_url: str) -> None:
    worker = Worker(stages=[Errand().stage], name="w1")

    running = asyncio.create_task(worker.run())
    await asyncio.sleep(0.3)
    beats = await sync_to_async(queries.list_heartbeats)()
    worker.stop()
    await running

    assert [(beat.name, beat.kind) for beat in beats] == [("w1", "worker")]


@pytest.mark.django_db(transaction=True)
async def test_a_living_worker_keeps_its_work_beyond_the_lease(
    redis_url: str, settings: Settings
) -> None:
    settings.LEASE_MS = 500
    errand = Errand(pause_s=1.5)
    await sync_to_async(open_errands)(1)
    workers = [Worker(stages=[errand.stage], name=name) for name in ("a", "b")]

    running = [asyncio.create_task(worker.run()) for worker in workers]
    await until(lambda: len(errand.done) == 1)
    for worker in workers:
        worker.stop()
    await asyncio.gather(*running)

    row = await StageRun.objects.aget()
    assert (row.status, row.attempts, row.losses) == ("DONE", 1, 0)


class Costly(Errand):
    """An errand that may only be begun under a lease; the first load takes longer than one."""

    def __init__(self, *, load_s: float) -> None:
        super().__init__()
        self.begun = 0
        self.meanwhile: Callable[[], object] = lambda: None
        self._load_s = [load_s]
        self.stage = replace(self.stage, load=self.load_slowly)

    def load_slowly(self, subjects: Sequence[UUID]) -> Mapping[UUID, UUID]:
        if self._load_s:
            time.sleep(self._load_s.pop())
            self.meanwhile()
        return self.load(subjects)

    async def perform(self, work: UUID) -> Result:
        if not leases.is_held():
            raise LeaseOver
        self.begun += 1
        return await super().perform(work)


@pytest.mark.django_db(transaction=True)
async def test_work_whose_lease_is_over_before_it_is_begun_is_given_back_uncounted(
    redis_url: str, settings: Settings
) -> None:
    settings.LEASE_MS = 300
    errand = Costly(load_s=0.4)
    minute = Now() + timedelta(seconds=60)
    errand.meanwhile = lambda: StageRun.objects.update(lease_until=minute)  # nobody else takes it
    await sync_to_async(open_errands)(1)
    worker = Worker(stages=[errand.stage], name="w")

    running = asyncio.create_task(worker.run())
    await until(lambda: len(errand.done) == 1)
    worker.stop()
    await running

    row = await StageRun.objects.aget()
    assert (errand.begun, row.status, row.attempts, row.losses) == (1, "DONE", 1, 0)


@pytest.mark.django_db(transaction=True)
async def test_a_worker_that_was_frozen_begins_nothing_that_others_have_taken_over(
    redis_url: str, settings: Settings
) -> None:
    settings.LEASE_MS = 300
    errand = Costly(load_s=0.4)
    errand.meanwhile = lambda: services.claim(stage=errand.stage, limit=1, worker="other")
    await sync_to_async(open_errands)(1)
    worker = Worker(stages=[errand.stage], name="w")

    running = asyncio.create_task(worker.run())
    rows = StageRun.objects.values_list("worker", "token", "attempts", "status")
    async with asyncio.timeout(10):
        while (await rows.aget())[0] != "other":
            await asyncio.sleep(0.01)
    await StageRun.objects.aupdate(lease_until=Now() + timedelta(seconds=60))
    await asyncio.sleep(0.2)
    worker.stop()
    await running

    assert errand.begun == 0
    assert await rows.aget() == ("other", 2, 2, "RUNNING")


@pytest.mark.django_db(transaction=True)
async def test_a_renewed_lease_lets_work_go_on_beginning(
    redis_url: str, settings: Settings
) -> None:
    settings.LEASE_MS = 400
    held: list[bool] = []

    async def perform(_: UUID) -> Result:
        for _again in range(3):
            await asyncio.sleep(0.3)
            held.append(leases.is_held())
        return Done()

    await sync_to_async(open_errands)(1)
    worker = Worker(stages=[Errand().stage_with(perform=perform)], name="w")
    running = asyncio.create_task(worker.run())
    await until(lambda: len(held) == 3)
    worker.stop()
    await running

    assert held == [True, True, True]


@pytest.mark.django_db(transaction=True)
async def test_a_worker_whose_heart_stops_ends_instead_of_going_on_unseen(
    redis_url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.WORKER_POLL_MS = 20

    def stop_beating(**_: Any) -> None:
        raise ZeroDivisionError("heart")

    monkeypatch.setattr(services, "beat", stop_beating)
    worker = Worker(stages=[Errand().stage], name="w")

    with pytest.raises(ZeroDivisionError, match="heart"):
        await worker.run()


@pytest.mark.django_db(transaction=True)
async def test_suspect_work_runs_alone(redis_url: str) -> None:
    errand = Errand(pause_s=0.05)
    suspects = await sync_to_async(open_errands)(3)
    await StageRun.objects.aupdate(losses=2)
    others = await sync_to_async(open_errands)(3)
    worker = Worker(stages=[errand.stage], name="w")

    running = asyncio.create_task(worker.run())
    await until(lambda: len(errand.done) == 6)
    worker.stop()
    await running

    assert [errand.beside[work] for work in suspects] == [0, 0, 0]
    assert max(errand.beside[work] for work in others) == 2


@pytest.mark.django_db
def test_work_that_kills_its_workers_is_buried_and_the_rest_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    errand = Errand()
    monkeypatch.setattr("pipeline.reconcile.wired_stages", lambda: [errand.stage])
    [poison] = open_errands(1, attempts_max=10)
    for suspects in (False, False, True):
        services.claim(stage=errand.stage, limit=9, worker="doomed", suspects=suspects)
        StageRun.objects.update(lease_until=Now() - timedelta(seconds=1))
    open_errands(1)

    buried = reconcile(now=datetime.now(UTC))
    again = reconcile(now=datetime.now(UTC))

    assert (buried, again, errand.buried) == (1, 0, [poison])
    letter = DeadLetter.objects.get()
    assert (letter.code, letter.reason) == ("POISON", "its worker died 3 times while doing it")
    assert len(services.claim(stage=errand.stage, limit=9, worker="w")) == 1
