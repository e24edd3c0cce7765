"""Market data for the other rooms: one provider behind a cache, a budget and a breaker."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Literal, TypeVar
from weakref import WeakKeyDictionary

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from markets import cache, parsing
from markets.breaker import Breaker, Verdict
from markets.budget import WeightBudget
from markets.providers.base import (
    BadMarketData,
    MarketDataProvider,
    MarketDataUnavailable,
    RateLimited,
    UnknownInstrument,
)
from markets.providers.recorded import BadRecording, load_candles
from markets.types import CandleSeries, Derivatives, OrderBook, Quote, RecordingSpan
from pipeline import spans
from pipeline.plugins import build_plugins
from pipeline.queue import RedisError, async_redis_client
from quant.types import TIMEFRAMES

__all__ = [
    "BadMarketData",
    "BadRecording",
    "BudgetExhausted",
    "CircuitOpen",
    "Market",
    "MarketDataUnavailable",
    "RateLimited",
    "UnknownInstrument",
    "close_markets",
    "market_named",
    "recording_span",
]

T = TypeVar("T")
Sheet = dict[str, Derivatives | str | None]

BOOK_FRESH_S = 1.0  # Source: reliability.md section 6
CONTEXT_FRESH_S = 5.0
CANDLES_KEPT_S = 86_400.0  # closed candles never change; this only forgets what nobody asks for
CANDLE_STEP = 60  # candles are fetched by whole steps, so that wishes for 200 and 210 share one
STEPPED_COUNT = 1_000  # a larger wish is fetched as it is: a venue has an end of its own
LATE_MIN_S = 10.0  # how long a candle that did not come is not asked for again
LATE_MAX_S = 30.0
LISTING_FRESH_S = 60.0
ALL = "*"


class BudgetExhausted(MarketDataUnavailable):
    """Asking now would cost more than the provider lets all of us spend."""


class CircuitOpen(MarketDataUnavailable):
    """The provider failed too often and is left alone for a while."""


class Market:
    """One provider, asked sparingly.

    Answers are kept while they are fresh and fetched once for all who want them, in this process
    and in others; a call that does not fit the provider's budget, or would reach it while it is
    failing, is refused with the time to wait. Belongs to the event loop it is first used in.
    """

    def __init__(
        self,
        *,
        provider: MarketDataProvider,
        store: cache.SharedStore | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._provider = provider
        self._clock = clock
        shared = store or cache.SharedStore(clock=clock)
        self._cache = cache.SharedCache(store=shared, clock=clock)
        self._breaker = Breaker(name=provider.name, scripts=shared, clock=wall_clock)
        self._meter = _SpendingMeter(provider=provider, store=shared, clock=clock)
        if provider.weight_per_min:
            provider.meter = self._meter
        self._shelves = _Shelves(provider.name)
        self._listed: frozenset[str] | None = frozenset()
        self._listed_until_s = -1.0

    @property
    def name(self) -> str:
        """The provider's name."""
        return self._provider.name

    @property
    def simulated(self) -> bool:
        """Whether the market does not exist."""
        return self._provider.simulated

    @property
    def clock(self) -> Literal["wall", "signal"]:
        """Whether answers are of now or of the asked moment."""
        return self._provider.clock

    @property
    def absent(self) -> Mapping[str, str]:
        """The fields that this provider never tells, and why."""
        return self._provider.absent

    @property
    def weight_used(self) -> int:
        """The weight that this market has spent on its provider so far."""
        return self._meter.spent

    async def candles(
        self, *, symbol: str, timeframe: str, count: int, as_of: datetime
    ) -> CandleSeries:
        """Return at most ``count`` candles closed at or before ``as_of``, newest last.

        :raises MarketDataUnavailable: on a fault of the provider, its open circuit or the budget.
        :raises BadMarketData: if the provider answered with something else.
        :raises UnknownInstrument: if it has no such instrument or timeframe.
        """
        if not self._provider.needs_network:
            return await self._provider.candles(
                symbol=symbol, timeframe=timeframe, count=count, as_of=as_of
            )
        coin = await self._coin(symbol, as_of=as_of)
        if timeframe not in TIMEFRAMES:
            raise UnknownInstrument(f"no candles of timeframe {timeframe!r}")
        wish = _CandleWish(
            coin=coin,
            timeframe=timeframe,
            count=count,
            as_of=as_of,
            settle_s=self._provider.settle_s,
        )
        tail = await self._tail(wish)
        return CandleSeries(
            symbol=coin,
            timeframe=timeframe,
            bars=tail.closed(count=count, end_ms=wish.end_ms),
            as_of=as_of,
            source=tail.source,
        )

    async def quote(self, *, symbol: str, as_of: datetime) -> Quote:
        """Return the price; ``as_of`` of the answer says of when. Raises as ``candles`` does."""
        if not self._provider.needs_network:
            with spans.span(f"market {self.name}", lens__provider=self.name):
                return await self._provider.quote(symbol=symbol, as_of=as_of)
        if self._provider.book_quotes:
            book = await self.book(symbol=symbol, as_of=as_of)
            if book is not None and book.bids and book.asks:
                return _top_of(book)
        coin = await self._coin(symbol, as_of=as_of)
        return await self._cache.fresh(
            self._shelves.quotes,
            coin,
            lambda _: self._asked(lambda: self._provider.quote(symbol=coin, as_of=as_of)),
        )

    async def book(self, *, symbol: str, as_of: datetime) -> OrderBook | None:
        """Return the order book, or None where there are none. Raises as ``candles`` does."""
        if not self._provider.needs_network:
            return await self._provider.book(symbol=symbol, as_of=as_of)
        coin = await self._coin(symbol, as_of=as_of)
        return await self._cache.fresh(
            self._shelves.books,
            coin,
            lambda _: self._asked(lambda: self._provider.book(symbol=coin, as_of=as_of)),
        )

    async def derivatives(self, *, symbol: str, as_of: datetime) -> Derivatives | None:
        """Return funding and open interest, or None where there are none. Raises likewise."""
        if not self._provider.needs_network:
            return await self._provider.derivatives(symbol=symbol, as_of=as_of)
        coin = await self._coin(symbol, as_of=as_of)
        sheet = await self._cache.fresh(
            self._shelves.sheets, ALL, lambda _: self._asked(lambda: self._sheet(as_of=as_of))
        )
        if not sheet:
            sheet = await self._cache.fresh(
                self._shelves.sheets,
                coin,
                lambda _: self._asked(lambda: self._single_row(coin, as_of=as_of)),
            )
        if coin not in sheet:
            raise UnknownInstrument(f"{self.name} has no perpetual of {coin}")
        row = sheet[coin]
        if isinstance(row, str):
            raise BadMarketData(row)
        return row

    async def close(self) -> None:
        """Stop what is under way and let go of connections."""
        await self._cache.close()
        await self._provider.close()

    async def _tail(self, wish: _CandleWish) -> cache.CandleTail:
        """Return candles that fulfil a wish, fetching only those closed since the last time."""
        shelf, key = self._shelves.candles, f"{wish.coin}:{wish.timeframe}"
        kept = shelf.get(key, now_s=self._clock())
        if kept is not None and wish.end_ms < kept.end_ms:
            if kept.reaches_back(count=wish.least, end_ms=wish.end_ms):
                return kept
            return await self._fetched(wish, None)  # long ago: of no use to others
        return await self._cache.fresh(
            shelf,
            key,
            lambda last: self._fetched(wish, last),
            is_usable=wish.is_met_by,
            flight=f"{wish.count}:{wish.end_ms}",
        )

    async def _fetched(self, wish: _CandleWish, last: cache.CandleTail | None) -> cache.CandleTail:
        missing = wish.missing_after(last)
        series = await self._asked(
            lambda: self._provider.candles(
                symbol=wish.coin, timeframe=wish.timeframe, count=missing, as_of=wish.as_of
            )
        )
        bars, asked = series.bars, wish.count
        if last is not None and missing < wish.count:
            bars, asked = cache.joined(last.bars, bars, count=last.asked), last.asked
        return cache.CandleTail(
            bars=bars,
            asked=asked,
            end_ms=wish.end_ms,
            look_again_ms=wish.look_again_ms,
            source=series.source,
        )

    async def _sheet(self, *, as_of: datetime) -> Sheet:
        sheet = await self._provider.derivatives_sheet(as_of=as_of)
        return {} if sheet is None else {**sheet.rows, **sheet.refused}

    async def _single_row(self, coin: str, *, as_of: datetime) -> Sheet:
        return {coin: await self._provider.derivatives(symbol=coin, as_of=as_of)}

    async def _coin(self, symbol: str, *, as_of: datetime) -> str:
        """Return the venue's name of an instrument.

        An unknown one is found out by a cheap list once a minute, so that asking for nonsense
        cannot spend the budget that real instruments need.

        :raises UnknownInstrument: if the provider does not list it.
        """
        coin = parsing.venue_symbol(symbol)
        if self._listed is None or coin in self._listed:
            return coin
        if self._clock() >= self._listed_until_s:
            self._listed = await self._cache.once(
                "instruments",
                lambda: self._asked(lambda: self._provider.instruments(as_of=as_of)),
            )
            self._listed_until_s = self._clock() + LISTING_FRESH_S
        if self._listed is not None and coin not in self._listed:
            raise UnknownInstrument(f"{self.name} does not list {coin}")
        return coin

    async def _asked(self, call: Callable[[], Awaitable[T]]) -> T:
        """Return what the provider answers, if it may be asked, and remember how it did."""
        wait_s = await self._breaker.admit()
        if wait_s > 0:
            raise CircuitOpen(
                f"{self.name} is failing and left alone for {wait_s:.0f} s", retry_after_s=wait_s
            )
        try:
            with spans.span(f"market {self.name}", lens__provider=self.name):
                answer = await call()
        except BudgetExhausted:
            raise  # says nothing about the provider
        except UnknownInstrument:
            await self._breaker.judge(Verdict.GOOD)
            raise
        except RateLimited as error:
            await self._breaker.judge(
                Verdict.LIMITED, retry_after_s=error.retry_after_s, reason=str(error)
            )
            raise
        except (MarketDataUnavailable, BadMarketData) as error:
            await self._breaker.judge(Verdict.FAULT, reason=str(error))
            raise
        await self._breaker.judge(Verdict.GOOD)
        return answer


def _top_of(book: OrderBook) -> Quote:
    bid, ask = book.bids[0][0], book.asks[0][0]
    return Quote(
        symbol=book.symbol,
        mid=(bid + ask) / 2,
        bid=bid,
        ask=ask,
        as_of=book.as_of,
        source=book.source,
    )


class _SpendingMeter:
    """Counts what one market spends against the budget that all processes share."""

    def __init__(
        self,
        *,
        provider: MarketDataProvider,
        store: cache.SharedStore,
        clock: Callable[[], float],
    ) -> None:
        self.spent = 0
        self._name = provider.name
        self._budget = WeightBudget(
            name=provider.name, per_min=provider.weight_per_min, scripts=store, clock=clock
        )

    async def reserve(self, weight: int) -> None:
        wait_s = await self._budget.reserve(weight)
        if wait_s > 0:
            raise BudgetExhausted(
                f"asking {self._name} now would go over its budget", retry_after_s=wait_s
            )
        self.spent += weight

    async def settle(self, *, reserved: int, spent: int) -> None:
        if spent < reserved:
            self.spent -= reserved - spent
            await self._budget.refund(reserved - spent)


class _Shelves:
    """Where a market keeps its answers, by kind."""

    def __init__(self, name: str) -> None:
        self.books = cache.Shelf[OrderBook | None](
            kind=f"{name}:book",
            fresh_s=BOOK_FRESH_S,
            encode=parsing.book_text,
            decode=parsing.book_of,
        )
        self.quotes = cache.Shelf[Quote](
            kind=f"{name}:quote",
            fresh_s=BOOK_FRESH_S,
            encode=parsing.quote_text,
            decode=parsing.quote_of,
        )
        self.sheets = cache.Shelf[Sheet](
            kind=f"{name}:derivatives",
            fresh_s=CONTEXT_FRESH_S,
            encode=parsing.sheet_text,
            decode=parsing.sheet_of,
        )
        self.candles = cache.Shelf[cache.CandleTail](
            kind=f"{name}:candles",
            fresh_s=CANDLES_KEPT_S,
            encode=cache.tail_text,
            decode=cache.tail_of,
        )


class _CandleWish:
    """Candles that somebody wants, up to the last one that is final at ``as_of``.

    ``least`` is how many are wanted, ``count`` how many are fetched for that.
    """

    def __init__(
        self, *, coin: str, timeframe: str, count: int, as_of: datetime, settle_s: float
    ) -> None:
        self.coin = coin
        self.timeframe = timeframe
        self.least = count
        self.count = count
        if count <= STEPPED_COUNT:
            self.count = math.ceil(count / CANDLE_STEP) * CANDLE_STEP
        self.as_of = as_of
        self._step_ms = TIMEFRAMES[timeframe] * 1000
        self._now_ms = int(as_of.timestamp() * 1000)
        final_ms = self._now_ms - int(settle_s * 1000)
        self.end_ms = final_ms // self._step_ms * self._step_ms

    def is_met_by(self, tail: cache.CandleTail) -> bool:
        """Return whether kept candles hold all that is wanted."""
        if not tail.reaches_back(count=self.least, end_ms=self.end_ms):
            return False
        if tail.last_close_ms >= self.end_ms:
            return True
        return tail.end_ms >= self.end_ms and self._now_ms < tail.look_again_ms

    def missing_after(self, last: cache.CandleTail | None) -> int:
        """Return how many candles closed after the last known one; all that are wanted if none."""
        if last is None or last.asked < self.count or not len(last.bars):
            return self.count
        missing = (self.end_ms - last.last_close_ms) // self._step_ms
        return missing if 0 < missing < self.count else self.count

    @property
    def look_again_ms(self) -> int:
        """When to ask once more if the newest candle did not come."""
        step_s = self._step_ms / 1000
        return self._now_ms + int(1000 * min(max(step_s / 60, LATE_MIN_S), LATE_MAX_S))


def market_named(name: str, *, recording: str | None = None) -> Market:
    """Return the running event loop's market of a provider that ``PROVIDERS`` names.

    ``recording`` is the candle file of a provider that reads one.

    :raises ImproperlyConfigured: if there is no such provider or its options are refused.
    :raises RuntimeError: if no event loop is running.
    """
    markets = _MARKETS.setdefault(asyncio.get_running_loop(), {})
    key = (name, recording or "")
    if key not in markets:
        markets[key] = _built(name, recording)
    return markets[key]


async def close_markets() -> None:
    """Close all markets of the running event loop."""
    markets = _MARKETS.pop(asyncio.get_running_loop(), {})
    for market in markets.values():
        await market.close()


def recording_span(path: str) -> RecordingSpan:
    """Return what a candle file covers.

    :raises BadRecording: if it cannot be read; the message names the file and the line.
    """
    bars = load_candles(path)
    return RecordingSpan(
        path=path,
        timeframe_s=bars.timeframe_s,
        rows=len(bars),
        first_open_at=parsing.moment(int(bars.open_ms[0])),
        last_close_at=parsing.moment(int(bars.close_ms[-1])),
    )


_MARKETS: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, str], Market]] = (
    WeakKeyDictionary()
)


def _built(name: str, recording: str | None) -> Market:
    plug = settings.PROVIDERS.get(name)
    if plug is None:
        known = ", ".join(sorted(settings.PROVIDERS))
        raise ImproperlyConfigured(f"no market-data provider {name!r}; there are {known}")
    if recording is not None:
        plug = {**plug, "OPTIONS": {**plug.get("OPTIONS", {}), "path": recording}}
    provider = build_plugins({name: plug}, MarketDataProvider)[name]
    if not provider.needs_network:
        return Market(provider=provider)
    store = cache.SharedStore(client=async_redis_client(), faults=(RedisError, OSError))
    return Market(provider=provider, store=store)
