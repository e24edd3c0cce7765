"""A made-up market that takes its time, as one behind a network does."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from markets.providers.simulated import Simulated

LATENCY_S = 0.1


class Slow(Simulated):
    """Answers everything 100 ms later, and is asked through the caches as a venue is."""

    needs_network: ClassVar[bool] = True

    async def candles(self, **asked: Any) -> Any:
        """Return candles, late."""
        await asyncio.sleep(LATENCY_S)
        return await super().candles(**asked)

    async def quote(self, **asked: Any) -> Any:
        """Return the price, late."""
        await asyncio.sleep(LATENCY_S)
        return await super().quote(**asked)

    async def book(self, **asked: Any) -> Any:
        """Return the book, late."""
        await asyncio.sleep(LATENCY_S)
        return await super().book(**asked)

    async def derivatives(self, **asked: Any) -> Any:
        """Return the derivatives, late."""
        await asyncio.sleep(LATENCY_S)
        return await super().derivatives(**asked)
