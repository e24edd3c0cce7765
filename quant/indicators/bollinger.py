"""Bollinger bands."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from quant.types import Array
from quant.windows import FLOAT_NOISE, check_period, ratio, rolling_mean, rolling_std


class Bollinger(NamedTuple):
    """The bands, where the close stands between them, and how far apart they are."""

    upper: Array
    middle: Array
    lower: Array
    percent_b: Array
    width: Array


def bollinger(close: Array, *, period: int = 20, deviations: float = 2.0) -> Bollinger:
    """Return bands of so many standard deviations around the plain mean.

    Shapes: ``close`` (n,) -> five (n,); the first ``period`` - 1 are NaN.
    Units: bands in quote currency; ``percent_b`` 0 at the lower band and 1 at the upper;
        ``width`` as a fraction of the middle.
    Edges: population deviation; ``percent_b`` is 0.5 when the bands coincide. TA-Lib takes a
        variance below 1e-14 for zero, which closes the bands of cheap coins, so it is not used.
    Source: J. Bollinger, Bollinger on Bollinger Bands, 2001; vectors ``bb_*``.
    :raises ValueError: if ``period`` is out of range or ``deviations`` not above 0.
    """
    check_period("period", period)
    if not deviations > 0.0:
        raise ValueError(f"deviations must be above 0, was {deviations}")
    middle = rolling_mean(close, period)
    half = deviations * rolling_std(close, period)
    half = np.where(half <= FLOAT_NOISE * np.abs(middle), 0.0, half)
    percent_b = ratio(close - (middle - half), 2 * half, otherwise=0.5)
    return Bollinger(middle + half, middle, middle - half, percent_b, ratio(2 * half, middle))
