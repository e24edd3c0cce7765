"""Values of the decisions room."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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
    reasons: tuple[str, ...]
    size_pct: float
    tally: Mapping[str, Any]
