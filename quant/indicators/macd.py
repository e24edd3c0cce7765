"""Moving average convergence and divergence."""

from __future__ import annotations

from typing import NamedTuple

import talib

from quant.types import Array
from quant.windows import check_period


class Macd(NamedTuple):
    """The line, the average of the line, and the distance between them."""

    line: Array
    signal: Array
    hist: Array


def macd(close: Array, *, fast: int = 12, slow: int = 26, signal: int = 9) -> Macd:
    """Return the distance between a fast and a slow average, and its own average.

    Shapes: ``close`` (n,) -> three (n,); the first ``slow`` + ``signal`` - 2 are NaN.
    Units: quote currency.
    Edges: both averages are seeded on bar ``slow`` - 1, so the fast one is not the
        ``ema`` of the whole series.
    Source: G. Appel; TA-Lib MACD; vectors ``macd_line``, ``macd_signal``, ``macd_hist``.
    :raises ValueError: if a period is out of range or ``fast`` is not below ``slow``.
    """
    check_period("fast", fast, least=2)
    check_period("slow", slow, least=2)
    check_period("signal", signal)
    if fast >= slow:
        raise ValueError(f"fast must be below slow, was {fast} against {slow}")
    return Macd(*talib.MACD(close, fastperiod=fast, slowperiod=slow, signalperiod=signal))
