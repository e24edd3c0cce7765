from __future__ import annotations

import numpy as np
import pytest

from quant.indicators.support_resistance import support_resistance
from quant.types import Array, Bars
from tests.quant.conftest import flat, random_walk


def bars_of(path: list[float], *, spread: float = 0.0) -> Bars:
    close: Array = np.array(path, dtype=np.float64)
    times = np.arange(close.size, dtype=np.int64) * 1000
    return Bars(times, close, close + spread, close - spread, close, close * 0 + 1, 1)


# swing highs 110 (bar 2), 111 (bar 8), 130 (bar 14); swing lows 100 (bar 5), 90 (bar 11)
PATH = [104, 107, 110, 106, 103, 100, 104, 108, 111, 105, 97, 90, 104, 118, 130, 118, 108, 105]


def test_swings_beside_the_close_become_levels_nearest_first() -> None:
    found = support_resistance(bars_of([float(price) for price in PATH]))

    assert [(level.price, level.touches) for level in found.resistances] == [(110.5, 2), (130, 1)]
    assert [(level.price, level.touches) for level in found.supports] == [(100, 1), (90, 1)]
    assert found.resistances[0].last_touch_ms == 8000


def test_a_finer_band_keeps_swings_apart() -> None:
    found = support_resistance(bars_of([float(price) for price in PATH]), sensitivity=0.005)

    assert [level.price for level in found.resistances] == [110, 111, 130]


def test_a_swing_exactly_on_the_edge_of_the_band_joins() -> None:
    path = [float(price) for price in [96, 98, 100, 98, 96, 98, 102, 98, 97]]

    joined = support_resistance(bars_of(path), sensitivity=0.02)
    apart = support_resistance(bars_of(path), sensitivity=0.0199)

    assert [level.price for level in joined.resistances] == [101.0]
    assert [level.price for level in apart.resistances] == [100.0, 102.0]


def test_a_swing_at_the_close_is_no_level() -> None:
    found = support_resistance(bars_of([96.0, 98.0, 100.0, 98.0, 96.0, 98.0, 100.0]))

    assert found.resistances == ()


def test_only_the_lookback_is_seen() -> None:
    found = support_resistance(bars_of([float(price) for price in PATH]), lookback=8)

    assert [level.price for level in found.resistances] == [130]
    assert found.supports == ()


def test_a_turn_needs_its_bars_after_it() -> None:
    path = [float(price) for price in PATH]

    assert 130 not in {level.price for level in support_resistance(bars_of(path[:16])).resistances}
    assert 130 in {level.price for level in support_resistance(bars_of(path[:17])).resistances}


def test_a_plateau_is_one_swing() -> None:
    found = support_resistance(bars_of([1.0, 2.0, 3.0, 3.0, 2.0, 1.0, 1.5]))

    assert [(level.price, level.touches) for level in found.resistances] == [(3.0, 1)]


def test_at_most_so_many_levels_a_side() -> None:
    bars = random_walk(seed=2, count=300)

    found = support_resistance(bars, lookback=300, sensitivity=0.0001, most=3)

    assert len(found.supports) <= 3 and len(found.resistances) <= 3
    assert len(found.supports) + len(found.resistances) >= 3


@pytest.mark.parametrize("seed", range(8))
def test_levels_stand_on_their_side_and_move_away(seed: int) -> None:
    bars = random_walk(seed=seed, count=150)
    close = bars.close[-1]

    found = support_resistance(bars)

    below = [level.price for level in found.supports]
    above = [level.price for level in found.resistances]
    assert all(price < close for price in below) and below == sorted(below, reverse=True)
    assert all(price > close for price in above) and above == sorted(above)
    assert len(below) <= 5 and len(above) <= 5


def test_the_unit_of_price_does_not_matter() -> None:
    bars = random_walk(seed=4, count=150)
    scaled = Bars(
        bars.open_ms, *(1024 * bars.open, 1024 * bars.high, 1024 * bars.low, 1024 * bars.close),
        bars.volume, bars.timeframe_s,
    )  # fmt: skip

    plain, large = support_resistance(bars), support_resistance(scaled)

    assert [level.price * 1024 for level in plain.supports] == [
        level.price for level in large.supports
    ]


@pytest.mark.parametrize(
    "bars",
    [
        Bars.empty(timeframe_s=60),
        random_walk(seed=1, count=1),
        random_walk(seed=1, count=4),
        flat(),
    ],
    ids=["none", "one", "four", "flat"],
)
def test_nothing_to_see_gives_no_levels(bars: Bars) -> None:
    found = support_resistance(bars)

    assert (found.supports, found.resistances) == ((), ())


@pytest.mark.parametrize("options", [{"lookback": 0}, {"reach": 0}, {"most": 0}])
def test_impossible_numbers_of_bars_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be from 1"):
        support_resistance(flat(), **options)


def test_a_band_without_width_is_refused() -> None:
    with pytest.raises(ValueError, match="sensitivity"):
        support_resistance(flat(), sensitivity=0.0)
