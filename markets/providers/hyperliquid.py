"""Hyperliquid: the public info endpoint of a venue of perpetuals, which needs no key.

Source: hyperliquid.gitbook.io (info endpoint, rate limits, funding).
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Collection, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import ClassVar

import httpx2
import numpy as np

from markets.parsing import bars_of, moment, venue_symbol
from markets.providers.base import (
    BadMarketData,
    DerivativesSheet,
    MarketDataProvider,
    MarketDataUnavailable,
    RateLimited,
    UnknownInstrument,
)
from markets.providers.endpoint import JsonEndpoint
from markets.providers.reading import amount, decimal, mapping, price, sequence, time_ms
from markets.types import CandleSeries, Derivatives, Level, OrderBook, Quote
from pipeline.egress import LOCAL_HOSTS
from quant.types import TIMEFRAMES, Bars

logger = logging.getLogger(__name__)

LIGHT_WEIGHT = 2  # l2Book, allMids
HEAVY_WEIGHT = 20  # every other kind of question asked here
CANDLES_PER_WEIGHT = 60  # candleSnapshot costs 1 more for each 60 rows
MAX_CANDLES = 5_000  # the venue keeps no more per timeframe
PREDICTED_FRESH_S = 60.0  # a forecast for the end of the hour, at 20 weight a look
MAX_FUNDING = 1.0  # per hour, far above the venue's cap of 0.04: beyond this it is no rate


class Hyperliquid(MarketDataProvider):
    """Asks Hyperliquid for what its perpetuals do now."""

    weight_per_min: ClassVar[int] = 1_000  # of 1,200 per address: the rest is for other programs
    settle_s: ClassVar[float] = 2.0
    book_quotes: ClassVar[bool] = True
    absent: ClassVar[Mapping[str, str]] = MappingProxyType(
        {"oi_change_24h_pct": "Hyperliquid publishes no history of open interest"}
    )

    def __init__(
        self,
        *,
        name: str,
        base_url: str = "https://api.hyperliquid.xyz",
        timeout_ms: int = 10_000,
        local_hosts: Collection[str] = LOCAL_HOSTS,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        super().__init__(name=name)
        self._endpoint = JsonEndpoint(
            url=f"{base_url.rstrip('/')}/info",
            timeout_s=timeout_ms / 1000,
            local_hosts=local_hosts,
            transport=transport,
        )
        self._predicted: Mapping[str, float] = {}
        self._predicted_at: datetime | None = None

    async def candles(
        self, *, symbol: str, timeframe: str, count: int, as_of: datetime
    ) -> CandleSeries:
        coin = venue_symbol(symbol)
        step_s = TIMEFRAMES.get(timeframe)
        if step_s is None:
            raise UnknownInstrument(f"no candles of timeframe {timeframe!r}")
        final_ms = int((as_of.timestamp() - self.settle_s) * 1000)
        end_ms = final_ms // (step_s * 1000) * step_s * 1000
        asked = min(count, MAX_CANDLES)
        question = {
            "coin": coin,
            "interval": timeframe,
            "startTime": end_ms - asked * step_s * 1000,
            "endTime": end_ms - 1,
        }
        rows = await self._candle_rows(question, asked=asked)
        bars = _bars(rows, coin=coin, timeframe=timeframe)
        closed = bars[: int(np.searchsorted(bars.close_ms, final_ms, side="right"))]
        return CandleSeries(
            symbol=coin,
            timeframe=timeframe,
            bars=closed[max(0, len(closed) - count) :],
            as_of=as_of,
            source=self.name,
        )

    async def quote(self, *, symbol: str, as_of: datetime) -> Quote:
        """Return the middle of the book's best prices, or the venue's mid where a side is empty."""
        book = await self.book(symbol=symbol, as_of=as_of)
        if book.bids and book.asks:
            bid, ask = book.bids[0][0], book.asks[0][0]
            return Quote(
                symbol=book.symbol,
                mid=(bid + ask) / 2,
                bid=bid,
                ask=ask,
                as_of=book.as_of,
                source=self.name,
            )
        mids = mapping(await self._ask({"type": "allMids"}, weight=LIGHT_WEIGHT), name="allMids")
        if book.symbol not in mids:
            raise UnknownInstrument(f"Hyperliquid has no mid for {book.symbol}")
        mid = price(mids[book.symbol], name=f"mid of {book.symbol}")
        return Quote(symbol=book.symbol, mid=mid, bid=None, ask=None, as_of=as_of, source=self.name)

    async def book(self, *, symbol: str, as_of: datetime) -> OrderBook:
        coin = venue_symbol(symbol)
        answer = await self._ask({"type": "l2Book", "coin": coin}, weight=LIGHT_WEIGHT)
        if answer is None:
            raise UnknownInstrument(f"Hyperliquid does not list {coin}")
        book = _book(mapping(answer, name="l2Book"), coin=coin, source=self.name)
        if book.bids and book.asks and book.bids[0][0] >= book.asks[0][0]:
            raise BadMarketData(f"book of {coin} is crossed: {book.bids[0]} and {book.asks[0]}")
        return book

    async def derivatives(self, *, symbol: str, as_of: datetime) -> Derivatives:
        """Return funding and open interest; ``absent`` names what the venue never tells."""
        return (await self.derivatives_sheet(as_of=as_of)).pick(venue_symbol(symbol))

    async def derivatives_sheet(self, *, as_of: datetime) -> DerivativesSheet:
        answer, predicted = await asyncio.gather(
            self._ask({"type": "metaAndAssetCtxs"}, weight=HEAVY_WEIGHT),
            self._predicted_fundings(as_of=as_of),
        )
        names, contexts = _universe(answer)
        rows: dict[str, Derivatives] = {}
        refused: dict[str, str] = {}
        for coin, context in zip(names, contexts, strict=True):
            if coin is None:
                continue
            try:
                rows[coin] = _derivatives(
                    context, coin=coin, predicted=predicted.get(coin), as_of=as_of, source=self.name
                )
            except BadMarketData as error:
                refused[coin] = str(error)
        return DerivativesSheet(rows=rows, refused=refused)

    async def instruments(self, *, as_of: datetime) -> frozenset[str]:
        answer = await self._ask({"type": "allMids"}, weight=LIGHT_WEIGHT)
        mids = mapping(answer, name="allMids")
        if not mids:
            raise BadMarketData("allMids names no coin")
        return frozenset(mids)

    async def close(self) -> None:
        await self._endpoint.close()

    async def _candle_rows(self, question: Mapping[str, object], *, asked: int) -> list[object]:
        """Return the rows of a candleSnapshot, paying for those that came."""
        worst = _candles_weight(asked + 2)
        answer = await self._ask({"type": "candleSnapshot", "req": question}, weight=worst)
        if answer is None:
            raise UnknownInstrument(f"Hyperliquid has no candles of {question['coin']}")
        rows = sequence(answer, name="candleSnapshot")
        if len(rows) > MAX_CANDLES:
            raise BadMarketData(f"candleSnapshot holds {len(rows)} rows")
        await self.meter.settle(reserved=worst, spent=min(worst, _candles_weight(len(rows))))
        return rows

    async def _predicted_fundings(self, *, as_of: datetime) -> Mapping[str, float]:
        """Return the funding forecast for the end of the hour by coin; none if it cannot be had."""
        last = self._predicted_at
        if last is not None and abs((as_of - last).total_seconds()) < PREDICTED_FRESH_S:
            return self._predicted
        self._predicted_at = as_of
        try:
            answer = await self._ask({"type": "predictedFundings"}, weight=HEAVY_WEIGHT)
            self._predicted = _predictions(answer)
        except RateLimited:
            raise
        except (MarketDataUnavailable, BadMarketData) as error:
            self._predicted = {}
            logger.warning("%s: going on without predicted funding: %s", self.name, error)
        return self._predicted

    async def _ask(self, question: Mapping[str, object], *, weight: int) -> object:
        await self.meter.reserve(weight)
        return await self._endpoint.post(question)


def _candles_weight(rows: int) -> int:
    return HEAVY_WEIGHT + math.ceil(rows / CANDLES_PER_WEIGHT)


def _bars(rows: list[object], *, coin: str, timeframe: str) -> Bars:
    step_ms = TIMEFRAMES[timeframe] * 1000
    table = np.empty((len(rows), 5), dtype=np.float64)
    times = np.empty(len(rows), dtype=np.int64)
    before = 0
    for place, item in enumerate(rows):
        where = f"candle {place} of {coin} {timeframe}"
        row = mapping(item, name=where)
        if row.get("s") != coin or row.get("i") != timeframe:
            raise BadMarketData(f"{where} is of {row.get('s')!r} {row.get('i')!r}")
        open_ms = time_ms(row.get("t"), name=f"time of {where}")
        if open_ms <= before or open_ms % step_ms:
            raise BadMarketData(f"{where} opens at {open_ms}, after {before}")
        before = times[place] = open_ms
        table[place] = _ohlcv(row, where=where)
    return bars_of(times, table, timeframe_s=step_ms // 1000)


def _ohlcv(row: Mapping[str, object], *, where: str) -> tuple[float, float, float, float, float]:
    first, high, low, last = (price(row.get(key), name=f"{key} of {where}") for key in "ohlc")
    if high < max(first, last) or low > min(first, last):
        raise BadMarketData(f"{where} has high {high} and low {low} around {first} and {last}")
    return first, high, low, last, amount(row.get("v"), name=f"v of {where}")


def _book(answer: Mapping[str, object], *, coin: str, source: str) -> OrderBook:
    if answer.get("coin") != coin:
        raise BadMarketData(f"asked for the book of {coin}, got {answer.get('coin')!r}")
    sides = sequence(answer.get("levels"), name=f"levels of {coin}")
    if len(sides) != 2:
        raise BadMarketData(f"book of {coin} has {len(sides)} sides")
    shown_ms = time_ms(answer.get("time"), name=f"time of the book of {coin}")
    return OrderBook(
        symbol=coin,
        bids=_levels(sides[0], name=f"bids of {coin}", sign=-1),
        asks=_levels(sides[1], name=f"asks of {coin}", sign=1),
        as_of=moment(shown_ms),
        source=source,
    )


def _levels(side: object, *, name: str, sign: int) -> tuple[Level, ...]:
    """Return one side of a book, checked to go away from the middle."""
    levels: list[Level] = []
    for place, item in enumerate(sequence(side, name=name)):
        row = mapping(item, name=f"{name}, level {place}")
        level = (
            price(row.get("px"), name=f"price of {name}, level {place}"),
            amount(row.get("sz"), name=f"size of {name}, level {place}"),
        )
        if levels and (level[0] - levels[-1][0]) * sign <= 0:
            raise BadMarketData(f"{name} are not sorted at level {place}")
        levels.append(level)
    return tuple(levels)


def _universe(answer: object) -> tuple[list[str | None], list[object]]:
    """Return the coins and their contexts, which belong together by place; None if delisted."""
    parts = sequence(answer, name="metaAndAssetCtxs")
    if len(parts) != 2:
        raise BadMarketData(f"metaAndAssetCtxs has {len(parts)} parts")
    coins = sequence(mapping(parts[0], name="meta").get("universe"), name="universe")
    contexts = sequence(parts[1], name="asset contexts")
    if len(coins) != len(contexts):
        raise BadMarketData(f"{len(coins)} coins but {len(contexts)} asset contexts")
    return [_listed(coin) for coin in coins], contexts


def _listed(item: object) -> str | None:
    coin = mapping(item, name="coin of the universe")
    name = coin.get("name")
    if not isinstance(name, str) or not name:
        raise BadMarketData(f"a coin of the universe is called {name!r}")
    return None if coin.get("isDelisted") else name


def _derivatives(
    context: object, *, coin: str, predicted: float | None, as_of: datetime, source: str
) -> Derivatives:
    row = mapping(context, name=f"context of {coin}")
    return Derivatives(
        symbol=coin,
        funding_rate=_rate(row.get("funding"), name=f"funding of {coin}"),
        predicted_funding=predicted,
        open_interest=amount(row.get("openInterest"), name=f"openInterest of {coin}"),
        oi_change_24h_pct=None,
        mark_price=price(row.get("markPx"), name=f"markPx of {coin}"),
        oracle_price=price(row.get("oraclePx"), name=f"oraclePx of {coin}"),
        as_of=as_of,
        source=source,
    )


def _rate(text: object, *, name: str) -> float:
    rate = decimal(text, name=name)
    if abs(rate) > MAX_FUNDING:
        raise BadMarketData(f"{name} is {text!r}, which is no hourly rate")
    return rate


def _predictions(answer: object) -> dict[str, float]:
    """Return the hourly funding that the venue forecasts for itself, by coin."""
    forecasts: dict[str, float] = {}
    for item in sequence(answer, name="predictedFundings"):
        pair = sequence(item, name="predictedFundings of a coin")
        if len(pair) != 2 or not isinstance(pair[0], str):
            raise BadMarketData("predictedFundings holds something else than coins with venues")
        for place in sequence(pair[1], name=f"predicted fundings of {pair[0]}"):
            venue = sequence(place, name=f"predicted funding of {pair[0]}")
            if len(venue) == 2 and str(venue[0]).lower().startswith("hl") and venue[1] is not None:
                forecasts[pair[0]] = _hourly(mapping(venue[1], name=f"forecast of {pair[0]}"))
    return forecasts


def _hourly(forecast: Mapping[str, object]) -> float:
    hours = forecast.get("fundingIntervalHours", 1)
    if not isinstance(hours, int) or not 1 <= hours <= 24:
        raise BadMarketData(f"fundingIntervalHours is {hours!r}")
    return _rate(forecast.get("fundingRate"), name="predicted funding") / hours
