"""Volume-weighted average price."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from quant.types import Array, Bars
from quant.windows import check_period, ratio, rolling_sum

DAY_MS = 86_400_000


def vwap_session(bars: Bars) -> Array:
    """Return the average price paid since midnight UTC.

    Shapes: n bars -> (n,).
    Units: quote currency; a bar's price is the mean of high, low and close.
    Edges: a session begins with the first bar that opens on a new UTC date; NaN until it has
        volume; bars before the first midnight average from the first bar there is.
    Source: vectors ``vwap_session_utc``.
    """
    worth, traded = _worth(bars), bars.volume
    out = np.full(len(bars), np.nan)
    starts = np.flatnonzero(np.diff(bars.open_ms // DAY_MS, prepend=-1))
    for start, end in pairwise([*starts, len(bars)]):
        session = slice(start, end)
        out[session] = ratio(np.cumsum(worth[session]), np.cumsum(traded[session]))
    return out


def vwap_rolling(bars: Bars, *, window: int = 20) -> Array:
    """Return the average price paid over the last ``window`` bars.

    Shapes: n bars -> (n,); the first ``window`` - 1 are NaN.
    Units: quote currency.
    Edges: NaN when nothing was traded in the window.
    Source: vectors ``vwap_rolling_20``.
    :raises ValueError: if ``window`` is out of range.
    """
    check_period("window", window)
    return ratio(rolling_sum(_worth(bars), window), rolling_sum(bars.volume, window))


def vwap_distance(bars: Bars, *, window: int = 20) -> Array:
    """Return how far the close stands from the rolling average price.

    Shapes: n bars -> (n,); the first ``window`` - 1 are NaN.
    Units: fraction of the average price.
    Edges: NaN where ``vwap_rolling`` is.
    Source: specification A3, row 6; vectors ``vwap_distance_20``.
    :raises ValueError: if ``window`` is out of range.
    """
    average = vwap_rolling(bars, window=window)
    return ratio(bars.close - average, average)


def _worth(bars: Bars) -> Array:
    return (bars.high + bars.low + bars.close) / 3.0 * bars.volume
