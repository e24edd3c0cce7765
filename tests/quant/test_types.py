from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from quant.types import TIMEFRAMES, Bars, Side
from tests.quant.conftest import random_walk


def test_each_side_has_a_sign_and_an_opposite() -> None:
    assert (Side.LONG.sign, Side.SHORT.sign) == (1, -1)
    assert (Side.LONG.opposite, Side.SHORT.opposite) == (Side.SHORT, Side.LONG)


def test_a_bar_closes_one_timeframe_after_it_opened() -> None:
    bars = random_walk(seed=1, count=3, timeframe_s=60)

    assert bars.close_ms.tolist() == [60_000, 120_000, 180_000]


def test_a_slice_keeps_every_column_together() -> None:
    bars = random_walk(seed=1, count=10)

    part = bars[4:7]

    assert len(part) == 3
    for name in ("open_ms", "open", "high", "low", "close", "volume"):
        np.testing.assert_array_equal(getattr(part, name), getattr(bars, name)[4:7])


def test_a_part_of_bars_may_leave_some_out_but_not_turn_round() -> None:
    bars = random_walk(seed=1, count=10)

    assert bars[::2].open_ms.tolist() == bars.open_ms[::2].tolist()
    assert bars[-99:] is bars
    with pytest.raises(ValueError, match="oldest first"):
        bars[::-1]


def test_bars_with_the_same_candles_are_equal_wherever_they_come_from() -> None:
    long, short = random_walk(seed=1, count=10), random_walk(seed=1, count=10)[3:]

    assert long[3:] == short
    assert hash(long[3:]) == hash(short)
    assert long != short
    assert short != "bars"


@pytest.mark.parametrize("name", ["open_ms", "open", "high", "low", "close", "volume"])
def test_bars_that_differ_in_one_bit_are_not_equal(name: str) -> None:
    bars = random_walk(seed=1, count=10)
    column = getattr(bars, name).copy()
    column.view(np.int64)[-1] += 1

    other = replace(bars, **{name: column})

    assert other != bars
    assert {bars: 1}.get(other) is None


def test_bars_of_another_timeframe_are_not_equal() -> None:
    bars = random_walk(seed=1, count=10)

    assert replace(bars, timeframe_s=60) != bars


def test_empty_bars_have_length_zero() -> None:
    assert len(Bars.empty(timeframe_s=60)) == 0
    assert Bars.empty(timeframe_s=60).close_ms.size == 0


@pytest.mark.parametrize("times", [[2, 1, 3], [1, 1, 2]], ids=["unordered", "twice"])
def test_times_that_do_not_rise_are_refused(times: list[int]) -> None:
    ones = np.ones(3)

    with pytest.raises(ValueError, match="oldest first"):
        Bars(np.array(times, dtype=np.int64), ones, ones, ones, ones, ones, 60)


@pytest.mark.parametrize("wrong", [np.ones(2), np.ones(3, dtype=np.int64)], ids=["short", "int"])
def test_columns_of_another_shape_or_type_are_refused(wrong: np.ndarray) -> None:
    times, ones = np.arange(3, dtype=np.int64), np.ones(3)

    with pytest.raises(ValueError, match="low must hold 3"):
        Bars(times, ones, ones, wrong, ones, ones, 60)


def test_timeframes_are_whole_multiples_of_a_minute() -> None:
    assert all(seconds % 60 == 0 for seconds in TIMEFRAMES.values())
    assert list(TIMEFRAMES.values()) == sorted(TIMEFRAMES.values())
