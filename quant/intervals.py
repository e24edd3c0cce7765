"""How far a figure could lie from the truth: Wilson's interval, and a bootstrap by day."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from quant.types import Array

LEVEL = 0.95
RESAMPLES = 2_000
LEAST_DAYS = 5  # days below which drawing days again says nothing about other days

Interval = tuple[float, float]


def wilson(successes: float, n: float, *, level: float = LEVEL) -> Interval:
    """Return where a share may lie.

    Shapes: scalars -> lower and upper end.
    Units: counts -> shares from 0 to 1.
    Edges: anywhere, 0 to 1, without observations; assumes that they are independent.
    Source: Wilson 1927; equals ``scipy.stats.binomtest(...).proportion_ci(method="wilson")``.
    """
    if n <= 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + level / 2.0)
    share = successes / n
    centre = (share + z * z / (2.0 * n)) / (1.0 + z * z / n)
    half = z * sqrt(share * (1.0 - share) / n + z * z / (4.0 * n * n)) / (1.0 + z * z / n)
    return max(centre - half, 0.0), min(centre + half, 1.0)


def day_bootstrap(
    sums: Array,
    statistic: Callable[[Array], Array],
    *,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Interval | None:
    """Return where a figure made of daily sums may lie, by drawing whole days again.

    Signals of one day share its market, so days are what can be called independent.

    Shapes: ``sums`` (days, k); ``statistic`` takes (m, k) sums over all days to (m,) figures.
    Units: those of the statistic.
    Edges: None below ``LEAST_DAYS`` days or if no draw gives a figure; draws whose figure is not
        finite (nothing to divide by) are left out.
    Source: Künsch 1989 with blocks of a day; percentile interval.
    """
    if len(sums) < LEAST_DAYS:
        return None
    draws = draw_days(len(sums), rng=rng, resamples=resamples)
    with np.errstate(divide="ignore", invalid="ignore"):
        figures = statistic(draws @ sums)
    return percentiles(figures, level=level)


def draw_days(days: int, *, rng: np.random.Generator, resamples: int = RESAMPLES) -> Array:
    """Return how often each day is in each draw of as many days as there are.

    Shapes: -> (resamples, days); every row sums to ``days``.
    Units: counts.
    Edges: may be kept and used for all sums over the same number of days.
    Source: drawing with replacement.
    """
    drawn = rng.integers(0, days, size=(resamples, days))
    drawn += days * np.arange(resamples)[:, np.newaxis]
    counts = np.bincount(drawn.ravel(), minlength=resamples * days)
    return counts.reshape(resamples, days).astype(np.float64)


def day_bootstrap_rows(
    days: npt.NDArray[np.int64],
    statistic: Callable[[npt.NDArray[np.intp]], float],
    *,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Interval | None:
    """Return where a figure that needs every row may lie, by drawing whole days again.

    Shapes: ``days`` (n,), the day of each row; ``statistic`` takes places of rows to a figure.
    Units: those of the statistic.
    Edges: as ``day_bootstrap``; a figure that is NaN is left out.
    Source: as ``day_bootstrap``.
    """
    order = np.argsort(days, kind="stable")
    _, starts = np.unique(days[order], return_index=True)
    blocks = np.split(order, starts[1:])
    if len(blocks) < LEAST_DAYS:
        return None
    drawn = rng.integers(0, len(blocks), size=(resamples, len(blocks)))
    figures = [statistic(np.concatenate([blocks[i] for i in row])) for row in drawn]
    return percentiles(np.array(figures), level=level)


def percentiles(figures: Array, *, level: float = LEVEL) -> Interval | None:
    """Return between which figures the middle ``level`` of them lies.

    Shapes: (m,) -> lower and upper end.
    Units: those of the figures.
    Edges: figures that are not finite are left out; None if none are left.
    Source: ``numpy.percentile``.
    """
    finite = figures[np.isfinite(figures)]
    if not finite.size:
        return None
    tail = 50.0 * (1.0 - level)
    lower, upper = np.percentile(finite, [tail, 100.0 - tail])
    return float(lower), float(upper)
