from __future__ import annotations

from dataclasses import astuple
from math import inf
from typing import Any

import numpy as np
import pytest

from quant.posterior import Posterior

PRIOR = Posterior(m=0.0, kappa=1.0, alpha=3.0, beta=1.0)


def values(posterior: Posterior) -> dict[str, float]:
    return dict(zip(("m", "kappa", "alpha", "beta"), astuple(posterior), strict=True))


def near(expected: dict[str, float]) -> Any:
    return pytest.approx(expected, abs=1e-9)


def test_golden_updates(consensus_vectors: dict[str, Any]) -> None:
    for case in consensus_vectors["nig_updates"]["cases"]:
        posterior = Posterior(**case["prior"])
        low, high = case["winsorize"]
        trace = []
        for x in case["observations_r"]:
            posterior = posterior.update(min(max(x, low), high))
            trace.append(values(posterior))

        assert values(posterior) == near(case["expected_final"])
        if case["expected_trace"] is not None:
            assert trace == [near(each) for each in case["expected_trace"]]


def test_golden_weighted_updates(consensus_vectors: dict[str, Any]) -> None:
    for case in consensus_vectors["nig_weighted"]["cases"]:
        posterior = PRIOR
        for x, weight in zip(case["observations_r"], case["weights"], strict=True):
            posterior = posterior.update(min(max(x, -2.0), 2.0), weight=weight)

        assert values(posterior) == near(case["expected_final"])


def test_golden_decay(consensus_vectors: dict[str, Any]) -> None:
    for case in consensus_vectors["nig_decay"]["cases"]:
        found = Posterior(**case["params"]).decay(keep=case["delta"], prior=PRIOR)

        assert values(found) == near(case["expected_normative"])


def test_golden_predictive_distributions(consensus_vectors: dict[str, Any]) -> None:
    for case in consensus_vectors["posterior_predictive"]["cases"]:
        posterior = Posterior(**case["params"])
        mean, following = case["expected"]["mu_marginal"], case["expected"]["next_r"]

        assert {
            "df": 2.0 * posterior.alpha,
            "loc": posterior.m,
            "scale": posterior.mean_scale,
            "sd": posterior.mean_sd,
            "p_mu_gt_0": posterior.mean_above(),
            "q05": posterior.mean_quantile(0.05),
            "q95": posterior.mean_quantile(0.95),
        } == near(mean)
        assert posterior.next_scale == pytest.approx(following["scale"], abs=1e-9)
        assert posterior.next_above() == pytest.approx(following["p_r_gt_0"], abs=1e-9)
        for share, expected in following["quantiles"].items():
            assert posterior.next_quantile(float(share)) == pytest.approx(expected, abs=1e-9)


def test_sums_say_as_much_as_the_observations() -> None:
    observed = np.random.default_rng(1).normal(0.2, 0.5, size=500)
    one_by_one = PRIOR
    for x in observed:
        one_by_one = one_by_one.update(float(x))

    at_once = PRIOR.update_sums(
        n=observed.size, total=float(observed.sum()), squares=float((observed**2).sum())
    )

    assert values(at_once) == near(values(one_by_one))
    assert PRIOR.update_sums(n=0, total=0.0, squares=0.0) is PRIOR


def test_the_mean_becomes_certain_as_observations_come_in() -> None:
    vague = Posterior(m=0.0, kappa=1.0, alpha=1.0, beta=1.0)
    few = vague.update_sums(n=10, total=1.0, squares=2.0)
    many = vague.update_sums(n=1_000, total=100.0, squares=200.0)

    assert vague.mean_sd == inf
    assert many.mean_sd < few.mean_sd / 5
    assert many.mean_above(0.0) > 0.999 > few.mean_above(0.0)
    assert many.mean_above(0.1) == pytest.approx(0.5, abs=0.01)
