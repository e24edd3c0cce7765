from __future__ import annotations

import numpy as np
import pytest

from quant.gates import Advice, break_even, expected_r, is_worth_following, risk_coverage


@pytest.mark.parametrize(
    ("reward_risk", "cost_r", "expected"), [(2.0, 0.0, 1 / 3), (1.0, 0.1, 0.55), (1.5, 0.25, 0.5)]
)
def test_break_even_balances_reward_risk_and_costs(
    reward_risk: float, cost_r: float, expected: float
) -> None:
    assert break_even(reward_risk=reward_risk, cost_r=cost_r) == pytest.approx(expected)


def test_a_trade_earns_on_average_exactly_above_break_even() -> None:
    rng = np.random.default_rng(1)
    for _ in range(500):
        reward, cost = float(rng.uniform(0.2, 5.0)), float(rng.uniform(-0.2, 1.0))
        p = float(rng.random())
        needed = break_even(reward_risk=reward, cost_r=cost)

        worth = expected_r(p, reward_risk=reward, cost_r=cost)

        assert (worth > 0.0) is (p > needed)
        at_needed = expected_r(needed, reward_risk=reward, cost_r=cost)
        assert at_needed == pytest.approx(0.0, abs=1e-12)


def test_a_margin_asks_for_more_and_exactly_enough_is_enough() -> None:
    assert is_worth_following(0.5, reward_risk=1.5, cost_r=0.25)
    assert not is_worth_following(0.5, reward_risk=1.5, cost_r=0.25, margin=0.01)
    assert is_worth_following(0.75, reward_risk=1.5, cost_r=0.25, margin=0.25)


def test_costs_above_the_reward_are_never_worth_it() -> None:
    assert break_even(reward_risk=0.5, cost_r=0.6) > 1.0
    assert not is_worth_following(1.0, reward_risk=0.5, cost_r=0.5)


@pytest.mark.parametrize(("reward_risk", "cost_r"), [(0.0, 0.1), (-1.0, 0.1), (1.0, -1.1)])
def test_no_reward_has_no_break_even(reward_risk: float, cost_r: float) -> None:
    with pytest.raises(ValueError, match="no break-even"):
        break_even(reward_risk=reward_risk, cost_r=cost_r)


def test_the_curve_goes_from_everything_to_the_best() -> None:
    rng = np.random.default_rng(2)
    score = rng.random(2_000)
    net_r = np.where(rng.random(2_000) < score, 1.0, -1.2)
    days = np.arange(2_000) // 40

    found = risk_coverage(score, net_r, days=days, rng=rng, resamples=300)

    coverage = [point.coverage for point in found.points]
    assert coverage[0] == 1.0
    assert coverage == sorted(coverage, reverse=True)
    assert [point.n for point in found.points] == [
        int((score >= point.threshold).sum()) for point in found.points
    ]
    assert found.points[0].mean_r == pytest.approx(net_r.mean())
    assert found.advice is Advice.THRESHOLD
    assert found.best is not None
    assert found.best.threshold > 0.6
    assert found.best.interval is not None
    assert found.best.interval[0] > 0.0


def test_luck_is_not_advised_to_be_followed() -> None:
    rng = np.random.default_rng(3)
    score = rng.random(1_000)
    net_r = rng.normal(-0.1, 1.0, size=1_000)

    found = risk_coverage(score, net_r, days=np.arange(1_000) // 20, rng=rng, resamples=300)

    assert (found.advice, found.best) == (Advice.NO_EDGE, None)


def test_too_little_advises_nothing() -> None:
    rng = np.random.default_rng(4)
    few = risk_coverage(np.ones(29), np.ones(29), days=np.arange(29), rng=rng)
    one_day = risk_coverage(np.ones(99), np.ones(99), days=np.zeros(99, dtype=np.int64), rng=rng)
    none = risk_coverage(np.empty(0), np.empty(0), days=np.empty(0, dtype=np.int64), rng=rng)

    assert [few.advice, one_day.advice, none.advice] == [Advice.NOT_ENOUGH] * 3
    assert len(few.points) == 1
    assert none.points == ()
