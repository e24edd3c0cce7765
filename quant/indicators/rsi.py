"""Wilder's relative strength index."""

from __future__ import annotations

import numpy as np
import talib

from quant.types import Array
from quant.windows import check_period, power_of_two_near


def rsi(close: Array, *, period: int = 14) -> Array:
    """Return the relative strength index of each bar.

    Shapes: ``close`` (n,) -> (n,); the first ``period`` values are NaN.
    Units: ``close`` in quote currency; result in points from 0 to 100.
    Edges: no losses in the memory gives 100; no moves at all gives 50, where TA-Lib gives 0.
    Source: J. W. Wilder, New Concepts in Technical Trading Systems, 1978; TA-Lib RSI.
    :raises ValueError: if ``period`` is out of range.
    """
    check_period("period", period, least=2)
    if not close.size:
        return np.empty(0)
    scaled = close * power_of_two_near(float(close[0]))
    points: Array = talib.RSI(scaled, timeperiod=period)
    mirrored: Array = talib.RSI(-scaled, timeperiod=period)
    return np.where((points == 0.0) & (mirrored == 0.0), 50.0, points)
