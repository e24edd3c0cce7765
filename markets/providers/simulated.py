"""A made-up market that runs in real time: for the demo and for trying things out.

Every number is a pure function of (seed, symbol, moment), so that each process sees the same
market, yesterday's candles never change and nothing has to be stored. Days are the blocks: the
price at midnight comes from layered noise, the minutes between two midnights from a random walk
with regimes and clustered volatility that is bent to meet both. Longer candles are made of the
minutes, so every timeframe tells the same story.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from hashlib import blake2b
from statistics import NormalDist
from typing import ClassVar, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from markets.parsing import bars_of, venue_symbol
from markets.providers.base import MarketDataProvider, UnknownInstrument
from markets.types import CandleSeries, Derivatives, Level, OrderBook, Quote
from quant.types import TIMEFRAMES, Bars

K = TypeVar("K")
V = TypeVar("V")
Table = npt.NDArray[np.float64]

SOURCE = "SIMULATED"
DAY_S = 86_400
DAY_MINUTES = 1_440
MINUTE_S = 60
KEPT_MARKETS = 1_024
KEPT_DAYS = 128  # minutes of one symbol and day: 58 kB
KEPT_BLOCKS = 8_192  # longer candles of one symbol, timeframe and day: 2 kB and less
KEPT_BARS = 128  # the last candles of one symbol and timeframe: 10 kB of a few hundred

# (days, size in daily volatilities): slow layers are large, so trends last for days
PRICE_LAYERS = ((1, 0.4), (4, 1.2), (16, 2.4), (64, 4.8), (256, 9.6))
REGIME_MINUTES = 240
REGIME_DRIFT = 0.35  # of a daily volatility, per regime
VOLATILITY_OF_HOURS = 0.45  # of the logarithm of volatility
TAIL_DEGREES = 4  # degrees of freedom of the minute returns; returns of markets have fat tails
WICK = 0.6  # of a minute's volatility
USUAL_FUNDING = 0.0000125  # per hour, the resting rate of perpetuals: 1 bps per 8 hours
BOOK_LEVELS = 40
BOOK_REACH_FRAC = 0.05  # the deepest level, away from the middle


@dataclass(frozen=True, slots=True, kw_only=True)
class Character:
    """What kind of market a symbol has."""

    price_usd: float
    daily_volatility: float
    daily_volume_usd: float

    @property
    def tick(self) -> float:
        """The smallest step of the price: five digits and a bit."""
        return float(10.0 ** (math.floor(math.log10(self.price_usd)) - 5))


# Round figures, only so that a demo looks familiar.
KNOWN = {
    "BTC": Character(price_usd=65_000, daily_volatility=0.025, daily_volume_usd=2e9),
    "ETH": Character(price_usd=3_200, daily_volatility=0.032, daily_volume_usd=1e9),
    "SOL": Character(price_usd=150, daily_volatility=0.042, daily_volume_usd=4e8),
    "BNB": Character(price_usd=600, daily_volatility=0.028, daily_volume_usd=1e8),
    "XRP": Character(price_usd=0.6, daily_volatility=0.036, daily_volume_usd=2e8),
    "DOGE": Character(price_usd=0.15, daily_volatility=0.048, daily_volume_usd=1e8),
    "ADA": Character(price_usd=0.45, daily_volatility=0.040, daily_volume_usd=5e7),
    "AVAX": Character(price_usd=30, daily_volatility=0.045, daily_volume_usd=5e7),
    "LINK": Character(price_usd=15, daily_volatility=0.042, daily_volume_usd=5e7),
    "HYPE": Character(price_usd=25, daily_volatility=0.050, daily_volume_usd=3e8),
}


class Simulated(MarketDataProvider):
    """Tells prices, book, funding and open interest of a market that does not exist.

    Every symbol has one; every answer says SIMULATED.
    """

    needs_network: ClassVar[bool] = False
    simulated: ClassVar[bool] = True

    def __init__(self, *, name: str, seed: int = 7) -> None:
        super().__init__(name=name)
        self._seed = seed
        self._markets: _Kept[str, SimulatedMarket] = _Kept(KEPT_MARKETS)

    async def candles(
        self, *, symbol: str, timeframe: str, count: int, as_of: datetime
    ) -> CandleSeries:
        market = self._market(symbol)
        if timeframe not in TIMEFRAMES:
            raise UnknownInstrument(f"no candles of timeframe {timeframe!r}")
        bars = market.bars(
            timeframe_s=TIMEFRAMES[timeframe], count=count, as_of_s=as_of.timestamp()
        )
        return CandleSeries(
            symbol=market.symbol, timeframe=timeframe, bars=bars, as_of=as_of, source=SOURCE
        )

    async def quote(self, *, symbol: str, as_of: datetime) -> Quote:
        market = self._market(symbol)
        mid = market.mid(as_of.timestamp())
        bid, ask = market.best(as_of.timestamp())
        return Quote(symbol=market.symbol, mid=mid, bid=bid, ask=ask, as_of=as_of, source=SOURCE)

    async def book(self, *, symbol: str, as_of: datetime) -> OrderBook:
        market = self._market(symbol)
        bids, asks = market.levels(as_of.timestamp())
        return OrderBook(symbol=market.symbol, bids=bids, asks=asks, as_of=as_of, source=SOURCE)

    async def derivatives(self, *, symbol: str, as_of: datetime) -> Derivatives:
        market = self._market(symbol)
        now_s = as_of.timestamp()
        mid = market.mid(now_s)
        interest, day_before = market.open_interest(now_s), market.open_interest(now_s - DAY_S)
        return Derivatives(
            symbol=market.symbol,
            funding_rate=market.funding(now_s),
            predicted_funding=(market.funding(now_s) + market.funding(now_s + 3_600)) / 2,
            open_interest=interest,
            oi_change_24h_pct=(interest / day_before - 1) * 100,
            mark_price=mid * (1 + 1e-4 * market.noise("mark", now_s / 600)),
            oracle_price=mid * (1 + 2e-4 * market.noise("oracle", now_s / 600)),
            as_of=as_of,
            source=SOURCE,
        )

    def _market(self, symbol: str) -> SimulatedMarket:
        coin = venue_symbol(symbol)
        return self._markets.get(coin, lambda: SimulatedMarket(seed=self._seed, symbol=coin))


class SimulatedMarket:
    """The market of one symbol; every method is a pure function of the moment it is asked for."""

    def __init__(self, *, seed: int, symbol: str) -> None:
        self.symbol = symbol
        self._key = int.from_bytes(blake2b(f"{seed}:{symbol}".encode(), digest_size=8).digest())
        self.character = KNOWN.get(symbol) or _character(self._key)

    def bars(self, *, timeframe_s: int, count: int, as_of_s: float) -> Bars:
        """Return the last ``count`` candles closed at or before a moment in unix seconds."""
        end_s = int(as_of_s) // timeframe_s * timeframe_s
        start_s = max(0, end_s - count * timeframe_s)
        if start_s >= end_s:
            return Bars.empty(timeframe_s=timeframe_s)
        return _BARS.get(
            (self._key, timeframe_s, start_s, end_s),
            lambda: self._cut(timeframe_s=timeframe_s, start_s=start_s, end_s=end_s),
        )

    def _cut(self, *, timeframe_s: int, start_s: int, end_s: int) -> Bars:
        """Return the candles from one moment to another, both on the grid of the timeframe."""
        first_day, last_day = start_s // DAY_S, (end_s - 1) // DAY_S
        table = np.concatenate(
            [self._block(day, timeframe_s) for day in range(first_day, last_day + 1)]
        )
        skipped = (start_s - first_day * DAY_S) // timeframe_s
        table = table[skipped : skipped + (end_s - start_s) // timeframe_s]
        return bars_of(
            np.arange(start_s, end_s, timeframe_s, dtype=np.int64) * 1000,
            table,
            timeframe_s=timeframe_s,
        )

    def mid(self, now_s: float) -> float:
        """Return the price at a moment: it goes from the open through both extremes to the close.

        Source: the usual reading of a candle; the order of the extremes is drawn by the minute.
        """
        minute, within_s = divmod(now_s, MINUTE_S)
        day, row = divmod(int(minute), DAY_MINUTES)
        first, high, low, last, _ = self._minutes(day)[row]
        extremes = (low, high) if self._uniform("order", int(minute)) < 0.5 else (high, low)
        price = np.interp(within_s / MINUTE_S, (0.0, 0.3, 0.7, 1.0), (first, *extremes, last))
        return self._round(float(price))

    def best(self, now_s: float) -> tuple[float, float]:
        """Return bid and ask, one to three basis points apart."""
        wide_bps = 1.0 + 2.0 * self._uniform("spread", int(now_s))
        mid = self.mid(now_s)
        half = self._round(mid * wide_bps / 2e4)
        return self._round(mid - half), self._round(mid + half)

    def levels(self, now_s: float) -> tuple[tuple[Level, ...], tuple[Level, ...]]:
        """Return bids and asks, a few per mille of the day's volume on each side."""
        bid, ask = self.best(now_s)
        rng = np.random.default_rng([self._key, 2, int(now_s)])
        away = BOOK_REACH_FRAC * np.linspace(0.0, 1.0, BOOK_LEVELS) ** 2
        usual = self.character.daily_volume_usd / bid / 50_000
        sizes = usual * rng.lognormal(0.0, 0.6, (2, BOOK_LEVELS)) * np.linspace(1, 6, BOOK_LEVELS)
        tilt = math.exp(0.3 * self.noise("tilt", now_s / 300))
        bids = zip((bid * (1 - away)).tolist(), (sizes[0] * tilt).tolist(), strict=True)
        asks = zip((ask * (1 + away)).tolist(), (sizes[1] / tilt).tolist(), strict=True)
        return tuple(bids), tuple(asks)

    def funding(self, now_s: float) -> float:
        """Return the funding rate of the hour, a fraction per hour."""
        return USUAL_FUNDING + 2e-5 * self.noise("funding", now_s // 3_600 / 8)

    def open_interest(self, now_s: float) -> float:
        """Return the open interest in base units."""
        usual = self.character.daily_volume_usd / self.character.price_usd / 2
        slow, quick = self.noise("interest", now_s / DAY_S / 2), self.noise("churn", now_s / 7_200)
        return usual * math.exp(0.2 * slow + 0.02 * quick)

    def noise(self, label: str, place: float) -> float:
        """Return smooth noise of mean zero: normal at whole places, straight between them."""
        left = math.floor(place)
        part = place - left
        return self._normal(label, left) * (1 - part) + self._normal(label, left + 1) * part

    def _block(self, day: int, timeframe_s: int) -> Table:
        """Return one day's candles of a timeframe, oldest first."""
        if timeframe_s == MINUTE_S:
            return self._minutes(day)
        return _BLOCKS.get((self._key, day, timeframe_s), lambda: self._joined(day, timeframe_s))

    def _joined(self, day: int, timeframe_s: int) -> Table:
        parts = self._minutes(day).reshape(DAY_S // timeframe_s, timeframe_s // MINUTE_S, 5)
        return np.column_stack(
            (
                parts[:, 0, 0],
                parts[:, :, 1].max(axis=1),
                parts[:, :, 2].min(axis=1),
                parts[:, -1, 3],
                parts[:, :, 4].sum(axis=1),
            )
        )

    def _minutes(self, day: int) -> Table:
        return _DAYS.get((self._key, day), lambda: self._walk(day))

    def _walk(self, day: int) -> Table:
        """Return the minutes of one day: open, high, low, close, volume."""
        rng = np.random.default_rng([self._key, 1, day])
        swing = self._volatility(day)
        shocks = np.clip(rng.standard_t(TAIL_DEGREES, DAY_MINUTES) / math.sqrt(2), -6, 6)
        drifts = rng.normal(0.0, REGIME_DRIFT, DAY_MINUTES // REGIME_MINUTES)
        drift = np.repeat(drifts * self.character.daily_volatility / REGIME_MINUTES, REGIME_MINUTES)
        path = np.concatenate(([0.0], np.cumsum(shocks * swing + drift)))
        along = np.linspace(0.0, 1.0, DAY_MINUTES + 1)
        start, end = self._midnight(day), self._midnight(day + 1)
        price = np.exp(start + path - path[-1] * along + (end - start) * along)
        wicks = np.abs(rng.normal(0.0, WICK, (2, DAY_MINUTES))) * swing
        first, last = price[:-1], price[1:]
        prices = np.column_stack(
            (
                first,
                np.maximum(first, last) * np.exp(wicks[0]),
                np.minimum(first, last) * np.exp(-wicks[1]),
                last,
            )
        )
        usual = self.character.daily_volume_usd / DAY_MINUTES / last
        volume = usual * np.exp(rng.normal(-0.5, 0.6, DAY_MINUTES) + 0.5 * np.abs(shocks))
        return np.column_stack((self._round_all(prices), np.round(volume, 4)))

    def _midnight(self, day: int) -> float:
        """Return the logarithm of the price at the start of a day."""
        swing = self.character.daily_volatility
        layers = sum(size * self.noise(f"price{days}", day / days) for days, size in PRICE_LAYERS)
        return math.log(self.character.price_usd) + swing * layers

    def _volatility(self, day: int) -> Table:
        """Return each minute's volatility: it comes in clusters and is higher by European day."""
        hours = [self.noise("volatility", (day * 24 + hour) / 3) for hour in range(25)]
        minutes = np.arange(DAY_MINUTES)
        clusters = np.interp(minutes, np.arange(25) * 60, hours)
        season = 1 + 0.35 * np.sin((minutes / DAY_MINUTES - 0.35) * 2 * np.pi)
        usual = self.character.daily_volatility / math.sqrt(DAY_MINUTES)
        return np.asarray(usual * season * np.exp(VOLATILITY_OF_HOURS * clusters))

    def _round(self, price: float) -> float:
        return float(self._round_all(np.array(price)))

    def _round_all(self, prices: Table) -> Table:
        """Return prices on the tick, never below one tick."""
        tick = self.character.tick
        digits = max(0, round(-math.log10(tick)))
        return np.maximum(np.round(np.round(prices / tick) * tick, digits), tick)

    def _normal(self, label: str, place: int) -> float:
        return _normal(self._key, label, place)

    def _uniform(self, label: str, place: int) -> float:
        return _uniform(self._key, label, place)


class _Kept(Generic[K, V]):
    """The values used last, each made once."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K, make: Callable[[], V]) -> V:
        """Return the value of ``key``, made now if it is not here."""
        if key in self._values:
            self._values.move_to_end(key)
            return self._values[key]
        value = self._values[key] = make()
        if len(self._values) > self._size:
            self._values.popitem(last=False)
        return value


_DAYS: _Kept[tuple[int, int], Table] = _Kept(KEPT_DAYS)
_BLOCKS: _Kept[tuple[int, int, int], Table] = _Kept(KEPT_BLOCKS)
_BARS: _Kept[tuple[int, int, int, int], Bars] = _Kept(KEPT_BARS)


def _character(key: int) -> Character:
    """Return the character of a symbol nobody knows, drawn from its key."""
    return Character(
        price_usd=float(f"{10 ** (-1.5 + 4 * _uniform(key, 'price', 0)):.3g}"),
        daily_volatility=0.03 + 0.04 * _uniform(key, "volatility", 0),
        daily_volume_usd=10 ** (6.5 + 1.5 * _uniform(key, "volume", 0)),
    )


@lru_cache(maxsize=16_384)
def _uniform(key: int, label: str, place: int) -> float:
    """Return a number in (0, 1) that depends on nothing but the arguments."""
    digest = blake2b(f"{key}:{label}:{place}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest) + 0.5) / 2**64


@lru_cache(maxsize=16_384)
def _normal(key: int, label: str, place: int) -> float:
    return NormalDist().inv_cdf(_uniform(key, label, place))
