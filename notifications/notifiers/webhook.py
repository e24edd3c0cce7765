"""Sends a body to an address over HTTP and tells what came back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping

import httpx2

from notifications.notifiers.base import Answer
from pipeline import egress

ANSWER_MAX_BYTES = 2_000
CONNECT_TIMEOUT_S = 5.0
IDLE_MAX = 4  # connections kept for one endpoint


class Webhooks:
    """One client for all endpoints: no redirects, nothing from the environment, no address of ours.

    Hosts in ``allowed`` may lie in a network of our own.
    """

    def __init__(
        self,
        *,
        timeout_s: float,
        allowed: Collection[str],
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        if transport is None:
            pinned = egress.open_transport(allowed=allowed, idle_max=IDLE_MAX)
        else:
            pinned = egress.Pinned(transport, allowed=allowed)
        self._timeout_s = timeout_s
        self._client = httpx2.AsyncClient(
            transport=pinned,
            timeout=httpx2.Timeout(timeout_s, connect=min(CONNECT_TIMEOUT_S, timeout_s)),
            follow_redirects=False,
            trust_env=False,
        )

    async def send(self, *, url: str, body: str, headers: Mapping[str, str]) -> Answer:
        """Send once and return what came of it, whatever that is."""
        began_s = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout_s):
                status, text = await self._answer(url, body, headers)
        except TimeoutError:
            return Answer(error=f"no answer within {self._timeout_s:g} s", duration_ms=_ms(began_s))
        except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError) as error:
            said = str(error) or type(error).__name__
            return Answer(error=said[:500], duration_ms=_ms(began_s))
        return Answer(status=status, text=text, duration_ms=_ms(began_s))

    async def close(self) -> None:
        """Close what is open."""
        await self._client.aclose()

    async def _answer(self, url: str, body: str, headers: Mapping[str, str]) -> tuple[int, str]:
        sent = self._client.stream("POST", url, content=body.encode(), headers=dict(headers))
        async with sent as response:
            read = bytearray()
            async for piece in response.aiter_bytes():
                read += piece
                if len(read) >= ANSWER_MAX_BYTES:
                    break
            return response.status_code, bytes(read[:ANSWER_MAX_BYTES]).decode(errors="replace")


def _ms(began_s: float) -> float:
    return (time.monotonic() - began_s) * 1_000
