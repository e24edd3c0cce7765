"""Run one worker: enrichment, evaluation and jury in one event loop."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

from django.core.management.base import BaseCommand

from decisions import push
from lens_site.serving import settle_in, take_short_turns
from pipeline.stage import wired_stages
from pipeline.worker import Worker, program_name


class Command(BaseCommand):
    help = "Run one worker; start as many as there are cores to spare."

    def handle(self, **options: Any) -> None:
        take_short_turns()
        asyncio.run(self._work())

    async def _work(self) -> None:
        stages, own_name = wired_stages(), program_name("worker")
        worker = Worker(stages=stages, name=own_name, when_warm=settle_in)
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, worker.stop)
        async with push.announcing():
            await worker.run()
