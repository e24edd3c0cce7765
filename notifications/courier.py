"""The loop that takes deliveries out: what was published becomes rows, what is due is sent.

No transaction is open while a receiver is waited for. Stopping it anywhere is safe: what was taken
up and not settled is due again when its lease is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Protocol

from django.conf import settings

from notifications import services
from notifications.notifiers.webhook import Webhooks
from notifications.services import Parcel


class Database(Protocol):
    """Calls a function in the thread that owns the database's connection."""

    def run(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Awaitable[Any]:
        """Return what ``work`` returns."""


class Courier:
    """Gathers, takes up, sends, settles."""

    def __init__(self, *, database: Database, webhooks: Webhooks | None = None) -> None:
        self._database = database
        self._webhooks = webhooks

    async def look(self, *, now: datetime) -> int:
        """Gather what was published, send what is due, and return how many attempts were made."""
        await self._database.run(services.gather, now=now)
        parcels = await self._database.run(
            services.claim, limit=settings.DELIVERY_CONCURRENCY, now=now
        )
        await asyncio.gather(*(self._deliver(parcel) for parcel in parcels))
        return len(parcels)

    async def close(self) -> None:
        """Close what is open."""
        if self._webhooks is not None:
            await self._webhooks.close()

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
