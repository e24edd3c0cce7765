"""Four simple models that vote on one closed bar.

Features are computed once and can be stored as plain JSON; the vote can be taken later from that
record and is always the same. Two profiles: ``published`` follows the rule as it was published
and is kept for comparison (its thresholds were never met on 13,668 bars); ``adaptive`` measures in
the instrument's own volatility. Frequencies are known, profit is not claimed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from quant.ensemble.features import (
    FEATURE_ORDER,
    MIN_BARS,
    EnsembleFeatures,
    InsufficientBars,
    ensemble_features,
)
from quant.ensemble.rationale import Fact, rationale
from quant.ensemble.tally import WEIGHTS, Regime, Silence, Tally, regime_of, tally
from quant.ensemble.voters import PROFILES, SILENT, ModelVote, Profile, model_votes
from quant.types import Side

__all__ = [
    "FEATURE_ORDER",
    "MIN_BARS",
    "PROFILES",
    "EnsembleFeatures",
    "EnsembleVote",
    "Fact",
    "InsufficientBars",
    "ModelVote",
    "Profile",
    "Regime",
    "Silence",
    "Tally",
    "ensemble_features",
    "vote",
]

MIN_CONFIDENCE = 65.0  # AI_MIN_CONFIDENCE, specification B5
MIN_MARGIN = 0.15  # ENSEMBLE_MIN_MARGIN, specification B5


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsembleVote:
    """What the ensemble says about one bar, and everything it said it from.

    Units: ``confidence`` from 0 to 100, the strength of the stronger side, also in silence;
    ``long``, ``short`` and ``coverage`` from 0 to 1.
    """

    profile: Profile
    result: Tally
    regime: Regime | None
    votes: Mapping[str, ModelVote]
    features: EnsembleFeatures | None
    rationale: tuple[Fact, ...]

    @property
    def direction(self) -> Side | None:
        """The side, or None in silence."""
        return self.result.direction

    @property
    def reason(self) -> Silence | None:
        """Why there is no side, or None when there is one."""
        return self.result.reason

    @property
    def confidence(self) -> float:
        """Strength of the stronger side, from 0 to 100."""
        return self.result.confidence

    @property
    def long(self) -> float:
        """Strength of the long side, from 0 to 1."""
        return self.result.long

    @property
    def short(self) -> float:
        """Strength of the short side, from 0 to 1."""
        return self.result.short

    @property
    def coverage(self) -> float:
        """Share of the weight that spoke at all, from 0 to 1."""
        return self.result.coverage

    def strength(self, side: Side) -> float:
        """Return the strength of that side, from 0 to 1."""
        return self.long if side is Side.LONG else self.short

    def to_dict(self) -> dict[str, Any]:
        """Return the vote without its features as a mapping that JSON can hold."""
        return {
            "profile": self.profile,
            "direction": self.direction,
            "reason": self.reason,
            "confidence": self.confidence,
            "long": self.long,
            "short": self.short,
            "coverage": self.coverage,
            "voters": self.result.voters,
            "regime": self.regime,
            "votes": {
                name: {"direction": each.direction, "score": each.score}
                for name, each in self.votes.items()
            },
            "rationale": [fact.to_dict() for fact in self.rationale],
        }


def vote(
    features: EnsembleFeatures | None,
    *,
    profile: Profile = "adaptive",
    min_confidence: float = MIN_CONFIDENCE,
    min_margin: float = MIN_MARGIN,
) -> EnsembleVote:
    """Return what the four models say together.

    Shapes: one value -> one vote.
    Units: ``min_confidence`` from 0 to 100, ``min_margin`` from 0 to 1.
    Edges: no features, because bars were too few, is silence with ``INSUFFICIENT_DATA``.
    Source: specification B4 and B5; vectors ``ensemble.series_cases``.
    :raises ValueError: if ``profile`` is unknown.
    """
    if profile not in PROFILES:
        raise ValueError(f"profile must be one of {', '.join(PROFILES)}, was {profile!r}")
    if features is None:
        return _unknown(profile)
    regime = regime_of(features.adx)
    votes = model_votes(features, profile=profile)
    result = tally(
        votes, profile=profile, regime=regime, min_confidence=min_confidence, min_margin=min_margin
    )
    return EnsembleVote(
        profile=profile,
        result=result,
        regime=regime,
        votes=votes,
        features=features,
        rationale=rationale(result, votes=votes, features=features, regime=regime),
    )


def _unknown(profile: Profile) -> EnsembleVote:
    reason = Silence.INSUFFICIENT_DATA
    result = Tally(direction=None, reason=reason, long=0.0, short=0.0, coverage=0.0, voters=0)
    return EnsembleVote(
        profile=profile,
        result=result,
        regime=None,
        votes=dict.fromkeys(WEIGHTS, SILENT),
        features=None,
        rationale=(Fact("SILENCE", {"reason": reason.value, "long": 0.0, "short": 0.0}),),
    )
