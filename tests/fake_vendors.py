"""The scripted vendors on loopback, for tests that go through the real SDKs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from evaluation.fake_vendors.app import FakeVendors, Scope
from evaluation.fake_vendors.serving import Receive, Send, Server, in_thread
from evaluation.fake_vendors.wires.known import BASES


class Crowd(FakeVendors):
    """Vendors that answer nobody before ``size`` callers wait at once."""

    size = 0
    waiting = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.waiting += 1
        while self.waiting < self.size:
            await asyncio.sleep(0.01)
        await super().__call__(scope, receive, send)


class Vendors:
    """A running server of all vendors, and what it was asked."""

    def __init__(self, app: Crowd, server: Server) -> None:
        self.app = app
        self.server = server

    def url(self, provider: str) -> str:
        """Return the base URL under which a provider is found."""
        return self.server.url + BASES[provider]

    def script(self, *faults: str | dict[str, Any], **rule: Any) -> None:
        """Add a rule: faults by kind or as a whole, and its other fields by name.

        ``script("429", match={"vendor": "openai"})``, ``script(latency={"ms": 2000})``.
        """
        told = [{"kind": fault} if isinstance(fault, str) else fault for fault in faults]
        self.app.script.add({"faults": told} | rule)

    def answer_only_crowds_of(self, size: int) -> None:
        """Let everybody wait until so many wait at once."""
        self.app.size, self.app.waiting = size, 0

    def ledger(self) -> dict[str, Any]:
        """Return all calls since the last reset, and their totals."""
        return self.app.ledger.told()

    def reset(self) -> None:
        """Forget all calls and rules, and let nobody wait."""
        self.app.size = 0
        self.app.reset()


@contextmanager
def running() -> Iterator[Vendors]:
    """Run the vendors on a free port of loopback while the block runs."""
    app = Crowd()
    with in_thread(app) as server:
        yield Vendors(app, server)
