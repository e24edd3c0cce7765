"""Exponential moving average and its slope."""

from __future__ import annotations

import talib

from quant.types import Array
from quant.windows import check_period, delayed, ratio


def ema(close: Array, *, period: int = 21) -> Array:
    """Return the exponential moving average at each bar.

    Shapes: ``close`` (n,) -> (n,); the first ``period`` - 1 are NaN.
    Units: quote currency.
    Edges: seeded with the plain mean of the first ``period`` closes; alpha is 2 / (period + 1).
    Source: TA-Lib EMA; vectors ``ema_p``.
    :raises ValueError: if ``period`` is out of range.
    """
    check_period("period", period)
    averaged: Array = talib.EMA(close, timeperiod=period)
    return averaged


def ema_slope(close: Array, *, period: int = 9, lag: int = 3) -> Array:
    """Return how far the average moved over ``lag`` bars, against the mean of its two ends.

    Shapes: ``close`` (n,) -> (n,); the first ``period`` - 1 + ``lag`` are NaN.
    Units: fraction.
    Edges: two ends that cancel out give NaN.
    Source: specification A3, row 5; vectors ``ema9_slope_3``.
    :raises ValueError: if ``period`` or ``lag`` is out of range.
    """
    check_period("lag", lag)
    now = ema(close, period=period)
    then = delayed(now, lag)
    return ratio(now - then, (now + then) / 2)
