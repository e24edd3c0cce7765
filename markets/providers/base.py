"""The contract that every market-data provider keeps, and the errors it may raise."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import ClassVar, Literal, Protocol

from markets.types import CandleSeries, Derivatives, OrderBook, Quote

_NOTHING: Mapping[str, str] = MappingProxyType({})


class MarketDataUnavailable(Exception):
    """The provider cannot answer now; try again, after ``retry_after_s`` if it is given."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RateLimited(MarketDataUnavailable):
    """The provider says that it was asked too often."""


class BadMarketData(Exception):
    """The provider answered, but not with what was asked for."""


class UnknownInstrument(Exception):
    """The provider does not have what was asked for; trying again will not help."""


class Meter(Protocol):
    """Counts what calls cost a provider, before and after each."""

    async def reserve(self, weight: int) -> None:
        """Set ``weight`` aside for a call.

        :raises MarketDataUnavailable: if it does not fit now.
        """

    async def settle(self, *, reserved: int, spent: int) -> None:
        """Give back what a call did not use."""


class Unmetered:
    """The meter of a provider that may be asked as often as one likes."""

    async def reserve(self, weight: int) -> None:
        """Let every call pass."""

    async def settle(self, *, reserved: int, spent: int) -> None:
        """Give nothing back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivativesSheet:
    """The derivatives of all instruments of a venue, from one answer.

    ``refused`` says, by symbol, what was wrong with a row: one bad row must not hide the others.
    """

    rows: Mapping[str, Derivatives]
    refused: Mapping[str, str] = field(default_factory=dict)

    def pick(self, symbol: str) -> Derivatives:
        """Return the row of one instrument.

        :raises BadMarketData: if its row was refused.
        :raises UnknownInstrument: if there is no such row.
        """
        if symbol in self.refused:
            raise BadMarketData(self.refused[symbol])
        if symbol not in self.rows:
            raise UnknownInstrument(f"{symbol} has no perpetual here")
        return self.rows[symbol]


class MarketDataProvider(ABC):
    """Tells prices, candles, book and derivatives of instruments, as of a moment.

    With ``clock`` "wall" it tells the present and ``as_of`` is the caller's now; with "signal" it
    tells the past as it was known at ``as_of``. Every answer carries its own ``as_of`` and source.
    A provider that holds connections belongs to the event loop of its first call.
    """

    needs_network: ClassVar[bool] = True
    simulated: ClassVar[bool] = False
    clock: ClassVar[Literal["wall", "signal"]] = "wall"
    weight_per_min: ClassVar[int] = 0  # what all callers together may spend; 0 counts nothing
    settle_s: ClassVar[float] = 0.0  # how long after its close a candle may still change
    book_quotes: ClassVar[bool] = False  # the book's top is the quote, so one call serves both
    absent: ClassVar[Mapping[str, str]] = _NOTHING  # fields it never tells, and why

    def __init__(self, *, name: str) -> None:
        self.name = name
        self.meter: Meter = Unmetered()

    @abstractmethod
    async def candles(
        self, *, symbol: str, timeframe: str, count: int, as_of: datetime
    ) -> CandleSeries:
        """Return at most ``count`` candles closed at or before ``as_of``, newest last.

        :raises MarketDataUnavailable: on time-out, rate limit or fault of the venue.
        :raises BadMarketData: if the answer does not hold candles.
        :raises UnknownInstrument: if the venue has no such instrument or timeframe.
        """

    @abstractmethod
    async def quote(self, *, symbol: str, as_of: datetime) -> Quote:
        """Return the price, raising as ``candles`` does."""

    @abstractmethod
    async def book(self, *, symbol: str, as_of: datetime) -> OrderBook | None:
        """Return the order book, or None where there are none; raises as ``candles`` does."""

    @abstractmethod
    async def derivatives(self, *, symbol: str, as_of: datetime) -> Derivatives | None:
        """Return funding and open interest, or None where there are none; raises likewise."""

    async def derivatives_sheet(self, *, as_of: datetime) -> DerivativesSheet | None:
        """Return the derivatives of all instruments if one call tells them, else None."""
        return None

    async def instruments(self, *, as_of: datetime) -> frozenset[str] | None:
        """Return the symbols of all instruments if a cheap call tells them, else None."""
        return None

    async def close(self) -> None:
        """Let go of connections."""
        return
