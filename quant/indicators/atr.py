"""True range and its averages."""

from __future__ import annotations

from typing import Literal

import talib

from quant.types import Array
from quant.windows import check_period, ratio, rolling_mean

AtrMethod = Literal["wilder", "sma"]


def true_range(high: Array, low: Array, close: Array) -> Array:
    """Return the distance a bar spans, counted from the previous close.

    Shapes: three (n,) -> (n,); the first is NaN.
    Units: quote currency.
    Edges: a gap counts as movement.
    Source: J. W. Wilder, 1978; TA-Lib TRANGE; vectors ``true_range``.
    """
    spanned: Array = talib.TRANGE(high, low, close)
    return spanned


def atr(
    high: Array, low: Array, close: Array, *, period: int = 14, method: AtrMethod = "wilder"
) -> Array:
    """Return the average true range.

    Shapes: three (n,) -> (n,); the first ``period`` are NaN.
    Units: quote currency.
    Edges: "wilder" remembers every bar, "sma" only the last ``period``.
    Source: J. W. Wilder, 1978; TA-Lib ATR; vectors ``atr_14``, ``atr_14_sma``.
    :raises ValueError: if ``period`` is out of range or ``method`` unknown.
    """
    check_period("period", period)
    if method == "sma":
        return rolling_mean(true_range(high, low, close), period)
    if method != "wilder":
        raise ValueError(f"method must be 'wilder' or 'sma', was {method!r}")
    averaged: Array = talib.ATR(high, low, close, timeperiod=period)
    return averaged


def natr(
    high: Array, low: Array, close: Array, *, period: int = 14, method: AtrMethod = "wilder"
) -> Array:
    """Return the average true range against the close.

    Shapes: three (n,) -> (n,); the first ``period`` are NaN.
    Units: percent.
    Edges: a close of 0 gives NaN.
    Source: TA-Lib NATR's definition; vectors ``natr_14``.
    :raises ValueError: as ``atr``.
    """
    return 100.0 * ratio(atr(high, low, close, period=period, method=method), close)
