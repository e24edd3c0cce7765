from __future__ import annotations

import gzip
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from markets.providers.base import UnknownInstrument
from markets.providers.recorded import BadRecording, Recorded, load_candles
from tests.markets.venue import at

HEADER = "open_time,open,high,low,close,volume\n"


def line(moment: datetime, price: float) -> str:
    stamp = moment.isoformat().replace("+00:00", "Z")
    return f"{stamp},{price},{price + 1},{price - 1},{price + 0.5},10\n"


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Return twenty minutes from 10:00, each one higher than the last."""
    path = tmp_path / "BTC-perp-1m.csv"
    rows = [line(at("10:00") + timedelta(minutes=step), 100.0 + step) for step in range(20)]
    path.write_text(HEADER + "".join(rows))
    return path


async def test_candles_are_those_closed_by_then(recording: Path) -> None:
    provider = Recorded(name="recorded", path=str(recording))

    series = await provider.candles(symbol="BTC", timeframe="1m", count=3, as_of=at("10:07:59.999"))

    assert list(series.bars.open) == [104.0, 105.0, 106.0]
    assert series.source == "recorded:BTC-perp-1m.csv"


async def test_a_candle_that_closes_exactly_then_counts(recording: Path) -> None:
    provider = Recorded(name="recorded", path=str(recording))

    series = await provider.candles(symbol="BTC", timeframe="5m", count=9, as_of=at("10:10"))

    assert list(series.bars.open) == [100.0, 105.0]
    assert list(series.bars.high) == [105.0, 110.0]
    assert list(series.bars.low) == [99.0, 104.0]
    assert list(series.bars.close) == [104.5, 109.5]
    assert list(series.bars.volume) == [50.0, 50.0]


async def test_the_quote_is_the_last_close(recording: Path) -> None:
    provider = Recorded(name="recorded", path=str(recording))

    quote = await provider.quote(symbol="BTC-PERP", as_of=at("10:07:30"))

    assert (quote.symbol, quote.mid, quote.bid, quote.ask) == ("BTC", 106.5, None, None)
    assert quote.as_of == at("10:07")


async def test_nothing_is_known_before_the_first_close(recording: Path) -> None:
    provider = Recorded(name="recorded", path=str(recording))

    series = await provider.candles(symbol="BTC", timeframe="1m", count=3, as_of=at("10:00:30"))

    assert len(series.bars) == 0
    with pytest.raises(UnknownInstrument, match="holds nothing of BTC before"):
        await provider.quote(symbol="BTC", as_of=at("10:00:30"))


async def test_another_symbol_is_unknown_only_if_the_file_is_of_one(recording: Path) -> None:
    of_btc = Recorded(name="recorded", path=str(recording), symbol="BTC")
    of_any = Recorded(name="recorded", path=str(recording))

    assert (await of_any.quote(symbol="ETH", as_of=at("10:05"))).symbol == "ETH"
    with pytest.raises(UnknownInstrument, match="holds BTC, not ETH"):
        await of_btc.quote(symbol="ETH", as_of=at("10:05"))


@pytest.mark.parametrize("timeframe", ["1m", "7m"])
async def test_a_timeframe_that_cannot_be_made_is_unknown(tmp_path: Path, timeframe: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(HEADER + line(at("10:00"), 1.5) + line(at("10:05"), 1.5))
    provider = Recorded(name="recorded", path=str(path))

    with pytest.raises(UnknownInstrument, match=f"300 s, not of {timeframe}"):
        await provider.candles(symbol="BTC", timeframe=timeframe, count=1, as_of=at("11:00"))


async def test_a_bar_that_lacks_its_last_part_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "hole.csv"
    minutes = [step for step in range(15) if step != 9]
    rows = [line(at("10:00") + timedelta(minutes=step), 100.0 + step) for step in minutes]
    path.write_text(HEADER + "".join(rows))
    provider = Recorded(name="recorded", path=str(path))

    series = await provider.candles(symbol="BTC", timeframe="5m", count=9, as_of=at("11:00"))

    assert list(series.bars.open) == [100.0, 110.0]


async def test_funding_beside_the_candles_is_told_per_hour(recording: Path) -> None:
    beside = recording.parent / "BTC-perp-funding-8h.csv.gz"
    beside.write_bytes(
        gzip.compress(
            b"time,funding_rate\n2026-03-04T00:00:00Z,0.0001\n2026-03-04T10:05:00Z,-0.0008\n"
        )
    )
    provider = Recorded(name="recorded", path=str(recording))

    before = await provider.derivatives(symbol="BTC", as_of=at("10:04:59"))
    after = await provider.derivatives(symbol="BTC", as_of=at("10:05"))

    assert before is not None
    assert after is not None
    assert before.funding_rate == pytest.approx(0.0001 / 8)
    assert before.as_of == at("00:00")
    assert after.funding_rate == pytest.approx(-0.0001)
    assert after.open_interest is None


async def test_without_a_funding_file_there_are_no_derivatives(recording: Path) -> None:
    provider = Recorded(name="recorded", path=str(recording))

    assert await provider.derivatives(symbol="BTC", as_of=at("10:05")) is None
    assert await provider.book(symbol="BTC", as_of=at("10:05")) is None


GOOD = "2026-03-04T10:00:00Z,1,2,0.5,1.5,10\n2026-03-04T10:01:00Z,1,2,0.5,1.5,10\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: no column open_time"),
        ("open_time,open,high,low,close\n", "line 1: no column volume"),
        (HEADER, "fewer than two candles"),
        (HEADER + GOOD + "2026-03-04T10:02:00Z,1,2\n", "line 4: 3 values, not 6"),
        (HEADER + GOOD + "2026-03-04T10:02:00,1,2,0.5,1.5,10\n", "line 4: .* lacks its offset"),
        (HEADER + GOOD + "yesterday,1,2,0.5,1.5,10\n", "line 4: 'yesterday' is no ISO"),
        (HEADER + GOOD + "2026-03-04T10:02:00Z,1,2,x,1.5,10\n", "line 4: low is 'x'"),
        (HEADER + GOOD + "2026-03-04T10:02:00Z,1,2,nan,1.5,10\n", "line 4: low is 'nan'"),
        (HEADER + GOOD + "2026-03-04T10:02:00Z,1,2,0.5,1.5,\n", "line 4: volume is ''"),
        (HEADER + GOOD + "2026-03-04T10:02:00Z,1,2,0.5,2.5,10\n", "line 4: .* is no candle"),
        (HEADER + GOOD + "2026-03-04T10:02:00Z,1,2,-1,1.5,10\n", "line 4: .* is no candle"),
        (HEADER + GOOD + "2026-03-04T10:01:00Z,1,2,0.5,1.5,10\n", "line 4: .* does not come after"),
        (HEADER + GOOD + "2026-03-04T10:02:30Z,1,2,0.5,1.5,10\n", "line 4: a candle of 60 s"),
    ],
)
def test_a_bad_file_is_refused_with_its_name_and_line(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)

    with pytest.raises(BadRecording, match=f"bad.csv.*{message}"):
        load_candles(str(path))


@pytest.mark.parametrize(
    "content",
    [None, b"no gzip", gzip.compress(b"x" * 99, mtime=0)[:20]],
    ids=["missing", "no gzip", "cut off"],
)
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.csv.gz"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(BadRecording, match="cannot be read"):
        load_candles(str(path))


async def test_no_file_named_is_refused_when_asked() -> None:
    provider = Recorded(name="recorded")

    with pytest.raises(BadRecording, match="no candle file was named"):
        await provider.quote(symbol="BTC", as_of=at("10:00"))


def test_a_file_is_read_once(recording: Path) -> None:
    first = load_candles(str(recording))
    recording.unlink()

    assert load_candles(str(recording)) is first


async def test_a_real_recording_is_sliced_in_microseconds(market_data: Path) -> None:
    path = market_data / "candles" / "BTC-perp-1m.csv.gz"
    provider = Recorded(name="recorded", path=str(path), symbol="BTC")
    as_of = datetime(2022, 1, 10, 12, 7, tzinfo=UTC)
    series = await provider.candles(symbol="BTC", timeframe="1h", count=200, as_of=as_of)

    rounds = []
    for _ in range(10):
        began = time.perf_counter()
        for _ in range(50):
            series = await provider.candles(symbol="BTC", timeframe="1h", count=200, as_of=as_of)
        rounds.append((time.perf_counter() - began) / 50 * 1e6)

    assert len(series.bars) == 200
    assert series.bars.close_ms[-1] == datetime(2022, 1, 10, 12, tzinfo=UTC).timestamp() * 1000
    assert min(rounds) < 200


async def test_real_funding_is_found_beside_its_candles(market_data: Path) -> None:
    path = market_data / "candles" / "XRP-perp-5m.csv.gz"
    provider = Recorded(name="recorded", path=str(path), symbol="XRP")

    row = await provider.derivatives(symbol="XRPUSDT", as_of=datetime(2021, 11, 20, tzinfo=UTC))

    assert row is not None
    assert row.funding_rate == pytest.approx(0.00013046 / 8, rel=1e-3)
