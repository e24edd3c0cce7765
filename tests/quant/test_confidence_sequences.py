from __future__ import annotations

from math import isnan

import numpy as np
import pytest
from scipy import integrate, stats

from quant.confidence_sequences import (
    ALPHA,
    PairedEvidence,
    Standing,
    boundary,
    decisions_needed,
)
from quant.types import Array


def judged(
    rng: np.random.Generator, shape: tuple[int, int], *, champion: float, challenger: float
) -> tuple[Array, Array, Array]:
    """Return gains, distances and expected gains of judges that add noise to the truth."""
    truth = rng.beta(2.0, 3.0, size=shape)
    p, q = (np.clip(truth + rng.normal(0.0, s, size=shape), 0, 1) for s in (champion, challenger))
    won = rng.random(shape) < truth
    gains = (p - won) ** 2 - (q - won) ** 2
    expected = truth * ((p - 1) ** 2 - (q - 1) ** 2) + (1 - truth) * (p**2 - q**2)
    return gains, (p - q) ** 2, expected


@pytest.mark.parametrize("variance", [0.0, 0.7, 20.0, 900.0])
@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_the_boundary_is_where_the_mixture_of_martingales_crosses(
    variance: float, alpha: float
) -> None:
    odds = 2 * np.log(1 / alpha)
    rho = 20.0 / (odds + np.log(1 + odds))
    height = boundary(variance, alpha=alpha)

    def martingale(rate: float) -> float:
        weight = stats.norm.pdf(rate, scale=rho**-0.5)
        return float(weight * np.exp(rate * height - rate**2 * variance / 2))

    middle, width = height / (variance + rho), (variance + rho) ** -0.5
    ends = (middle - 12 * width, middle + 12 * width)
    mixture, _ = integrate.quad(martingale, *ends, epsabs=0, epsrel=1e-12)

    assert mixture == pytest.approx(1 / alpha, rel=1e-9)


def test_looking_all_the_time_is_wrong_no_more_often_than_stated() -> None:
    """300 experiments of 2,000 decisions without a difference, each looked at 400 times."""
    rng = np.random.default_rng(11)
    gains, apart, expected = judged(rng, (300, 2_000), champion=0.15, challenger=0.15)
    looks = slice(4, None, 5)
    wandered = np.abs(np.cumsum(gains - expected, axis=1))[:, looks]
    heights = np.vectorize(boundary)(np.cumsum(apart, axis=1)[:, looks])
    plain = 1.96 * np.sqrt(np.cumsum((gains - expected) ** 2, axis=1))[:, looks]

    false_alarms = (wandered > heights).any(axis=1).mean()
    naive = (wandered > plain)[:, 6:].any(axis=1).mean()

    assert false_alarms <= ALPHA
    assert naive > 4 * ALPHA


def test_stopping_at_the_first_finding_is_still_right() -> None:
    """Each experiment stops when it first finds a winner; who has no gain is seldom promoted."""
    rng = np.random.default_rng(12)
    gains, apart, _ = judged(rng, (200, 1_000), champion=0.15, challenger=0.15)
    gained, heights = np.cumsum(gains, axis=1), np.vectorize(boundary)(np.cumsum(apart, axis=1))

    promoted = [(gained[:, :end] > heights[:, :end]).any(axis=1).mean() for end in (50, 300, 1000)]

    assert promoted == sorted(promoted)
    assert promoted[-1] <= ALPHA


def test_a_real_difference_shows_itself_about_when_it_was_said_to() -> None:
    rng = np.random.default_rng(13)
    gains, apart, expected = judged(rng, (100, 1_500), champion=0.2, challenger=0.08)
    gained, heights = np.cumsum(gains, axis=1), np.vectorize(boundary)(np.cumsum(apart, axis=1))
    shown = gained > heights
    first = np.where(shown.any(axis=1), shown.argmax(axis=1) + 1, 1_500)

    said = decisions_needed(gain=expected.mean(), apart=apart.mean() ** 0.5)

    assert said is not None
    assert np.median(first) == pytest.approx(said, rel=0.2)


def test_evidence_grows_one_decision_at_a_time() -> None:
    rng = np.random.default_rng(14)
    evidence, gains = PairedEvidence(), []
    for _ in range(200):
        p, q, won = rng.random(), rng.random(), bool(rng.random() < 0.5)
        evidence = evidence.add(champion=p, challenger=q, won=won)
        gains.append((p - won) ** 2 - (q - won) ** 2)

    lower, upper = evidence.interval()

    assert evidence.n == 200
    assert evidence.mean == pytest.approx(np.mean(gains))
    assert (lower + upper) / 2 == pytest.approx(evidence.mean)
    assert upper - lower == pytest.approx(2 * boundary(evidence.variance) / 200)


def test_a_standing_is_whether_the_interval_holds_nothing() -> None:
    better = PairedEvidence(n=500, gained=30.0, variance=20.0)
    worse = PairedEvidence(n=500, gained=-30.0, variance=20.0)
    even = PairedEvidence(n=500, gained=10.0, variance=20.0)

    assert better.standing() is Standing.BETTER
    assert worse.standing() is Standing.WORSE
    assert even.standing() is Standing.OPEN
    assert even.standing(alpha=0.9) is Standing.BETTER


def test_nothing_is_known_at_first() -> None:
    nothing = PairedEvidence()

    assert nothing.interval() == (-1.0, 1.0)
    assert nothing.standing() is Standing.OPEN
    assert isnan(nothing.mean)


def test_two_judges_that_say_the_same_are_never_told_apart() -> None:
    evidence = PairedEvidence()
    for _ in range(100):
        evidence = evidence.add(champion=0.7, challenger=0.7, won=True)

    assert evidence.standing() is Standing.OPEN
    assert evidence.mean == 0.0


@pytest.mark.parametrize(("champion", "challenger"), [(1.1, 0.5), (0.5, -0.1), (float("nan"), 0.5)])
def test_what_is_no_probability_is_refused(champion: float, challenger: float) -> None:
    with pytest.raises(ValueError, match="probabilities"):
        PairedEvidence().add(champion=champion, challenger=challenger, won=True)


def test_smaller_differences_and_more_certainty_take_longer() -> None:
    large, small, sure = (
        decisions_needed(gain=0.03, apart=0.2),
        decisions_needed(gain=-0.01, apart=0.2),
        decisions_needed(gain=0.03, apart=0.2, power=0.9),
    )

    assert large is not None
    assert small is not None
    assert sure is not None
    assert large < sure < small
    assert decisions_needed(gain=0.0, apart=0.2) is None
    assert decisions_needed(gain=1e-6, apart=0.2) is None


def test_the_number_of_decisions_is_the_first_that_suffices() -> None:
    needed = decisions_needed(gain=0.03, apart=0.2)

    assert needed is not None
    assert boundary(needed * 0.04) <= 0.03 * needed
    assert boundary((needed - 1) * 0.04) > 0.03 * (needed - 1)


def test_a_plan_without_distance_or_power_is_refused() -> None:
    with pytest.raises(ValueError, match="apart"):
        decisions_needed(gain=0.1, apart=0.0)
    with pytest.raises(ValueError, match="power"):
        decisions_needed(gain=0.1, apart=0.1, power=1.0)
