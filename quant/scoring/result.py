"""The score as a value, and the weights behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Literal

from quant.types import Side

ScoreProfile = Literal["published", "aligned"]
SCORE_PROFILES: tuple[ScoreProfile, ...] = ("published", "aligned")
WEIGHTS: Mapping[str, float] = {
    "trend": 0.20,
    "liquidation": 0.15,
    "volatility": 0.15,
    "vwap": 0.10,
    "oi": 0.15,
    "structure": 0.15,
    "event_quality": 0.10,
}
DIRECTED = ("trend", "vwap", "liquidation", "structure")  # components that can point to a side
THRESHOLD = 0.60  # SIGNAL_SCORE_THRESHOLD, specification A5
EPSILON = 1e-9

Component = float | None


class ScoreReason(StrEnum):
    """Why a score has or has not a side."""

    OK = "OK"
    NO_DIRECTION = "NO_DIRECTION"
    INSUFFICIENT_DATA = "INSUFFICIENT_DATA"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineScore:
    """A score, the side it is for, and what it was made of.

    Units: ``score`` and ``coverage`` from 0 to 1. ``components`` are strengths from 0 to 1 in
    ``published``; in ``aligned`` those of ``DIRECTED`` are evidence from -1 to +1. ``agree``
    and ``against`` count votes in ``published`` and weighted evidence in ``aligned``; ``net``
    is bullish minus bearish, in votes or in weighted evidence with the events' bias.
    """

    profile: ScoreProfile
    score: float
    direction: Side | None
    reason: ScoreReason
    components: Mapping[str, Component]
    net: float
    agree: float
    against: float

    @property
    def missing(self) -> tuple[str, ...]:
        """The components that were unknown."""
        return tuple(name for name in WEIGHTS if self.components[name] is None)

    @property
    def coverage(self) -> float:
        """The share of the weight whose component was known."""
        return 1.0 - sum(WEIGHTS[name] for name in self.missing)

    @property
    def score_of_known(self) -> float:
        """The score as it would be if the unknown components were like the known ones."""
        return min(self.score / self.coverage, 1.0) if self.coverage > EPSILON else 0.0

    def reaches(self, threshold: float = THRESHOLD) -> bool:
        """Whether there is a side and its score suffices."""
        return self.direction is not None and self.score >= threshold - EPSILON

    def to_dict(self) -> dict[str, Any]:
        """Return a mapping that JSON can hold."""
        plain = asdict(self)
        return {**plain, "coverage": self.coverage, "missing": list(self.missing)}
