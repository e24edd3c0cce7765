"""Higher highs, lower lows and closes beyond both."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from quant.types import Array
from quant.windows import check_period, delayed, rolling_max, rolling_min


class Breakout(NamedTuple):
    """The side a close broke out to, and the level it broke."""

    side: Array
    level: Array


def swing_structure(high: Array, low: Array, *, window: int = 3) -> Array:
    """Return +1 in an uptrend, -1 in a downtrend and 0 in neither.

    Shapes: two (n,) -> (n,); the first 2 * ``window`` - 1 are NaN.
    Units: sign.
    Edges: an uptrend needs both a higher high and a higher low of the last ``window`` bars
        against the ``window`` before; equal extremes are neutral.
    Source: specification A3, row 1; vectors ``structure`` (which call the warm-up neutral).
    :raises ValueError: if ``window`` is out of range.
    """
    check_period("window", window)
    highest, lowest = rolling_max(high, window), rolling_min(low, window)
    highs = np.sign(highest - delayed(highest, window))
    lows = np.sign(lowest - delayed(lowest, window))
    return np.where(highs == lows, highs, np.where(np.isnan(highs + lows), np.nan, 0.0))


def breakout(high: Array, low: Array, close: Array, *, window: int = 20) -> Breakout:
    """Return whether each close lies beyond the extremes of the bars before it.

    Shapes: three (n,) -> two (n,); the first ``window`` are NaN.
    Units: ``side`` +1 above, -1 below, 0 inside; ``level`` in quote currency.
    Edges: a close exactly on an extreme is inside; ``level`` is NaN inside.
    Source: specification A3, row 2; vectors ``breakout_20`` (which call the warm-up none).
    :raises ValueError: if ``window`` is out of range.
    """
    check_period("window", window)
    top, bottom = delayed(rolling_max(high, window), 1), delayed(rolling_min(low, window), 1)
    side = (close > top).astype(np.float64) - (close < bottom)
    side = np.where(np.isnan(top), np.nan, side)
    level = np.where(side > 0, top, np.where(side < 0, bottom, np.nan))
    return Breakout(side, level)
