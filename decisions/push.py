"""The bell of the feed: one message a publication, one listener a web process.

The channel layer carries no decision, only the word that there are new ones, so it may lose,
double or delay what it likes: whoever listens reads the database, and also looks by itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from channels.layers import get_channel_layer
from django.conf import settings

from pipeline.queue import RedisError

logger = logging.getLogger(__name__)

GROUP = "decisions"
RETRY_S = 1.0
AWAY = (RedisError, OSError, TimeoutError)


async def announce_head(head: int) -> None:
    """Tell every web process that decisions up to ``head`` are out; never raises for Redis."""
    try:
        async with asyncio.timeout(settings.REDIS_TIMEOUT_MS / 1000):
            await get_channel_layer().group_send(GROUP, {"type": "feed.head", "head": head})
    except AWAY as error:
        logger.warning(
            "head %s not announced, web processes will look by themselves: %s", head, error
        )


class Announcer:
    """Announces new heads from one event loop, whatever thread they come from; the last counts."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._head = 0

    def tell(self, head: int) -> None:
        """Have a head announced soon; call from any thread."""
        self._head = max(self._head, head)
        with suppress(RuntimeError):  # the loop has ended: web processes look by themselves
            self._loop.call_soon_threadsafe(self._news.set)

    async def run(self) -> None:
        """Announce whatever is told, until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            await announce_head(self._head)


_announcers: list[Announcer] = []


@asynccontextmanager
async def announcing() -> AsyncIterator[None]:
    """Let this process announce what is published in it, while the block runs."""
    announcer = Announcer()
    _announcers.append(announcer)
    task = asyncio.create_task(announcer.run())
    try:
        yield
    finally:
        _announcers.remove(announcer)
        task.cancel()


def announce(head: int) -> None:
    """Have a head announced by this process, if it does; else web processes look by themselves."""
    for announcer in _announcers:
        announcer.tell(head)


async def listen(*, on_bell: Callable[[], None]) -> None:
    """Call ``on_bell`` at every announcement, until cancelled; survives any absence of Redis."""
    while True:
        try:
            await _hear(on_bell)
        except AWAY as error:
            logger.warning("not hearing announcements for a moment: %s", error)
        await asyncio.sleep(RETRY_S)


async def _hear(on_bell: Callable[[], None]) -> None:
    layer = get_channel_layer()
    channel = await layer.new_channel()
    try:
        await layer.group_add(GROUP, channel)
        while True:
            await layer.receive(channel)
            on_bell()
    finally:
        with suppress(*AWAY):
            await layer.group_discard(GROUP, channel)
