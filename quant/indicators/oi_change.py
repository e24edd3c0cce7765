"""Change of open interest."""

from __future__ import annotations

from quant.types import Array
from quant.windows import check_period, delayed, latest_zscore, ratio

LEAST_CHANGES = 5  # a deviation of fewer says nothing; same rule as funding, specification A3


def oi_change(open_interest: Array, *, lag: int = 10) -> Array:
    """Return how far open interest moved over ``lag`` samples.

    Shapes: (n,) -> (n,); the first ``lag`` are NaN.
    Units: fraction.
    Edges: an earlier open interest of 0 gives NaN.
    Source: specification A3, row 7.
    :raises ValueError: if ``lag`` is out of range.
    """
    check_period("lag", lag)
    then = delayed(open_interest, lag)
    return ratio(open_interest - then, then)


def oi_zscore(open_interest: Array, *, lag: int = 10, window: int = 60) -> Array:
    """Return how unusual each change is among the last ``window`` changes.

    Shapes: (n,) -> (n,); NaN before ``lag`` + 4.
    Units: population standard deviations.
    Edges: NaN below 5 changes and when all are equal; the latest change is in its own window.
    Source: specification A3, row 7.
    :raises ValueError: if ``lag`` or ``window`` is out of range.
    """
    check_period("window", window)
    return latest_zscore(oi_change(open_interest, lag=lag), window=window, least=LEAST_CHANGES)
