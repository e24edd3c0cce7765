"""The scripted vendors on loopback, for tests that go through the real SDKs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from evaluation.fake_vendors.app import FakeVendors
from evaluation.fake_vendors.serving import Server, in_thread
from evaluation.fake_vendors.wires.known import BASES


class Vendors:
    """A running server of all vendors, and what it was asked."""

    def __init__(self, app: FakeVendors, server: Server) -> None:
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

    def ledger(self) -> dict[str, Any]:
        """Return all calls since the last reset, and their totals."""
        return self.app.ledger.told()

    def reset(self) -> None:
        """Forget all calls and rules."""
        self.app.reset()


@contextmanager
def running() -> Iterator[Vendors]:
    """Run the vendors on a free port of loopback while the block runs."""
    app = FakeVendors()
    with in_thread(app) as server:
        yield Vendors(app, server)
