"""Student's t distribution, without SciPy."""

from __future__ import annotations

from math import exp, inf, isnan, lgamma, log, log1p, nan

TINY = 1e-300
CLOSE_ENOUGH = 1e-15
MOST_STEPS = 100_000


def beta_share(a: float, b: float, x: float) -> float:
    """Return the regularised incomplete beta function.

    Shapes: scalars -> scalar.
    Units: a share from 0 to 1.
    Edges: 0 at and below ``x`` = 0, 1 at and above 1.
    Source: continued fraction by Lentz's method; equals ``scipy.special.betainc``.
    :raises ValueError: if ``a`` or ``b`` is not above 0.
    """
    if not (a > 0.0 and b > 0.0):
        raise ValueError(f"a and b must be above 0, were {a} and {b}")
    if x <= 0.0 or x >= 1.0:
        return 0.0 if x <= 0.0 else 1.0
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x))
    if x < (a + 1.0) / (a + b + 2.0):
        return front * _beta_fraction(a, b, x) / a
    return 1.0 - front * _beta_fraction(b, a, 1.0 - x) / b


def student_cdf(t: float, df: float) -> float:
    """Return how probable it is that a value of Student's t lies at or below ``t``.

    Shapes: scalars -> scalar.
    Units: a share from 0 to 1.
    Edges: NaN for NaN.
    Source: equals ``scipy.stats.t.cdf``.
    :raises ValueError: if ``df`` is not above 0.
    """
    if isnan(t):
        return nan
    whole = df + t * t
    if t * t < df:  # near the middle the tail would be a difference of equals
        half = 0.5 * beta_share(0.5, df / 2.0, t * t / whole)
        return 0.5 + half if t > 0.0 else 0.5 - half
    tail = 0.5 * beta_share(df / 2.0, 0.5, df / whole)
    return 1.0 - tail if t > 0.0 else tail


def student_quantile(share: float, df: float) -> float:
    """Return below which value of Student's t that share lies.

    Shapes: scalars -> scalar.
    Units: ``share`` from 0 to 1.
    Edges: infinite at 0 and 1.
    Source: bisection of ``student_cdf``; equals ``scipy.stats.t.ppf``.
    :raises ValueError: if ``share`` lies outside 0 to 1.
    """
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"share must be from 0 to 1, was {share}")
    if share == 0.5:
        return 0.0
    if share > 0.5:
        return -student_quantile(1.0 - share, df)
    if share == 0.0:
        return -inf
    low = -1.0
    while student_cdf(low, df) > share:
        low *= 2.0
    high = 0.0
    while high - low > 1e-13 * (1.0 + abs(low)):
        middle = (low + high) / 2.0
        if student_cdf(middle, df) < share:
            low = middle
        else:
            high = middle
    return (low + high) / 2.0


def _beta_fraction(a: float, b: float, x: float) -> float:
    """Return the continued fraction of the incomplete beta function."""
    c, d = 1.0, 1.0 / _not_zero(1.0 - (a + b) * x / (a + 1.0))
    found = d
    for m in range(1, MOST_STEPS):
        even = m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0))
        for part in (even, odd):
            d = 1.0 / _not_zero(1.0 + part * d)
            c = _not_zero(1.0 + part / c)
            found *= c * d
        if abs(c * d - 1.0) < CLOSE_ENOUGH:
            break
    return found


def _not_zero(value: float) -> float:
    return value if abs(value) > TINY else TINY
