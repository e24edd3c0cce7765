from __future__ import annotations

import numpy as np
import pytest

from quant.lifecycle import MINUTE_MS, Costs, Fill, Question, Recording
from quant.sourcecards import chance_p_value, decay, random_entries, random_entry
from quant.types import Bars, Side

FREE = Costs(fee_bps=0.0, slippage_bps=0.0)
START_MS = 1_735_689_600_000


def rising(count: int, *, missing: int | None = None) -> Recording:
    """Return bars that rise by 1 each, from 100 on."""
    opened = 100.0 + np.arange(count)
    times = START_MS + MINUTE_MS * np.arange(count, dtype=np.int64)
    kept = np.arange(count) != missing
    low, high, ones = opened[kept], opened[kept] + 1.0, np.ones(int(kept.sum()))
    return Recording.of(Bars(times[kept], low, high, low, high, ones, 60))


def ask(side: Side = Side.LONG, *, fill: Fill = Fill.AT_ONCE) -> Question:
    sign = side.sign
    return Question(
        side=side,
        entry=100.0,
        target=100.0 + 10.0 * sign,
        stop=100.0 - 5.0 * sign,
        asked_ms=START_MS,
        horizon_ms=30 * MINUTE_MS,
        fill=fill,
    )


def test_a_signal_fades_or_grows_with_the_market() -> None:
    recording = rising(61)

    assert decay(ask(), recording) == {1: 0.2, 5: 1.0, 15: 3.0, 60: 12.0}
    assert decay(ask(Side.SHORT), recording)[15] == -3.0


def test_a_moment_without_a_bar_is_not_guessed() -> None:
    assert decay(ask(), rising(20, missing=4)) == {1: 0.2, 5: None, 15: 3.0, 60: None}


def test_the_same_trade_elsewhere_keeps_side_horizon_and_distances() -> None:
    recording = rising(100)

    with_the_market = random_entry(ask(fill=Fill.ON_TOUCH), recording, place=50, costs=FREE)
    against_it = random_entry(ask(Side.SHORT), recording, place=50, costs=FREE)
    costly = random_entry(ask(), recording, place=50, costs=Costs(fee_bps=50.0, slippage_bps=0.0))

    assert with_the_market == pytest.approx(2.0)
    assert against_it == pytest.approx(-1.0)
    assert costly == pytest.approx(2.0 - 0.01 * 20)


def test_an_entry_that_finds_no_end_is_left_out() -> None:
    recording = rising(100)
    rng = np.random.default_rng(1)

    late = random_entries(ask(), recording, costs=FREE, count=20, rng=rng, within=slice(95, None))
    early = random_entries(ask(), recording, costs=FREE, count=20, rng=rng, within=slice(0, 60))
    nowhere = random_entries(ask(), recording, costs=FREE, count=9, rng=rng, within=slice(0, 0))

    assert random_entry(ask(), recording, place=95, costs=FREE) is None
    assert late == []
    assert early == pytest.approx([2.0] * 20)
    assert nowhere == []


def test_chance_is_seldom_as_good_as_a_source_with_an_edge() -> None:
    rng = np.random.default_rng(2)
    elsewhere = [rng.choice([-1.0, 2.0], p=[0.67, 0.33], size=20).tolist() for _ in range(150)]
    edge = rng.choice([-1.0, 2.0], p=[0.5, 0.5], size=150)

    assert chance_p_value(edge, elsewhere, rng=rng) == pytest.approx(0.0, abs=0.005)
    assert chance_p_value(np.full(150, -1.0), elsewhere, rng=rng) == 1.0


def test_chance_is_uniform_for_a_source_without_an_edge() -> None:
    rng = np.random.default_rng(3)
    found = []
    for _ in range(120):
        rows = rng.normal(size=(40, 31))
        p = chance_p_value(rows[:, 0], rows[:, 1:].tolist(), rng=rng, resamples=400)
        assert p is not None
        found.append(p)

    assert 0.0 < np.mean(np.array(found) < 0.05) <= 0.13
    assert 0.4 < np.mean(found) < 0.6


def test_a_p_value_is_never_nothing() -> None:
    rng = np.random.default_rng(4)

    assert chance_p_value(np.array([9.0]), [[0.0]], rng=rng, resamples=99) == 0.01
    assert chance_p_value(np.array([0.0]), [[0.0]], rng=rng, resamples=99) == 1.0
    assert chance_p_value(np.array([0.0]), [[]], rng=rng) is None
