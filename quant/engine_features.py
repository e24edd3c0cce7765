"""What the engine knows about one instrument and timeframe, and what it does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np

from quant.indicators.atr import AtrMethod, natr
from quant.indicators.ema import ema_slope
from quant.indicators.funding_bias import funding_zscore
from quant.indicators.liquidation_bias import FLOOR_USD, liquidation_ratio
from quant.indicators.oi_change import oi_change, oi_zscore
from quant.indicators.range_expansion import range_expansion
from quant.indicators.swing_structure import breakout, swing_structure
from quant.indicators.vwap import vwap_distance
from quant.snapshot import freeze, thaw
from quant.types import Array, Bars

VERSION = 1
Name = TypeVar("Name")
Structure = Literal["uptrend", "downtrend", "neutral"]
BreakoutState = Literal["bullish", "bearish", "none"]
STRUCTURES: Mapping[int, Structure] = {1: "uptrend", -1: "downtrend", 0: "neutral"}
BREAKOUTS: Mapping[int, BreakoutState] = {1: "bullish", -1: "bearish", 0: "none"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Liquidations:
    """What venues closed by force.

    Units: counts over the last 20 liquidations; quote currency over the last five minutes.
    """

    long_count: int
    short_count: int
    long_usd: float
    short_usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFeatures:
    """The features of one closed bar; None is unknown, which is not the same as neutral.

    Units: ``atr_frac``, ``ema_slope``, ``vwap_distance`` and ``oi_delta`` are fractions;
    ``*_z`` are standard deviations; ``*_usd`` and ``breakout_level`` in quote currency.
    """

    close_ms: int | None = None
    close: float | None = None
    atr_frac: float | None = None
    range_expansion: float | None = None
    ema_slope: float | None = None
    vwap_distance: float | None = None
    structure: Structure | None = None
    breakout: BreakoutState | None = None
    breakout_level: float | None = None
    oi_delta: float | None = None
    oi_z: float | None = None
    funding_z: float | None = None
    liq_ratio: float | None = None
    liq_long_usd: float | None = None
    liq_short_usd: float | None = None
    liq_floor_usd: float = FLOOR_USD

    def to_dict(self) -> dict[str, Any]:
        """Return a mapping that JSON can hold."""
        return freeze(self, version=VERSION)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> EngineFeatures:
        """Return the features that ``to_dict`` wrote.

        :raises BadSnapshot: if the mapping is of another version or shape.
        """
        return thaw(cls, plain, version=VERSION)


def engine_features(
    bars: Bars,
    *,
    open_interest: Array | None = None,
    funding_rates: Array | None = None,
    liquidations: Liquidations | None = None,
    liq_floor_usd: float = FLOOR_USD,
    atr_method: AtrMethod = "wilder",
) -> EngineFeatures:
    """Return the features of the last bar.

    Shapes: n bars, series of any length -> one value.
    Units: ``open_interest`` in any one unit; ``funding_rates`` as fractions per period, both
        oldest first; the rest as in ``EngineFeatures``.
    Edges: the caller passes closed bars only; whatever has too short a history, or was not
        given, is None; no bars give a value that knows nothing.
    Source: specification A3; vectors ``engine_features``.
    """
    if not len(bars):
        return EngineFeatures(liq_floor_usd=liq_floor_usd)
    high, low, close = bars.high, bars.low, bars.close
    range_pct = _last(natr(high, low, close, method=atr_method))
    broke = breakout(high, low, close)
    return EngineFeatures(
        close_ms=int(bars.close_ms[-1]),
        close=float(close[-1]),
        atr_frac=None if range_pct is None else range_pct / 100.0,
        range_expansion=_last(range_expansion(high, low)),
        ema_slope=_last(ema_slope(close)),
        vwap_distance=_last(vwap_distance(bars)),
        structure=_named(swing_structure(high, low), STRUCTURES),
        breakout=_named(broke.side, BREAKOUTS),
        breakout_level=_last(broke.level),
        oi_delta=None if open_interest is None else _last(oi_change(open_interest)),
        oi_z=None if open_interest is None else _last(oi_zscore(open_interest)),
        funding_z=None if funding_rates is None else _last(funding_zscore(funding_rates)),
        liq_floor_usd=liq_floor_usd,
        **_liquidated(liquidations),
    )


def _last(values: Array) -> float | None:
    return float(values[-1]) if values.size and np.isfinite(values[-1]) else None


def _named(values: Array, names: Mapping[int, Name]) -> Name | None:
    code = _last(values)
    return None if code is None else names[int(code)]


def _liquidated(liquidations: Liquidations | None) -> dict[str, float]:
    if liquidations is None:
        return {}
    longs, shorts = liquidations.long_count, liquidations.short_count
    return {
        "liq_ratio": liquidation_ratio(longs=longs, shorts=shorts),
        "liq_long_usd": liquidations.long_usd,
        "liq_short_usd": liquidations.short_usd,
    }
