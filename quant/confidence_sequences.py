"""Which of two judges is better, in intervals that hold however often one looks.

An ordinary interval is wrong more often the more often it is looked at. A confidence sequence
covers the truth at all times at once with its stated probability, so an experiment may be watched
daily and stopped at any moment.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import log, sqrt
from statistics import NormalDist

ALPHA = 0.05
TUNED_FOR = 20.0  # the variance at which intervals are tightest: 500 decisions 0.2 apart
MOST_DECISIONS = 10_000_000

Interval = tuple[float, float]


def boundary(variance: float, *, alpha: float = ALPHA, tuned_for: float = TUNED_FOR) -> float:
    """Return how far from 0 a fair game may wander, at any time, but with probability ``alpha``.

    Shapes: scalar -> scalar.
    Units: ``variance``, the game's own so far, and ``tuned_for`` in the square of the wandering.
    Edges: above 0 even without any variance. Valid for every ``tuned_for`` that is chosen before
        the game; it says at which variance the boundary is lowest.
    Source: two-sided normal mixture of a sub-Gaussian process, Robbins 1970; Howard, Ramdas,
        McAuliffe and Sekhon 2021, equation 14.
    """
    odds = 2.0 * log(1.0 / alpha)
    rho = tuned_for / (odds + log(1.0 + odds))
    return sqrt((variance + rho) * (odds + log((variance + rho) / rho)))


class Standing(StrEnum):
    """What the evidence says of a challenger."""

    BETTER = "BETTER"
    WORSE = "WORSE"
    OPEN = "OPEN"


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedEvidence:
    """What paired decisions have shown of a challenger so far; keep it, and add what comes.

    A gain is the champion's Brier score less the challenger's on the same decision. Before the
    outcome it can only become one of two values, 2 |p - q| apart, so the sum of gains less their
    expectations is sub-Gaussian with variance (p - q)^2 for each decision, whatever the market
    does and however decisions depend on one another.

    Units: Brier score; ``variance`` in its square.
    Edges: every decision is added once, in the order in which outcomes became known.
    Source: Choe and Ramdas 2021, "Comparing sequential forecasters", theorem 1, with the
        predictable ranges of Howard et al. 2020 in place of a fixed one.
    """

    n: int = 0
    gained: float = 0.0
    variance: float = 0.0

    def add(self, *, champion: float, challenger: float, won: bool) -> PairedEvidence:
        """Return the evidence with one more decision on which both gave a probability.

        :raises ValueError: if a probability lies outside 0 to 1.
        """
        if not (0.0 <= champion <= 1.0 and 0.0 <= challenger <= 1.0):
            raise ValueError(f"probabilities lie from 0 to 1, were {champion} and {challenger}")
        gain = (champion - won) ** 2 - (challenger - won) ** 2
        return PairedEvidence(
            n=self.n + 1,
            gained=self.gained + gain,
            variance=self.variance + (champion - challenger) ** 2,
        )

    @property
    def mean(self) -> float:
        """The mean gain so far; NaN before the first decision."""
        return self.gained / self.n if self.n else float("nan")

    def interval(self, *, alpha: float = ALPHA) -> Interval:
        """Return where the mean of the expected gains lies, at all times at once.

        Shapes: scalar -> lower and upper end.
        Units: Brier score.
        Edges: -1 to 1 at the beginning; never intersect intervals of different times, for what
            they cover, the mean so far, moves.
        Source: ``boundary``.
        """
        if not self.n:
            return -1.0, 1.0
        half = boundary(self.variance, alpha=alpha) / self.n
        return max(self.mean - half, -1.0), min(self.mean + half, 1.0)

    def standing(self, *, alpha: float = ALPHA) -> Standing:
        """Return what the evidence says, which it may be asked at any time."""
        lower, upper = self.interval(alpha=alpha)
        if lower > 0.0:
            return Standing.BETTER
        return Standing.WORSE if upper < 0.0 else Standing.OPEN


def decisions_needed(
    *, gain: float, apart: float, alpha: float = ALPHA, power: float = 0.5
) -> int | None:
    """Return after about how many decisions a difference will have shown itself.

    Shapes: scalars -> scalar.
    Units: ``gain`` the true mean difference in Brier score; ``apart`` how far the two judges'
        probabilities lie apart, as a root mean square; ``power`` with which probability it will
        have shown by then.
    Edges: None for no difference, and for one that would take more than ten million.
    Source: ``boundary`` at the expected variance, and the normal spread of the gains around it.
    :raises ValueError: if ``apart`` is not above 0, or ``power`` lies outside 0 to 1.
    """
    if not (apart > 0.0 and 0.0 < power < 1.0):
        raise ValueError(f"apart must be above 0, power from 0 to 1; were {apart} and {power}")
    z = NormalDist().inv_cdf(power)

    def suffices(n: float) -> bool:
        needed = boundary(n * apart**2, alpha=alpha) + z * apart * sqrt(n)
        return needed <= abs(gain) * n

    if not gain or not suffices(MOST_DECISIONS):
        return None
    low, high = 0, MOST_DECISIONS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return high
