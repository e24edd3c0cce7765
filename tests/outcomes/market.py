"""Candles made by hand, minute by minute from noon on."""

from __future__ import annotations

import numpy as np

from quant.types import Bars
from tests.factories import NOON

NOON_MS = int(NOON.timestamp() * 1000)
MINUTE_MS = 60_000
Candle = tuple[float, float, float, float]


def make_bars(*candles: Candle, start: int = 0, without: frozenset[int] = frozenset()) -> Bars:
    """Return candles (open, high, low, close) of the minutes from ``start`` after noon on."""
    kept = [place for place in range(len(candles)) if place + start not in without]
    table = np.array([candles[place] for place in kept], dtype=np.float64).reshape(-1, 4)
    times = np.array([NOON_MS + (place + start) * MINUTE_MS for place in kept], dtype=np.int64)
    first, high, low, last = (np.ascontiguousarray(column) for column in table.T)
    return Bars(times, first, high, low, last, np.ones(len(kept)), 60)


def flat(minutes: int, price: float = 100.0) -> list[Candle]:
    """Return minutes in which nothing happens."""
    return [(price, price + 0.1, price - 0.1, price)] * minutes
