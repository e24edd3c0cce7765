"""What a stated probability is worth: isotonic maps, shrunk to a common one while data is thin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from quant.types import Array, Times

LEAST = 50  # outcomes below which a map changes nothing
SHRINKAGE = 200.0  # outcomes at which a map of its own counts as much as the pooled one
PRIOR = 2.0  # outcomes at the overall rate that every step is taken to have seen as well

Flags = npt.NDArray[np.bool_]
Knot = tuple[float, float]

IDENTITY: tuple[Knot, ...] = ((0.0, 0.0), (1.0, 1.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A rising map from stated to calibrated probability, straight between its knots.

    Units: ``knots`` are (stated, calibrated), both from 0 to 1, by rising stated probability;
        ``n`` is the number of outcomes it was learnt from.
    Edges: beyond the outermost knots the map stays level. Knots are plain numbers, so a map can
        be stored as JSON and read back as the same map.
    :raises ValueError: if the knots do not rise, or lie outside 0 to 1.
    """

    knots: tuple[Knot, ...] = IDENTITY
    n: int = 0

    def __post_init__(self) -> None:
        stated, worth = np.array(self.knots, dtype=np.float64).reshape(-1, 2).T
        rises = (np.diff(stated) > 0.0).all() and (np.diff(worth) >= 0.0).all()
        within = ((worth >= 0.0) & (worth <= 1.0)).all()
        if not (stated.size and rises and within):
            raise ValueError("the knots of a calibration must rise between 0 and 1")

    @property
    def is_identity(self) -> bool:
        """Whether the map leaves every probability as it was stated."""
        return self.knots == IDENTITY

    def apply(self, p: Array) -> Array:
        """Return what stated probabilities are worth.

        Shapes: (n,) -> (n,).
        Units: probabilities.
        Edges: NaN stays NaN.
        Source: linear interpolation, as ``sklearn.isotonic.IsotonicRegression`` predicts.
        """
        stated, worth = np.array(self.knots, dtype=np.float64).T
        worth_of_p: Array = np.interp(p, stated, worth)
        return worth_of_p

    def of(self, p: float) -> float:
        """Return what one stated probability is worth."""
        return float(self.apply(np.array([p]))[0])


def isotonic(p: Array, won: Flags) -> tuple[Knot, ...]:
    """Return the rising steps closest to what happened, by pooling adjacent violators.

    Shapes: (n,), (n,) -> the knots where the steps begin and end.
    Units: probabilities.
    Edges: equal probabilities are one point; no outcomes give no knots.
    Source: Ayer et al. 1955; equals ``sklearn.isotonic.IsotonicRegression``.
    """
    return _knots(_pooled(_points(p, won)))


def fit(
    p: Array,
    won: Flags,
    *,
    known_ms: Times,
    until_ms: int,
    least: int = LEAST,
) -> Calibration:
    """Return the map learnt from outcomes that were known by a moment.

    Shapes: (n,), (n,), (n,).
    Units: probabilities; milliseconds.
    Edges: identity below ``least`` such outcomes. Each step is drawn towards the overall rate as
        if ``PRIOR`` more outcomes had come in at that rate, and pooled again, so that a step of a
        few outcomes claims no certainty.
    Source: ``isotonic``; Laplace's rule of succession for the overall rate.
    """
    known = known_ms <= until_ms
    n = int(known.sum())
    if n < least:
        return Calibration(n=n)
    base = (float(won[known].sum()) + 1.0) / (n + 2.0)
    steps = _pooled(_points(p[known], won[known]))
    drawn = [replace(each, wins=each.wins + PRIOR * base, n=each.n + PRIOR) for each in steps]
    return Calibration(knots=_knots(_pooled(drawn)), n=n)


def shrink(
    own: Calibration, pooled: Calibration, *, least: int = LEAST, shrinkage: float = SHRINKAGE
) -> Calibration:
    """Return a map between one's own and the pooled one, by how much is known of one's own.

    Shapes: two maps -> one.
    Units: ``own.n / (own.n + shrinkage)`` is the weight of one's own.
    Edges: below ``least`` outcomes of one's own, the pooled map alone, which is the identity
        while it has too few outcomes as well; the result rises, for both do.
    Source: shrinkage for a cold start; exact at every knot of either map.
    """
    if own.n < least:
        return Calibration(knots=pooled.knots, n=own.n)
    weight = own.n / (own.n + shrinkage)
    stated = np.unique([knot[0] for knot in (*own.knots, *pooled.knots)])
    mixed = weight * own.apply(stated) + (1.0 - weight) * pooled.apply(stated)
    rising = np.maximum.accumulate(mixed)  # rounding alone could let it fall by an ulp
    return Calibration(knots=tuple(zip(stated.tolist(), rising.tolist(), strict=True)), n=own.n)


def walk_forward(
    p: Array,
    won: Flags,
    *,
    asked_ms: Times,
    known_ms: Times,
    moments_ms: Sequence[int],
    least: int = LEAST,
) -> Array:
    """Return what probabilities would have been published as, refitting at given moments.

    Shapes: (n,) each -> (n,).
    Units: probabilities; milliseconds.
    Edges: each probability goes through the map of the last moment at or before it was asked for,
        learnt from outcomes known by that moment; before the first moment it stays as stated.
    Source: ``fit``, out of sample.
    """
    published = p.copy()
    moments = sorted(moments_ms)
    for moment, following in zip(moments, [*moments[1:], None], strict=True):
        part = asked_ms >= moment
        if following is not None:
            part &= asked_ms < following
        if part.any():
            fitted = fit(p, won, known_ms=known_ms, until_ms=moment, least=least)
            published[part] = fitted.apply(p[part])
    return published


@dataclass(frozen=True, slots=True)
class _Step:
    """A stretch of stated probabilities that are worth the same."""

    lowest: float
    highest: float
    wins: float
    n: float


def _points(p: Array, won: Flags) -> list[_Step]:
    stated, group, n = np.unique(p, return_inverse=True, return_counts=True)
    wins = np.bincount(group, weights=won.astype(np.float64), minlength=stated.size)
    return [
        _Step(at, at, won_here, float(here))
        for at, won_here, here in zip(stated.tolist(), wins.tolist(), n.tolist(), strict=True)
    ]


def _pooled(steps: Sequence[_Step]) -> list[_Step]:
    """Join steps that do not rise, until all do."""
    rising: list[_Step] = []
    for step in steps:
        joined = step
        while rising and rising[-1].wins * joined.n >= joined.wins * rising[-1].n:
            before = rising.pop()
            joined = _Step(
                before.lowest, joined.highest, before.wins + joined.wins, before.n + joined.n
            )
        rising.append(joined)
    return rising


def _knots(steps: Sequence[_Step]) -> tuple[Knot, ...]:
    ends = ((each, at) for each in steps for at in dict.fromkeys((each.lowest, each.highest)))
    return tuple((at, each.wins / each.n) for each, at in ends)
