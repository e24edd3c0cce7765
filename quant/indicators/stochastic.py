"""Where the relative strength index stands in its own recent range."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from quant.indicators.rsi import rsi
from quant.types import Array
from quant.windows import check_period, rolling_max, rolling_mean, rolling_min

STILL_POINTS = 1e-9  # an RSI range below this is rounding, not movement


class StochRsi(NamedTuple):
    """The unsmoothed position, and it smoothed once and twice."""

    raw: Array
    k: Array
    d: Array


def stochrsi(
    close: Array, *, period: int = 14, window: int = 14, smooth_k: int = 3, smooth_d: int = 3
) -> StochRsi:
    """Return where the RSI stands between its extremes of the last ``window`` bars.

    Shapes: ``close`` (n,) -> three (n,); with the defaults raw is NaN before 27, k before 29,
        d before 31.
    Units: points from 0 to 100.
    Edges: an RSI that does not move gives 0, as in TA-Lib.
    Source: T. Chande and S. Kroll, The New Technical Trader, 1994; vectors ``stochrsi_*``
        (TA-Lib's fast k and fast d are ``raw`` and ``k``).
    :raises ValueError: if a period is out of range.
    """
    check_period("window", window)
    check_period("smooth_k", smooth_k)
    check_period("smooth_d", smooth_d)
    strength = rsi(close, period=period)
    low, high = rolling_min(strength, window), rolling_max(strength, window)
    still = high - low < STILL_POINTS
    raw = np.where(still, 0.0, 100.0 * (strength - low) / np.where(still, 1.0, high - low))
    k = rolling_mean(raw, smooth_k)
    return StochRsi(raw, k, rolling_mean(k, smooth_d))
