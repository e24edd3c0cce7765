"""A market that says what a test tells it to say, and counts what it was asked."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar, Literal

import numpy as np

from markets.providers.base import MarketDataProvider, UnknownInstrument
from markets.types import CandleSeries, Derivatives, OrderBook, Quote
from quant.types import TIMEFRAMES, Bars
from tests.factories import NOON

HISTORY = 320


def make_bars(timeframe: str, *, last_close: datetime, count: int = HISTORY) -> Bars:
    """Return a random walk that ends near 42,000, one candle after the other."""
    step_ms = TIMEFRAMES[timeframe] * 1000
    end_ms = int(last_close.timestamp() * 1000) // step_ms * step_ms
    rng = np.random.default_rng(TIMEFRAMES[timeframe])
    walk = np.cumsum(rng.normal(scale=0.001, size=count + 1))
    path = 42_000 * np.exp(walk - walk[-1])
    opened, close = path[:-1].copy(), path[1:].copy()
    high, low = np.maximum(opened, close) * 1.0005, np.minimum(opened, close) * 0.9995
    times = end_ms - step_ms * np.arange(count, 0, -1, dtype=np.int64)
    return Bars(times, opened, high, low, close, rng.gamma(2.0, 50.0, size=count), step_ms // 1000)


@dataclass
class Script:
    """What the market says; ``faults`` by call name are raised instead."""

    bars: dict[str, Bars] = field(default_factory=dict)
    last_close: datetime = NOON
    mid: float = 42_010.0
    bid: float | None = 42_009.5
    ask: float | None = 42_010.5
    quoted_at: datetime | None = None
    book: OrderBook | None = None
    derivatives: Derivatives | None = None
    faults: dict[str, Exception] = field(default_factory=dict)
    slow: dict[str, float] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    may_look_ahead: bool = False

    def __post_init__(self) -> None:
        self.book = self.book or make_book()
        self.derivatives = self.derivatives or make_derivatives()


def make_book(*, mid: float = 42_010.0, reach: float = 0.06, **changes: Any) -> OrderBook:
    """Return a book with twice as much to buy as to sell, out to ``reach`` of the mid."""
    steps = np.linspace(0.0001, reach, 40)
    values: dict[str, Any] = {
        "symbol": "BTC",
        "bids": tuple((float(mid * (1 - step)), 2.0) for step in steps),
        "asks": tuple((float(mid * (1 + step)), 1.0) for step in steps),
        "as_of": NOON,
        "source": "script",
    }
    return OrderBook(**(values | changes))


def make_derivatives(**changes: Any) -> Derivatives:
    """Return the state of a perpetual about which everything is known."""
    values: dict[str, Any] = {
        "symbol": "BTC",
        "funding_rate": 0.0000125,
        "predicted_funding": 0.00001,
        "open_interest": 12_345.6,
        "oi_change_24h_pct": -1.5,
        "mark_price": 42_011.0,
        "oracle_price": 42_012.0,
        "as_of": NOON,
        "source": "script",
    }
    return Derivatives(**(values | changes))


class Scripted(MarketDataProvider):
    """Tells what its script says, as of now."""

    needs_network: ClassVar[bool] = False

    def __init__(self, *, name: str, script: Script) -> None:
        super().__init__(name=name)
        self.script = script

    async def candles(
        self, *, symbol: str, timeframe: str, count: int, as_of: datetime
    ) -> CandleSeries:
        await self._asked(f"candles.{timeframe}")
        bars = self.script.bars.get(timeframe)
        if bars is None:
            bars = make_bars(timeframe, last_close=self.script.last_close)
        if not self.script.may_look_ahead:
            bars = bars[: int(np.searchsorted(bars.close_ms, as_of.timestamp() * 1000, "right"))]
            bars = bars[-count:]
        return CandleSeries(
            symbol="BTC", timeframe=timeframe, bars=bars, as_of=as_of, source="script"
        )

    async def quote(self, *, symbol: str, as_of: datetime) -> Quote:
        await self._asked("quote")
        if symbol != "BTC":
            raise UnknownInstrument(f"{symbol} is not listed")
        script = self.script
        return Quote(
            symbol=symbol,
            mid=script.mid,
            bid=script.bid,
            ask=script.ask,
            as_of=script.quoted_at or as_of,
            source="script",
        )

    async def book(self, *, symbol: str, as_of: datetime) -> OrderBook | None:
        await self._asked("book")
        return self.script.book

    async def derivatives(self, *, symbol: str, as_of: datetime) -> Derivatives | None:
        await self._asked("derivatives")
        return self.script.derivatives

    async def _asked(self, what: str) -> None:
        self.script.asked.append(what)
        await asyncio.sleep(self.script.slow.get(what, 0))
        if what in self.script.faults:
            raise self.script.faults[what]


class ScriptedPast(Scripted):
    """Tells what its script says, as of the signal's own time."""

    clock: ClassVar[Literal["wall", "signal"]] = "signal"


def later(**duration: float) -> datetime:
    """Return a moment so long after noon."""
    return NOON + timedelta(**duration)
