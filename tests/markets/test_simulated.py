from __future__ import annotations

import subprocess
import sys
from datetime import timedelta

import numpy as np
import pytest

from markets.providers import simulated
from markets.providers.simulated import Simulated
from quant.candles import resample
from quant.types import TIMEFRAMES
from tests.markets.venue import at

NOON = at("12:07:13")
ELSEWHERE = """
import asyncio
from datetime import UTC, datetime
from markets.providers.simulated import Simulated
as_of = datetime(2026, 3, 4, 12, 7, 13, tzinfo=UTC)
series = asyncio.run(
    Simulated(name="x", seed=3).candles(symbol="BTC", timeframe="15m", count=50, as_of=as_of)
)
print(series.bars.close.sum().hex(), series.bars.volume.sum().hex())
"""


@pytest.fixture
def provider() -> Simulated:
    return Simulated(name="simulated", seed=3)


async def test_another_process_sees_the_same_market(provider: Simulated) -> None:
    series = await provider.candles(symbol="BTC", timeframe="15m", count=50, as_of=NOON)

    run = subprocess.run(
        [sys.executable, "-c", ELSEWHERE], capture_output=True, text=True, check=True
    )

    assert run.stdout.split() == [series.bars.close.sum().hex(), series.bars.volume.sum().hex()]


async def test_a_candle_never_changes(provider: Simulated) -> None:
    now = await provider.candles(symbol="ETH", timeframe="5m", count=40, as_of=NOON)
    simulated._DAYS._values.clear()
    simulated._BLOCKS._values.clear()
    simulated._BARS._values.clear()
    tomorrow = await provider.candles(
        symbol="ETH", timeframe="5m", count=40 + 288, as_of=NOON + timedelta(days=1)
    )

    np.testing.assert_array_equal(now.bars.close, tomorrow.bars.close[:40])
    np.testing.assert_array_equal(now.bars.volume, tomorrow.bars.volume[:40])


@pytest.mark.parametrize("timeframe", [name for name in TIMEFRAMES if name != "1m"])
async def test_longer_candles_are_made_of_the_minutes(provider: Simulated, timeframe: str) -> None:
    minutes = await provider.candles(symbol="SOL", timeframe="1m", count=4_000, as_of=NOON)
    expected = resample(minutes.bars, timeframe_s=TIMEFRAMES[timeframe])

    series = await provider.candles(
        symbol="SOL", timeframe=timeframe, count=len(expected), as_of=NOON
    )

    assert len(expected) >= 1
    np.testing.assert_array_equal(series.bars.open_ms, expected.open_ms)
    for column in ("open", "high", "low", "close"):
        np.testing.assert_array_equal(getattr(series.bars, column), getattr(expected, column))
    np.testing.assert_allclose(series.bars.volume, expected.volume)


async def test_candles_are_sound_and_join_without_a_jump(provider: Simulated) -> None:
    bars = (await provider.candles(symbol="WIF", timeframe="1m", count=5_000, as_of=NOON)).bars

    assert len(bars) == 5_000
    assert (np.diff(bars.open_ms) == 60_000).all()
    assert (bars.low > 0).all()
    assert (bars.volume > 0).all()
    assert (bars.high >= np.maximum(bars.open, bars.close)).all()
    assert (bars.low <= np.minimum(bars.open, bars.close)).all()
    np.testing.assert_array_equal(bars.open[1:], bars.close[:-1])


async def test_returns_look_like_those_of_a_market(provider: Simulated) -> None:
    bars = (await provider.candles(symbol="BTC", timeframe="1m", count=20_000, as_of=NOON)).bars
    returns = np.diff(np.log(bars.close))
    size = np.abs(returns)

    kurtosis = float(((returns - returns.mean()) ** 4).mean() / returns.var() ** 2)
    clustering = float(np.corrcoef(size[60:], size[:-60])[0, 1])
    daily_volatility = float(returns.std() * np.sqrt(1440))

    assert kurtosis > 4
    assert clustering > 0.05
    assert 0.01 < daily_volatility < 0.06


async def test_known_symbols_keep_near_their_usual_price(provider: Simulated) -> None:
    bars = (await provider.candles(symbol="BTC", timeframe="1d", count=700, as_of=NOON)).bars

    assert 65_000 / 4 < bars.low.min() < bars.high.max() < 65_000 * 4


async def test_the_price_moves_inside_its_candle(provider: Simulated) -> None:
    minute = (await provider.candles(symbol="BTC", timeframe="1m", count=1, as_of=at("12:08"))).bars

    mids = [
        (await provider.quote(symbol="BTC", as_of=at(f"12:07:{second:02d}"))).mid
        for second in range(60)
    ]

    assert mids[0] == minute.open[0]
    assert max(mids) == minute.high[0]
    assert min(mids) == minute.low[0]


async def test_the_book_is_sorted_around_the_quote(provider: Simulated) -> None:
    for symbol in ("BTC", "DOGE", "WIF", "X"):
        quote = await provider.quote(symbol=symbol, as_of=NOON)
        book = await provider.book(symbol=symbol, as_of=NOON)
        assert quote.bid is not None
        assert quote.ask is not None

        assert book.bids[0][0] == quote.bid < quote.mid < quote.ask == book.asks[0][0]
        assert 0.5 < (quote.ask - quote.bid) / quote.mid * 1e4 < 4
        assert [level[0] for level in book.bids] == sorted({bid for bid, _ in book.bids})[::-1]
        assert [level[0] for level in book.asks] == sorted({ask for ask, _ in book.asks})
        assert book.bids[-1][0] < quote.mid * 0.96
        assert all(size > 0 for _, size in book.bids + book.asks)


async def test_derivatives_say_how_open_interest_changed_in_a_day(provider: Simulated) -> None:
    today = await provider.derivatives(symbol="ETH", as_of=NOON)
    yesterday = await provider.derivatives(symbol="ETH", as_of=NOON - timedelta(days=1))

    assert today.open_interest is not None
    assert yesterday.open_interest is not None
    change_pct = (today.open_interest / yesterday.open_interest - 1) * 100
    assert today.oi_change_24h_pct == pytest.approx(change_pct)
    assert today.funding_rate is not None
    assert abs(today.funding_rate) < 0.001


async def test_seeds_and_symbols_are_markets_of_their_own(provider: Simulated) -> None:
    other = Simulated(name="simulated", seed=4)

    async def closes(market: Simulated, symbol: str) -> list[float]:
        series = await market.candles(symbol=symbol, timeframe="1m", count=5, as_of=NOON)
        return list(series.bars.close)

    assert await closes(provider, "BTC") != await closes(other, "BTC")
    assert await closes(provider, "AAA") != await closes(provider, "BBB")
    assert await closes(provider, "BTC-PERP") == await closes(provider, "BTC")


async def test_every_answer_says_that_it_is_simulated(provider: Simulated) -> None:
    sources = [
        (await provider.candles(symbol="BTC", timeframe="1h", count=5, as_of=NOON)).source,
        (await provider.quote(symbol="BTC", as_of=NOON)).source,
        (await provider.book(symbol="BTC", as_of=NOON)).source,
        (await provider.derivatives(symbol="BTC", as_of=NOON)).source,
    ]

    assert provider.simulated
    assert set(sources) == {"SIMULATED"}
