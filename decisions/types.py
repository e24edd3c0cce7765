"""Values of the decisions room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from quant.types import Side
from signals.types import Origin

JURY = "jury"
"""The name under which all models together decide."""

EXPIRED = "EXPIRED"
CANCELLED = "CANCELLED"
"""Why a decision was withheld: its signal was no longer valid when it came to be published."""

COST_UNKNOWN = "COST_UNKNOWN"
"""A decision's flag: price or usage of a call is not known, so its cost is not."""

UNGROUNDED = "UNGROUNDED"
"""A decision's flag: too much of the model's evidence does not stand in the facts it was given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjustment:
    """One thing that the policy changed in a model's advice."""

    field: str
    rule: str
    asked: Any
    allowed: Any

    def as_json(self) -> dict[str, Any]:
        """Return the adjustment as clients see it."""
        return {
            "field": self.field,
            "rule": self.rule,
            "asked": self.asked,
            "allowed": self.allowed,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """What the jury makes of its members' decisions."""

    action: str
    confidence: float
    confidence_raw: float
    p: float
    p_raw: float
    reasons: tuple[str, ...]
    size_pct: float
    tally: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Voices:
    """What each model's voice counts in the jury, and why; a model without a weight is new."""

    version: int
    weights: Mapping[str, Mapping[str, Any]]
    effective_models: float | None


LIVE = "live"
SIMULATED = "simulated"
DEMO = "demo"
REPLAY = "replay:"


def scope_of(*, origin: str, simulated: bool, replay_id: UUID | None) -> str:
    """Return to which statistics a signal belongs; only ``live`` counts as experience.

    The demo, a simulated market and each replay (``replay:`` and its id) stand apart.
    """
    if origin == Origin.REPLAY:
        return f"{REPLAY}{replay_id}"
    if origin == Origin.DEMO:
        return DEMO
    return SIMULATED if simulated else LIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """The rules by which every bet is set: multiples of the range, lengths, costs.

    Units: fees and slippage in basis points a side, funding an hour as a long pays it.
    """

    target_atr_multiple: float
    stop_atr_multiple: float
    horizon_s: int
    fill_within_s: int
    fee_bps: float
    slippage_bps: float
    funding_bps_per_hour: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """One bet: that the target is reached before the stop, within the horizon, after costs."""

    side: Side
    entry: float
    target: float
    stop: float
    atr: float | None
    basis: str
    house: House

    @property
    def is_sound(self) -> bool:
        """Whether target and stop lie on their sides of the entry."""
        sign = self.side.sign
        return (
            min(self.entry, self.target, self.stop) > 0.0
            and sign * (self.target - self.entry) > 0.0
            and sign * (self.entry - self.stop) > 0.0
        )

    @property
    def reward_r(self) -> float:
        """The way to the target for each unit of the way to the stop."""
        return abs(self.target - self.entry) / abs(self.entry - self.stop)

    @property
    def cost_r(self) -> float:
        """What the bet costs when it is held to its horizon, for each unit of risk."""
        hours = self.house.horizon_s / 3_600
        funding = self.side.sign * self.house.funding_bps_per_hour * hours
        cost_bps = 2.0 * (self.house.fee_bps + self.house.slippage_bps) + funding
        return cost_bps / 10_000.0 * self.entry / abs(self.entry - self.stop)


FOLLOWING = frozenset({"FOLLOW_ENTER", "FOLLOW_EXIT"})
UNDECIDED = 0.5
TIGHTEN = "TIGHTEN_STOP"


def follow_probability(*, action: str, confidence: float) -> float:
    """Return how probable advice holds it that following is right; TIGHTEN_STOP is undecided."""
    if action == TIGHTEN:
        return UNDECIDED
    return confidence if action in FOLLOWING else 1.0 - confidence


def stated_of(
    *,
    action: str,
    confidence: float,
    confidence_raw: float,
    economics: Mapping[str, Any] | None,
    adjustments: Sequence[Mapping[str, Any]],
) -> tuple[float, float]:
    """Return how probable a decision's model held it that following is right: raw, calibrated.

    What the policy made of the advice does not count: the probability is the model's.
    """
    if economics is not None and economics.get("p_raw") is not None:
        return float(economics["p_raw"]), float(economics["p"])
    asked = next((each["asked"] for each in adjustments if each["field"] == "decision"), action)
    raw = follow_probability(action=str(asked), confidence=confidence_raw)
    return raw, follow_probability(action=str(asked), confidence=confidence)


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """What one model's stated probability is worth, for one source or (empty) for all.

    ``knots`` are (stated, calibrated); between them the map is straight.
    """

    model: str
    prompt_version: str
    source: str
    version: int
    n: int
    knots: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """A stated probability and what it is worth; ``by`` names the map, if there is one."""

    p_raw: float
    p: float
    by: Mapping[str, int] | None = None
