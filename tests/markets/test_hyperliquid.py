from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest

from markets.providers.base import (
    BadMarketData,
    MarketDataUnavailable,
    RateLimited,
    UnknownInstrument,
)
from markets.providers.hyperliquid import Hyperliquid
from tests.markets.venue import Venue, at, said

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures" / "hyperliquid"
BOOK_TIME = datetime(2023, 7, 17, 21, 43, 23, 930000, tzinfo=UTC)


class Ledger:
    """A meter that lets all pass and writes it down."""

    def __init__(self) -> None:
        self.reserved: list[int] = []
        self.spent = 0

    async def reserve(self, weight: int) -> None:
        self.reserved.append(weight)
        self.spent += weight

    async def settle(self, *, reserved: int, spent: int) -> None:
        self.spent -= reserved - spent


def recorded(name: str) -> Any:
    return json.loads((FIXTURES / f"{name}.json").read_text())["response"]


def answering(**answers: object) -> Hyperliquid:
    """Return the adapter of a venue that gives these answers by the kind of question."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        return said(answers[json.loads(request.content)["type"]])

    return Hyperliquid(name="hyperliquid", transport=httpx2.MockTransport(answer))


def asked_by(venue: Venue) -> Hyperliquid:
    return Hyperliquid(name="hyperliquid", transport=venue.transport)


async def test_recorded_candles_are_read() -> None:
    rows = recorded("candleSnapshot")
    as_of = datetime(2023, 5, 22, 4, 0, 2, tzinfo=UTC)

    series = await answering(candleSnapshot=rows).candles(
        symbol="KPEPE-PERP", timeframe="1h", count=5, as_of=as_of
    )

    assert (series.symbol, series.timeframe, series.source) == ("kPEPE", "1h", "hyperliquid")
    assert series.as_of == as_of
    assert series.bars.close_ms[-1] == as_of.timestamp() * 1000 - 2000
    assert list(series.bars.open_ms) == [row["t"] for row in rows[3:8]]
    assert list(series.bars.close) == [float(row["c"]) for row in rows[3:8]]
    assert list(series.bars.volume) == [float(row["v"]) for row in rows[3:8]]


async def test_a_candle_that_closed_within_two_seconds_is_not_final() -> None:
    provider = asked_by(Venue(at("10:15:01")))

    early = await provider.candles(symbol="BTC", timeframe="15m", count=2, as_of=at("10:15:01"))
    later = await provider.candles(symbol="BTC", timeframe="15m", count=2, as_of=at("10:15:02"))

    assert early.bars.close_ms[-1] == at("10:00").timestamp() * 1000
    assert later.bars.close_ms[-1] == at("10:15").timestamp() * 1000


async def test_the_forming_candle_is_not_asked_for_and_not_taken() -> None:
    venue = Venue(at("10:20"))
    forming = {
        "coin": "BTC",
        "interval": "15m",
        "startTime": int(at("09:00").timestamp() * 1000),
        "endTime": int(at("10:20").timestamp() * 1000),
    }
    rows = venue._candleSnapshot({"req": forming})

    series = await answering(candleSnapshot=rows).candles(
        symbol="BTC", timeframe="15m", count=60, as_of=at("10:20")
    )
    await asked_by(venue).candles(symbol="BTC", timeframe="15m", count=60, as_of=at("10:20"))

    assert rows is not None
    assert rows[-1]["t"] == at("10:15").timestamp() * 1000
    assert series.bars.close_ms[-1] == at("10:15").timestamp() * 1000
    assert venue.asked[-1]["req"]["endTime"] < at("10:15").timestamp() * 1000


async def test_a_recorded_book_is_read_with_the_time_it_was_shown() -> None:
    provider = answering(l2Book=recorded("l2Book"))

    book = await provider.book(symbol="DYDX", as_of=at("10:00"))
    quote = await provider.quote(symbol="DYDX", as_of=at("10:00"))

    assert book.bids[:2] == ((2.111, 134.4), (2.1105, 141.1))
    assert book.asks[0] == (2.1124, 352.3)
    assert book.as_of == quote.as_of == BOOK_TIME
    assert (quote.bid, quote.ask) == (2.111, 2.1124)
    assert quote.mid == pytest.approx(2.1117)


async def test_a_book_with_an_empty_side_leaves_the_mid_of_the_venue() -> None:
    one_sided = {**recorded("l2Book"), "coin": "BTC", "levels": [[], []]}
    provider = answering(l2Book=one_sided, allMids=recorded("allMids"))

    quote = await provider.quote(symbol="BTC", as_of=at("10:00"))

    assert (quote.mid, quote.bid, quote.ask) == (30135.0, None, None)


async def test_derivatives_join_contexts_to_coins_by_place() -> None:
    provider = answering(
        metaAndAssetCtxs=recorded("metaAndAssetCtxs"),
        predictedFundings=recorded("predictedFundings"),
    )

    btc = await provider.derivatives(symbol="BTC", as_of=at("10:00"))
    eth = await provider.derivatives(symbol="ETH", as_of=at("10:00"))
    quiet = await provider.derivatives(symbol="QUIET", as_of=at("10:00"))

    assert (btc.funding_rate, btc.open_interest) == (-0.0000015186, 27353.17)
    assert (btc.mark_price, btc.oracle_price) == (77562.0, 77605.0)
    assert (btc.predicted_funding, eth.predicted_funding) == (0.000011, 0.0000125)
    assert quiet.predicted_funding is None
    assert btc.as_of == at("10:00")


async def test_what_the_venue_never_tells_is_none_with_a_reason() -> None:
    provider = asked_by(Venue(at("10:00")))

    row = await provider.derivatives(symbol="BTC", as_of=at("10:00"))

    assert row.oi_change_24h_pct is None
    assert "history" in provider.absent["oi_change_24h_pct"]


async def test_a_delisted_coin_has_no_derivatives() -> None:
    provider = answering(
        metaAndAssetCtxs=recorded("metaAndAssetCtxs"),
        predictedFundings=recorded("predictedFundings"),
    )

    with pytest.raises(UnknownInstrument):
        await provider.derivatives(symbol="MATIC", as_of=at("10:00"))


async def test_one_bad_row_does_not_hide_the_others() -> None:
    answer = recorded("metaAndAssetCtxs")
    answer[1][1]["markPx"] = "NaN"
    provider = answering(metaAndAssetCtxs=answer, predictedFundings=recorded("predictedFundings"))

    btc = await provider.derivatives(symbol="BTC", as_of=at("10:00"))

    assert btc.mark_price == 77562.0
    with pytest.raises(BadMarketData, match="markPx of ETH is 'NaN'"):
        await provider.derivatives(symbol="ETH", as_of=at("10:00"))


@pytest.mark.parametrize("forecasts", [None, [["BTC"]], [["BTC", [["HlPerp", {}]]]]])
async def test_derivatives_go_on_without_a_forecast(forecasts: object) -> None:
    provider = answering(metaAndAssetCtxs=recorded("metaAndAssetCtxs"), predictedFundings=forecasts)

    row = await provider.derivatives(symbol="BTC", as_of=at("10:00"))

    assert row.predicted_funding is None
    assert row.funding_rate == -0.0000015186


async def test_the_forecast_is_asked_once_a_minute() -> None:
    venue = Venue(at("10:00"))
    provider = asked_by(venue)

    for moment in ("10:00:00", "10:00:30", "10:00:59", "10:01:00"):
        await provider.derivatives(symbol="BTC", as_of=at(moment))

    assert venue.count("metaAndAssetCtxs") == 4
    assert venue.count("predictedFundings") == 2


async def test_an_eight_hour_forecast_is_told_per_hour() -> None:
    forecasts = [["BTC", [["HlPerp", {"fundingRate": "0.0008", "fundingIntervalHours": 8}]]]]
    provider = answering(metaAndAssetCtxs=recorded("metaAndAssetCtxs"), predictedFundings=forecasts)

    row = await provider.derivatives(symbol="BTC", as_of=at("10:00"))

    assert row.predicted_funding == pytest.approx(0.0001)


@pytest.mark.parametrize("coin", ["NOPE", "@107"])
async def test_a_coin_that_is_not_listed_is_unknown(coin: str) -> None:
    provider = asked_by(Venue(at("10:00")))

    with pytest.raises(UnknownInstrument):
        await provider.book(symbol=coin, as_of=at("10:00"))
    with pytest.raises(UnknownInstrument):
        await provider.candles(symbol=coin, timeframe="1h", count=10, as_of=at("10:00"))
    with pytest.raises(UnknownInstrument):
        await provider.quote(symbol=coin, as_of=at("10:00"))


async def test_instruments_are_all_that_have_a_mid() -> None:
    provider = answering(allMids=recorded("allMids"))

    assert await provider.instruments(as_of=at("10:00")) == frozenset(recorded("allMids"))
    with pytest.raises(BadMarketData, match="no coin"):
        await answering(allMids={}).instruments(as_of=at("10:00"))


CANDLE = recorded("candleSnapshot")[3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"c": "NaN"}, "c of candle 0 of kPEPE 1h is 'NaN'"),
        ({"c": "Infinity"}, "not a decimal string"),
        ({"c": "-0.0016"}, "not above zero"),
        ({"c": "0.0"}, "not above zero"),
        ({"c": "1e5"}, "not a decimal string"),
        ({"c": "1_0"}, "not a decimal string"),
        ({"c": "٣"}, "not a decimal string"),
        ({"c": " 0.0016"}, "not a decimal string"),
        ({"c": ""}, "not a decimal string"),
        ({"c": None}, "not a decimal string"),
        ({"c": 0.0016}, "not a decimal string"),
        ({"v": "-1"}, "below zero"),
        ({"h": "0.0001"}, "has high"),
        ({"l": "0.9"}, "has high"),
        ({"t": "1684710000000"}, "not a whole number"),
        ({"t": True}, "not a whole number"),
        ({"t": 1684710000}, "not a time in milliseconds"),
        ({"t": 1684710000001}, "opens at"),
        ({"s": "BTC"}, "is of 'BTC' '1h'"),
        ({"i": "1m"}, "is of 'kPEPE' '1m'"),
    ],
)
async def test_a_candle_of_garbage_is_refused_by_name(
    change: dict[str, object], message: str
) -> None:
    provider = answering(candleSnapshot=[{**CANDLE, **change}])

    with pytest.raises(BadMarketData, match=message):
        await provider.candles(symbol="kPEPE", timeframe="1h", count=5, as_of=at("10:00"))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({}, "not a list"),
        ("null", "not a list"),
        ([None], "not an object"),
        ([CANDLE, CANDLE], "opens at"),
        ([CANDLE] * 5001, "5001 rows"),
    ],
)
async def test_candles_of_another_shape_are_refused(answer: object, message: str) -> None:
    provider = answering(candleSnapshot=answer)

    with pytest.raises(BadMarketData, match=message):
        await provider.candles(symbol="kPEPE", timeframe="1h", count=5, as_of=at("10:00"))


async def test_no_candles_yet_is_an_empty_series() -> None:
    series = await answering(candleSnapshot=[]).candles(
        symbol="BTC", timeframe="1h", count=5, as_of=at("10:00")
    )

    assert len(series.bars) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"coin": "ETH"}, "got 'ETH'"),
        ({"time": None}, "time of the book"),
        ({"levels": [[]]}, "1 sides"),
        ({"levels": None}, "not a list"),
        ({"levels": [[{"px": "2", "sz": "1"}], [{"px": "2", "sz": "1"}]]}, "crossed"),
        ({"levels": [[{"px": "1", "sz": "1"}, {"px": "2", "sz": "1"}], []]}, "not sorted"),
        ({"levels": [[], [{"px": "2", "sz": "1"}, {"px": "1", "sz": "1"}]]}, "not sorted"),
        ({"levels": [[{"px": "0", "sz": "1"}], []]}, "not above zero"),
        ({"levels": [[{"px": "1", "sz": "-1"}], []]}, "below zero"),
    ],
)
async def test_a_book_of_garbage_is_refused_by_name(
    change: dict[str, object], message: str
) -> None:
    provider = answering(l2Book={**recorded("l2Book"), **change})

    with pytest.raises(BadMarketData, match=message):
        await provider.book(symbol="DYDX", as_of=at("10:00"))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "not a list"),
        ([{}], "1 parts"),
        ([{"universe": [{"name": "BTC"}]}, []], "1 coins but 0"),
        ([{"universe": [{"name": 7}]}, [{}]], "called 7"),
    ],
)
async def test_derivatives_of_another_shape_are_refused(answer: object, message: str) -> None:
    provider = answering(metaAndAssetCtxs=answer, predictedFundings=[])

    with pytest.raises(BadMarketData, match=message):
        await provider.derivatives(symbol="BTC", as_of=at("10:00"))


async def test_an_unknown_timeframe_costs_no_call() -> None:
    venue = Venue(at("10:00"))

    with pytest.raises(UnknownInstrument, match="7m"):
        await asked_by(venue).candles(symbol="BTC", timeframe="7m", count=5, as_of=at("10:00"))

    assert venue.asked == []


@pytest.mark.parametrize(
    ("response", "error"),
    [
        (httpx2.Response(429, headers={"Retry-After": "9"}), RateLimited),
        (httpx2.Response(500), MarketDataUnavailable),
        (httpx2.Response(422), BadMarketData),
    ],
)
async def test_a_fault_of_the_venue_has_its_name(
    response: httpx2.Response, error: type[Exception]
) -> None:
    venue = Venue(at("10:00"))
    venue.refusal = response

    with pytest.raises(error):
        await asked_by(venue).book(symbol="BTC", as_of=at("10:00"))


async def test_a_rate_limit_on_the_forecast_is_not_swallowed() -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        if b"predictedFundings" in request.content:
            return httpx2.Response(429)
        return said(recorded("metaAndAssetCtxs"))

    provider = Hyperliquid(name="hyperliquid", transport=httpx2.MockTransport(answer))

    with pytest.raises(RateLimited):
        await provider.derivatives(symbol="BTC", as_of=at("10:00"))


async def test_each_call_states_what_the_venue_counts() -> None:
    venue = Venue(at("10:00"))
    provider = asked_by(venue)
    provider.meter = ledger = Ledger()

    await provider.book(symbol="BTC", as_of=at("10:00"))
    await provider.instruments(as_of=at("10:00"))
    await provider.derivatives(symbol="BTC", as_of=at("10:00"))
    await provider.candles(symbol="BTC", timeframe="15m", count=300, as_of=at("10:00"))

    assert ledger.reserved == [2, 2, 20, 20, 26]
    assert ledger.spent == venue.weight == 69


async def test_weight_of_candles_that_did_not_come_is_given_back() -> None:
    provider = answering(candleSnapshot=recorded("candleSnapshot"))
    provider.meter = ledger = Ledger()

    await provider.candles(symbol="kPEPE", timeframe="1h", count=5000, as_of=at("10:00"))

    assert ledger.reserved == [104]
    assert ledger.spent == 21


def test_every_recorded_candle_reply_holds_whole_hours(market_data: Path) -> None:
    rows = json.loads((market_data / "hyperliquid" / "candleSnapshot.json").read_text())

    assert all(row["t"] % 3_600_000 == 0 for row in rows["response"])


async def test_the_full_recordings_are_read(market_data: Path) -> None:
    folder = market_data / "hyperliquid"
    candles = json.loads((folder / "candleSnapshot.json").read_text())["response"]
    books = [json.loads((folder / "l2Book.json").read_text())["response"]]
    books += [json.loads(path.read_text()) for path in folder.glob("nautilus_http_l2_book_*.json")]
    contexts = json.loads((folder / "nautilus_ws_all_dexs_asset_ctxs.json").read_text())
    main = contexts["data"]["ctxs"][0][1]
    coins = [{"name": f"C{place}"} for place in range(len(main))]

    series = await answering(candleSnapshot=candles).candles(
        symbol="kPEPE", timeframe="1h", count=500, as_of=at("10:00")
    )
    shown = [
        await answering(l2Book=book).book(symbol=book["coin"], as_of=at("10:00")) for book in books
    ]
    sheet = await answering(
        metaAndAssetCtxs=[{"universe": coins}, main], predictedFundings=[]
    ).derivatives_sheet(as_of=at("10:00"))

    assert len(series.bars) == len(candles)
    assert [len(book.bids) for book in shown] == [len(book["levels"][0]) for book in books]
    assert len(sheet.rows) == len(main)
    assert not sheet.refused
