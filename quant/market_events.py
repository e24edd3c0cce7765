"""Things that happen to a market, as a snapshot shows them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from quant.engine_features import EngineFeatures
from quant.indicators.funding_bias import EXTREME_Z, funding_bias
from quant.types import Side

OI_EXPANSION = 0.015  # fraction; specification A4
RANGE_EXPANSION = 1.5  # times the mean range; specification A4


class EventType(StrEnum):
    """The kinds of event that can be told from one bar and its surroundings."""

    OI_EXPANSION = "oi_expansion"
    ATR_EXPANSION = "atr_expansion"
    STRUCTURE_BREAKOUT = "structure_breakout"
    FUNDING_EXTREME = "funding_extreme"


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketEvent:
    """One event, and the side it speaks for if it speaks for one."""

    type: str
    bias: Side | None = None


def standing_events(features: EngineFeatures) -> tuple[MarketEvent, ...]:
    """Return the events whose condition holds on this bar.

    Shapes: one value -> at most one event of each type.
    Units: thresholds as in specification A4.
    Edges: an unknown feature gives no event. A condition that goes on holding is returned for
        every bar: telling the edge needs the bar before. Liquidation spikes and imbalance flips
        need streams and are not told from a snapshot.
    Source: specification A4.
    """
    return tuple(_events(features))


def _events(features: EngineFeatures) -> Iterator[MarketEvent]:
    if features.oi_delta is not None and abs(features.oi_delta) >= OI_EXPANSION:
        yield MarketEvent(type=EventType.OI_EXPANSION)
    if features.range_expansion is not None and features.range_expansion >= RANGE_EXPANSION:
        yield MarketEvent(type=EventType.ATR_EXPANSION)
    if features.breakout in {"bullish", "bearish"}:
        bias = Side.LONG if features.breakout == "bullish" else Side.SHORT
        yield MarketEvent(type=EventType.STRUCTURE_BREAKOUT, bias=bias)
    if features.funding_z is not None and abs(features.funding_z) >= EXTREME_Z:
        crowd_loses = float(funding_bias(np.array([features.funding_z]))[0])
        bias = Side.LONG if crowd_loses > 0 else Side.SHORT
        yield MarketEvent(type=EventType.FUNDING_EXTREME, bias=bias)
