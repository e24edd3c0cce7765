from __future__ import annotations

from dataclasses import astuple
from itertools import pairwise

import numpy as np
import pytest
from sklearn import metrics
from sklearn.calibration import calibration_curve

from quant.scores import (
    GRID,
    Counts,
    Flags,
    auc,
    auc_of,
    brier,
    brier_skill,
    calibration_error,
    cost_of_skill,
    following,
    grid_step,
    log_loss,
    murphy,
    reliability,
    reliability_of,
    trailing_base_rate,
)
from quant.types import Array

NONE = np.empty(0)
NO_FLAGS = np.empty(0, dtype=bool)


def forecasts(seed: int, count: int = 400, *, step: float | None = None) -> tuple[Array, Flags]:
    """Return honest probabilities and what happened, on a grid of ``step`` if there is one."""
    rng = np.random.default_rng(seed)
    p = rng.beta(2.0, 3.0, size=count)
    won = rng.random(count) < p
    return (p if step is None else np.round(p / step) * step), won


@pytest.mark.parametrize("step", [None, 0.05])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_scores_equal_scikit_learn(seed: int, step: float | None) -> None:
    p, won = forecasts(seed, step=step)

    assert brier(p, won) == pytest.approx(metrics.brier_score_loss(won, p), abs=1e-9)
    assert auc(p, won) == pytest.approx(metrics.roc_auc_score(won, p), abs=1e-9)
    clipped = np.clip(p, 1e-6, 1 - 1e-6)
    assert log_loss(p, won) == pytest.approx(metrics.log_loss(won, clipped), abs=1e-9)


@pytest.mark.parametrize("step", [None, 0.05])
def test_bins_equal_scikit_learn(step: float | None) -> None:
    p, won = forecasts(4, 997, step=step)

    found = reliability(p, won, bins=10)

    rates, means = calibration_curve(won, p, n_bins=10, strategy="quantile")
    assert [each.win_rate for each in found] == pytest.approx(rates.tolist(), abs=1e-9)
    assert [each.mean_p for each in found] == pytest.approx(means.tolist(), abs=1e-9)
    assert sum(each.n for each in found) == 997


def test_a_few_round_numbers_have_a_bin_each() -> None:
    p, won = forecasts(5, step=0.25)

    found = reliability(p, won, bins=10)

    assert [each.mean_p for each in found] == pytest.approx([0.0, 0.25, 0.5, 0.75, 1.0])
    assert [each.n for each in found] == [int((p == each.lowest).sum()) for each in found]


def test_bins_hold_equal_shares_and_do_not_overlap() -> None:
    p, won = forecasts(5, 1000)

    found = reliability(p, won, bins=10)

    assert {each.n for each in found} == {100}
    assert all(low.highest < high.lowest for low, high in pairwise(found))
    assert all(each.interval[0] <= each.win_rate <= each.interval[1] for each in found)


def test_counts_give_the_figures_of_the_rounded_probabilities() -> None:
    p, won = forecasts(10, 3_000)
    rounded = np.array([grid_step(each) for each in p]) / GRID

    counts = Counts.of(rounded * GRID, np.ones(p.size), won.astype(np.float64))

    assert counts.n.sum() == 3_000
    assert (np.diff(counts.p) > 0.0).all()
    assert auc_of(counts) == pytest.approx(metrics.roc_auc_score(won, rounded), abs=1e-9)
    whole = calibration_error(reliability(p, won))
    assert calibration_error(reliability_of(counts)) == pytest.approx(whole, abs=0.003)
    assert sum(each.n for each in reliability_of(counts)) == 3_000
    assert max(each.n for each in reliability_of(counts)) < 330


def test_counts_of_a_few_round_numbers_equal_the_rows() -> None:
    p, won = forecasts(11, step=0.1)

    counts = Counts.of(np.rint(p * GRID), np.ones(p.size), won.astype(np.float64))

    by_rows, by_counts = reliability(p, won, bins=11), reliability_of(counts, bins=11)
    assert [each.n for each in by_counts] == [each.n for each in by_rows]
    assert [each.win_rate for each in by_counts] == [each.win_rate for each in by_rows]
    assert auc_of(counts) == pytest.approx(auc(p, won), abs=1e-12)


def test_counts_may_come_in_parts() -> None:
    parts = Counts.of(
        np.array([900.0, 20.0, 900.0]), np.array([3.0, 1.0, 2.0]), np.array([2.0, 0.0, 1.0])
    )

    assert parts.p.tolist() == [0.02, 0.9]
    assert parts.n.tolist() == [1.0, 5.0]
    assert parts.wins.tolist() == [0.0, 3.0]
    assert np.isnan(auc_of(Counts.of(np.array([5.0]), np.array([2.0]), np.array([0.0]))))


def test_the_calibration_error_is_the_mean_distance_of_the_bins() -> None:
    p = np.array([0.2] * 10 + [0.8] * 30)
    won = np.array([True] * 3 + [False] * 7 + [True] * 15 + [False] * 15)

    error = calibration_error(reliability(p, won, bins=2))

    assert error == pytest.approx((10 * 0.1 + 30 * 0.3) / 40)


def test_an_honest_forecaster_has_little_calibration_error() -> None:
    p, won = forecasts(6, 20_000)

    honest = calibration_error(reliability(p, won))
    boastful = calibration_error(reliability(np.where(p > 0.5, 0.95, 0.05), won))

    assert honest < 0.02
    assert boastful > 0.15


def test_the_parts_of_the_brier_score_add_up() -> None:
    p, won = forecasts(7, step=0.1)

    parts = murphy(p, won)

    whole = parts.reliability - parts.resolution + parts.uncertainty
    assert whole == pytest.approx(brier(p, won), abs=1e-12)


def test_a_certain_error_costs_a_bounded_logarithm() -> None:
    wrong = log_loss(np.array([1.0]), np.array([False]))

    assert wrong == pytest.approx(-np.log(1e-6))
    assert log_loss(np.array([1.0]), np.array([False]), clip=0.01) == pytest.approx(-np.log(0.01))


def test_the_base_rate_itself_has_no_skill() -> None:
    p, won = forecasts(8)
    base = np.full(won.size, won.mean())

    assert brier_skill(base, won, base_rate=base) == 0.0
    assert brier_skill(p, won, base_rate=base) > 0.1
    assert brier_skill(1.0 - p, won, base_rate=base) < -0.1
    assert brier_skill(won.astype(float), won, base_rate=base) == 1.0


def test_nothing_can_be_better_than_a_base_rate_without_error() -> None:
    won = np.ones(3, dtype=bool)

    assert np.isnan(brier_skill(np.full(3, 0.9), won, base_rate=np.ones(3)))


def test_the_base_rate_knows_only_what_was_known() -> None:
    known = np.array([100, 200, 300], dtype=np.int64)
    won = np.array([True, True, False])
    asked = np.array([99, 100, 250, 300], dtype=np.int64)

    rates = trailing_base_rate(asked, known_ms=known, won=won)

    assert rates == pytest.approx([1 / 2, 2 / 3, 3 / 4, 3 / 5])


def test_the_base_rate_does_not_change_with_what_becomes_known_later() -> None:
    rng = np.random.default_rng(9)
    known = rng.integers(0, 1000, size=200)
    won = rng.random(200) < 0.3
    asked = np.arange(0, 1000, 50)

    whole = trailing_base_rate(asked, known_ms=known, won=won)

    for place, moment in enumerate(asked):
        past = known <= moment
        alone = trailing_base_rate(asked[[place]], known_ms=known[past], won=won[past])
        assert alone[0] == whole[place]


def test_a_base_rate_may_forget() -> None:
    known = np.array([100, 200], dtype=np.int64)
    won = np.array([True, False])

    rates = trailing_base_rate(
        np.array([199, 200, 249, 250]), known_ms=known, won=won, window_ms=150, prior_outcomes=1.0
    )

    assert rates == pytest.approx([1.5 / 2, 1.5 / 3, 1.5 / 3, 0.5 / 2])


def test_ties_count_half_and_the_order_turned_round_is_the_complement() -> None:
    p = np.array([0.5, 0.5, 0.5, 0.9])
    won = np.array([True, False, False, True])

    assert auc(p, won) == pytest.approx((0.5 * 2 + 2) / 4)
    assert auc(1.0 - p, won) == pytest.approx(1.0 - auc(p, won))


def test_one_kind_of_outcome_tells_nothing_apart() -> None:
    assert np.isnan(auc(np.array([0.1, 0.9]), np.array([True, True])))


def test_following_and_ignoring_are_told_apart() -> None:
    followed = np.array([True, True, False, False, False])
    won = np.array([True, False, True, False, False])
    net_r = np.array([1.5, -1.1, 1.4, -1.0, -1.2])

    found = following(followed, won, net_r)

    assert astuple(found) == pytest.approx((5, 2, 0.4, 0.5, 0.2, -0.8 / 3))


def test_following_nothing_has_no_hit_rate() -> None:
    found = following(np.array([False]), np.array([True]), np.array([2.0]))

    assert (found.coverage, found.mean_r_ignored) == (0.0, 2.0)
    assert np.isnan(found.hit_rate)
    assert np.isnan(found.mean_r_followed)


def test_skill_has_a_price() -> None:
    assert cost_of_skill(cost_usd=4.0, n=2_000, brier_gain=0.02) == pytest.approx(1.0)
    assert np.isnan(cost_of_skill(cost_usd=4.0, n=2_000, brier_gain=0.0))
    assert np.isnan(cost_of_skill(cost_usd=4.0, n=0, brier_gain=0.1))


def test_without_outcomes_no_score_is_known() -> None:
    assert np.isnan(brier(NONE, NO_FLAGS))
    assert np.isnan(log_loss(NONE, NO_FLAGS))
    assert np.isnan(murphy(NONE, NO_FLAGS).reliability)
    assert reliability(NONE, NO_FLAGS) == []
    assert np.isnan(calibration_error([]))
    assert np.isnan(brier_skill(NONE, NO_FLAGS, base_rate=NONE))
