from __future__ import annotations

import importlib
from typing import Any

import pytest

from benchmarks.__main__ import NAMES
from benchmarks.frame import Figure, history_line, share


def figure(**changes: Any) -> Figure:
    usual: dict[str, Any] = {
        "target": "P0",
        "what": "jobs",
        "unit": "/s",
        "samples": [90, 100, 120],
    }
    return Figure(**(usual | changes))


def test_a_figure_is_the_median_of_its_repeats_with_their_spread() -> None:
    told = figure()

    assert (told.value, told.noise_pct, told.verdict) == (100, 30, "told")


def test_a_target_bounds_the_ratio_where_there_is_a_baseline() -> None:
    met = figure(baseline=[20, 20, 30], at_least=5)
    missed = figure(baseline=[40, 40, 40], at_least=5)

    assert (met.ratio, met.verdict, met.bound) == (5, "met", "≥ 5x")
    assert missed.verdict == "missed by 50 %"


def test_a_target_without_a_baseline_bounds_the_figure_itself() -> None:
    assert figure(at_most=100).verdict == "met"
    assert figure(at_most=80).verdict == "missed by 25 %"
    assert figure(at_most=80).bound == "≤ 80 /s"


def test_a_part_of_the_values_is_told_and_of_none_nothing() -> None:
    assert share([3, 1, 2, 4], 0.5) == 3
    assert share([5], 0.95) == 5
    assert share([], 0.95) != share([], 0.95)


def test_history_tells_figures_baselines_and_verdicts() -> None:
    line = history_line(
        "queue",
        [figure(baseline=[20], against="RQ", at_least=5).told()],
        day="2026-01-15",
        machine="2 cores",
    )

    assert line == "| 2026-01-15 | 2 cores | queue | P0 jobs: 100 /s (5x RQ), met |"


@pytest.mark.parametrize("name", NAMES)
def test_every_named_benchmark_is_a_module_with_figures(name: str) -> None:
    module = importlib.import_module(f"benchmarks.{name}")

    assert callable(module.figures)
