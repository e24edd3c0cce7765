from __future__ import annotations

from typing import Any

import pytest

from quant.levels import NoLevels, atr_levels, liquidation_price, risk_reward
from quant.types import Side


def test_golden_levels(ensemble_vectors: dict[str, Any]) -> None:
    for case in ensemble_vectors["ensemble"]["level_cases"]:
        inputs, expected = case["inputs"], case["expected"]

        levels = atr_levels(
            side=Side(inputs["direction"].lower()),
            entry=inputs["entry"],
            atr=inputs["atr"],
            confidence=inputs["confidence"],
        )

        found = {
            "entry": levels.entry,
            "target": levels.target,
            "stop": levels.stop,
            "target_mult": levels.target_multiple,
            "stop_mult": levels.stop_multiple,
            "risk_reward": levels.risk_reward,
        }
        assert levels.is_worthwhile(cost_frac=0.0) is expected.pop("passes_rr")
        assert found == pytest.approx(expected, rel=1e-7, abs=1e-9)


def test_golden_risk_reward_curve(ensemble_vectors: dict[str, Any]) -> None:
    for case in ensemble_vectors["ensemble"]["risk_reward_curve"]:
        found = risk_reward(confidence=case["confidence"])

        assert found == pytest.approx(case["risk_reward"], rel=1e-7)


def test_golden_liquidation_prices(ensemble_vectors: dict[str, Any]) -> None:
    for case in ensemble_vectors["risk"]["liquidation_price_cases"]:
        inputs = {**case["inputs"], "side": Side(case["inputs"]["side"])}

        assert liquidation_price(**inputs) == pytest.approx(case["expected"], rel=1e-7)


def test_sides_mirror_each_other() -> None:
    up = atr_levels(side=Side.LONG, entry=100.0, atr=2.0, confidence=70.0)
    down = atr_levels(side=Side.SHORT, entry=100.0, atr=2.0, confidence=70.0)

    assert up.target - 100 == pytest.approx(100 - down.target)
    assert 100 - up.stop == pytest.approx(down.stop - 100)


def test_costs_can_spoil_a_trade_that_pays_before_them() -> None:
    levels = atr_levels(side=Side.LONG, entry=100.0, atr=0.1, confidence=70.0)

    assert levels.net_risk_reward(cost_frac=0.001) == pytest.approx((0.255 - 0.1) / (0.101 + 0.1))
    assert levels.is_worthwhile(cost_frac=0.0)
    assert not levels.is_worthwhile(cost_frac=0.001)


def test_exactly_enough_reward_is_worthwhile() -> None:
    levels = atr_levels(side=Side.LONG, entry=100.0, atr=2.0, confidence=70.0)
    net = levels.net_risk_reward(cost_frac=0.001)

    assert levels.is_worthwhile(cost_frac=0.001, min_risk_reward=levels.risk_reward, min_net=net)
    assert not levels.is_worthwhile(cost_frac=0.001, min_net=net + 1e-6)
    assert not levels.is_worthwhile(cost_frac=0.001, min_risk_reward=levels.risk_reward + 1e-6)


def test_without_maintenance_margin_all_of_the_margin_is_lost_first() -> None:
    assert liquidation_price(side=Side.LONG, entry=100.0, leverage=10, mmr=0.0) == pytest.approx(90)


def test_too_little_reward_is_not_worthwhile() -> None:
    levels = atr_levels(side=Side.LONG, entry=100.0, atr=2.0, confidence=10.0)

    assert not levels.is_worthwhile(cost_frac=0.0)


@pytest.mark.parametrize(("side", "atr"), [(Side.LONG, 0.0), (Side.SHORT, 40.0), (Side.LONG, 99.9)])
def test_no_movement_or_too_much_gives_no_levels(side: Side, atr: float) -> None:
    with pytest.raises(NoLevels, match=f"no levels for {side} at 100"):
        atr_levels(side=side, entry=100.0, atr=atr, confidence=70.0)


@pytest.mark.parametrize("confidence", [-0.1, 100.1, float("nan")])
def test_confidence_outside_its_range_is_refused(confidence: float) -> None:
    with pytest.raises(ValueError, match="confidence must be"):
        risk_reward(confidence=confidence)


@pytest.mark.parametrize(
    ("leverage", "mmr"), [(0.0, 0.005), (-2.0, 0.005), (20.0, 0.05), (5.0, -0.1)]
)
def test_leverage_that_margin_cannot_carry_is_refused(leverage: float, mmr: float) -> None:
    with pytest.raises(ValueError):
        liquidation_price(side=Side.LONG, entry=100.0, leverage=leverage, mmr=mmr)
