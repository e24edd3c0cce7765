"""Adding four votes up to a side, or to a reason for silence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import prod

from quant.ensemble.voters import PROFILES, ModelVote, Profile
from quant.types import Side

WEIGHTS: Mapping[str, float] = {
    "technical": 0.30,
    "momentum": 0.30,
    "mean_reversion": 0.20,
    "breakout": 0.20,
}
TREND_ADX = 25.0
RANGE_ADX = 20.0
TRUST = 0.75  # of one model of the largest weight; specification B5
LARGEST_WEIGHT = 0.30
QUORUM = 2
EPSILON = 1e-9  # so that a margin of exactly 0.15 and a strength of exactly 0.65 pass


class Regime(StrEnum):
    """How the market moves, told by ADX."""

    TREND = "trend"
    RANGE = "range"
    NEUTRAL = "neutral"


MULTIPLIERS: Mapping[Regime, Mapping[str, float]] = {
    Regime.TREND: {"technical": 0.5, "momentum": 1.5, "mean_reversion": 0.25, "breakout": 1.25},
    Regime.RANGE: {"technical": 1.25, "momentum": 0.5, "mean_reversion": 1.75, "breakout": 0.75},
    Regime.NEUTRAL: dict.fromkeys(WEIGHTS, 1.0),
}


class Silence(StrEnum):
    """Why the ensemble gives no side."""

    INSUFFICIENT_DATA = "INSUFFICIENT_DATA"
    NO_QUORUM = "NO_QUORUM"
    NO_CONVICTION = "NO_CONVICTION"
    LOW_CONFIDENCE = "LOW_CONFIDENCE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """The strength of both sides, and what follows from it.

    Units: ``long``, ``short`` and ``coverage`` from 0 to 1; ``coverage`` is the share of
    weight that spoke at all.
    """

    direction: Side | None
    reason: Silence | None
    long: float
    short: float
    coverage: float
    voters: int

    @property
    def agreement(self) -> float:
        """How far the sides lie apart, from 0 to 1."""
        return abs(self.long - self.short)

    @property
    def confidence(self) -> float:
        """Strength of the stronger side from 0 to 100, also when the ensemble is silent."""
        return 100.0 * max(self.long, self.short)


def regime_of(adx: float) -> Regime:
    """Return how the market moves.

    Shapes: scalar.
    Units: ``adx`` in points from 0 to 100.
    Edges: exactly 25 is a trend, exactly 20 is neutral.
    Source: specification B5.
    """
    if adx >= TREND_ADX:
        return Regime.TREND
    return Regime.RANGE if adx < RANGE_ADX else Regime.NEUTRAL


def tally(
    votes: Mapping[str, ModelVote],
    *,
    profile: Profile,
    regime: Regime,
    min_confidence: float = 65.0,
    min_margin: float = 0.15,
) -> Tally:
    """Return the result of the four votes.

    Shapes: four votes -> one result.
    Units: ``min_confidence`` from 0 to 100, ``min_margin`` from 0 to 1.
    Edges: ``published`` ignores ``regime`` and needs no quorum; in ``adaptive`` agreeing
        evidence can only raise a side, contradiction lowers both, and a single voter has no
        strength at all.
    Source: specification B5; vectors ``ensemble.vote_cases``.
    :raises ValueError: if ``profile`` is unknown.
    """
    if profile not in PROFILES:
        raise ValueError(f"profile must be one of {', '.join(PROFILES)}, was {profile!r}")
    scale = MULTIPLIERS[regime] if profile == "adaptive" else MULTIPLIERS[Regime.NEUTRAL]
    weights = {name: weight * scale[name] for name, weight in WEIGHTS.items()}
    strength = _joined(votes, weights) if profile == "adaptive" else _summed(votes, weights)
    reason = _silence(votes, strength, min_confidence / 100.0, min_margin, profile)
    winner = max(Side, key=lambda side: strength[side])
    spoke = [name for name, vote in votes.items() if vote.direction is not None]
    return Tally(
        direction=None if reason else winner,
        reason=reason,
        long=strength[Side.LONG],
        short=strength[Side.SHORT],
        coverage=sum(weights[name] for name in spoke) / sum(weights.values()),
        voters=len(spoke),
    )


def _summed(votes: Mapping[str, ModelVote], weights: Mapping[str, float]) -> dict[Side, float]:
    return {
        side: sum(weights[name] * vote.score for name, vote in _for_side(votes, side))
        for side in Side
    }


def _joined(votes: Mapping[str, ModelVote], weights: Mapping[str, float]) -> dict[Side, float]:
    if sum(vote.direction is not None for vote in votes.values()) < QUORUM:
        return dict.fromkeys(Side, 0.0)
    alone = {
        side: 1.0
        - prod(
            1.0 - min(1.0, TRUST * weights[name] / LARGEST_WEIGHT) * vote.score
            for name, vote in _for_side(votes, side)
        )
        for side in Side
    }
    return {side: alone[side] * (1.0 - alone[side.opposite]) for side in Side}


def _silence(
    votes: Mapping[str, ModelVote],
    strength: Mapping[Side, float],
    minimum: float,
    margin: float,
    profile: Profile,
) -> Silence | None:
    strongest = max(strength.values())
    backing = max(len(_for_side(votes, side)) for side in Side if strength[side] >= strongest)
    if profile == "adaptive" and backing < QUORUM:
        return Silence.NO_QUORUM
    if abs(strength[Side.LONG] - strength[Side.SHORT]) < margin - EPSILON:
        return Silence.NO_CONVICTION
    return Silence.LOW_CONFIDENCE if strongest < minimum - EPSILON else None


def _for_side(votes: Mapping[str, ModelVote], side: Side) -> list[tuple[str, ModelVote]]:
    return [(name, vote) for name, vote in votes.items() if vote.direction is side]
