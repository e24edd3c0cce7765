"""What the ensemble looks at: sixteen features and the context they are read in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from quant.indicators.adx import adx
from quant.indicators.atr import atr
from quant.indicators.bollinger import bollinger
from quant.indicators.macd import macd
from quant.indicators.rsi import rsi
from quant.indicators.volume_ratio import volume_ratio
from quant.snapshot import freeze, thaw
from quant.types import Array, Bars
from quant.windows import FLOAT_NOISE, rolling_mean, rolling_std, trailing

MIN_BARS = 120  # the ranks look back 100 bars over 20-bar windows; specification B2
RANKED_BARS = 100
MOST_MACD_STRENGTH = 5.0
VERSION = 1

FEATURE_ORDER = (
    "ret_5",
    "ret_10",
    "ret_20",
    "vol_5",
    "vol_10",
    "volume_ratio",
    "volume_trend",
    "bb_position",
    "bb_width",
    "rsi_norm",
    "rsi_overbought",
    "rsi_oversold",
    "macd_cross",
    "macd_strength",
    "trend_alignment",
    "momentum_1",
)


class InsufficientBars(Exception):
    """There are too few closed bars to compute every feature."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsembleFeatures:
    """The sixteen features of one closed bar, their context, and the bar they belong to.

    Units: ``ret_*``, ``vol_*``, ``momentum_1``, ``atr_frac`` and ``bb_width`` are fractions;
    ``bb_position`` is 0 at the lower band and 1 at the upper; ``rsi_norm`` and
    ``bb_width_rank`` run from 0 to 1; flags are 0 or 1, signs -1, 0 or 1.
    """

    close_ms: int
    close: float
    ret_5: float
    ret_10: float
    ret_20: float
    vol_5: float
    vol_10: float
    volume_ratio: float
    volume_trend: float
    bb_position: float
    bb_width: float
    rsi_norm: float
    rsi_overbought: float
    rsi_oversold: float
    macd_cross: float
    macd_strength: float
    trend_alignment: float
    momentum_1: float
    atr_frac: float
    adx: float
    bb_width_rank: float
    vol_5_median: float

    @property
    def atr(self) -> float:
        """The average true range in quote currency."""
        return self.atr_frac * self.close

    def in_order(self) -> dict[str, float]:
        """Return the sixteen features by name, in their fixed order."""
        return {name: getattr(self, name) for name in FEATURE_ORDER}

    def to_dict(self) -> dict[str, Any]:
        """Return a mapping that JSON can hold."""
        return freeze(self, version=VERSION)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> EnsembleFeatures:
        """Return the features that ``to_dict`` wrote.

        :raises BadSnapshot: if the mapping is of another version or shape.
        """
        return thaw(cls, plain, version=VERSION)


def ensemble_features(bars: Bars) -> EnsembleFeatures:
    """Return the features of the last bar.

    Shapes: n bars, n at least 120 -> one value.
    Units: see ``EnsembleFeatures``.
    Edges: the caller passes closed bars only; no volume gives ratio 1 and trend 0, equal bands
        position 0.5, flat prices RSI 50 and no MACD sign. Averages remember every bar given,
        so two calls agree exactly only over the same history.
    Source: specification B3; vectors ``ensemble.series_cases``.
    :raises InsufficientBars: if there are fewer than 120 bars.
    :raises ValueError: if a price is not positive or not finite, or a volume negative.
    """
    if len(bars) < MIN_BARS:
        raise InsufficientBars(f"{MIN_BARS} closed bars are needed, {len(bars)} are there")
    _check_prices(bars)
    close, last = bars.close, float(bars.close[-1])
    return EnsembleFeatures(
        close_ms=int(bars.close_ms[-1]),
        close=last,
        **{f"ret_{k}": _change(close, k) for k in (5, 10, 20)},
        momentum_1=_change(close, 1),
        volume_ratio=float(volume_ratio(bars.volume)[-1]),
        volume_trend=_volume_trend(bars.volume),
        trend_alignment=_alignment(close),
        atr_frac=float(atr(bars.high, bars.low, close)[-1]) / last,
        adx=float(adx(bars.high, bars.low, close).adx[-1]),
        **_volatility(close),
        **_bands(close),
        **_strength(close),
        **_crossing(close),
    )


def _check_prices(bars: Bars) -> None:
    for prices in (bars.open, bars.high, bars.low, bars.close):
        if not (np.isfinite(prices).all() and (prices > 0.0).all()):
            raise ValueError("every price must be positive and finite")
    if not (np.isfinite(bars.volume).all() and (bars.volume >= 0.0).all()):
        raise ValueError("every volume must be finite and not negative")


def _change(close: Array, bars: int) -> float:
    return float(close[-1] / close[-1 - bars] - 1.0)


def _volume_trend(volume: Array) -> float:
    before = float(volume[-20:-5].mean())
    return float(volume[-5:].mean()) / before - 1.0 if before else 0.0


def _alignment(close: Array) -> float:
    short, long = float(close[-5:].mean()), float(close[-20:].mean())
    return 1.0 if short - long > FLOAT_NOISE * long else -1.0


def _volatility(close: Array) -> dict[str, float]:
    spread = rolling_std(close, 5) / rolling_mean(close, 5)
    ten = close[-10:]
    return {
        "vol_5": float(spread[-1]),
        "vol_10": float(ten.std() / ten.mean()),
        "vol_5_median": float(np.median(trailing(spread, RANKED_BARS)[-1])),
    }


def _bands(close: Array) -> dict[str, float]:
    bands = bollinger(close)
    widths = trailing(bands.width, RANKED_BARS)[-1]
    return {
        "bb_position": float(bands.percent_b[-1]),
        "bb_width": float(bands.width[-1]),
        "bb_width_rank": float((widths < widths[-1]).mean()),
    }


def _strength(close: Array) -> dict[str, float]:
    points = float(rsi(close)[-1])
    return {
        "rsi_norm": points / 100.0,
        "rsi_overbought": float(points > 70.0),
        "rsi_oversold": float(points < 30.0),
    }


def _crossing(close: Array) -> dict[str, float]:
    found = macd(close)
    line, hist = abs(float(found.line[-1])), float(found.hist[-1])
    if abs(hist) <= FLOAT_NOISE * float(close[-1]):
        return {"macd_cross": 0.0, "macd_strength": 0.0}
    strength = min(abs(hist) / line, MOST_MACD_STRENGTH) if line else MOST_MACD_STRENGTH
    return {"macd_cross": float(np.sign(hist)), "macd_strength": strength}
