"""A bar's range against those before it."""

from __future__ import annotations

from quant.types import Array
from quant.windows import check_period, delayed, ratio, rolling_mean


def range_expansion(high: Array, low: Array, *, window: int = 14) -> Array:
    """Return each range against the mean range of the ``window`` bars before.

    Shapes: two (n,) -> (n,); the first ``window`` are NaN.
    Units: none; 1 is an ordinary bar.
    Edges: NaN when the bars before had no range.
    Source: specification A3, row 4; vectors ``range_expansion_14``.
    :raises ValueError: if ``window`` is out of range.
    """
    check_period("window", window)
    spans = high - low
    return ratio(spans, delayed(rolling_mean(spans, window), 1))
