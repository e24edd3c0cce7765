"""Reading features as evidence: what both profiles and the timeframes share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from quant.engine_features import EngineFeatures
from quant.market_events import MarketEvent
from quant.scoring.result import WEIGHTS, Component
from quant.types import Side

FLAT_SLOPE = 0.001  # fraction; a slope within it has no direction
EVENT_TYPES_FOR_FULL = 4.0  # specification A5


def volatility(features: EngineFeatures) -> Component:
    """Return the strength in a bar wider than those before: full at three times their mean."""
    expansion = features.range_expansion
    return None if expansion is None else clamped((expansion - 1.0) / 2.0)


def event_quality(events: Sequence[MarketEvent] | None) -> Component:
    """Return the strength in the number of different event types: full at four."""
    if events is None:
        return None
    return clamped(len({event.type for event in events}) / EVENT_TYPES_FOR_FULL)


def structure_sign(features: EngineFeatures) -> int | None:
    """Return +1 in an uptrend, -1 in a downtrend, 0 in neither, None when unknown."""
    signs = {None: None, "uptrend": 1, "downtrend": -1, "neutral": 0}
    return signs[features.structure]


def breakout_sign(features: EngineFeatures) -> int | None:
    """Return +1 for a breakout upwards, -1 downwards, 0 for none, None when unknown."""
    signs = {None: None, "bullish": 1, "bearish": -1, "none": 0}
    return signs[features.breakout]


def beyond(value: Component, limit: Component) -> int | None:
    """Return the sign of a value that exceeds the limit, 0 within it, None when unknown."""
    if value is None or limit is None:
        return None
    return int(value > limit) - int(value < -limit)


def leaning(balance: float) -> Side | None:
    """Return the side that a positive or negative balance speaks for."""
    if balance == 0:
        return None
    return Side.LONG if balance > 0 else Side.SHORT


def weighted(components: Mapping[str, Component]) -> float:
    """Return the sum of the known components, each by its weight."""
    return sum(WEIGHTS[name] * part for name, part in components.items() if part is not None)


def clamped(value: float) -> float:
    """Return the value held between 0 and 1."""
    return min(max(value, 0.0), 1.0)
