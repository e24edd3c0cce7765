"""The score with signed evidence, measured in the instrument's own volatility."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from quant.engine_features import EngineFeatures
from quant.indicators.liquidation_bias import liquidation_bias
from quant.market_events import MarketEvent
from quant.scoring.evidence import (
    breakout_sign,
    clamped,
    event_quality,
    leaning,
    structure_sign,
    volatility,
    weighted,
)
from quant.scoring.result import EPSILON, WEIGHTS, Component, EngineScore, ScoreReason
from quant.types import Side

EVENT_BIAS_WEIGHT = 0.10  # specification A5
MIN_NET = 0.05  # weighted evidence below this points nowhere


def aligned_score(features: EngineFeatures, events: Sequence[MarketEvent] | None) -> EngineScore:
    """Return the agreeing minus the opposing evidence, and the strengths without a side.

    Shapes: one value and any number of events -> one score.
    Units: see ``EngineScore``.
    Edges: evidence that cancels out, or none that is known, gives no side and score 0.
    Source: specification A5, profile aligned; vectors ``engine.scoring_cases``.
    """
    evidence = {
        "trend": _in_ranges(features.ema_slope, features.atr_frac, flat=0.15, full=2.0),
        "vwap": _in_ranges(features.vwap_distance, features.atr_frac, flat=0.25, full=4.0),
        "liquidation": _liquidation(features),
        "structure": _structure(features),
    }
    strengths = {
        "volatility": volatility(features),
        "oi": _oi(features.oi_z),
        "event_quality": event_quality(events),
    }
    directed = [WEIGHTS[name] * value for name, value in evidence.items() if value is not None]
    net = sum(directed) + EVENT_BIAS_WEIGHT * _event_lean(events or ())
    reason = _reason(evidence, net)
    side = leaning(net) if reason is ScoreReason.OK else None
    sign = side.sign if side else 0
    agree = sum(max(sign * part, 0.0) for part in directed)
    against = sum(max(-sign * part, 0.0) for part in directed)
    total = agree - against + weighted(strengths)
    return EngineScore(
        profile="aligned",
        score=min(max(total, 0.0), 1.0) if side else 0.0,
        direction=side,
        reason=reason,
        components={**evidence, **strengths},
        net=net,
        agree=agree,
        against=against,
    )


def _reason(evidence: Mapping[str, Component], net: float) -> ScoreReason:
    if all(value is None for value in evidence.values()):
        return ScoreReason.INSUFFICIENT_DATA
    return ScoreReason.NO_DIRECTION if abs(net) < MIN_NET - EPSILON else ScoreReason.OK


def _liquidation(features: EngineFeatures) -> Component:
    longs, shorts = features.liq_long_usd, features.liq_short_usd
    if longs is None or shorts is None:
        return None
    return liquidation_bias(long_usd=longs, short_usd=shorts, floor_usd=features.liq_floor_usd)


def _structure(features: EngineFeatures) -> Component:
    trend, broke = structure_sign(features), breakout_sign(features)
    return None if trend is None or broke is None else 0.6 * trend + 0.4 * broke


def _oi(zscore: Component) -> Component:
    return None if zscore is None else clamped((zscore - 0.5) / 2.5)


def _event_lean(events: Sequence[MarketEvent]) -> float:
    bullish = len({event.type for event in events if event.bias is Side.LONG})
    bearish = len({event.type for event in events if event.bias is Side.SHORT})
    return (bullish - bearish) / (bullish + bearish or 1)


def _in_ranges(value: Component, atr_frac: Component, *, flat: float, full: float) -> Component:
    """Return the value in average ranges: 0 within ``flat``, +1 or -1 from ``full`` on."""
    if value is None or not atr_frac:
        return None
    ranges = value / atr_frac
    return 0.0 if abs(ranges) < flat else max(min(ranges / full, 1.0), -1.0)
