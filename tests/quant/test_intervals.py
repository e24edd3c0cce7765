from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import binomtest

from quant.intervals import LEAST_DAYS, day_bootstrap, day_bootstrap_rows, wilson
from quant.types import Array


@pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (3, 10), (57, 100), (999, 1000)])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_wilsons_interval_equals_scipy(successes: int, n: int, level: float) -> None:
    expected = binomtest(successes, n).proportion_ci(confidence_level=level, method="wilson")

    assert wilson(successes, n, level=level) == pytest.approx(
        (expected.low, expected.high), abs=1e-9
    )


def test_without_observations_a_share_may_lie_anywhere() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


def mean(sums: Array) -> Array:
    return sums[:, 0] / sums[:, 1]


def test_the_same_seed_gives_the_same_interval() -> None:
    sums = np.random.default_rng(1).random((20, 2)) + 1.0

    first = day_bootstrap(sums, mean, rng=np.random.default_rng(5))
    again = day_bootstrap(sums, mean, rng=np.random.default_rng(5))

    assert first is not None
    assert first == again


def test_a_few_days_give_no_interval() -> None:
    sums = np.ones((LEAST_DAYS - 1, 2))
    days = np.arange(LEAST_DAYS - 1)

    assert day_bootstrap(sums, mean, rng=np.random.default_rng(5)) is None
    assert day_bootstrap_rows(days, lambda _: 1.0, rng=np.random.default_rng(5)) is None


def test_draws_without_a_figure_are_left_out() -> None:
    sums = np.array([[1.0, 1.0], *[[0.0, 0.0]] * 5])

    found = day_bootstrap(sums, mean, rng=np.random.default_rng(5))
    none = day_bootstrap(np.zeros((6, 2)), mean, rng=np.random.default_rng(5))

    assert found == (1.0, 1.0)
    assert none is None


def test_rows_and_sums_of_days_give_the_same_interval() -> None:
    rng = np.random.default_rng(2)
    days = np.repeat(np.arange(40), rng.integers(1, 9, size=40))
    values = rng.normal(size=days.size)
    sums: Array = np.stack(
        [np.bincount(days, weights=values), np.bincount(days).astype(np.float64)], axis=1
    )

    by_sums = day_bootstrap(sums, mean, rng=np.random.default_rng(3), resamples=4000)
    by_rows = day_bootstrap_rows(
        days,
        lambda rows: float(values[rows].mean()),
        rng=np.random.default_rng(4),
        resamples=4000,
    )

    assert by_sums is not None
    assert by_rows is not None
    assert by_rows == pytest.approx(by_sums, abs=0.02)


def test_rows_of_a_day_are_drawn_together() -> None:
    days = np.array([3, 1, 2, 1, 5, 4, 3, 1])
    seen: list[set[int]] = []

    def remember(rows: npt.NDArray[np.intp]) -> float:
        seen.append(set(rows.tolist()))
        return 0.0

    day_bootstrap_rows(days, remember, rng=np.random.default_rng(6), resamples=50)

    together = [{1, 3, 7}, {0, 6}]
    assert all(group <= rows or not group & rows for rows in seen for group in together)


def test_days_that_move_together_widen_the_interval_and_cover_the_truth() -> None:
    rng = np.random.default_rng(7)
    covered, widths, naive = 0, [], []
    for _ in range(200):
        level = np.repeat(rng.normal(size=30), 20)
        values = level + rng.normal(size=600)
        sums = np.stack([values.reshape(30, 20).sum(axis=1), np.full(30, 20.0)], axis=1)
        interval = day_bootstrap(sums, mean, rng=rng, resamples=400)
        assert interval is not None
        covered += interval[0] <= 0.0 <= interval[1]
        widths.append(interval[1] - interval[0])
        naive.append(2 * 1.96 * values.std() / np.sqrt(values.size))

    assert 0.88 <= covered / 200 <= 0.99
    assert np.mean(widths) > 2.0 * np.mean(naive)
