"""The worker: one event loop in which many units of work wait on the network at once.

All database work of the process runs in one thread, so one connection serves it and writes of
work that finished together are committed together.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Event, Thread
from typing import Any, TypeVar
from uuid import UUID

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection

from pipeline import leases, queries, queue, services, spans, tracing
from pipeline.leases import Lease, LeaseOver
from pipeline.stage import Finished, Stage, inputs, perform, settle_all
from pipeline.types import Claim, Done

logger = logging.getLogger(__name__)

T = TypeVar("T")

BEAT_EVERY_S = 5.0
LOOK_AT_CLOCK_S = 5.0
SETTLE_BATCH = 64
RENEWALS_PER_LEASE = 4
BEGIN_WITHIN_FRAC = 0.9
"""The part of a lease, from when it was asked for, within which work may still be begun."""
BEGIN_AT_ONCE = 2
SHORTEST_PAUSE_S = 0.005
AFTER_DATABASE_FAULT_S = 0.5


@dataclass(slots=True)
class Held(Lease):
    """A claim of this worker, and how long it counts on it."""

    claim: Claim

    @classmethod
    def since(cls, at_s: float, claim: Claim) -> Held:
        """Return a claim that was asked for at that time."""
        return cls(_counted_on(at_s), claim)

    def prolong(self, at_s: float) -> None:
        """Count on it anew from that time."""
        self.until_s = _counted_on(at_s)

    def lose(self) -> None:
        """Count on it no longer."""
        self.until_s = 0.0


Taken = tuple[Stage, Held, Any]


def _counted_on(at_s: float) -> float:
    lasts_s: float = settings.LEASE_MS / 1000
    return at_s + lasts_s * BEGIN_WITHIN_FRAC


def program_name(kind: str) -> str:
    """Return this process's name in lists and logs."""
    return f"{kind}-{socket.gethostname()}-{os.getpid()}"[:64]


class DatabaseThread:
    """The one thread of this process that talks to the database."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="database")

    async def run(self, work: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Return ``work(...)``, called in the database thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, lambda: self._call(work, *args, **kwargs))

    @staticmethod
    def _call(work: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Keep the connection from call to call, but not beyond a fault of the database."""
        try:
            return work(*args, **kwargs)
        except DatabaseError:
            connection.close()
            raise

    async def close(self) -> None:
        """Close the connection and end the thread."""
        await self.run(lambda: connection.close())  # looked up in the thread that owns it
        self._pool.shutdown()


class Timekeeper:
    """Knows whether this process tells the same time as the database; looks every few seconds.

    Whoever does not would call fresh advice stale, or stale advice fresh: it leaves both to others.
    """

    def __init__(self) -> None:
        self._look_at_s = 0.0
        self._agrees = True

    def agrees(self) -> bool:
        """Say so; call from the thread that talks to the database."""
        if time.monotonic() >= self._look_at_s:
            off_s = (datetime.now(UTC) - queries.database_now()).total_seconds()
            self._agrees = abs(off_s) <= settings.CLOCK_OFFSET_STOP_S
            self._look_at_s = time.monotonic() + LOOK_AT_CLOCK_S
            if not self._agrees:
                logger.error("this clock is %.0f s off the database's: doing nothing", off_s)
        return self._agrees


class Worker:
    """Claims, performs and settles the work of its stages until it is asked to stop."""

    def __init__(
        self, *, stages: Sequence[Stage], name: str, when_warm: Callable[[], None] | None = None
    ) -> None:
        self.name = name
        self._when_warm = when_warm
        self._stages = {stage.name: stage for stage in stages}
        self._running: dict[asyncio.Task[None], Claim] = {}
        self._held: dict[int, Held] = {}
        self._finished: asyncio.Queue[Finished] = asyncio.Queue()
        self._awake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._database = DatabaseThread()
        self._timekeeper = Timekeeper()
        self._taking = asyncio.Lock()
        self._started_at = datetime.now(UTC)
        self._pause_s = 0.0
        self._alone = False
        self._crowded = False

    def wake(self) -> None:
        """Look for work now; call only from the event loop's thread."""
        self._awake.set()

    def stop(self) -> None:
        """Claim nothing more; finish what runs, give back what does not finish in time."""
        self._stopping.set()
        self._awake.set()

    async def run(self) -> None:
        """Work until stopped."""
        await self._warm_up()
        bells, silence = self._hear_bells()
        beside = [
            asyncio.create_task(loop())
            for loop in (self._settle_forever, self._beat_forever, self._renew_forever)
        ]
        try:
            while not self._stopping.is_set():
                _raise_what_ended(beside)
                if await self._surviving(self._claim_what_fits):
                    await self._sleep()
        finally:
            bells.set()
            await self._drain()
            for task in beside:
                task.cancel()
            await self._surviving(self._sign_off)
            await self._database.close()
            await self._close_stages()
            queue.forget_worker(self.name)
            silence.join(timeout=0.1)

    def _hear_bells(self) -> tuple[Event, Thread]:
        loop, stop = asyncio.get_running_loop(), Event()

        def on_ring() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self.wake)

        thread = Thread(
            target=queue.listen,
            kwargs={"queue": services.WORK, "name": self.name, "on_ring": on_ring, "stop": stop},
            daemon=True,
        )
        thread.start()
        return stop, thread

    async def _warm_up(self) -> None:
        """Do what would hold up the first work: loading vendors' libraries takes a second."""
        warm = [stage.warm for stage in self._stages.values() if stage.warm is not None]
        for work in warm:
            await asyncio.to_thread(work)
        if self._when_warm is not None:
            self._when_warm()

    async def _claim_what_fits(self) -> None:
        self._awake.clear()
        async with self._taking:
            rooms = {stage.name: self._room_for(stage) for stage in self._stages.values()}
            wanted = [(self._stages[name], room) for name, room in rooms.items() if room]
            taken, self._pause_s = await self._database.run(self._claim, wanted)
            await self._begin(taken)
            self._crowded = self._alone or not all(map(self._room_for, self._stages.values()))

    async def _begin(self, taken: Sequence[Taken]) -> None:
        """Begin work a little at a time.

        All at once it would go on step by step beside one another, and no question would be out
        before the last was ready to go. So the first answers come while the last are asked for.
        """
        self._held |= {lease.claim.id: lease for _, lease, _ in taken}
        for place, (stage, lease, work) in enumerate(taken, start=1):
            task = asyncio.create_task(self._perform(stage, lease, work))
            self._running[task] = lease.claim
            task.add_done_callback(self._running.pop)
            if place % BEGIN_AT_ONCE == 0:
                await asyncio.sleep(0)

    def _room_for(self, stage: Stage) -> int:
        running = sum(claim.stage == stage.name for claim in self._running.values())
        return max(0, stage.concurrency - running)

    def _claim(self, wanted: Sequence[tuple[Stage, int]]) -> tuple[list[Taken], float]:
        """Claim and load in the database thread; return what was taken and how long to wait.

        Work that may be what kills its workers runs alone: nothing else is claimed until the
        rest is done, then that one piece, then nothing until it is done.
        """
        if not self._timekeeper.agrees():
            return [], settings.WORKER_POLL_MS / 1000
        paused = {switch.name for switch in queries.list_paused()}
        wanted = [(stage, room) for stage, room in wanted if stage.switch not in paused]
        names = [stage.name for stage, _ in wanted]
        poll_s: float = settings.WORKER_POLL_MS / 1000
        if self._alone and self._held:
            return [], poll_s
        due = queries.survey(stages=names)
        self._alone = any(deaths >= settings.LEASE_LOSSES_MAX - 1 for deaths in due.values())
        if self._alone:
            return ([], poll_s) if self._held else (self._claim_one_suspect(wanted), 0.0)
        if not due:
            wait_s = queries.seconds_until_due(stages=names)
            return [], poll_s if wait_s is None else min(poll_s, max(SHORTEST_PAUSE_S, wait_s))
        batches = [self._claim_batch(stage, room) for stage, room in wanted if stage.name in due]
        return [taken for batch in batches for taken in batch], 0.0

    def _claim_batch(self, stage: Stage, room: int) -> list[Taken]:
        """Claim up to ``room``; a full batch means that there is more, for others too."""
        at_s = time.monotonic()
        claims = services.claim(stage=stage, limit=room, worker=self.name)
        if len(claims) == room:
            queue.bell(services.WORK)()
        return self._loaded(stage, claims, at_s)

    def _claim_one_suspect(self, wanted: Sequence[tuple[Stage, int]]) -> list[Taken]:
        for stage, _ in wanted:
            at_s = time.monotonic()
            claims = services.claim(stage=stage, limit=1, worker=self.name, suspects=True)
            if claims:
                return self._loaded(stage, claims, at_s)
        return []

    def _loaded(self, stage: Stage, claims: Sequence[Claim], at_s: float) -> list[Taken]:
        """Return the claims with their inputs; work with nothing left to do ends here."""
        held = [Held.since(at_s, claim) for claim in claims]
        return self._with_inputs(stage, held, inputs(stage, claims))

    @staticmethod
    def _with_inputs(stage: Stage, held: Sequence[Held], works: Mapping[UUID, Any]) -> list[Taken]:
        for lease in held:
            if lease.claim.subject not in works:
                with contextlib.suppress(services.LeaseLost):
                    services.finish(lease.claim, reason="nothing left to do")
        return [
            (stage, lease, works[lease.claim.subject])
            for lease in held
            if lease.claim.subject in works
        ]

    async def _perform(self, stage: Stage, lease: Held, work: Any) -> None:
        claim = lease.claim
        about = {"lens__stage": stage.name, "lens__event_id": str(claim.trace)}
        known = tracing.work(event_id=claim.trace, request_id=claim.request_id)
        try:
            with known, leases.holding(lease), spans.span(f"stage {stage.name}", **about):
                result = await perform(stage, work)
        except LeaseOver:
            await self._let_go(claim)
        else:
            await self._finished.put(Finished(stage, claim, work, result))

    async def _let_go(self, claim: Claim) -> None:
        """Leave work that was not begun in time to whoever has it, or to the next who asks."""
        logger.info("lease over, not begun: %s of %s", claim.stage, claim.trace)
        self._forget(claim)
        await self._surviving(self._database.run, services.give_back, [claim])

    def _forget(self, claim: Claim) -> None:
        """Hold a claim no longer; the same work may be held under a newer one."""
        lease = self._held.get(claim.id)
        if lease is not None and lease.claim.token == claim.token:
            del self._held[claim.id]

    async def _settle_forever(self) -> None:
        while True:
            batch = [await self._finished.get()]
            while len(batch) < SETTLE_BATCH and not self._finished.empty():
                batch.append(self._finished.get_nowait())
            async with self._taking:
                await self._settle(batch)

    async def _settle(self, batch: Sequence[Finished]) -> None:
        """Write a batch down, and go on at once with what follows from it."""
        reception, at_s = self._reception(), time.monotonic()
        while not await self._surviving(self._database.run, settle_all, batch, reception):
            logger.info("holding %d finished pieces of work until it is back", len(batch))
            at_s = time.monotonic()
        for item in batch:
            self._forget(item.claim)
            self._finished.task_done()
        if self._crowded or reception.leaves_some or any(map(_is_unfinished, batch)):
            self._awake.set()
        if reception.taken:
            taken = [(Held.since(at_s, claim), work) for claim, work in reception.taken]
            self._held |= {lease.claim.id: lease for lease, _ in taken}
            while not await self._surviving(self._take_up, taken):
                logger.info("holding %d new pieces of work until it is back", len(reception.taken))

    def _reception(self) -> services.Reception:
        """Return what there is room for; work may follow only where a stage can be handed it."""
        is_open = not self._alone and not self._stopping.is_set()
        room = {
            name: self._room_for(stage)
            for name, stage in self._stages.items()
            if is_open and stage.equip is not None and stage.switch is None
        }
        return services.Reception(worker=self.name, room=room)

    async def _take_up(self, taken: Sequence[tuple[Held, Any]]) -> None:
        ready = await self._database.run(self._equipped, taken)
        for lease, _ in taken:
            self._forget(lease.claim)
        await self._begin(ready)

    def _equipped(self, taken: Sequence[tuple[Held, Any]]) -> list[Taken]:
        """Return work that was handed over, with its inputs."""
        ready: list[Taken] = []
        for name in dict.fromkeys(lease.claim.stage for lease, _ in taken):
            stage = self._stages[name]
            mine = [(lease, work) for lease, work in taken if lease.claim.stage == name]
            given = {lease.claim.subject: work for lease, work in mine}
            if stage.equip is not None:
                ready += self._with_inputs(stage, [lease for lease, _ in mine], stage.equip(given))
        return ready

    async def _renew_forever(self) -> None:
        while True:
            await asyncio.sleep(settings.LEASE_MS / 1000 / RENEWALS_PER_LEASE)
            if self._held:
                await self._surviving(self._renew)

    async def _renew(self) -> None:
        """Prolong what is held; work that others have taken over meanwhile is held no longer."""
        held = list(self._held.values())
        at_s, still_mine = await self._database.run(self._prolong, [lease.claim for lease in held])
        for lease in held:
            if lease.claim.id in still_mine:
                lease.prolong(at_s)
            else:
                lease.lose()
                self._forget(lease.claim)

    def _prolong(self, claims: Sequence[Claim]) -> tuple[float, set[int]]:
        return time.monotonic(), services.renew(claims=claims, worker=self.name)

    async def _beat_forever(self) -> None:
        while True:
            await self._surviving(self._beat)
            await asyncio.sleep(BEAT_EVERY_S)

    async def _beat(self) -> None:
        await self._database.run(
            services.beat,
            name=self.name,
            kind="worker",
            started_at=self._started_at,
            at=datetime.now(UTC),
        )

    async def _sign_off(self) -> None:
        for task in list(self._running):
            task.cancel()
        if self._held:
            held = [lease.claim for lease in self._held.values()]
            await self._database.run(services.give_back, held)
        await self._database.run(services.forget, name=self.name)

    async def _close_stages(self) -> None:
        for stage in self._stages.values():
            if stage.close is not None:
                await stage.close()

    async def _drain(self) -> None:
        """Let running work end and be written down, within ``WORKER_STOP_S``."""
        try:
            async with asyncio.timeout(settings.WORKER_STOP_S):
                while self._running:
                    await asyncio.wait(list(self._running))
                await self._finished.join()
        except TimeoutError:
            logger.warning("giving back %d unfinished pieces of work", len(self._running))

    async def _sleep(self) -> None:
        """Wait for a bell, for finished work or for the next work to fall due."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._pause_s):
                await self._awake.wait()

    async def _surviving(self, work: Callable[..., Any], *args: Any) -> bool:
        """Run ``work`` and say whether it went through.

        A database that is away for a moment costs a pause, never the worker.
        """
        try:
            await work(*args)
        except DatabaseError as error:
            logger.warning("database away, trying again: %s", error)
            await asyncio.sleep(AFTER_DATABASE_FAULT_S)
            return False
        return True


def _is_unfinished(item: Finished) -> bool:
    """Say whether the work may be tried again, which is sooner than it would be looked for."""
    return not isinstance(item.result, Done)


def _raise_what_ended(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Let a loop that broke down take the worker with it: a new one is started at once."""
    for task in tasks:
        if task.done():
            task.result()
