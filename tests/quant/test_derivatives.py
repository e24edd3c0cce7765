from __future__ import annotations

import numpy as np
import pytest

from quant.indicators.funding_bias import funding_bias, funding_zscore
from quant.indicators.liquidation_bias import liquidation_bias, liquidation_ratio
from quant.indicators.oi_change import oi_change, oi_zscore


def test_open_interest_change_is_a_fraction_of_where_it_was() -> None:
    samples = np.append(np.full(10, 200.0), [210.0, 190.0])

    change = oi_change(samples)

    assert np.isnan(change[:10]).all()
    assert change[10:].tolist() == pytest.approx([0.05, -0.05])


def test_open_interest_change_from_nothing_is_unknown() -> None:
    assert np.isnan(oi_change(np.append(np.zeros(10), 5.0))).all()


def test_an_unusual_change_of_open_interest_stands_out() -> None:
    samples = np.append(1000 + np.tile([0.0, 1.0, 2.0], 20), 1100.0)

    scores = oi_zscore(samples)

    assert np.isnan(scores[:14]).all() and not np.isnan(scores[14:]).any()
    assert scores[-1] > 6
    assert np.abs(scores[14:-1]).max() < 3


def test_open_interest_that_never_moves_has_no_score() -> None:
    assert np.isnan(oi_zscore(np.full(40, 7.0))).all()


def test_the_score_looks_back_no_further_than_its_window() -> None:
    rng = np.random.default_rng(3)
    samples = 1000 + rng.normal(size=100)
    disturbed = samples.copy()
    disturbed[:20] += 500

    np.testing.assert_array_equal(
        oi_zscore(samples, window=30)[60:], oi_zscore(disturbed, window=30)[60:]
    )


def test_funding_is_measured_against_its_own_past() -> None:
    rates = np.append(np.tile([1e-5, 2e-5], 20), 9e-5)

    scores = funding_zscore(rates)

    assert np.isnan(scores[:4]).all() and not np.isnan(scores[4:]).any()
    assert scores[-1] == pytest.approx((9e-5 - rates.mean()) / rates.std())


def test_funding_that_never_moves_scores_0() -> None:
    assert funding_zscore(np.full(10, 1e-4))[-1] == pytest.approx(0.0, abs=1e-6)


def test_crowded_longs_are_bearish_and_crowded_shorts_bullish() -> None:
    bias = funding_bias(np.array([2.5, 2.49, -2.5, 0.0, np.nan]))

    np.testing.assert_array_equal(bias, [-1.0, 0.0, 1.0, 0.0, np.nan])


def test_liquidated_longs_are_bearish() -> None:
    assert liquidation_bias(long_usd=400_000, short_usd=100_000) == pytest.approx(-0.6)
    assert liquidation_bias(long_usd=100_000, short_usd=400_000) == pytest.approx(0.6)


def test_few_liquidations_are_weak_evidence_and_fewer_none() -> None:
    assert liquidation_bias(long_usd=0, short_usd=125_000) == pytest.approx(0.5)
    assert liquidation_bias(long_usd=0, short_usd=49_999) == 0.0
    assert liquidation_bias(long_usd=0, short_usd=0, floor_usd=0.0) == 0.0


def test_the_ratio_counts_at_least_one_short() -> None:
    assert liquidation_ratio(longs=6, shorts=3) == 2.0
    assert liquidation_ratio(longs=6, shorts=0) == 6.0
