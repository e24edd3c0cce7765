"""Rate of change."""

from __future__ import annotations

from quant.types import Array
from quant.windows import check_period, delayed, ratio


def roc(close: Array, *, period: int = 10) -> Array:
    """Return how far the close moved over ``period`` bars.

    Shapes: ``close`` (n,) -> (n,); the first ``period`` are NaN.
    Units: percent.
    Edges: an earlier close of 0 gives NaN.
    Source: TA-Lib ROC's definition, 100 * (c / c[-period] - 1).
    :raises ValueError: if ``period`` is out of range.
    """
    check_period("period", period)
    then = delayed(close, period)
    return 100.0 * ratio(close - then, then)
