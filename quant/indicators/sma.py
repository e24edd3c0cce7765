"""Simple moving average."""

from __future__ import annotations

from quant.types import Array
from quant.windows import check_period, rolling_mean


def sma(close: Array, *, period: int = 20) -> Array:
    """Return the plain mean of the last ``period`` closes.

    Shapes: ``close`` (n,) -> (n,); the first ``period`` - 1 are NaN.
    Units: quote currency.
    Edges: every window is summed afresh, so nothing drifts.
    Source: vectors ``sma_5``, ``sma_20``.
    :raises ValueError: if ``period`` is out of range.
    """
    check_period("period", period)
    return rolling_mean(close, period)
