"""How long to wait before the next attempt; pure."""

from __future__ import annotations

from datetime import timedelta
from random import Random


def backoff(
    *, attempt: int, base_ms: int, max_ms: int, after_s: float | None, rng: Random
) -> timedelta:
    """Return the wait after failed attempt number ``attempt`` (1 is the first).

    Doubles from ``base_ms`` up to ``max_ms``, with half of it left to chance so that work that
    failed together does not come back together. A wait that the other side named is honoured.
    """
    if after_s is not None:
        return timedelta(seconds=max(0.0, after_s))
    ceiling = min(max_ms, base_ms * 2 ** (attempt - 1))
    return timedelta(milliseconds=ceiling * (0.5 + rng.random() / 2))
