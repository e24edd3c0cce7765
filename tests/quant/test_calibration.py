from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from quant.calibration import (
    IDENTITY,
    LEAST,
    Calibration,
    Flags,
    fit,
    isotonic,
    shrink,
    walk_forward,
)
from quant.scores import brier, calibration_error, reliability
from quant.types import Array

GRID = np.linspace(0.0, 1.0, 201)


def boastful(seed: int, count: int, *, step: float | None = None) -> tuple[Array, Flags]:
    """Return probabilities twice as far from a half as the truth, and what happened."""
    rng = np.random.default_rng(seed)
    p = rng.random(count)
    p = p if step is None else np.round(p / step) * step
    won = rng.random(count) < 0.5 + (p - 0.5) / 2.0
    return p, won


def known_at_once(p: Array) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.zeros(p.size, dtype=np.int64)


@pytest.mark.parametrize("step", [None, 0.05])
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 2, 60, 1000])
def test_isotonic_maps_equal_scikit_learn(seed: int, count: int, step: float | None) -> None:
    p, won = boastful(seed, count, step=step)
    theirs = IsotonicRegression(out_of_bounds="clip").fit(p, won.astype(float))

    ours = Calibration(knots=isotonic(p, won))

    assert ours.apply(GRID) == pytest.approx(theirs.predict(GRID), abs=1e-9)


def test_a_map_never_falls() -> None:
    for seed in range(20):
        p, won = boastful(seed, 80, step=0.1)
        own = fit(p, won, known_ms=known_at_once(p), until_ms=0)
        q, lost = boastful(seed + 50, 300)
        pooled = fit(q, ~lost, known_ms=known_at_once(q), until_ms=0)

        for found in (own, pooled, shrink(own, pooled)):
            assert (np.diff(found.apply(GRID)) >= 0.0).all()


def test_a_map_stays_the_identity_until_enough_is_known() -> None:
    p, won = boastful(1, LEAST)
    times = np.arange(LEAST, dtype=np.int64)

    early = fit(p, won, known_ms=times, until_ms=LEAST - 2)
    enough = fit(p, won, known_ms=times, until_ms=LEAST - 1)

    assert (early.is_identity, early.n) == (True, LEAST - 1)
    assert early.apply(GRID) == pytest.approx(GRID, abs=0)
    assert (enough.is_identity, enough.n) == (False, LEAST)


def test_a_map_learns_nothing_from_outcomes_known_later() -> None:
    p, won = boastful(2, 500)
    times = np.random.default_rng(3).permutation(500).astype(np.int64)
    past = times <= 300

    fitted = fit(p, won, known_ms=times, until_ms=300)
    alone = fit(p[past], won[past], known_ms=times[past], until_ms=10**12)
    otherwise = fit(p, np.where(past, won, ~won), known_ms=times, until_ms=300)

    assert fitted == alone == otherwise


def test_no_sample_proves_a_certainty() -> None:
    p = np.repeat([0.1, 0.9], 30)

    fitted = fit(p, p > 0.5, known_ms=known_at_once(p), until_ms=0)

    assert fitted.of(0.0) == pytest.approx(1 / 32)
    assert fitted.of(1.0) == pytest.approx(31 / 32)


def test_a_lucky_step_does_not_override_the_many_beside_it() -> None:
    p = np.concatenate(([0.05], np.full(300, 0.2), np.full(100, 0.7)))
    won = np.concatenate(([False], np.arange(300) < 15, np.arange(100) < 90))

    fitted = fit(p, won, known_ms=known_at_once(p), until_ms=0)

    assert fitted.of(0.0) == pytest.approx(fitted.of(0.2))
    assert 0.045 < fitted.of(0.0) < 0.06


def test_a_map_moves_from_the_pooled_to_its_own_as_outcomes_come_in() -> None:
    pooled = Calibration(knots=((0.0, 0.4), (1.0, 0.6)), n=5_000)

    at_half = [
        shrink(Calibration(knots=((0.0, 0.0), (0.5, 0.1), (1.0, 1.0)), n=n), pooled).of(0.5)
        for n in (0, 49, 50, 200, 1_800)
    ]

    assert at_half == pytest.approx([0.5, 0.5, 0.42, 0.3, 0.14])


def test_a_mixture_is_exact_between_the_knots_of_both() -> None:
    own = Calibration(knots=((0.2, 0.1), (0.45, 0.1), (0.7, 0.8)), n=200)
    pooled = Calibration(knots=((0.1, 0.3), (0.5, 0.35), (0.9, 0.7)), n=900)

    mixed = shrink(own, pooled)

    assert mixed.apply(GRID) == pytest.approx((own.apply(GRID) + pooled.apply(GRID)) / 2, abs=1e-12)


def test_with_too_little_of_both_nothing_changes() -> None:
    assert shrink(Calibration(n=10), Calibration(n=40)).is_identity


def test_a_map_survives_being_stored() -> None:
    p, won = boastful(4, 300)
    fitted = fit(p, won, known_ms=known_at_once(p), until_ms=0)

    stored = json.loads(json.dumps(fitted.knots))

    assert Calibration(knots=tuple((a, b) for a, b in stored), n=fitted.n) == fitted


@pytest.mark.parametrize(
    "knots",
    [
        (),
        ((0.5, 0.5), (0.5, 0.6)),
        ((0.5, 0.5), (0.4, 0.6)),
        ((0.1, 0.6), (0.9, 0.5)),
        ((0.1, -0.1), (0.9, 0.5)),
        ((0.1, 0.1), (0.9, 1.1)),
        ((0.1, float("nan")), (0.9, 0.9)),
    ],
)
def test_knots_that_make_no_rising_map_are_refused(knots: tuple[tuple[float, float], ...]) -> None:
    with pytest.raises(ValueError, match="must rise"):
        Calibration(knots=knots)


def test_the_identity_is_what_a_map_is_before_anything_is_known() -> None:
    assert Calibration().knots == IDENTITY
    assert Calibration().of(0.37) == 0.37


def test_the_boastful_are_pulled_to_the_diagonal_out_of_sample() -> None:
    p, won = boastful(5, 4_000)
    asked = np.arange(4_000, dtype=np.int64)

    published = walk_forward(
        p, won, asked_ms=asked, known_ms=asked + 60, moments_ms=range(0, 4_000, 100)
    )

    late = asked >= 1_000
    before = calibration_error(reliability(p[late], won[late]))
    after = calibration_error(reliability(published[late], won[late]))
    assert before > 0.10
    assert after < 0.04
    assert brier(published[late], won[late]) < brier(p[late], won[late]) - 0.01


def test_the_inverted_end_up_saying_the_base_rate() -> None:
    p, won = boastful(6, 3_000)
    asked = np.arange(3_000, dtype=np.int64)

    published = walk_forward(1.0 - p, won, asked_ms=asked, known_ms=asked, moments_ms=[2_000])

    assert published[:2_000] == pytest.approx(1.0 - p[:2_000], abs=0)
    assert np.abs(published[2_000:] - won[:2_000].mean()).mean() < 0.02


def test_what_was_published_does_not_change_with_later_outcomes() -> None:
    p, won = boastful(7, 400)
    asked = np.arange(400, dtype=np.int64)
    known = asked + 30
    moments = range(0, 400, 50)

    whole = walk_forward(p, won, asked_ms=asked, known_ms=known, moments_ms=moments)
    otherwise = walk_forward(
        p, np.where(known <= 250, won, ~won), asked_ms=asked, known_ms=known, moments_ms=moments
    )

    assert (whole[asked < 300] == otherwise[asked < 300]).all()
    assert (whole[asked >= 300] != otherwise[asked >= 300]).any()
