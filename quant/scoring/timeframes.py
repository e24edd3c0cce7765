"""Whether timeframes confirm each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from quant.engine_features import EngineFeatures
from quant.scoring.evidence import FLAT_SLOPE, beyond, breakout_sign, leaning, structure_sign
from quant.scoring.result import Component, ScoreProfile
from quant.types import Side

FLAT_DISTANCE = 0.005  # fraction; specification A6
FLAT_SLOPE_ATR = 0.25  # of the average range, specification A6
FLAT_DISTANCE_ATR = 0.5
MIN_ALIGNED = 2  # MTF_MIN_ALIGNED, specification A6
ALL_AGREE_BONUS = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeframeDirection:
    """The side one timeframe points to, or None, with its votes and what was unknown."""

    direction: Side | None
    bullish: int
    bearish: int
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """Whether enough timeframes point to one side.

    Units: ``strength`` and ``mtf_score`` from 0 to 1.
    """

    aligned: bool
    direction: Side | None
    aligned_count: int
    total: int
    strength: float
    mtf_score: float


def timeframe_direction(features: EngineFeatures, *, profile: ScoreProfile) -> TimeframeDirection:
    """Return the side that one timeframe votes for.

    Shapes: one value -> one direction.
    Units: votes; a breakout counts twice.
    Edges: a tie, or nothing known, is no side; ``aligned`` needs the average range to read
        slope and distance.
    Source: specification A6; vectors ``engine.timeframe_direction_cases``.
    """
    a = features.atr_frac
    published = profile == "published"
    slope = FLAT_SLOPE if published else _scaled(FLAT_SLOPE_ATR, a)
    distance = FLAT_DISTANCE if published else _scaled(FLAT_DISTANCE_ATR, a)
    votes = {
        "ema_slope": beyond(features.ema_slope, slope),
        "vwap_distance": beyond(features.vwap_distance, distance),
        "structure": structure_sign(features),
        "breakout": _doubled(breakout_sign(features)),
    }
    bullish = sum(vote for vote in votes.values() if vote and vote > 0)
    bearish = -sum(vote for vote in votes.values() if vote and vote < 0)
    return TimeframeDirection(
        direction=leaning(bullish - bearish),
        bullish=bullish,
        bearish=bearish,
        missing=tuple(name for name, vote in votes.items() if vote is None),
    )


def confirm(
    directions: Mapping[str, Side | None], *, min_aligned: int = MIN_ALIGNED
) -> Confirmation:
    """Return whether enough timeframes point to one side and outnumber the other.

    Shapes: one side by the name of each timeframe -> one result.
    Units: see ``Confirmation``.
    Edges: None, neutral or unknown, agrees with nobody and counts in the total; no timeframes
        confirm nothing. The caller must still compare the side with the score's.
    Source: specification A6; vectors ``engine.mtf_cases``.
    """
    longs = sum(side is Side.LONG for side in directions.values())
    shorts = sum(side is Side.SHORT for side in directions.values())
    total, most = len(directions), max(longs, shorts)
    aligned = most >= min_aligned and longs != shorts
    strength = most / total if total else 0.0
    bonus = ALL_AGREE_BONUS if most == total >= 3 else 0.0
    return Confirmation(
        aligned=aligned,
        direction=leaning(longs - shorts) if aligned else None,
        aligned_count=most,
        total=total,
        strength=strength,
        mtf_score=min(1.0, strength + bonus),
    )


def _doubled(sign: int | None) -> int | None:
    return None if sign is None else 2 * sign


def _scaled(share: float, atr_frac: Component) -> Component:
    return share * atr_frac if atr_frac else None
