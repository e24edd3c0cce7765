from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from quant.agreement import agreement, agreement_matrix


@pytest.mark.parametrize("words", ["ab", "abc"])
def test_kappa_equals_scikit_learn(words: str) -> None:
    rng = np.random.default_rng(1)
    first = rng.choice(list(words), size=300)
    second = np.where(rng.random(300) < 0.4, first, rng.choice(list(words), size=300))

    found = agreement(first.tolist(), second.tolist())

    assert found.kappa == pytest.approx(cohen_kappa_score(first, second), abs=1e-9)
    assert found.same == pytest.approx((first == second).mean())
    assert found.n == 300


def test_only_what_both_judged_counts() -> None:
    found = agreement(["a", "b", None, "a", "b"], ["a", "b", "a", None, "a"])

    assert found.n == 3
    assert found.same == pytest.approx(2 / 3)


def test_judges_that_never_differ_at_all_agree_by_chance_alone() -> None:
    found = agreement(["a", "a"], ["a", "a"])

    assert found.same == 1.0
    assert np.isnan(found.kappa)


def test_without_common_decisions_nothing_is_known() -> None:
    found = agreement(["a", None], [None, "b"])

    assert found.n == 0
    assert np.isnan(found.kappa)
    assert np.isnan(found.same)


def test_every_pair_stands_once_in_the_matrix() -> None:
    found = agreement_matrix({"z": ["a", "b"], "x": ["a", "b"], "y": ["b", "a"]})

    assert {pair: each.kappa for pair, each in found.items()} == {
        ("x", "y"): -1.0,
        ("x", "z"): 1.0,
        ("y", "z"): -1.0,
    }
