"""Recorded candles: the past as it was known at each moment, from one file."""

from __future__ import annotations

import csv
import glob
import gzip
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from markets.parsing import bars_of, moment, venue_symbol
from markets.providers.base import BadMarketData, MarketDataProvider, UnknownInstrument
from markets.types import CandleSeries, Derivatives, OrderBook, Quote
from quant.candles import resample
from quant.types import TIMEFRAMES, Bars

COLUMNS = ("open_time", "open", "high", "low", "close", "volume")
FUNDING_COLUMNS = ("time", "funding_rate")
KEPT_FILES = 8
_NOT_RECORDED = (
    "bid",
    "ask",
    "book",
    "predicted_funding",
    "open_interest",
    "oi_change_24h_pct",
    "mark_price",
    "oracle_price",
)
_TIMEFRAME_ENDING = re.compile(r"-(\d+[mhd])$")
_FUNDING_NAME = re.compile(r"-funding-(\d+)h\.csv(\.gz)?$")


class BadRecording(BadMarketData):
    """A file does not hold candles; the message names the file and the line."""


@dataclass(frozen=True, slots=True, eq=False)
class Funding:
    """Funding rates as fractions per hour, each known from its time on, oldest first."""

    time_ms: npt.NDArray[np.int64]
    hourly_rate: npt.NDArray[np.float64]


class Recorded(MarketDataProvider):
    """Tells what a candle file says had happened by ``as_of``, and nothing after.

    The file is CSV, plain or gzip: ``open_time`` in ISO 8601 with its offset, prices, volume. A
    funding file beside it (``XRP-perp-funding-8h.csv.gz`` for ``XRP-perp-5m.csv.gz``) is read too.
    """

    needs_network: ClassVar[bool] = False
    clock: ClassVar[Literal["wall", "signal"]] = "signal"
    absent: ClassVar[Mapping[str, str]] = MappingProxyType(
        dict.fromkeys(_NOT_RECORDED, "a candle recording does not hold it")
    )

    def __init__(self, *, name: str, path: str = "", symbol: str = "") -> None:
        """``symbol`` limits the answers to one instrument; without it any name is answered."""
        super().__init__(name=name)
        self._path = path
        self._coin = venue_symbol(symbol) if symbol else ""
        self._source = f"{name}:{Path(path).name}"
        self._base: Bars | None = None
        self._by_timeframe: dict[str, tuple[Bars, npt.NDArray[np.int64]]] = {}

    async def candles(
        self, *, symbol: str, timeframe: str, count: int, as_of: datetime
    ) -> CandleSeries:
        coin = self._checked(symbol)
        bars, close_ms = self._bars(timeframe)
        end = int(np.searchsorted(close_ms, _ms(as_of), side="right"))
        return CandleSeries(
            symbol=coin,
            timeframe=timeframe,
            bars=bars[max(0, end - count) : end],
            as_of=as_of,
            source=self._source,
        )

    async def quote(self, *, symbol: str, as_of: datetime) -> Quote:
        """Return the close of the last candle of the file that had closed by then."""
        coin = self._checked(symbol)
        base = self._recording()
        step_ms = base.timeframe_s * 1000
        end = int(np.searchsorted(base.open_ms, _ms(as_of) - step_ms, side="right"))
        if not end:
            raise UnknownInstrument(f"{self._source} holds nothing of {coin} before {as_of}")
        return Quote(
            symbol=coin,
            mid=float(base.close[end - 1]),
            bid=None,
            ask=None,
            as_of=moment(int(base.open_ms[end - 1]) + step_ms),
            source=self._source,
        )

    async def book(self, *, symbol: str, as_of: datetime) -> OrderBook | None:
        self._checked(symbol)
        return None

    async def derivatives(self, *, symbol: str, as_of: datetime) -> Derivatives | None:
        coin = self._checked(symbol)
        funding = load_funding(self._path)
        known = 0
        if funding is not None:
            known = int(np.searchsorted(funding.time_ms, _ms(as_of), side="right"))
        if funding is None or not known:
            return None
        return Derivatives(
            symbol=coin,
            funding_rate=float(funding.hourly_rate[known - 1]),
            predicted_funding=None,
            open_interest=None,
            oi_change_24h_pct=None,
            mark_price=None,
            oracle_price=None,
            as_of=moment(int(funding.time_ms[known - 1])),
            source=self._source,
        )

    def _checked(self, symbol: str) -> str:
        coin = venue_symbol(symbol)
        if self._coin and coin != self._coin:
            raise UnknownInstrument(f"{self._source} holds {self._coin}, not {coin}")
        return coin

    def _recording(self) -> Bars:
        if self._base is None:
            self._base = load_candles(self._path)
        return self._base

    def _bars(self, timeframe: str) -> tuple[Bars, npt.NDArray[np.int64]]:
        """Return all candles of a timeframe and their close times."""
        ready = self._by_timeframe.get(timeframe)
        if ready is None:
            bars = self._joined(timeframe)
            ready = self._by_timeframe[timeframe] = bars, bars.close_ms
        return ready

    def _joined(self, timeframe: str) -> Bars:
        base = self._recording()
        step_s = TIMEFRAMES.get(timeframe)
        if step_s is None or step_s < base.timeframe_s or step_s % base.timeframe_s:
            raise UnknownInstrument(
                f"{self._source} holds candles of {base.timeframe_s} s, not of {timeframe}"
            )
        joined = resample(base, timeframe_s=step_s)
        # A bar that lacks its last part was not known to be whole when it closed.
        whole = np.isin(joined.close_ms, base.close_ms)
        if whole.all():
            return joined
        table = np.column_stack((joined.open, joined.high, joined.low, joined.close, joined.volume))
        return bars_of(joined.open_ms[whole], table[whole], timeframe_s=step_s)


@lru_cache(maxsize=KEPT_FILES)
def load_candles(path: str) -> Bars:
    """Return the candles of a file, read once per process.

    :raises BadRecording: if the file is missing or a line is wrong.
    """
    if not path:
        raise BadRecording("no candle file was named")
    file = Path(path)
    times: list[int] = []
    table: list[tuple[float, ...]] = []
    for line, row in _lines(file, columns=COLUMNS):
        open_ms = _time_of(row[0], file=file, line=line)
        if times and open_ms <= times[-1]:
            raise BadRecording(f"{file}, line {line}: {row[0]} does not come after the line before")
        times.append(open_ms)
        table.append(_prices(row[1:], file=file, line=line))
    if len(times) < 2:
        raise BadRecording(f"{file}: fewer than two candles, so no timeframe")
    step_ms = min(later - earlier for earlier, later in pairwise(times))
    for line, open_ms in enumerate(times, start=2):
        if open_ms % step_ms:
            raise BadRecording(
                f"{file}, line {line}: a candle of {step_ms // 1000} s cannot open then"
            )
    return bars_of(np.array(times, dtype=np.int64), np.array(table), timeframe_s=step_ms // 1000)


@lru_cache(maxsize=KEPT_FILES)
def load_funding(path: str) -> Funding | None:
    """Return the funding rates from the file beside a candle file, or None if there is none.

    :raises BadRecording: if a line is wrong.
    """
    beside = _funding_file(Path(path))
    if beside is None:
        return None
    file, hours = beside
    times: list[int] = []
    rates: list[float] = []
    for line, row in _lines(file, columns=FUNDING_COLUMNS):
        times.append(_time_of(row[0], file=file, line=line))
        rates.append(_number(row[1], name="funding_rate", file=file, line=line) / hours)
    if times != sorted(set(times)):
        raise BadRecording(f"{file}: the times do not rise")
    return Funding(np.array(times, dtype=np.int64), np.array(rates, dtype=np.float64))


def _funding_file(candles: Path) -> tuple[Path, int] | None:
    stem = candles.name.removesuffix(".gz").removesuffix(".csv")
    series = _TIMEFRAME_ENDING.sub("", stem)
    for file in sorted(candles.parent.glob(f"{glob.escape(series)}-funding-*h.csv*")):
        named = _FUNDING_NAME.search(file.name)
        if named and int(named[1]):
            return file, int(named[1])
    return None


def _lines(file: Path, *, columns: tuple[str, ...]) -> Iterator[tuple[int, list[str]]]:
    """Yield each line's number and its values in the order of ``columns``."""
    opener = gzip.open if file.suffix == ".gz" else open
    try:
        with opener(file, "rt", encoding="utf-8", newline="") as text:
            reader = csv.reader(text)
            header = next(reader, [])
            missing = [column for column in columns if column not in header]
            if missing:
                raise BadRecording(f"{file}, line 1: no column {', '.join(missing)}")
            places = [header.index(column) for column in columns]
            for row in reader:
                if len(row) != len(header):
                    raise BadRecording(
                        f"{file}, line {reader.line_num}: {len(row)} values, not {len(header)}"
                    )
                yield reader.line_num, [row[place] for place in places]
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise BadRecording(f"{file}: cannot be read: {error}") from error


def _time_of(text: str, *, file: Path, line: int) -> int:
    try:
        opened_at = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadRecording(f"{file}, line {line}: {text!r} is no ISO 8601 time") from error
    if opened_at.tzinfo is None:
        raise BadRecording(f"{file}, line {line}: {text!r} lacks its offset from UTC")
    return _ms(opened_at)


def _prices(values: list[str], *, file: Path, line: int) -> tuple[float, ...]:
    row = tuple(
        _number(text, name=name, file=file, line=line)
        for name, text in zip(COLUMNS[1:], values, strict=True)
    )
    first, high, low, last, volume = row
    if low <= 0 or volume < 0 or high < max(first, last) or low > min(first, last):
        raise BadRecording(f"{file}, line {line}: {values} is no candle")
    return row


def _number(text: str, *, name: str, file: Path, line: int) -> float:
    try:
        number = float(text)
    except ValueError as error:
        raise BadRecording(f"{file}, line {line}: {name} is {text!r}, not a number") from error
    if not math.isfinite(number):
        raise BadRecording(f"{file}, line {line}: {name} is {text!r}, not a finite number")
    return number


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)
