"""The bell of the feed: one message a publication, one listener a web process.

The channel layer carries no decision, only the word that there are new ones, so it may lose,
double or delay what it likes: whoever listens reads the database, and also looks by itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

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
