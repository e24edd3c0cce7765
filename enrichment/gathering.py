"""Asking the market for everything at once; network only, no database."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from enrichment.parsing import plain_text
from enrichment.types import Needs, Snapshot
from markets.services import (
    BadMarketData,
    Market,
    MarketDataUnavailable,
    UnknownInstrument,
)
from markets.types import CandleSeries, Derivatives, OrderBook, Quote
from quant.candles import closed_at

T = TypeVar("T")
Dated = TypeVar("Dated", OrderBook, Derivatives)
Refusal = MarketDataUnavailable | BadMarketData | UnknownInstrument
FAULT_MAX_CHARS = 200
REFUSALS = (MarketDataUnavailable, BadMarketData, UnknownInstrument)


async def gather(
    market: Market, *, symbol: str, as_of: datetime, needs: Needs, patience_s: float
) -> Snapshot:
    """Return what the market says of ``symbol`` as of that moment, and nothing from after it.

    The price and the core candles must come. Whatever else does not come within ``patience_s``,
    or at all, is left out with its fault.

    :raises UnknownInstrument: if the market does not have the instrument.
    :raises MarketDataUnavailable: if what must come cannot be had now.
    :raises BadMarketData: if what must come is garbage.
    """
    is_live = market.clock == "wall"
    quote, series, book, derivatives = await asyncio.gather(
        _answer(lambda: market.quote(symbol=symbol, as_of=as_of)),
        _candles(market, symbol=symbol, as_of=as_of, needs=needs, patience_s=patience_s),
        _wanted(needs.book, lambda: market.book(symbol=symbol, as_of=as_of), patience_s=patience_s),
        _wanted(
            needs.derivatives,
            lambda: market.derivatives(symbol=symbol, as_of=as_of),
            patience_s=patience_s,
        ),
    )
    price = _price(quote, as_of=as_of, may_be_newer=is_live)
    _check_core({key: series[key] for key in needs.core}, is_live=is_live)
    if not is_live:
        book, derivatives = _not_after(book, as_of=as_of), _not_after(derivatives, as_of=as_of)
    answers = {f"candles.{key}": answer for key, answer in series.items()}
    everything = {**answers, "book": book, "derivatives": derivatives}
    return Snapshot(
        as_of=as_of,
        quote=price,
        candles={key: got for key, got in series.items() if isinstance(got, CandleSeries)},
        book=None if isinstance(book, REFUSALS) else book,
        derivatives=None if isinstance(derivatives, REFUSALS) else derivatives,
        faults={
            key: plain_text(str(got), most=FAULT_MAX_CHARS)
            for key, got in everything.items()
            if isinstance(got, REFUSALS)
        },
    )


async def _candles(
    market: Market, *, symbol: str, as_of: datetime, needs: Needs, patience_s: float
) -> dict[str, CandleSeries | Refusal]:
    async def one(timeframe: str, count: int) -> CandleSeries | Refusal:
        answer = await _answer(
            lambda: market.candles(symbol=symbol, timeframe=timeframe, count=count, as_of=as_of),
            patience_s=None if timeframe in needs.core else patience_s,
        )
        return _closed(answer, as_of=as_of) if isinstance(answer, CandleSeries) else answer

    answers = await asyncio.gather(*(one(*each) for each in needs.candles.items()))
    return dict(zip(needs.candles, answers, strict=True))


async def _wanted(
    is_wanted: bool, call: Callable[[], Awaitable[T]], *, patience_s: float
) -> T | Refusal | None:
    return await _answer(call, patience_s=patience_s) if is_wanted else None


async def _answer(
    call: Callable[[], Awaitable[T]], *, patience_s: float | None = None
) -> T | Refusal:
    """Return the answer or the refusal, so that one of them does not orphan the others."""
    try:
        async with asyncio.timeout(patience_s):
            return await call()
    except REFUSALS as refusal:
        return refusal
    except TimeoutError:
        return MarketDataUnavailable(f"no answer within {patience_s:g} s")


def _price(answer: Quote | Refusal, *, as_of: datetime, may_be_newer: bool) -> Quote:
    if isinstance(answer, REFUSALS):
        raise answer
    if not 0.0 < answer.mid < float("inf"):
        raise BadMarketData(f"the price of {answer.symbol} is {answer.mid}")
    if answer.as_of > as_of and not may_be_newer:
        raise BadMarketData(f"the price of {answer.symbol} is from after {as_of}")
    return answer


def _check_core(core: Mapping[str, CandleSeries | Refusal], *, is_live: bool) -> None:
    """Raise what stands in the way of judging; a timeframe that is not served may be missing."""
    for answer in core.values():
        if isinstance(answer, MarketDataUnavailable | BadMarketData):
            raise answer
    series = [answer for answer in core.values() if isinstance(answer, CandleSeries)]
    if is_live and series and not any(len(each.bars) for each in series):
        raise BadMarketData(f"not one closed candle of {', '.join(sorted(core))}")


def _closed(series: CandleSeries, *, as_of: datetime) -> CandleSeries:
    """Return the candles that had closed by then, whatever the provider let slip through."""
    bars = closed_at(series.bars, as_of_ms=int(as_of.timestamp() * 1000))
    return replace(series, bars=bars)


def _not_after(answer: Dated | Refusal | None, *, as_of: datetime) -> Dated | Refusal | None:
    if answer is None or isinstance(answer, REFUSALS) or answer.as_of <= as_of:
        return answer
    return BadMarketData(f"the answer is from after {as_of}")
