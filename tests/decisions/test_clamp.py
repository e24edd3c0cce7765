from __future__ import annotations

from typing import Any

import pytest

from decisions.clamp import Advice, History, clamp
from evaluation.types import Action
from quant.types import Side

LIMITS = {
    "max_position_size_pct": 25,
    "max_trades_per_hour": 4,
    "min_hold_minutes": 15,
    "one_direction_only": True,
}


def advise(**changes: Any) -> Advice:
    values: dict[str, Any] = {
        "action": Action.FOLLOW_ENTER,
        "size_pct": 20.0,
        "entry_plan": {"type": "limit", "offset_bps": -5},
        "risk_plan": {"stop_method": "atr", "atr_multiple": 2.0},
    }
    return Advice(**(values | changes))


def clamped(advice: Advice, **changes: Any) -> tuple[Advice, list[dict[str, Any]]]:
    values: dict[str, Any] = {
        "constraints": LIMITS,
        "history": History(),
        "side": Side.LONG,
        "entry_price": 100.0,
    }
    kept, found = clamp(advice, **(values | changes))
    return kept, [adjustment.as_json() for adjustment in found]


def test_advice_within_the_constraints_is_left_alone() -> None:
    kept, found = clamped(advise())

    assert kept == advise()
    assert found == []


@pytest.mark.parametrize(("asked", "allowed"), [(100.0, 25.0), (-3.0, 0.0), (float("inf"), 25.0)])
def test_size_never_exceeds_the_policy(asked: float, allowed: float) -> None:
    kept, [change] = clamped(advise(size_pct=asked))

    assert kept.size_pct == allowed
    assert (change["field"], change["rule"], change["allowed"]) == (
        "size_pct",
        "max_position_size_pct",
        allowed,
    )


def test_an_offset_far_from_the_price_is_pulled_in() -> None:
    kept, [change] = clamped(advise(entry_plan={"type": "limit", "offset_bps": -900}))

    assert kept.entry_plan == {"type": "limit", "offset_bps": -50.0}
    assert change["asked"] == -900


@pytest.mark.parametrize(("side", "level"), [(Side.LONG, 101.0), (Side.SHORT, 99.0)])
def test_a_stop_on_the_winning_side_is_replaced(side: Side, level: float) -> None:
    plan = {"stop_method": "fixed", "stop_level": level}

    kept, [change] = clamped(advise(risk_plan=plan), side=side)

    assert kept.risk_plan == {"stop_method": "atr", "atr_multiple": 2.0}
    assert change["rule"] == "stop_on_the_losing_side"


def test_an_atr_multiple_out_of_range_is_bounded() -> None:
    kept, [change] = clamped(advise(risk_plan={"stop_method": "atr", "atr_multiple": 40}))

    assert kept.risk_plan == {"stop_method": "atr", "atr_multiple": 10.0}
    assert change["field"] == "risk_plan.atr_multiple"


def test_the_fifth_entry_of_an_hour_is_held_back() -> None:
    kept, [change] = clamped(advise(), history=History(entries_last_hour=4))

    assert (kept.action, kept.size_pct) == (Action.IGNORE, 0.0)
    assert change == {
        "field": "decision",
        "rule": "max_trades_per_hour 4",
        "asked": "FOLLOW_ENTER",
        "allowed": "IGNORE",
    }


def test_an_entry_against_the_open_side_is_held_back() -> None:
    kept, [change] = clamped(advise(), history=History(open_side=Side.SHORT))

    assert kept.action is Action.IGNORE
    assert change["rule"] == "one_direction_only true"


def test_an_entry_on_the_open_side_passes() -> None:
    kept, found = clamped(advise(), history=History(open_side=Side.LONG))

    assert kept.action is Action.FOLLOW_ENTER
    assert found == []


def test_an_exit_before_the_shortest_hold_becomes_hold() -> None:
    leave = advise(action=Action.FOLLOW_EXIT, size_pct=0.0, entry_plan=None, risk_plan=None)

    early, [change] = clamped(leave, history=History(held_min=14.9))
    late, none = clamped(leave, history=History(held_min=15.0))

    assert (early.action, change["rule"]) == (Action.HOLD, "min_hold_minutes 15")
    assert (late.action, none) == (Action.FOLLOW_EXIT, [])


def test_advice_to_ignore_has_no_size() -> None:
    kept, found = clamped(advise(action=Action.IGNORE, size_pct=99.0))

    assert kept.size_pct == 0.0
    assert found == []
