"""The score as it was published: strengths add up whichever way they point."""

from __future__ import annotations

from collections.abc import Sequence

from quant.engine_features import EngineFeatures
from quant.market_events import MarketEvent
from quant.scoring.evidence import (
    FLAT_SLOPE,
    beyond,
    breakout_sign,
    clamped,
    event_quality,
    leaning,
    structure_sign,
    volatility,
    weighted,
)
from quant.scoring.result import Component, EngineScore, ScoreReason
from quant.types import Side

FULL_SLOPE = 0.01  # fraction; this and the rest: specification A5
FULL_DISTANCE = 0.02
CROWDED_LONGS = 1.3  # liquidated longs per short; above is bearish
CROWDED_SHORTS = 0.7  # below is bullish
CALM_LIQUIDATIONS = 0.2  # strength of a ratio between the two
FALLING_OI = -0.02  # open interest that falls faster counts half


def published_score(features: EngineFeatures, events: Sequence[MarketEvent] | None) -> EngineScore:
    """Return the weighted strengths, for the side with more votes.

    Shapes: one value and any number of events -> one score.
    Units: see ``EngineScore``.
    Edges: a tie is long; with every directed component unknown there is no side.
    Source: specification A5, profile published; vectors ``engine.scoring_cases``.
    """
    components = {
        "trend": _trend(features.ema_slope),
        "vwap": _capped(features.vwap_distance, FULL_DISTANCE),
        "liquidation": _liquidation(features.liq_ratio),
        "volatility": volatility(features),
        "oi": _oi(features.oi_delta),
        "structure": _structure(features),
        "event_quality": event_quality(events),
    }
    signs = [
        beyond(features.ema_slope, FLAT_SLOPE),
        beyond(features.vwap_distance, 0.0),
        _liquidation_sign(features.liq_ratio),
        structure_sign(features),
        breakout_sign(features),
    ]
    votes = [*signs, *(event.bias.sign for event in events or () if event.bias)]
    bullish, bearish = votes.count(1), votes.count(-1)
    is_blind = all(sign is None for sign in signs)
    side = None if is_blind else leaning(bullish - bearish) or Side.LONG
    return EngineScore(
        profile="published",
        score=0.0 if is_blind else weighted(components),
        direction=side,
        reason=ScoreReason.INSUFFICIENT_DATA if is_blind else ScoreReason.OK,
        components=components,
        net=bullish - bearish,
        agree=bearish if side is Side.SHORT else bullish,
        against=bullish if side is Side.SHORT else bearish,
    )


def _trend(slope: Component) -> Component:
    return _capped(slope, FULL_SLOPE) if slope is None or abs(slope) > FLAT_SLOPE else 0.0


def _liquidation(ratio: Component) -> Component:
    if ratio is None:
        return None
    if ratio > CROWDED_LONGS:
        return clamped((ratio - 1.0) / 2.0)
    return clamped((1.0 - ratio) / 0.5) if 0.0 < ratio < CROWDED_SHORTS else CALM_LIQUIDATIONS


def _oi(delta: Component) -> Component:
    if delta is None:
        return None
    return clamped(abs(delta) * 10.0) * (0.5 if delta < FALLING_OI else 1.0)


def _structure(features: EngineFeatures) -> Component:
    trend, broke = structure_sign(features), breakout_sign(features)
    return None if trend is None or broke is None else 0.6 * abs(trend) + 0.4 * abs(broke)


def _liquidation_sign(ratio: Component) -> int | None:
    if ratio is None:
        return None
    return int(0.0 < ratio < CROWDED_SHORTS) - int(ratio > CROWDED_LONGS)


def _capped(value: Component, full: float) -> Component:
    return None if value is None else clamped(abs(value) / full)
