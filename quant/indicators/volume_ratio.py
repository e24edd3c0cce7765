"""Volume against its recent mean."""

from __future__ import annotations

from quant.types import Array
from quant.windows import check_period, ratio, rolling_mean


def volume_ratio(volume: Array, *, window: int = 20) -> Array:
    """Return each volume against the mean of the last ``window``, itself among them.

    Shapes: (n,) -> (n,); the first ``window`` - 1 are NaN.
    Units: none; 1 is an ordinary bar.
    Edges: 1 when nothing was traded in the whole window.
    Source: specification B3.
    :raises ValueError: if ``window`` is out of range.
    """
    check_period("window", window)
    return ratio(volume, rolling_mean(volume, window), otherwise=1.0)
