from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import pytest
from pytest_django import Settings
from redis.exceptions import RedisError

from markets import breaker
from markets.cache import SharedStore
from pipeline.queue import async_redis_client

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


class Loopback:
    """A real HTTP server on this machine that answers each request as it is told."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.answer: Answer | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def says(self, text: str | bytes) -> None:
        """Answer with these bytes and close."""
        raw = text.encode() if isinstance(text, str) else text

        async def write(writer: asyncio.StreamWriter) -> None:
            writer.write(raw)
            await writer.drain()

        self.answer = write

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length")
        )
        self.requests.append(await reader.readexactly(length))
        assert self.answer is not None
        with suppress(ConnectionError):
            await self.answer(writer)
        writer.close()


@pytest.fixture
async def loopback() -> AsyncIterator[Loopback]:
    site = Loopback()
    server = await asyncio.start_server(site.serve, "127.0.0.1", 0)
    site.port = server.sockets[0].getsockname()[1]
    yield site
    server.close()


@pytest.fixture
async def redis_store(
    redis_url: str, settings: Settings
) -> AsyncIterator[Callable[[], SharedStore]]:
    """Return a maker of stores, each with a client of its own as another process would have."""
    settings.REDIS_TIMEOUT_MS = 10_000  # a busy machine is not an absent Redis
    stores: list[SharedStore] = []

    def make() -> SharedStore:
        stores.append(SharedStore(client=async_redis_client(), faults=(RedisError, OSError)))
        return stores[-1]

    yield make
    for store in stores:
        await store.close()


@pytest.fixture(autouse=True)
def _forgotten_circuits() -> None:
    """Forget what earlier tests did to providers."""
    breaker._OWN.clear()
