"""Many judges' probabilities made into one, weighed by proven skill."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import sqrt

import numpy as np
import numpy.typing as npt

from quant.posterior import Posterior
from quant.types import Array

CLIP = 0.001  # no judge's certainty counts for more than odds of 999 to 1
LEAST = 30  # scored decisions below which a judge's skill is not weighed
SKILL_PRIOR = Posterior(m=0.0, kappa=30.0, alpha=3.0, beta=0.08)
"""What is thought of a judge before anything is known: no skill, as if 30 decisions had shown it.

The unit is the Brier score by which a decision beat the base rate; it varies by about 0.2
(``beta`` over ``alpha`` - 1 is 0.04), for a single outcome moves it that much.
"""

DEFAULT_CORRELATION = 0.30  # of two judges of whom too little is known; consensus, part 8
LEAST_PAIRED = 10
CORRELATION_SHRINKAGE = 30.0
CORRELATION_HALF_LIFE_DAYS = 3.0
CORRELATION_MAX_AGE_DAYS = 7.0

Flags = npt.NDArray[np.bool_]


def log_pool(p: Array, weights: Array) -> float:
    """Return the probability that stands for all judges' together.

    The weighted mean of the log odds, so agreement of confident judges is not averaged away and
    a judge of weight 0 does not matter at all.

    Shapes: (k,), (k,) -> scalar.
    Units: probabilities; weights of any scale.
    Edges: judges whose probability is NaN did not speak; weights are made to sum to 1 over those
        who did, and are equal where all of these have none; NaN when nobody spoke.
    Source: logarithmic opinion pool, Genest and Zidek 1986.
    :raises ValueError: if a weight is negative.
    """
    return float(log_pool_rows(p[np.newaxis, :], weights)[0])


def log_pool_rows(p: Array, weights: Array) -> Array:
    """Return ``log_pool`` of each row.

    Shapes: (n, k), (k,) -> (n,).
    Units: as ``log_pool``.
    Edges: as ``log_pool``.
    Source: as ``log_pool``.
    :raises ValueError: if a weight is negative.
    """
    if (weights < 0.0).any():
        raise ValueError("a judge's weight cannot be below 0")
    share = _shares(~np.isnan(p), weights)
    kept = np.clip(np.where(np.isnan(p), 0.5, p), CLIP, 1.0 - CLIP)
    odds = (share * np.log(kept / (1.0 - kept))).sum(axis=1)
    spoke = share.sum(axis=1) > 0.0
    pooled: Array = np.where(spoke, 1.0 / (1.0 + np.exp(-odds)), np.nan)
    return pooled


def disagreement(p: Array, weights: Array) -> float:
    """Return how far the judges lie apart: the weighted standard deviation.

    Shapes: (k,), (k,) -> scalar.
    Units: a probability, 0 to 0.5.
    Edges: those with NaN are left out; one alone agrees with itself; NaN when nobody spoke.
    Source: arithmetic.
    """
    spoke = ~np.isnan(p)
    if not spoke.any():
        return float("nan")
    share = _shares(spoke[np.newaxis, :], weights)[0][spoke]
    mean = float((share * p[spoke]).sum())
    return sqrt(float((share * (p[spoke] - mean) ** 2).sum()))


def effective_k(weights: Array, correlations: Array | float) -> float:
    """Return how many independent judges the weighted ones are worth.

    Shapes: (k,), (k, k) or a scalar for all pairs -> scalar.
    Units: judges; from 1 to Kish's (sum w)^2 / sum w^2, which is at most k.
    Edges: correlations are kept from 0 to 1; judges without weight do not count; none are worth 0.
    Source: consensus specification, part 8.2; Kish 1965; vectors ``effective_k``.
    """
    counted = weights > 0.0
    if not counted.any():
        return 0.0
    w = weights[counted]
    rho = np.broadcast_to(np.asarray(correlations, dtype=np.float64), (weights.size, weights.size))
    kept = np.clip(rho[np.ix_(counted, counted)], 0.0, 1.0)
    np.fill_diagonal(kept, 1.0)
    return float(w.sum() ** 2 / (w @ kept @ w))


def error_correlations(wrong: Array) -> tuple[Array, npt.NDArray[np.int64]]:
    """Return how much judges err together, and on how many decisions that was seen.

    Shapes: (n, k) of 1 where a judge was wrong, 0 where right, NaN where silent -> (k, k), (k, k).
    Units: phi, the correlation of two yes-or-no quantities, from -1 to 1.
    Edges: NaN for a pair one of whom was always or never wrong where both spoke.
    Source: consensus specification, part 8.1; vectors ``phi_vs_concordance``.
    """
    spoke = ~np.isnan(wrong)
    is_wrong = np.where(spoke, wrong, 0.0)
    both = spoke.astype(np.float64)
    n = both.T @ both
    n11 = is_wrong.T @ is_wrong
    mine = is_wrong.T @ both  # errors of the first where the second spoke as well
    theirs = mine.T
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.sqrt(mine * (n - mine) * theirs * (n - theirs))
        phi: Array = np.where(spread > 0.0, (n * n11 - mine * theirs) / spread, np.nan)
    return phi, n.astype(np.int64)


def shrunk_correlation(phi: float, *, n: int, age_days: float = 0.0) -> float:
    """Return the correlation to reckon with, given how much was seen and how long ago.

    Shapes: scalars -> scalar.
    Units: correlation; ``n`` paired decisions.
    Edges: the default for NaN, for fewer than 10 pairs and for what is older than 7 days.
    Source: consensus specification, part 8.1; vectors ``rho_shrinkage``.
    """
    unknown = np.isnan(phi) or n < LEAST_PAIRED or age_days > CORRELATION_MAX_AGE_DAYS
    if unknown:
        return DEFAULT_CORRELATION
    fresh: float = 2.0 ** (-age_days / CORRELATION_HALF_LIFE_DAYS)
    trust = fresh * n / (n + CORRELATION_SHRINKAGE)
    return min(max(DEFAULT_CORRELATION + trust * (phi - DEFAULT_CORRELATION), 0.0), 1.0)


class WeightReason(StrEnum):
    """Why a judge's voice counts what it counts."""

    SKILL = "SKILL"
    """In proportion to the skill that its decisions showed."""

    NO_SKILL = "NO_SKILL"
    """Nothing: its decisions showed no skill, while another's did."""

    TOO_FEW = "TOO_FEW"
    """An equal share: too few of its decisions have been scored."""

    EQUAL = "EQUAL"
    """As much as the others of whom enough is known: none of them showed skill."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """What a judge's voice counts, and why.

    Units: ``weight`` sums to 1 over all judges; ``skill`` is the expected Brier score by which
        the judge beats the base rate, ``skill_sd`` how uncertain that is.
    """

    weight: float
    reason: WeightReason
    n: int
    skill: float
    skill_sd: float


def skill_posterior(*, n: int, gains: float, squares: float) -> Posterior:
    """Return what is known of a judge's skill.

    Shapes: scalars.
    Units: sums over its scored decisions of the Brier score by which each beat the base rate, and
        of its square.
    Edges: no decisions give the prior.
    Source: ``SKILL_PRIOR``.
    """
    return SKILL_PRIOR.update_sums(n=n, total=gains, squares=squares)


def skill_weights(
    skills: Mapping[str, tuple[int, Posterior]], *, least: int = LEAST
) -> dict[str, Weight]:
    """Return what each judge's voice counts.

    A judge of whom too little is known has an equal share; the others divide the rest by expected
    skill, where what falls below 0 counts as none.

    Shapes: for each of k judges its number of scored decisions and posterior -> k weights.
    Units: see ``Weight``.
    Edges: all are equal until one has enough decisions and shows skill; no judges, no weights.
    Source: expected skill under ``SKILL_PRIOR``.
    """
    if not skills:
        return {}
    equal = 1.0 / len(skills)
    known = {name: max(post.m, 0.0) for name, (n, post) in skills.items() if n >= least}
    proven = sum(known.values())
    rest = equal * len(known)
    return {
        name: _weight(n, post, known.get(name), equal=equal, rest=rest, proven=proven)
        for name, (n, post) in skills.items()
    }


def leave_one_out(p: Array, won: Flags, weights: Array) -> Array:
    """Return by how much the pool's Brier score would worsen without each judge.

    Shapes: (n, k), (n,), (k,) -> (k,).
    Units: Brier score for each decision; above 0 the judge helps.
    Edges: over the decisions on which the judge spoke and another could take its place; NaN where
        there are none.
    Source: arithmetic over ``log_pool_rows``.
    """
    whole = (log_pool_rows(p, weights) - won) ** 2
    values = np.full(weights.size, np.nan)
    for judge in range(weights.size):
        others = p.copy()
        others[:, judge] = np.nan
        paired = ~np.isnan(p[:, judge]) & ~np.isnan(others).all(axis=1)
        if paired.any():
            without = (log_pool_rows(others[paired], weights) - won[paired]) ** 2
            values[judge] = float((without - whole[paired]).mean())
    return values


def _shares(spoke: Flags, weights: Array) -> Array:
    """Return each row's weights over those who spoke, summing to 1, or to 0 if nobody did."""
    share = np.where(spoke, weights, 0.0)
    unproven = share.sum(axis=1) == 0.0
    share[unproven] = spoke[unproven]
    total = share.sum(axis=1, keepdims=True)
    shares: Array = share / np.where(total > 0.0, total, 1.0)
    return shares


def _weight(
    n: int, post: Posterior, known: float | None, *, equal: float, rest: float, proven: float
) -> Weight:
    if known is None:
        weight, reason = equal, WeightReason.TOO_FEW
    elif not proven:
        weight, reason = equal, WeightReason.EQUAL
    else:
        weight = rest * known / proven
        reason = WeightReason.SKILL if known else WeightReason.NO_SKILL
    return Weight(weight=weight, reason=reason, n=n, skill=post.m, skill_sd=post.mean_sd)
