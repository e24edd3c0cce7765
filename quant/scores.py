"""How good stated probabilities were, once it is known what happened."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quant.intervals import Interval, wilson
from quant.types import Array, Times

TOO_FEW = 30  # outcomes below which a score is shown as too few to mean anything
LOG_CLIP = 1e-6  # a stated certainty that was wrong costs at most -log(1e-6) = 13.8
BINS = 10
GRID = 1_000  # steps to which probabilities are counted where there are too many to keep
PRIOR_RATE = 0.5  # what a source's base rate begins from
PRIOR_OUTCOMES = 2.0  # how many outcomes that beginning counts for; Laplace's rule

Flags = npt.NDArray[np.bool_]


def brier_terms(p: Array, won: Flags) -> Array:
    """Return each outcome's squared distance from its probability.

    Shapes: (n,), (n,) -> (n,).
    Units: squared probability, 0 is perfect, 0.25 a coin's, 1 the worst.
    Edges: NaN stays NaN.
    Source: Brier 1950.
    """
    return (p - won) ** 2


def brier(p: Array, won: Flags) -> float:
    """Return the mean squared distance of the probabilities from what happened.

    Shapes: (n,), (n,) -> scalar.
    Units: as ``brier_terms``.
    Edges: NaN without outcomes.
    Source: Brier 1950; equals ``sklearn.metrics.brier_score_loss``.
    """
    return float(brier_terms(p, won).mean()) if p.size else float("nan")


def brier_skill(p: Array, won: Flags, *, base_rate: Array) -> float:
    """Return which share of the base rate's error the probabilities avoid.

    Shapes: (n,), (n,), (n,) -> scalar.
    Units: 1 is perfect, 0 no better than the base rate, negative worse.
    Edges: NaN without outcomes, and where the base rate made no error at all.
    Source: Murphy 1973; ``base_rate`` from ``trailing_base_rate``.
    """
    reference = brier(base_rate, won)
    return 1.0 - brier(p, won) / reference if reference else float("nan")


def trailing_base_rate(
    asked_ms: Times,
    *,
    known_ms: Times,
    won: Flags,
    window_ms: int | None = None,
    prior: float = PRIOR_RATE,
    prior_outcomes: float = PRIOR_OUTCOMES,
) -> Array:
    """Return for each decision how often its source had won, by what was known by then.

    Shapes: ``asked_ms`` (m,); the outcomes learnt from ``known_ms`` (n,), ``won`` (n,) -> (m,).
    Units: milliseconds -> a share from 0 to 1.
    Edges: an outcome counts if it was known at or before the decision, and less than ``window_ms``
        old if there is a window; the prior counts as ``prior_outcomes`` more.
    Source: the reference forecast of a skill score; Laplace's rule of succession for the start.
    """
    order = np.argsort(known_ms, kind="stable")
    times = known_ms[order]
    wins = np.concatenate(([0.0], np.cumsum(won[order], dtype=np.float64)))
    until = np.searchsorted(times, asked_ms, side="right")
    since = np.zeros_like(until)
    if window_ms is not None:
        since = np.searchsorted(times, asked_ms - window_ms, side="right")
    known = until - since
    rate: Array = (wins[until] - wins[since] + prior * prior_outcomes) / (known + prior_outcomes)
    return rate


def log_loss(p: Array, won: Flags, *, clip: float = LOG_CLIP) -> float:
    """Return the mean negative logarithm of the probability given to what happened.

    Shapes: (n,), (n,) -> scalar.
    Units: nats; 0 is perfect, log 2 a coin's.
    Edges: probabilities are kept ``clip`` away from 0 and 1, else one certain error costs all;
        NaN without outcomes.
    Source: Good 1952; equals ``sklearn.metrics.log_loss`` on probabilities clipped so.
    """
    if not p.size:
        return float("nan")
    kept = np.clip(p, clip, 1.0 - clip)
    return float(-np.log(np.where(won, kept, 1.0 - kept)).mean())


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Probabilities that lie close together, and how often they came true.

    Units: ``lowest`` and ``highest`` bound the bin's probabilities; ``interval`` is Wilson's.
    """

    lowest: float
    highest: float
    n: int
    mean_p: float
    win_rate: float
    interval: Interval


def reliability(p: Array, won: Flags, *, bins: int = BINS) -> list[Bin]:
    """Return equal shares of the probabilities, from low to high, and how often they came true.

    Shapes: (n,), (n,) -> at most ``bins`` bins.
    Units: see ``Bin``.
    Edges: equal probabilities stay together, so bins may be fewer and not quite equal; no more
        distinct probabilities than ``bins`` (models like round numbers) have a bin each.
    Source: ``sklearn.calibration.calibration_curve(strategy="quantile")``.
    """
    if not p.size:
        return []
    stated, places = np.unique(p, return_inverse=True)
    if stated.size > bins:
        edges = np.percentile(p, np.linspace(0.0, 100.0, bins + 1))
        places = np.searchsorted(edges[1:-1], p)
    ones = np.ones(p.size)
    return [
        _bin(p[part], ones[part], won[part].astype(np.float64))
        for part in (places == place for place in np.unique(places))
    ]


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """How often each step of probability was stated, and how often it came true.

    A million decisions are scored from these few numbers: every figure is exact for
    probabilities rounded to 1 / ``GRID``.

    Shapes: all (k,); ``p`` rises.
    Units: probabilities; counts.
    """

    p: Array
    n: Array
    wins: Array

    @classmethod
    def of(cls, steps: Array, n: Array, wins: Array) -> Counts:
        """Return the counts of steps as ``grid_step`` makes them, in any order and repeated.

        Shapes: (m,), (m,), (m,).
        """
        total, won = (
            np.bincount(steps.astype(np.int64), weights=each, minlength=GRID + 1).astype(np.float64)
            for each in (n, wins)
        )
        stated = np.flatnonzero(total)
        return cls(stated / GRID, total[stated], won[stated])


def grid_step(p: float) -> int:
    """Return the step of ``GRID`` that is nearest to a probability.

    Shapes: scalar -> scalar.
    Units: a probability -> 0 to ``GRID``.
    Edges: halves go to the even step.
    Source: arithmetic.
    """
    return round(p * GRID)


def reliability_of(counts: Counts, *, bins: int = BINS) -> list[Bin]:
    """Return ``reliability`` from counts.

    Shapes: (k,) -> at most ``bins`` bins.
    Units: see ``Bin``.
    Edges: a step that holds more than a bin's share is not divided.
    Source: as ``reliability``, by the middle rank of each step.
    """
    if counts.p.size <= bins:
        places = np.arange(counts.p.size)
    else:
        middle = np.cumsum(counts.n) - counts.n / 2.0
        places = np.minimum((middle * bins / counts.n.sum()).astype(np.int64), bins - 1)
    return [
        _bin(counts.p[part], counts.n[part], counts.wins[part])
        for part in (places == place for place in np.unique(places))
    ]


def auc_of(counts: Counts) -> float:
    """Return ``auc`` from counts.

    Shapes: (k,) -> scalar.
    Units: as ``auc``.
    Edges: as ``auc``; probabilities of one step are ties.
    Source: as ``auc``.
    """
    losses = counts.n - counts.wins
    winners, losers = float(counts.wins.sum()), float(losses.sum())
    if not winners or not losers:
        return float("nan")
    below = np.cumsum(losses) - losses
    return float((counts.wins * (below + losses / 2.0)).sum() / (winners * losers))


def calibration_error(bins: list[Bin]) -> float:
    """Return how far stated probabilities lie from what came true, on average.

    Shapes: bins -> scalar.
    Units: probability.
    Edges: NaN without bins; a diagnostic, for it is no proper score (a forecaster that always
        says the base rate has none).
    Source: Naeini et al. 2015, with bins of equal mass.
    """
    total = sum(each.n for each in bins)
    apart = sum(each.n * abs(each.mean_p - each.win_rate) for each in bins)
    return apart / total if total else float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class Murphy:
    """Where a Brier score comes from: ``reliability`` - ``resolution`` + ``uncertainty``.

    Units: those of a Brier score; less ``reliability`` and more ``resolution`` are better.
    """

    reliability: float
    resolution: float
    uncertainty: float


def murphy(p: Array, won: Flags) -> Murphy:
    """Return the parts of the Brier score, by each probability that was stated.

    Shapes: (n,), (n,).
    Units: see ``Murphy``.
    Edges: every distinct probability is a group of its own, so that the parts add up exactly;
        NaN without outcomes.
    Source: Murphy 1973.
    """
    if not p.size:
        return Murphy(reliability=np.nan, resolution=np.nan, uncertainty=np.nan)
    stated, group = np.unique(p, return_inverse=True)
    n = np.bincount(group)
    rate = np.bincount(group, weights=won.astype(np.float64)) / n
    base = float(won.mean())
    return Murphy(
        reliability=float((n * (stated - rate) ** 2).sum() / p.size),
        resolution=float((n * (rate - base) ** 2).sum() / p.size),
        uncertainty=base * (1.0 - base),
    )


def auc(p: Array, won: Flags) -> float:
    """Return how often a winner was given a higher probability than a loser; ties count half.

    Shapes: (n,), (n,) -> scalar.
    Units: a share; 0.5 tells nothing apart, below it the order is turned round.
    Edges: NaN unless there are winners and losers.
    Source: Mann and Whitney 1947; equals ``sklearn.metrics.roc_auc_score``.
    """
    winners = int(won.sum())
    losers = won.size - winners
    if not winners or not losers:
        return float("nan")
    _, group, n = np.unique(p, return_inverse=True, return_counts=True)
    below = np.cumsum(n) - n
    rank = below + (n + 1) / 2.0
    summed = float(rank[group][won].sum())
    return (summed - winners * (winners + 1) / 2.0) / (winners * losers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Following:
    """What following a model's advice would have brought, and what ignoring it spared.

    Units: ``hit_rate`` is the share of followed signals that won; ``coverage`` the share of
        judged signals that were followed; ``_r`` means after costs, in R.
    Edges: NaN where nothing was followed, or nothing ignored.
    """

    n: int
    followed: int
    coverage: float
    hit_rate: float
    mean_r_followed: float
    mean_r_ignored: float


def following(followed: Flags, won: Flags, net_r: Array) -> Following:
    """Return what following and what ignoring brought.

    Shapes: (n,), (n,), (n,).
    Units: see ``Following``.
    Edges: see ``Following``.
    Source: arithmetic.
    """
    return Following(
        n=followed.size,
        followed=int(followed.sum()),
        coverage=_mean(followed.astype(np.float64)),
        hit_rate=_mean(won[followed].astype(np.float64)),
        mean_r_followed=_mean(net_r[followed]),
        mean_r_ignored=_mean(net_r[~followed]),
    )


def cost_of_skill(*, cost_usd: float, n: int, brier_gain: float) -> float:
    """Return what 1 % of Brier score better than the base rate costs, for each 1,000 decisions.

    Shapes: scalars -> scalar.
    Units: ``cost_usd`` of all ``n`` decisions; ``brier_gain`` is the base rate's mean Brier score
        less the model's; dollars for each 0.01 of it.
    Edges: NaN where there is no gain to pay for, or no decision.
    Source: arithmetic.
    """
    if n <= 0 or not brier_gain > 0.0:
        return float("nan")
    return 1_000.0 * cost_usd / n / (100.0 * brier_gain)


BASELINES = {"always follow": 1.0, "always ignore": 0.0, "coin": 0.5}
"""Judges that know nothing, by the probability they state for every signal."""


def _mean(values: Array) -> float:
    return float(values.mean()) if values.size else float("nan")


def _bin(p: Array, n: Array, wins: Array) -> Bin:
    total, won = float(n.sum()), float(wins.sum())
    return Bin(
        lowest=float(p.min()),
        highest=float(p.max()),
        n=int(total),
        mean_p=float((p * n).sum() / total),
        win_rate=won / total,
        interval=wilson(won, total),
    )
