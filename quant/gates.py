"""When a probability is worth following: break-even, expected value, and how choosy to be."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from quant.intervals import RESAMPLES, Interval, day_bootstrap
from quant.scores import TOO_FEW
from quant.types import Array

THRESHOLDS = 20  # how many steps a risk-coverage curve has at most


def break_even(*, reward_risk: float, cost_r: float) -> float:
    """Return the probability of the target at which a trade earns nothing on average.

    Shapes: scalars -> scalar.
    Units: ``reward_risk`` is the way to the target in R, ``cost_r`` what the trade costs in R.
    Edges: above 1 where costs exceed the reward, so that no probability suffices.
    Source: p* = (1 + c) / (1 + R).
    :raises ValueError: if ``reward_risk`` is not above 0, or ``cost_r`` is below -1.
    """
    if not reward_risk > 0.0 or cost_r < -1.0:
        raise ValueError(f"no break-even for a reward of {reward_risk} R at a cost of {cost_r} R")
    return (1.0 + cost_r) / (1.0 + reward_risk)


def expected_r(p: float, *, reward_risk: float, cost_r: float) -> float:
    """Return what a trade earns on average if its target comes first with that probability.

    Shapes: scalars -> scalar.
    Units: R.
    Edges: 0 exactly at ``break_even``.
    Source: EV = p R - (1 - p) - c.
    """
    return p * reward_risk - (1.0 - p) - cost_r


def is_worth_following(p: float, *, reward_risk: float, cost_r: float, margin: float = 0.0) -> bool:
    """Return whether a calibrated probability clears break-even by a margin.

    Shapes: scalars.
    Units: probabilities; R.
    Edges: exactly enough is enough; a break-even of 1 or more is never cleared.
    Source: ``break_even``.
    :raises ValueError: as ``break_even``.
    """
    needed = break_even(reward_risk=reward_risk, cost_r=cost_r)
    return needed < 1.0 and p >= needed + margin


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """What following every signal at or above one threshold would have earned.

    Units: ``coverage`` is the share of signals followed; ``mean_r`` after costs, in R.
    """

    threshold: float
    coverage: float
    n: int
    mean_r: float
    interval: Interval | None


class Advice(StrEnum):
    """What a risk-coverage curve says about how choosy to be."""

    THRESHOLD = "THRESHOLD"
    """Follow at and above the threshold: even the lower end of what it earned is above 0."""

    NO_EDGE = "NO_EDGE"
    """No threshold earned anything that luck could not have."""

    NOT_ENOUGH = "NOT_ENOUGH"
    """Too few signals, or too few days, to say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskCoverage:
    """A curve from following everything to following the best alone, and what it advises.

    Edges: ``best`` is None unless the advice is a threshold.
    """

    points: tuple[CurvePoint, ...]
    advice: Advice
    best: CurvePoint | None


def risk_coverage(
    score: Array,
    net_r: Array,
    *,
    days: npt.NDArray[np.int64],
    rng: np.random.Generator,
    thresholds: int = THRESHOLDS,
    least: int = TOO_FEW,
    resamples: int = RESAMPLES,
) -> RiskCoverage:
    """Return what being choosier would have earned, and whether that advises a threshold.

    Shapes: (n,), (n,), (n,) -> at most ``thresholds`` points, by rising threshold.
    Units: ``score`` is what is compared with the threshold: a calibrated probability, or how far
        it lies above break-even; ``days`` any number that is the same for signals of one day.
    Edges: the advice is the threshold with the best lower end among those with ``least`` signals
        and an interval. It looks back, and is the best of several: expect somewhat less.
    Source: selective prediction (El-Yaniv and Wiener 2010), with earnings for risk.
    """
    if not score.size:
        return RiskCoverage(points=(), advice=Advice.NOT_ENOUGH, best=None)
    steps = np.quantile(score, np.arange(thresholds) / thresholds, method="lower")
    _, day = np.unique(days, return_inverse=True)
    points = tuple(
        _point(float(step), score, net_r, day, rng=rng, resamples=resamples)
        for step in np.unique(steps)
    )
    judged = [each for each in points if each.n >= least and each.interval is not None]
    if not judged:
        return RiskCoverage(points=points, advice=Advice.NOT_ENOUGH, best=None)
    best = max(judged, key=_lower_end)
    if _lower_end(best) <= 0.0:
        return RiskCoverage(points=points, advice=Advice.NO_EDGE, best=None)
    return RiskCoverage(points=points, advice=Advice.THRESHOLD, best=best)


def _point(
    threshold: float,
    score: Array,
    net_r: Array,
    day: npt.NDArray[np.intp],
    *,
    rng: np.random.Generator,
    resamples: int,
) -> CurvePoint:
    followed = score >= threshold
    n = int(followed.sum())
    count = int(day.max()) + 1
    sums = np.stack(
        [
            np.bincount(day[followed], weights=net_r[followed], minlength=count),
            np.bincount(day[followed], minlength=count).astype(np.float64),
        ],
        axis=1,
    )
    interval = day_bootstrap(sums, _mean, rng=rng, resamples=resamples)
    return CurvePoint(
        threshold=threshold,
        coverage=n / score.size,
        n=n,
        mean_r=float(net_r[followed].mean()),
        interval=interval,
    )


def _mean(sums: Array) -> Array:
    mean: Array = sums[:, 0] / sums[:, 1]
    return mean


def _lower_end(point: CurvePoint) -> float:
    return float("-inf") if point.interval is None else point.interval[0]
