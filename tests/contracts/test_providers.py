from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from django.conf import settings

from markets.providers.base import MarketDataProvider, UnknownInstrument
from markets.providers.hyperliquid import Hyperliquid
from markets.providers.recorded import Recorded
from markets.providers.simulated import Simulated
from pipeline.plugins import build_plugins
from quant.types import TIMEFRAMES, Bars
from tests.markets.venue import Venue, at

NOON = at("12:07:13")
LATER = NOON + timedelta(hours=9)
COLUMNS = ("open_ms", "open", "high", "low", "close", "volume")
HOLES = {900, 901, 3_598}  # minutes after the start; the last one is the end of an hour, 10:59
TIMES = ("1m", "5m", "15m", "1h", "4h")

Maker = Callable[[datetime, Path], MarketDataProvider]


def hyperliquid(known_until: datetime, _: Path) -> MarketDataProvider:
    return Hyperliquid(name="hyperliquid", transport=Venue(known_until).transport)


def recorded(known_until: datetime, folder: Path) -> MarketDataProvider:
    """Return a recording of four days with holes, cut off at ``known_until``."""
    path = folder / f"BTC-perp-1m-{known_until:%H%M}.csv"
    start = datetime(2026, 3, 1, 23, 1, tzinfo=UTC)
    minutes = int((known_until - start).total_seconds()) // 60
    rng = np.random.default_rng(7)
    prices = 60_000 + np.cumsum(rng.integers(-5, 6, 10_000))
    rows = ["open_time,open,high,low,close,volume"]
    for step in range(minutes):
        if step in HOLES:
            continue
        opened = start + timedelta(minutes=step)
        first, last = prices[step], prices[step + 1]
        high, low = max(first, last) + 1, min(first, last) - 1
        rows.append(f"{opened.isoformat()},{first},{high},{low},{last},{step % 7}")
    path.write_text("\n".join(rows) + "\n")
    return Recorded(name="recorded", path=str(path), symbol="BTC")


def simulated(_: datetime, __: Path) -> MarketDataProvider:
    return Simulated(name="simulated", seed=11)


MAKERS: dict[str, Maker] = {
    "hyperliquid": hyperliquid,
    "recorded": recorded,
    "simulated": simulated,
}


@pytest.fixture(params=sorted(MAKERS))
def maker(request: pytest.FixtureRequest) -> Maker:
    return MAKERS[request.param]


@pytest.fixture
async def provider(maker: Maker, tmp_path: Path) -> AsyncIterator[MarketDataProvider]:
    provider = maker(LATER, tmp_path)
    yield provider
    await provider.close()


async def candles(provider: MarketDataProvider, timeframe: str, count: int = 20) -> Bars:
    series = await provider.candles(symbol="BTC", timeframe=timeframe, count=count, as_of=NOON)
    return series.bars


def test_every_wired_provider_is_held_to_the_contract() -> None:
    wired = build_plugins(settings.PROVIDERS, MarketDataProvider)

    assert set(wired) == set(MAKERS)


@pytest.mark.parametrize("timeframe", TIMES)
async def test_only_closed_candles_come_and_the_newest_is_there(
    provider: MarketDataProvider, timeframe: str
) -> None:
    bars = await candles(provider, timeframe, count=5)
    step_ms = TIMEFRAMES[timeframe] * 1000

    assert (bars.close_ms <= NOON.timestamp() * 1000).all()
    assert bars.close_ms[-1] == NOON.timestamp() * 1000 // step_ms * step_ms


@pytest.mark.parametrize("timeframe", TIMES)
async def test_no_more_candles_come_than_were_asked_for(
    provider: MarketDataProvider, timeframe: str
) -> None:
    for count in (1, 2, 7):
        assert len(await candles(provider, timeframe, count=count)) == count


@pytest.mark.parametrize("timeframe", TIMES)
async def test_fewer_candles_are_the_newest_of_more(
    provider: MarketDataProvider, timeframe: str
) -> None:
    few, many = await candles(provider, timeframe, 3), await candles(provider, timeframe, 9)

    for column in COLUMNS:
        np.testing.assert_array_equal(getattr(few, column), getattr(many, column)[-3:])


@pytest.mark.parametrize("timeframe", TIMES)
@pytest.mark.parametrize("as_of", [NOON, at("11:00:02"), at("12:59:59"), at("11:17:02")])
async def test_cutting_off_the_future_changes_nothing(
    maker: Maker, tmp_path: Path, timeframe: str, as_of: datetime
) -> None:
    now, later = maker(as_of, tmp_path), maker(LATER, tmp_path)

    known, seen_later = [
        (await each.candles(symbol="BTC", timeframe=timeframe, count=12, as_of=as_of)).bars
        for each in (now, later)
    ]

    assert len(known) == 12
    for column in COLUMNS:
        np.testing.assert_array_equal(getattr(known, column), getattr(seen_later, column))
    await asyncio.gather(now.close(), later.close())


async def test_candles_are_sound(provider: MarketDataProvider) -> None:
    for timeframe in TIMES:
        bars = await candles(provider, timeframe)

        assert (np.diff(bars.open_ms) > 0).all()
        assert (bars.open_ms % (TIMEFRAMES[timeframe] * 1000) == 0).all()
        assert bars.timeframe_s == TIMEFRAMES[timeframe]
        assert (bars.low <= np.minimum(bars.open, bars.close)).all()
        assert (bars.high >= np.maximum(bars.open, bars.close)).all()
        assert (bars.low > 0).all()
        assert (bars.volume >= 0).all()


async def test_every_answer_says_of_when_and_whence(provider: MarketDataProvider) -> None:
    series = await provider.candles(symbol="BTC", timeframe="1h", count=3, as_of=NOON)
    quote = await provider.quote(symbol="BTC", as_of=NOON)
    book = await provider.book(symbol="BTC", as_of=NOON)
    derivatives = await provider.derivatives(symbol="BTC", as_of=NOON)

    answers = [answer for answer in (series, quote, book, derivatives) if answer is not None]
    assert series.as_of == NOON
    for answer in answers:
        assert answer.as_of.tzinfo is not None
        assert answer.source
        assert answer.symbol == "BTC"
    if provider.clock == "signal":
        assert all(answer.as_of <= NOON for answer in answers)


async def test_a_symbol_may_carry_the_suffix_of_a_venue(provider: MarketDataProvider) -> None:
    plain = await provider.quote(symbol="BTC", as_of=NOON)

    for symbol in ("BTC-PERP", "BTCUSDT", "BTC/USDT:USDT"):
        assert await provider.quote(symbol=symbol, as_of=NOON) == plain


async def test_the_quote_lies_between_bid_and_ask(provider: MarketDataProvider) -> None:
    quote = await provider.quote(symbol="BTC", as_of=NOON)

    assert quote.mid > 0
    if quote.bid is None or quote.ask is None:
        assert {"bid", "ask"} <= set(provider.absent)
    else:
        assert quote.bid < quote.mid < quote.ask


async def test_an_unknown_symbol_is_refused(provider: MarketDataProvider) -> None:
    if provider.simulated:
        assert (await provider.quote(symbol="NOPE", as_of=NOON)).source == "SIMULATED"
        return

    for ask in (provider.quote, provider.book, provider.derivatives):
        with pytest.raises(UnknownInstrument):
            await ask(symbol="NOPE", as_of=NOON)
    with pytest.raises(UnknownInstrument):
        await provider.candles(symbol="NOPE", timeframe="1h", count=3, as_of=NOON)


async def test_an_unknown_timeframe_is_refused(provider: MarketDataProvider) -> None:
    with pytest.raises(UnknownInstrument):
        await provider.candles(symbol="BTC", timeframe="7m", count=3, as_of=NOON)


async def test_what_is_missing_has_a_reason(provider: MarketDataProvider) -> None:
    row = await provider.derivatives(symbol="BTC", as_of=NOON)
    fields = () if row is None else type(row).__slots__

    missing = {name for name in fields if getattr(row, name) is None}

    assert missing <= set(provider.absent)
