from __future__ import annotations

import numpy as np
import pytest

from quant.candles import closed_at, gaps, resample
from quant.types import Bars
from tests.quant.conftest import random_walk

MINUTE = 60_000


def minutes(*at: int) -> Bars:
    """Return one-minute bars that open at these minutes; bar m opens at m and closes at m + 0.5."""
    times = np.array(at, dtype=np.int64)
    opened = times.astype(np.float64)
    return Bars(times * MINUTE, opened, opened + 1, opened - 1, opened + 0.5, opened * 0 + 2, 60)


def test_a_bin_joins_open_extremes_close_and_volume() -> None:
    joined = resample(minutes(5, 6, 7, 8, 9), timeframe_s=300)

    assert joined.open_ms.tolist() == [5 * MINUTE]
    assert (joined.open[0], joined.close[0]) == (5.0, 9.5)
    assert (joined.high[0], joined.low[0], joined.volume[0]) == (10.0, 4.0, 10.0)
    assert joined.timeframe_s == 300


def test_the_forming_bin_is_left_out_unless_asked_for() -> None:
    source = minutes(0, 1, 2, 3, 4, 5, 6)

    assert resample(source, timeframe_s=300).open_ms.tolist() == [0]
    assert resample(source, timeframe_s=300, include_forming=True).open_ms.tolist() == [
        0,
        5 * MINUTE,
    ]


def test_a_first_bin_without_its_first_bar_is_left_out() -> None:
    assert resample(minutes(3, 4, 5, 6, 7, 8, 9), timeframe_s=300).open_ms.tolist() == [5 * MINUTE]


def test_a_hole_inside_leaves_the_bin_made_of_what_there_is() -> None:
    joined = resample(minutes(0, 1, 5, 9, 20, 24), timeframe_s=300)

    assert joined.open_ms.tolist() == [0, 5 * MINUTE, 20 * MINUTE]
    assert joined.close.tolist() == [1.5, 9.5, 24.5]
    assert joined.volume.tolist() == [4.0, 4.0, 4.0]


def test_one_partial_bin_without_begin_and_end_gives_nothing() -> None:
    assert len(resample(minutes(1, 2, 3), timeframe_s=300)) == 0


def test_resampling_nothing_gives_nothing() -> None:
    joined = resample(Bars.empty(timeframe_s=60), timeframe_s=300)

    assert len(joined) == 0
    assert joined.timeframe_s == 300


def test_the_same_timeframe_changes_nothing() -> None:
    bars = random_walk(seed=3, count=20)

    again = resample(bars, timeframe_s=bars.timeframe_s)

    np.testing.assert_array_equal(again.open_ms, bars.open_ms)
    np.testing.assert_array_equal(again.close, bars.close)


def test_two_steps_equal_one() -> None:
    bars = random_walk(seed=3, count=600, timeframe_s=60)

    at_once = resample(bars, timeframe_s=3600)
    in_steps = resample(resample(bars, timeframe_s=900), timeframe_s=3600)

    np.testing.assert_array_equal(at_once.open_ms, in_steps.open_ms)
    np.testing.assert_array_equal(at_once.high, in_steps.high)
    np.testing.assert_allclose(at_once.volume, in_steps.volume)


@pytest.mark.parametrize("timeframe_s", [30, 90], ids=["shorter", "no multiple"])
def test_a_timeframe_that_bins_cannot_fill_is_refused(timeframe_s: int) -> None:
    with pytest.raises(ValueError, match="not a multiple"):
        resample(minutes(0, 1), timeframe_s=timeframe_s)


def test_a_bar_counts_as_closed_from_the_moment_it_closes() -> None:
    bars = minutes(0, 1, 2)

    assert len(closed_at(bars, as_of_ms=2 * MINUTE - 1)) == 1
    assert len(closed_at(bars, as_of_ms=2 * MINUTE)) == 2
    assert len(closed_at(bars, as_of_ms=0)) == 0


def test_gaps_run_from_the_first_missing_bar_to_the_next_present_one() -> None:
    assert gaps(minutes(0, 1, 4, 5, 7)) == [
        (2 * MINUTE, 4 * MINUTE),
        (6 * MINUTE, 7 * MINUTE),
    ]


@pytest.mark.parametrize("bars", [minutes(), minutes(3), minutes(3, 4)], ids=["0", "1", "2"])
def test_unbroken_bars_have_no_gaps(bars: Bars) -> None:
    assert gaps(bars) == []
