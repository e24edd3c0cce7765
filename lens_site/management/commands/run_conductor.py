"""Run the conductor: it publishes decisions, repairs what was left lying, follows outcomes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime
from threading import Event, Thread
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import Error as DatabaseError

from decisions import push
from decisions import services as decisions
from decisions.queries import get_head
from lens_site import metering
from lens_site.demo_feed import DemoFeed
from markets.services import close_markets
from notifications.courier import Courier
from outcomes.tracker import Tracker
from pipeline import anchors, queue, retention, verifying
from pipeline import services as pipeline
from pipeline.chaining import Sealer
from pipeline.reconcile import reconcile
from pipeline.worker import (
    AFTER_DATABASE_FAULT_S,
    BEAT_EVERY_S,
    DatabaseThread,
    Timekeeper,
    program_name,
)
from signals import services as signals

logger = logging.getLogger(__name__)

PURGE_LOOK_S = 60.0
VERIFY_LOOK_S = 60.0

DEMO_LOOK_S = 1.0
COUNT_EVERY_S = 5.0
CATCH_UP_EVERY_S = 0.5


class Command(BaseCommand):
    help = "Run the conductor; a second one is safe and waits its turn."

    def handle(self, **options: Any) -> None:
        asyncio.run(Conductor().run())


class Conductor:
    """Publishes, repairs, reports and shows a demo over one database thread.

    Others track outcomes, send deliveries, count for the metrics and keep the trail; publishing
    waits for none.
    """

    def __init__(self) -> None:
        self.name = program_name("conductor")
        self._database = DatabaseThread()
        self._demo = DemoFeed()
        self._archive = DatabaseThread()
        self._tracker = Tracker(database=self._archive)
        self._keeper = DatabaseThread()
        self._post = DatabaseThread()
        self._courier = Courier(database=self._post)
        self._timekeeper = Timekeeper()
        self._sealer = Sealer()
        self._awake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._started_at = datetime.now(UTC)
        self._has_more_to_count = False

    async def run(self) -> None:
        """Work until told to stop."""
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self._stop)
        silence = self._hear_bells(loop)
        loops = [
            asyncio.create_task(self._repeat(self._publish, self._publish_pause)),
            asyncio.create_task(self._repeat(self._reconcile, self._reconcile_pause)),
            asyncio.create_task(self._repeat(self._beat, self._beat_pause)),
            asyncio.create_task(self._repeat(self._demonstrate, self._demo_pause)),
            asyncio.create_task(self._repeat(self._track, self._track_pause)),
            asyncio.create_task(self._repeat(self._learn, self._learn_pause)),
            asyncio.create_task(self._repeat(self._deliver, self._deliver_pause)),
            asyncio.create_task(self._repeat(self._meter, self._meter_pause)),
            asyncio.create_task(self._repeat(self._seal, self._seal_pause)),
            asyncio.create_task(self._repeat(self._purge, self._purge_pause)),
            asyncio.create_task(self._repeat(self._verify, self._verify_pause)),
        ]
        async with push.announcing():
            await asyncio.gather(*loops)
        silence.set()
        with contextlib.suppress(DatabaseError):
            await self._database.run(pipeline.forget, name=self.name)
        await close_markets()
        await self._courier.close()
        await self._post.close()
        await self._keeper.close()
        await self._database.close()
        await self._archive.close()
        queue.forget_worker(self.name)

    def _stop(self) -> None:
        self._stopping.set()
        self._awake.set()

    def _hear_bells(self, loop: asyncio.AbstractEventLoop) -> Event:
        stop = Event()

        def on_ring() -> None:
            loop.call_soon_threadsafe(self._awake.set)

        Thread(
            target=queue.listen,
            kwargs={
                "queue": pipeline.PUBLISH,
                "name": self.name,
                "on_ring": on_ring,
                "stop": stop,
            },
            daemon=True,
        ).start()
        return stop

    async def _repeat(self, work: Callable[[], Any], pause: Callable[[], Any]) -> None:
        while not self._stopping.is_set():
            try:
                await work()
            except DatabaseError as error:
                logger.warning("database away, trying again: %s", error)
                await asyncio.sleep(AFTER_DATABASE_FAULT_S)
            await pause()

    async def _publish(self) -> None:
        self._awake.clear()
        if not await self._database.run(self._timekeeper.agrees):
            return
        head = await self._database.run(
            decisions.publish, now=datetime.now(UTC), limit=settings.PUBLISH_BATCH
        )
        if head is not None:
            await push.announce_head(head)
            self._awake.set()

    async def _publish_pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(settings.PUBLISH_POLL_MS / 1000):
                await self._awake.wait()

    async def _reconcile(self) -> None:
        now = datetime.now(UTC)
        await self._database.run(reconcile, now=now)
        if await self._database.run(self._timekeeper.agrees):
            await self._database.run(signals.expire_overdue, now=now)

    async def _reconcile_pause(self) -> None:
        await self._wait_s(settings.RECONCILE_EVERY_MS / 1000)

    async def _track(self) -> None:
        now = datetime.now(UTC)
        await self._tracker.look(now=now)
        await self._tracker.score(now=now)

    async def _learn(self) -> None:
        now = datetime.now(UTC)
        await self._tracker.appraise(now=now)
        await self._tracker.learn(now=now)

    async def _learn_pause(self) -> None:
        await self._wait_s(settings.LEARN_EVERY_S)

    async def _track_pause(self) -> None:
        await self._wait_s(settings.TRACK_EVERY_MS / 1000)

    async def _deliver(self) -> None:
        """Send decisions to endpoints, as long as some are due."""
        while not self._stopping.is_set():
            if not await self._courier.look(now=datetime.now(UTC)):
                return

    async def _deliver_pause(self) -> None:
        await self._wait_s(settings.DELIVERY_POLL_MS / 1000)

    async def _seal(self) -> None:
        """Seal what the trail has gained; nobody who writes to it waits for that."""
        while not self._stopping.is_set():
            if not await self._keeper.run(self._sealer.step, now=datetime.now(UTC)):
                break
        head = await self._keeper.run(get_head)
        anchors.reserve(upto=head, at=datetime.now(UTC))

    async def _purge(self) -> None:
        """Remove what is past its time, once a day, resting more than working."""
        if not await self._keeper.run(retention.is_due, now=datetime.now(UTC)):
            return
        purge = await self._keeper.run(retention.start, actor="lens", now=datetime.now(UTC))
        while not self._stopping.is_set():
            began_s = time.monotonic()
            done = await self._keeper.run(retention.step, purge_id=purge.id, now=datetime.now(UTC))
            if done.is_done:
                return
            await self._wait_s(retention.rest_s(time.monotonic() - began_s))

    async def _verify(self) -> None:
        """Read the whole trail again once a day, resting more than working, and keep the result."""
        if not await self._keeper.run(verifying.is_due, now=datetime.now(UTC)):
            return
        reading = await self._keeper.run(lambda: verifying.Verification(outside=anchors.read()))
        steps = reading.steps()
        while not self._stopping.is_set():
            began_s = time.monotonic()
            if await self._keeper.run(next, steps, None) is None:
                await self._keeper.run(
                    verifying.note_verification, report=reading.report, now=datetime.now(UTC)
                )
                return
            await self._wait_s(retention.rest_s(time.monotonic() - began_s))

    async def _verify_pause(self) -> None:
        await self._wait_s(VERIFY_LOOK_S)

    async def _purge_pause(self) -> None:
        await self._wait_s(PURGE_LOOK_S)

    async def _seal_pause(self) -> None:
        await self._wait_s(settings.SEAL_EVERY_MS / 1000)

    async def _beat(self) -> None:
        await self._database.run(
            pipeline.beat,
            name=self.name,
            kind="conductor",
            started_at=self._started_at,
            at=datetime.now(UTC),
        )

    async def _meter(self) -> None:
        self._has_more_to_count = await self._database.run(metering.count_on, now=datetime.now(UTC))

    async def _meter_pause(self) -> None:
        await self._wait_s(CATCH_UP_EVERY_S if self._has_more_to_count else COUNT_EVERY_S)

    async def _beat_pause(self) -> None:
        await self._wait_s(BEAT_EVERY_S)

    async def _demonstrate(self) -> None:
        await self._database.run(self._demo.look, now=datetime.now(UTC))

    async def _demo_pause(self) -> None:
        await self._wait_s(DEMO_LOOK_S)

    async def _wait_s(self, pause_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._stopping.wait()
