"""What the market said, and when: the values that cross into other rooms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from quant.types import Bars

Level = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """The price of one instrument; ``bid`` and ``ask`` are None where nobody quotes."""

    symbol: str
    mid: float
    bid: float | None
    ask: float | None
    as_of: datetime
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderBook:
    """Resting orders as (price, size) in base units, best first on both sides."""

    symbol: str
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    as_of: datetime
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Derivatives:
    """The state of one perpetual: funding as a fraction per hour, open interest in base units.

    A field is None where the venue does not say; ``MarketDataProvider.absent`` gives the reason
    for fields that it never says.
    """

    symbol: str
    funding_rate: float | None
    predicted_funding: float | None
    open_interest: float | None
    oi_change_24h_pct: float | None
    mark_price: float | None
    oracle_price: float | None
    as_of: datetime
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CandleSeries:
    """Closed candles of one instrument and timeframe, oldest first."""

    symbol: str
    timeframe: str
    bars: Bars
    as_of: datetime
    source: str


class CircuitPhase(StrEnum):
    """Whether a provider is being asked."""

    CLOSED = "CLOSED"
    OPEN = "OPEN"
    PROBING = "PROBING"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderState:
    """How one provider is doing, for people who look after the product."""

    name: str
    phase: CircuitPhase
    open_until: datetime | None
    faults_in_row: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingSpan:
    """What one candle file covers: from the first open to the last close."""

    path: str
    timeframe_s: int
    rows: int
    first_open_at: datetime
    last_close_at: datetime


class Scripts(Protocol):
    """Runs a script where all processes see it."""

    async def script(
        self, text: str, *, key: str, args: Sequence[str | int | bytes]
    ) -> object | None:
        """Return what the script answers, or None while there is no shared place."""
