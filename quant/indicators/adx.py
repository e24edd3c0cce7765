"""Wilder's directional movement."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import talib

from quant.types import Array
from quant.windows import check_period, power_of_two_near


class Adx(NamedTuple):
    """The strength of a trend, and its two directions."""

    adx: Array
    plus_di: Array
    minus_di: Array


def adx(high: Array, low: Array, close: Array, *, period: int = 14) -> Adx:
    """Return how strongly prices trend, whichever way.

    Shapes: three (n,) -> three (n,); ``adx`` is NaN before 2 * ``period`` - 1, the
        directions before ``period``.
    Units: points from 0 to 100.
    Edges: no movement gives 0.
    Source: J. W. Wilder, 1978; TA-Lib ADX, PLUS_DI, MINUS_DI; vectors ``adx_14``.
    :raises ValueError: if ``period`` is out of range.
    """
    check_period("period", period, least=2)
    if not close.size:
        return Adx(np.empty(0), np.empty(0), np.empty(0))
    scale = power_of_two_near(float(close[0]))
    scaled = (high * scale, low * scale, close * scale)
    return Adx(
        talib.ADX(*scaled, timeperiod=period),
        talib.PLUS_DI(*scaled, timeperiod=period),
        talib.MINUS_DI(*scaled, timeperiod=period),
    )
