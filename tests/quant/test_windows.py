from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from quant.windows import (
    check_period,
    delayed,
    latest_zscore,
    power_of_two_near,
    ratio,
    rolling_max,
    rolling_mean,
    rolling_min,
    rolling_std,
    rolling_sum,
    trailing,
)

VALUES = np.array([3.0, 1.0, 4.0, 1.0, 5.0])
NAN = np.nan


@pytest.mark.parametrize(
    ("rolled", "expected"),
    [
        (rolling_mean(VALUES, 2), [NAN, 2.0, 2.5, 2.5, 3.0]),
        (rolling_sum(VALUES, 2), [NAN, 4.0, 5.0, 5.0, 6.0]),
        (rolling_max(VALUES, 3), [NAN, NAN, 4.0, 4.0, 5.0]),
        (rolling_min(VALUES, 3), [NAN, NAN, 1.0, 1.0, 1.0]),
        (rolling_std(VALUES, 2), [NAN, 1.0, 1.5, 1.5, 2.0]),
        (rolling_std(VALUES, 2, ddof=1) ** 2, [NAN, 2.0, 4.5, 4.5, 8.0]),
        (delayed(VALUES, 2), [NAN, NAN, 3.0, 1.0, 4.0]),
        (delayed(VALUES, 9), [NAN] * 5),
        (rolling_mean(VALUES, 6), [NAN] * 5),
        (rolling_mean(VALUES[:0], 2), []),
    ],
)
def test_windows(rolled: np.ndarray, expected: list[float]) -> None:
    np.testing.assert_allclose(rolled, expected)


def test_a_hole_spoils_only_the_windows_that_hold_it() -> None:
    holed = np.array([1.0, NAN, 3.0, 5.0, 7.0])

    np.testing.assert_array_equal(rolling_mean(holed, 2), [NAN, NAN, NAN, 4.0, 6.0])


def test_a_ratio_over_nothing_is_what_the_caller_says() -> None:
    above, below = np.array([1.0, 0.0, NAN]), np.array([0.0, 0.0, 2.0])

    np.testing.assert_array_equal(ratio(above, below), [NAN, NAN, NAN])
    np.testing.assert_array_equal(ratio(above, below, otherwise=1.0), [1.0, 1.0, NAN])


def test_a_zscore_leaves_unknown_values_out() -> None:
    values = np.array([NAN, 1.0, 3.0, NAN, 5.0])

    scores = latest_zscore(values, window=4, least=2)

    np.testing.assert_allclose(scores, [NAN, NAN, 1.0, NAN, 2.0 / np.sqrt(8 / 3)])


@pytest.mark.parametrize("value", [1e-9, 0.3, 1.0, 65_000.0])
def test_scaling_by_a_power_of_two_brings_near_1_without_rounding(value: float) -> None:
    scale = power_of_two_near(value)

    assert 0.5 <= value * scale < 1.0
    assert value * scale / scale == value


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_what_cannot_be_scaled_stays(value: float) -> None:
    assert power_of_two_near(value) == 1.0


@pytest.mark.parametrize("value", [0, -3, 100_001])
def test_impossible_periods_are_refused(value: int) -> None:
    with pytest.raises(ValueError, match="window must be from 1 to 100000"):
        check_period("window", value)


@pytest.mark.parametrize("values", [VALUES, VALUES[1:], VALUES[::2], -VALUES])
def test_windows_are_rows_of_what_lies_side_by_side(values: np.ndarray) -> None:
    windows = trailing(values, 2)

    assert windows.tolist() == [list(pair) for pair in pairwise(values)]
    with pytest.raises(ValueError, match="read-only"):
        windows[0, 0] = 0.0
