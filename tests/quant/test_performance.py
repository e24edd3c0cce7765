from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from quant.performance import NOTHING, Performance, performance


def of(returns: list[float], **changes: Any) -> Performance:
    given: dict[str, Any] = {"window_days": 30.0, "least": 1}
    net = np.array(returns, dtype=np.float64)
    return performance(net, hit_target=net > 0.005, **{**given, **changes})


def test_golden_outcome_metrics(ensemble_vectors: dict[str, Any]) -> None:
    case = ensemble_vectors["engine"]["outcome_metrics"]
    hit = np.array([outcome == "tp_hit" for outcome in case["outcomes"]])
    net = np.array(case["net_returns_pct"]) / 100.0

    found = performance(net, hit_target=hit, window_days=case["window_days"], least=1)

    expected = case["expected"]
    assert found.closed == expected["closed"]
    assert [
        found.win_rate,
        found.tp_rate,
        found.profit_factor,
        found.sharpe,
        found.sharpe_annualised,
        found.sortino,
    ] == pytest.approx(
        [
            expected["win_rate"],
            expected["tp_rate"],
            expected["profit_factor"],
            expected["sharpe_per_signal"],
            expected["sharpe_annualised"],
            expected["sortino_per_signal"],
        ],
        rel=1e-7,
    )
    in_pct = [found.average, found.median, found.expectancy, found.max_drawdown, found.total]
    assert [100.0 * value for value in in_pct if value is not None] == pytest.approx(
        [
            expected["avg_return_pct"],
            expected["median_return_pct"],
            expected["expectancy_pct"],
            expected["max_drawdown_pct"],
            expected["total_return_pct"],
        ],
        rel=1e-7,
    )


def test_too_few_trades_have_no_sharpe_ratio() -> None:
    few = of([0.01, -0.005] * 14 + [0.01], least=30)
    enough = of([0.01, -0.005] * 15, least=30)

    assert (few.sharpe, few.sharpe_annualised, few.sortino) == (None, None, None)
    assert few.win_rate == pytest.approx(15 / 29)
    assert None not in (enough.sharpe, enough.sharpe_annualised, enough.sortino)


def test_no_trades_earned_nothing_that_could_be_measured() -> None:
    assert of([]) == NOTHING


def test_a_return_of_nothing_is_not_won_and_not_lost() -> None:
    found = of([0.0, 0.0])

    assert found.win_rate == 0.0
    assert (found.profit_factor, found.sharpe, found.sortino) == (None, None, None)
    assert (found.max_drawdown, found.total) == (0.0, 0.0)


def test_a_drawdown_counts_from_the_highest_equity() -> None:
    found = of([0.10, -0.10, -0.10, 0.50])

    assert found.max_drawdown == pytest.approx(-0.19)


def test_a_loss_at_once_is_a_drawdown() -> None:
    assert of([-0.02]).max_drawdown == pytest.approx(-0.02)


def test_returns_twice_as_large_have_the_same_ratios() -> None:
    once, twice = asdict(of([0.01, -0.005, 0.02])), asdict(of([0.02, -0.01, 0.04]))

    for name in ("profit_factor", "sharpe", "sharpe_annualised", "sortino", "win_rate"):
        assert once[name] == pytest.approx(twice[name])


def test_mismatched_and_empty_windows_are_refused() -> None:
    with pytest.raises(ValueError, match="window_days"):
        of([0.1], window_days=0.0)
    with pytest.raises(ValueError, match="each trade"):
        performance(np.array([0.1]), hit_target=np.array([True, False]), window_days=1.0)
