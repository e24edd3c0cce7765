from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import httpx2
import numpy as np
import pytest
from django.core.exceptions import ImproperlyConfigured

from markets import services
from markets.cache import SharedStore
from markets.providers.base import BadMarketData, MarketDataUnavailable, UnknownInstrument
from markets.providers.hyperliquid import Hyperliquid
from markets.providers.simulated import Simulated
from markets.services import BudgetExhausted, CircuitOpen, Market
from tests.markets.clocks import HandClock
from tests.markets.venue import COINS, Venue, at

SYMBOLS = ("BTC", "ETH-PERP", "SOLUSDT")


class Unlimited(Hyperliquid):
    """The venue's adapter without its budget, to see what would be spent."""

    weight_per_min = 1_000_000


class Stage:
    """A market over a venue in memory, and the time of both."""

    def __init__(self, moment: str = "10:00:00", *, store: SharedStore | None = None) -> None:
        self.venue = Venue(at(moment))
        self.clock = HandClock()
        self.market = self.another(store)

    def another(
        self, store: SharedStore | None, *, kind: type[Hyperliquid] = Hyperliquid
    ) -> Market:
        """Return a market of the same venue, as another process would have it."""
        provider = kind(name="hyperliquid", transport=self.venue.transport)
        return Market(provider=provider, store=store, clock=self.clock, wall_clock=self.clock)

    @property
    def now(self) -> datetime:
        return self.venue.now

    def passes(self, seconds: float) -> None:
        self.clock.seconds += seconds
        self.venue.now += timedelta(seconds=seconds)

    async def enriches(self, symbol: str, market: Market | None = None) -> None:
        """Ask for all that one signal needs, at once."""
        asked = market or self.market
        await asyncio.gather(
            asked.quote(symbol=symbol, as_of=self.now),
            asked.book(symbol=symbol, as_of=self.now),
            asked.derivatives(symbol=symbol, as_of=self.now),
            *(
                asked.candles(symbol=symbol, timeframe=timeframe, count=200, as_of=self.now)
                for timeframe in ("15m", "1h", "4h")
            ),
        )


async def test_sixty_signals_a_minute_cost_less_than_ten_weight_each() -> None:
    stage = Stage()
    market = stage.another(None, kind=Unlimited)
    for symbol in SYMBOLS:
        await stage.enriches(symbol, market)
    cold = stage.venue.weight

    spent = []
    for signal in range(600):
        stage.passes(1.0)
        await stage.enriches(SYMBOLS[signal % len(SYMBOLS)], market)
        spent.append(stage.venue.weight)

    assert cold <= 2 + 20 + 20 + 3 * (2 + 3 * 24)
    assert (stage.venue.weight - cold) / 600 < 10
    assert max(after - before for before, after in zip(spent, spent[60:], strict=False)) < 1_000
    assert market.weight_used == stage.venue.weight


async def test_two_processes_cost_no_more_than_one(
    redis_store: Callable[[], SharedStore],
) -> None:
    stage = Stage(store=redis_store())
    other = stage.another(redis_store())

    await asyncio.gather(stage.enriches("BTC"), stage.enriches("BTC", other))

    assert stage.venue.count("candleSnapshot") == 3
    assert stage.venue.count("l2Book") == 1
    assert stage.venue.count("metaAndAssetCtxs") == 1


async def test_one_book_serves_the_quote_too() -> None:
    stage = Stage()

    quote, book = await asyncio.gather(
        stage.market.quote(symbol="BTC", as_of=stage.now),
        stage.market.book(symbol="BTC-PERP", as_of=stage.now),
    )

    assert book is not None
    assert (quote.bid, quote.ask) == (book.bids[0][0], book.asks[0][0])
    assert quote.mid == pytest.approx(60_000)
    assert stage.venue.count("l2Book") == 1


async def test_one_answer_serves_the_derivatives_of_all_coins() -> None:
    stage = Stage()

    rows = [await stage.market.derivatives(symbol=coin, as_of=stage.now) for coin in SYMBOLS]

    assert [row.symbol for row in rows if row] == ["BTC", "ETH", "SOL"]
    assert stage.venue.count("metaAndAssetCtxs") == 1


@pytest.mark.parametrize(("kind", "fresh_s"), [("l2Book", 1.0), ("metaAndAssetCtxs", 5.0)])
async def test_answers_are_fresh_for_their_time(kind: str, fresh_s: float) -> None:
    stage = Stage()
    await stage.enriches("BTC")

    stage.passes(fresh_s - 0.01)
    await stage.enriches("BTC")
    before = stage.venue.count(kind)
    stage.passes(0.02)
    await stage.enriches("BTC")

    assert before == stage.venue.count(kind) - 1


async def test_a_kept_answer_tells_of_when_it_is() -> None:
    stage = Stage()
    first = await stage.market.derivatives(symbol="BTC", as_of=stage.now)

    stage.passes(4)
    second = await stage.market.derivatives(symbol="BTC", as_of=stage.now)

    assert first is not None
    assert second is not None
    assert second.as_of == first.as_of == at("10:00")


async def test_only_candles_that_closed_since_are_fetched() -> None:
    stage = Stage("10:00:05")
    ask = stage.market.candles
    await ask(symbol="BTC", timeframe="15m", count=200, as_of=stage.now)

    stage.passes(60 * 14)
    await ask(symbol="BTC", timeframe="15m", count=200, as_of=stage.now)
    kept = stage.venue.count("candleSnapshot")
    stage.passes(60 * 31)
    series = await ask(symbol="BTC", timeframe="15m", count=200, as_of=stage.now)

    wish = stage.venue.asked[-1]["req"]
    assert kept == 1
    assert stage.venue.count("candleSnapshot") == 2
    assert (wish["endTime"] + 1 - wish["startTime"]) / 900_000 == 3
    assert len(series.bars) == 200
    assert (np.diff(series.bars.open_ms) == 900_000).all()
    assert series.bars.close_ms[-1] == at("10:45").timestamp() * 1000


async def test_kept_candles_are_those_of_the_venue() -> None:
    stage = Stage("10:00:05")
    kept = await stage.market.candles(symbol="ETH", timeframe="5m", count=100, as_of=stage.now)
    for _ in range(6):
        stage.passes(411)
        kept = await stage.market.candles(symbol="ETH", timeframe="5m", count=100, as_of=stage.now)

    anew = await stage.another(None).candles(
        symbol="ETH", timeframe="5m", count=100, as_of=stage.now
    )

    for column in ("open_ms", "open", "high", "low", "close", "volume"):
        np.testing.assert_array_equal(getattr(kept.bars, column), getattr(anew.bars, column))


async def test_wishes_for_fewer_candles_are_served_by_more() -> None:
    stage = Stage()

    for count in (200, 14, 199, 240):
        series = await stage.market.candles(
            symbol="BTC", timeframe="1h", count=count, as_of=stage.now
        )
        assert len(series.bars) == count

    assert stage.venue.count("candleSnapshot") == 1


async def test_a_moment_long_ago_is_asked_without_losing_what_is_kept() -> None:
    stage = Stage("10:00:05")
    ask = stage.market.candles
    await ask(symbol="BTC", timeframe="15m", count=60, as_of=stage.now)

    old = await ask(symbol="BTC", timeframe="15m", count=60, as_of=at("04:00:05"))
    recent = await ask(symbol="BTC", timeframe="15m", count=50, as_of=at("09:50:05"))
    now = await ask(symbol="BTC", timeframe="15m", count=60, as_of=stage.now)

    assert old.bars.close_ms[-1] == at("04:00").timestamp() * 1000
    assert recent.bars.close_ms[-1] == at("09:45").timestamp() * 1000
    assert now.bars.close_ms[-1] == at("10:00").timestamp() * 1000
    assert stage.venue.count("candleSnapshot") == 2


async def test_a_candle_that_is_late_is_asked_for_again_after_a_while() -> None:
    stage = Stage("10:00:05")
    stage.venue.late_bars = 2
    ask = stage.market.candles

    first = await ask(symbol="BTC", timeframe="15m", count=60, as_of=stage.now)
    stage.passes(10)
    await ask(symbol="BTC", timeframe="15m", count=60, as_of=stage.now)
    early = stage.venue.count("candleSnapshot")
    stage.venue.late_bars = 0
    stage.passes(10)
    second = await ask(symbol="BTC", timeframe="15m", count=60, as_of=stage.now)

    assert early == 1
    assert first.bars.close_ms[-1] == at("09:45").timestamp() * 1000
    assert second.bars.close_ms[-1] == at("10:00").timestamp() * 1000
    assert stage.venue.count("candleSnapshot") == 2


async def test_nonsense_symbols_cost_next_to_nothing() -> None:
    stage = Stage()

    for number in range(50):
        for ask in (stage.market.quote, stage.market.book, stage.market.derivatives):
            with pytest.raises(UnknownInstrument):
                await ask(symbol=f"NOPE{number}", as_of=stage.now)

    assert stage.venue.weight == 2


async def test_a_coin_listed_later_is_found_within_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = Stage()
    with pytest.raises(UnknownInstrument):
        await stage.market.book(symbol="NEW", as_of=stage.now)

    monkeypatch.setitem(COINS, "NEW", 5.0)
    stage.passes(61)

    assert await stage.market.book(symbol="NEW", as_of=stage.now) is not None


async def test_what_does_not_fit_the_budget_waits() -> None:
    stage = Stage()
    error: BudgetExhausted | None = None

    for hours in range(40):
        as_of = at("09:00") - timedelta(hours=hours)
        try:
            await stage.market.candles(symbol="BTC", timeframe="1h", count=5_000, as_of=as_of)
        except BudgetExhausted as caught:
            error = caught
            break

    assert error is not None
    assert error.retry_after_s is not None
    assert 0 < error.retry_after_s <= 61
    assert stage.venue.weight <= 500


async def test_the_budget_says_nothing_about_the_provider() -> None:
    stage = Stage()
    await stage.market.book(symbol="BTC", as_of=stage.now)
    await stage.market._meter.reserve(490)

    for _ in range(10):
        with pytest.raises(BudgetExhausted):
            await stage.market.derivatives(symbol="BTC", as_of=stage.now)

    stage.passes(2)
    assert await stage.market.book(symbol="BTC", as_of=stage.now) is not None


async def test_a_failing_provider_is_left_alone_and_probed_once() -> None:
    stage = Stage()
    await stage.market.book(symbol="BTC", as_of=stage.now)
    stage.venue.refusal = httpx2.Response(500)
    stage.passes(2)

    errors = []
    for _ in range(8):
        with pytest.raises(MarketDataUnavailable) as caught:
            await stage.market.book(symbol="BTC", as_of=stage.now)
        errors.append(type(caught.value))
    asked_while_failing = len(stage.venue.asked)
    stage.venue.refusal = None
    stage.passes(30)
    book = await stage.market.book(symbol="BTC", as_of=stage.now)

    assert errors == [MarketDataUnavailable] * 5 + [CircuitOpen] * 3
    assert asked_while_failing == 2 + 5
    assert book is not None


async def test_garbage_counts_as_a_fault() -> None:
    stage = Stage()
    stage.venue.refusal = httpx2.Response(200, text="<html>")

    for _ in range(5):
        with pytest.raises(BadMarketData):
            await stage.market.book(symbol="BTC", as_of=stage.now)

    with pytest.raises(CircuitOpen) as caught:
        await stage.market.book(symbol="BTC", as_of=stage.now)
    assert caught.value.retry_after_s == 30


async def test_an_unknown_coin_is_no_fault() -> None:
    stage = Stage()
    await stage.market.book(symbol="BTC", as_of=stage.now)
    stage.market._listed = frozenset({"GONE"})

    for _ in range(20):
        with pytest.raises(UnknownInstrument):
            await stage.market.book(symbol="GONE", as_of=stage.now)


async def test_a_rate_limit_is_kept_for_as_long_as_it_says() -> None:
    stage = Stage()
    await stage.market.book(symbol="BTC", as_of=stage.now)
    stage.passes(2)
    stage.venue.refusal = httpx2.Response(429, headers={"Retry-After": "12"})
    with pytest.raises(MarketDataUnavailable) as limited:
        await stage.market.book(symbol="BTC", as_of=stage.now)
    stage.venue.refusal = None

    stage.passes(11)
    with pytest.raises(CircuitOpen) as refused:
        await stage.market.book(symbol="BTC", as_of=stage.now)
    stage.passes(1)

    assert limited.value.retry_after_s == 12
    assert refused.value.retry_after_s == pytest.approx(1)
    assert await stage.market.book(symbol="BTC", as_of=stage.now) is not None


async def test_a_market_shows_what_kind_it_is() -> None:
    live, made_up = Stage().market, Market(provider=Simulated(name="simulated"))

    assert (live.name, live.simulated, live.clock) == ("hyperliquid", False, "wall")
    assert (made_up.name, made_up.simulated, made_up.clock) == ("simulated", True, "wall")
    assert "oi_change_24h_pct" in live.absent


async def test_a_provider_without_a_network_is_asked_straight() -> None:
    market = Market(provider=Simulated(name="simulated"))

    quotes = [
        await market.quote(symbol="BTC", as_of=at("10:00") + timedelta(milliseconds=200 * step))
        for step in range(3)
    ]

    assert len({quote.as_of for quote in quotes}) == 3
    assert len((await market.candles(symbol="X", timeframe="4h", count=9, as_of=at("10:00"))).bars)
    assert await market.book(symbol="BTC", as_of=at("10:00")) is not None
    assert await market.derivatives(symbol="BTC", as_of=at("10:00")) is not None
    assert market.weight_used == 0


async def test_there_is_one_market_of_a_name_and_recording(tmp_path: Path) -> None:
    one, other = str(tmp_path / "1.csv"), str(tmp_path / "2.csv")

    assert services.market_named("simulated") is services.market_named("simulated")
    first = services.market_named("recorded", recording=one)
    assert first is services.market_named("recorded", recording=one)
    assert first is not services.market_named("recorded", recording=other)
    assert first.clock == "signal"

    await services.close_markets()
    assert first is not services.market_named("recorded", recording=one)
    await services.close_markets()


def test_each_event_loop_has_markets_of_its_own() -> None:
    async def found() -> Market:
        market = services.market_named("hyperliquid")
        await services.close_markets()
        return market

    assert asyncio.run(found()) is not asyncio.run(found())


async def test_an_unknown_provider_is_refused_by_name() -> None:
    with pytest.raises(ImproperlyConfigured, match="'nasdaq'; there are hyperliquid"):
        services.market_named("nasdaq")


async def test_a_wired_market_over_redis_asks_the_venue_once(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    market = services.market_named("hyperliquid")
    venue = Venue(at("10:00"))
    monkeypatch.setattr(market._provider, "_endpoint", _Direct(venue))

    books = await asyncio.gather(*(market.book(symbol="BTC", as_of=at("10:00")) for _ in range(10)))

    assert len(set(books)) == 1
    assert venue.count("l2Book") == 1
    await services.close_markets()


class _Direct:
    """Carries questions to a venue in memory."""

    def __init__(self, venue: Venue) -> None:
        self._client = httpx2.AsyncClient(transport=venue.transport)

    async def post(self, body: dict[str, object]) -> object:
        return (await self._client.post("http://venue/info", json=body)).json()

    async def close(self) -> None:
        await self._client.aclose()


def test_the_span_of_a_recording_is_from_first_open_to_last_close(market_data: Path) -> None:
    span = services.recording_span(str(market_data / "candles" / "BTC-perp-1m.csv.gz"))

    assert (span.timeframe_s, span.rows) == (60, 30_299)
    assert span.first_open_at.isoformat() == "2021-12-31T23:01:00+00:00"
    assert span.last_close_at.isoformat() == "2022-01-22T00:00:00+00:00"
