"""What the policy does to a model's advice: nothing a model says can exceed the constraints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from decisions.types import Adjustment
from evaluation.types import Action
from quant.types import Side

OFFSET_MAX_BPS = 50.0
ATR_MULTIPLE_RANGE = (0.5, 10.0)
TRAIL_RANGE_PCT = (0.0, 100.0)
FALLBACK_STOP = {"stop_method": "atr", "atr_multiple": 2.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What a model advised, in the parts that policy may change."""

    action: Action
    size_pct: float
    entry_plan: Mapping[str, Any] | None
    risk_plan: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What the same model advised on the same symbol before; empty outside live trading."""

    entries_last_hour: int = 0
    open_side: Side | None = None
    held_min: float | None = None


@dataclass(frozen=True, slots=True)
class Needs:
    """What of a history advice has to be held against."""

    entries: bool = False
    position: bool = False

    @classmethod
    def of(cls, constraints: Mapping[str, Any]) -> Needs:
        """Return what the policy's rules of time and direction look at."""
        is_held = constraints.get("min_hold_minutes") is not None
        return cls(
            entries=constraints.get("max_trades_per_hour") is not None,
            position=is_held or bool(constraints.get("one_direction_only")),
        )

    def __or__(self, other: Needs) -> Needs:
        return Needs(self.entries or other.entries, self.position or other.position)


def clamp(
    advice: Advice,
    *,
    constraints: Mapping[str, Any],
    history: History,
    side: Side,
    entry_price: float,
) -> tuple[Advice, list[Adjustment]]:
    """Return the advice within the constraints, and everything that had to be changed."""
    found: list[Adjustment] = []
    advice = _timing(advice, constraints, history, side, found)
    if advice.action is not Action.FOLLOW_ENTER:
        if advice.size_pct:
            advice = replace(advice, size_pct=0.0)
        return advice, found
    return (
        replace(
            advice,
            size_pct=_size(advice.size_pct, constraints, found),
            entry_plan=_entry_plan(advice.entry_plan, found),
            risk_plan=_risk_plan(advice.risk_plan, side, entry_price, found),
        ),
        found,
    )


def _timing(
    advice: Advice,
    constraints: Mapping[str, Any],
    history: History,
    side: Side,
    found: list[Adjustment],
) -> Advice:
    """Hold back entries and exits that the policy's rules of time and direction forbid."""
    per_hour = constraints.get("max_trades_per_hour")
    min_hold = constraints.get("min_hold_minutes")
    one_way = constraints.get("one_direction_only")
    if advice.action is Action.FOLLOW_ENTER:
        if per_hour is not None and history.entries_last_hour >= per_hour:
            return _instead(advice, Action.IGNORE, "max_trades_per_hour", per_hour, found)
        if one_way and history.open_side not in (None, side):
            return _instead(advice, Action.IGNORE, "one_direction_only", True, found)
    too_soon = min_hold is not None and history.held_min is not None and history.held_min < min_hold
    if advice.action is Action.FOLLOW_EXIT and too_soon:
        return _instead(advice, Action.HOLD, "min_hold_minutes", min_hold, found)
    return advice


def _instead(
    advice: Advice, action: Action, rule: str, limit: Any, found: list[Adjustment]
) -> Advice:
    name = f"{rule} {limit}".lower()
    found.append(
        Adjustment(field="decision", rule=name, asked=str(advice.action), allowed=str(action))
    )
    return replace(advice, action=action)


def _size(size_pct: float, constraints: Mapping[str, Any], found: list[Adjustment]) -> float:
    limit = float(constraints.get("max_position_size_pct", 100.0))
    return _bounded(size_pct, 0.0, limit, "size_pct", "max_position_size_pct", found)


def _entry_plan(
    plan: Mapping[str, Any] | None, found: list[Adjustment]
) -> Mapping[str, Any] | None:
    if not plan or plan.get("offset_bps") is None:
        return plan
    offset = _bounded(
        float(plan["offset_bps"]),
        -OFFSET_MAX_BPS,
        OFFSET_MAX_BPS,
        "entry_plan.offset_bps",
        "max_offset_bps",
        found,
    )
    return {**plan, "offset_bps": offset}


def _risk_plan(
    plan: Mapping[str, Any] | None, side: Side, entry_price: float, found: list[Adjustment]
) -> Mapping[str, Any] | None:
    if not plan:
        return plan
    level = plan.get("stop_level")
    if level is not None and (float(level) - entry_price) * side.sign >= 0:
        found.append(
            Adjustment(
                field="risk_plan.stop_level",
                rule="stop_on_the_losing_side",
                asked=level,
                allowed=None,
            )
        )
        return dict(FALLBACK_STOP)
    bounded = dict(plan)
    for name, (low, high) in {
        "atr_multiple": ATR_MULTIPLE_RANGE,
        "trail_pct": TRAIL_RANGE_PCT,
    }.items():
        if bounded.get(name) is not None:
            field = f"risk_plan.{name}"
            bounded[name] = _bounded(float(bounded[name]), low, high, field, f"{name}_range", found)
    return bounded


def _bounded(
    value: float, low: float, high: float, field: str, rule: str, found: list[Adjustment]
) -> float:
    kept = min(max(value, low), high)
    if kept != value:
        found.append(Adjustment(field=field, rule=rule, asked=value, allowed=kept))
    return kept
