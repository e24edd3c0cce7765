from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np
import pytest

from quant.pooling import (
    CLIP,
    SKILL_PRIOR,
    WeightReason,
    disagreement,
    effective_k,
    error_correlations,
    leave_one_out,
    log_pool,
    log_pool_rows,
    shrunk_correlation,
    skill_posterior,
    skill_weights,
)
from quant.scores import brier
from quant.types import Array

NAN = float("nan")


def arr(*values: float) -> Array:
    return np.array(values, dtype=np.float64)


def test_golden_effective_number(consensus_vectors: dict[str, Any]) -> None:
    for case in consensus_vectors["effective_k"]["cases"]:
        rho = case["rho"]
        rho = np.array(rho) if isinstance(rho, list) else rho

        found = effective_k(arr(*case["weights"]), rho)

        assert found == pytest.approx(case["expected_eff_k"], abs=1e-9)


def test_golden_shrunk_correlations(consensus_vectors: dict[str, Any]) -> None:
    for case in consensus_vectors["rho_shrinkage"]["cases"]:
        phi = NAN if case["rho_hat"] is None else case["rho_hat"]

        found = shrunk_correlation(phi, n=case["n_runs"] or 0, age_days=case["age_days"])

        assert found == pytest.approx(case["expected"], abs=1e-9)


def test_what_is_older_than_a_week_is_not_reckoned_with() -> None:
    assert shrunk_correlation(0.9, n=300, age_days=7.01) == 0.3


def test_judges_without_weight_are_worth_nothing() -> None:
    assert effective_k(arr(1.0, 1.0, 0.0), 0.0) == pytest.approx(2.0)
    assert effective_k(arr(0.0), 0.3) == 0.0


def test_golden_correlation_of_errors(consensus_vectors: dict[str, Any]) -> None:
    for case in consensus_vectors["phi_vs_concordance"]["cases"]:
        n11, n10, n01, n00 = case["n11_n10_n01_n00"]
        pairs = [(1, 1)] * n11 + [(1, 0)] * n10 + [(0, 1)] * n01 + [(0, 0)] * n00

        phi, n = error_correlations(np.array(pairs, dtype=np.float64))

        expected = NAN if case["expected_phi"] is None else case["expected_phi"]
        assert phi[0, 1] == pytest.approx(expected, abs=1e-9, nan_ok=True)
        assert phi[1, 0] == pytest.approx(expected, abs=1e-9, nan_ok=True)
        assert n[0, 1] == len(pairs)


def test_errors_correlate_over_what_both_judged_as_numpy_has_it() -> None:
    rng = np.random.default_rng(1)
    shared = rng.random(500) < 0.3
    erred = np.stack([shared ^ (rng.random(500) < flip) for flip in (0.1, 0.2, 0.5)], axis=1)
    wrong = np.where(rng.random((500, 3)) < 0.2, NAN, erred.astype(np.float64))

    phi, n = error_correlations(wrong)

    for i, j in ((0, 1), (0, 2), (1, 2)):
        both = ~np.isnan(wrong[:, i]) & ~np.isnan(wrong[:, j])
        expected = np.corrcoef(wrong[both, i], wrong[both, j])[0, 1]
        assert phi[i, j] == pytest.approx(expected, abs=1e-9)
        assert n[i, j] == both.sum()


def test_the_pool_is_the_weighted_mean_of_log_odds() -> None:
    pooled = log_pool(arr(0.8, 0.6), arr(3.0, 1.0))

    odds = 4.0**0.75 * 1.5**0.25
    assert pooled == pytest.approx(odds / (1 + odds))


def test_pooling_mirrors_and_leaves_agreement_as_it_is() -> None:
    p, weights = arr(0.2, 0.55, 0.9), arr(1.0, 2.0, 0.5)

    assert log_pool(1.0 - p, weights) == pytest.approx(1.0 - log_pool(p, weights))
    assert log_pool(p, 7.0 * weights) == pytest.approx(log_pool(p, weights))
    assert log_pool(arr(0.7, 0.7), arr(0.9, 0.1)) == pytest.approx(0.7)


def test_the_silent_and_the_weightless_do_not_matter() -> None:
    assert log_pool(arr(0.8, NAN), arr(1.0, 9.0)) == pytest.approx(0.8)
    assert log_pool(arr(0.8, 0.1), arr(1.0, 0.0)) == pytest.approx(0.8)
    assert log_pool(arr(0.8, 0.2), arr(0.0, 0.0)) == pytest.approx(0.5)
    assert log_pool(arr(0.8, 0.2, NAN), arr(0.0, 0.0, 1.0)) == pytest.approx(0.5)
    assert np.isnan(log_pool(arr(NAN, NAN), arr(1.0, 1.0)))


def test_certainty_has_bounded_odds() -> None:
    assert log_pool(arr(1.0), arr(1.0)) == pytest.approx(1.0 - CLIP)
    assert log_pool(arr(1.0, 0.0), arr(1.0, 1.0)) == pytest.approx(0.5)


def test_a_negative_weight_is_refused() -> None:
    with pytest.raises(ValueError, match="below 0"):
        log_pool(arr(0.5), arr(-0.1))


def test_disagreement_is_the_weighted_spread() -> None:
    assert disagreement(arr(0.2, 0.8), arr(1.0, 1.0)) == pytest.approx(0.3)
    assert disagreement(arr(0.0, 1.0), arr(3.0, 1.0)) == pytest.approx(sqrt(0.1875))
    assert disagreement(arr(0.4, NAN), arr(1.0, 1.0)) == 0.0
    assert disagreement(arr(0.2, 0.8), arr(1.0, 0.0)) == 0.0
    assert np.isnan(disagreement(arr(NAN), arr(1.0)))


def proven(gain: float, n: int) -> tuple[int, Any]:
    return n, skill_posterior(n=n, gains=gain * n, squares=n * (gain**2 + 0.04))


def test_weights_are_equal_until_enough_is_known() -> None:
    weights = skill_weights({"a": proven(0.2, 29), "b": proven(-0.2, 5), "c": proven(0.0, 0)})

    assert [each.weight for each in weights.values()] == pytest.approx([1 / 3] * 3)
    assert {each.reason for each in weights.values()} == {WeightReason.TOO_FEW}
    assert weights["c"].skill == SKILL_PRIOR.m


def test_weights_follow_the_skill_that_was_shown() -> None:
    weights = skill_weights({"good": proven(0.06, 300), "fair": proven(0.02, 300)})

    assert weights["good"].weight == pytest.approx(0.75)
    assert weights["fair"].weight == pytest.approx(0.25)
    assert weights["good"].skill == pytest.approx(0.06 * 300 / 330)


def test_the_inverted_lose_their_voice_and_newcomers_keep_an_equal_share() -> None:
    weights = skill_weights(
        {"good": proven(0.05, 400), "inverted": proven(-0.1, 400), "new": proven(0.3, 10)}
    )

    assert weights["inverted"].weight == 0.0
    assert weights["inverted"].reason is WeightReason.NO_SKILL
    assert weights["new"].weight == pytest.approx(1 / 3)
    assert weights["good"].weight == pytest.approx(2 / 3)
    assert sum(each.weight for each in weights.values()) == pytest.approx(1.0)


def test_without_any_skill_all_count_the_same() -> None:
    weights = skill_weights({"a": proven(-0.01, 100), "b": proven(-0.2, 100)})

    assert [each.weight for each in weights.values()] == [0.5, 0.5]
    assert {each.reason for each in weights.values()} == {WeightReason.EQUAL}


def test_luck_on_few_decisions_weighs_less_than_the_same_gain_on_many() -> None:
    weights = skill_weights({"few": proven(0.05, 30), "many": proven(0.05, 3_000)})

    assert weights["few"].weight == pytest.approx(0.505 * weights["many"].weight, rel=1e-3)
    assert weights["few"].skill_sd > 3 * weights["many"].skill_sd


def test_no_judges_have_no_weights() -> None:
    assert skill_weights({}) == {}


def panel(seed: int, count: int) -> tuple[Array, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    """Return two honest judges with knowledge of their own, and one that guesses."""
    rng = np.random.default_rng(seed)
    known = rng.normal(size=(count, 2))
    won = rng.random(count) < 1.0 / (1.0 + np.exp(-known.sum(axis=1)))
    honest = 1.0 / (1.0 + np.exp(-0.85 * known))
    return np.column_stack([honest, rng.random(count)]), won


def test_the_pool_beats_its_best_member_when_knowledge_is_divided() -> None:
    p, won = panel(2, 6_000)
    base = np.full(won.size, 0.5)
    gains = (base - won)[:, np.newaxis] ** 2 - (p - won[:, np.newaxis]) ** 2
    skills = {
        name: (won.size, skill_posterior(n=won.size, gains=g.sum(), squares=(g**2).sum()))
        for name, g in zip("abc", gains.T, strict=True)
    }

    weights = np.array([each.weight for each in skill_weights(skills).values()])

    alone = [brier(p[:, i], won) for i in range(3)]
    assert weights[2] == 0.0
    assert brier(log_pool_rows(p, weights), won) < min(alone) - 0.01


def test_leaving_one_out_tells_who_helps() -> None:
    p, won = panel(3, 6_000)

    values = leave_one_out(p, won, np.ones(3))

    assert values[0] > 0.01
    assert values[1] > 0.01
    assert values[2] < -0.01


def test_leaving_one_out_compares_only_where_another_spoke() -> None:
    p = np.array([[0.9, NAN], [0.9, 0.5], [NAN, 0.2]])
    won = np.array([True, True, False])

    values = leave_one_out(p, won, np.ones(2))

    whole = log_pool(p[1], np.ones(2))
    gain_first = (0.5 - 1) ** 2 - (whole - 1) ** 2
    gain_second = (0.9 - 1) ** 2 - (whole - 1) ** 2
    assert values == pytest.approx([gain_first, gain_second])
    assert np.isnan(leave_one_out(p[:1], won[:1], np.ones(2))).all()
