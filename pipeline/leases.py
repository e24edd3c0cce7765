"""Leases as their holder sees them: whether work may still be begun, by this process's own clock.

Whoever was frozen wakes up with all its work before it and no idea of the time that has passed.
The database refuses what it would write down; a call that costs money must not even be begun.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


class LeaseOver(Exception):
    """The lease of this work is over or nearly so: somebody else may have it already."""


@dataclass(slots=True)
class Lease:
    """How long the holder of some work may count on it, by ``time.monotonic``."""

    until_s: float

    @property
    def is_held(self) -> bool:
        """Whether what it covers may be begun now."""
        return time.monotonic() < self.until_s


_current: ContextVar[Lease | None] = ContextVar("lease", default=None)


@contextmanager
def holding(lease: Lease) -> Iterator[None]:
    """Let what runs meanwhile know its lease."""
    token = _current.set(lease)
    try:
        yield
    finally:
        _current.reset(token)


def is_held() -> bool:
    """Say whether the current work may begin a call; work outside a worker always may."""
    lease = _current.get()
    return lease is None or lease.is_held
