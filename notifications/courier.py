"""The loop that takes deliveries out: what was published becomes rows, what is due is sent.

No transaction is open while a receiver is waited for. Stopping it anywhere is safe: what was taken
up and not settled is due again when its lease is over.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import UUID

from django.conf import settings

from notifications import services
from notifications.notifiers.webhook import Webhooks
from notifications.services import Parcel

logger = logging.getLogger(__name__)


class Database(Protocol):
    """Calls a function in the thread that owns the database's connection."""

    def run(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Awaitable[Any]:
        """Return what ``work`` returns."""


class Courier:
    """Gathers, takes up, sends, settles; looks again while receivers are waited for."""

    def __init__(self, *, database: Database, webhooks: Webhooks | None = None) -> None:
        self._database = database
        self._webhooks = webhooks
        self._under_way: dict[asyncio.Task[None], UUID] = {}

    async def look(self, *, now: datetime) -> int:
        """Gather what was published, begin to send what is due, and return how many were begun."""
        await self._database.run(services.gather, now=now)
        parcels = await self._database.run(
            services.claim,
            limit=settings.DELIVERY_CONCURRENCY - len(self._under_way),
            busy=Counter(self._under_way.values()),
            now=now,
        )
        for parcel in parcels:
            task = asyncio.create_task(self._deliver(parcel))
            self._under_way[task] = parcel.delivery.endpoint_id
            task.add_done_callback(self._end)
        return len(parcels)

    async def finish(self) -> None:
        """Wait until what is under way has come to its end."""
        while self._under_way:
            await asyncio.wait(list(self._under_way))

    async def close(self) -> None:
        """Leave what is under way, which is sent again when its lease is over, and close."""
        for task in list(self._under_way):
            task.cancel()
        await self.finish()
        if self._webhooks is not None:
            await self._webhooks.close()

    def _end(self, task: asyncio.Task[None]) -> None:
        del self._under_way[task]
        if not task.cancelled() and (error := task.exception()):
            logger.warning("a delivery was not settled, and is made again: %s", error)

    async def _deliver(self, parcel: Parcel) -> None:
        row = parcel.delivery
        answer = await self._client().send(
            url=row.endpoint.url, body=row.body, headers=parcel.headers
        )
        await self._database.run(
            services.settle, parcel=parcel, answer=answer, now=datetime.now(UTC)
        )

    def _client(self) -> Webhooks:
        """Return the client, opened at the first delivery: most desks send nothing."""
        if self._webhooks is None:
            self._webhooks = Webhooks(
                timeout_s=settings.DELIVERY_TIMEOUT_S, allowed=settings.LOCAL_MODEL_HOSTS
            )
        return self._webhooks
