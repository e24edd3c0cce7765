"""Volatility as it was."""

from __future__ import annotations

import numpy as np

from quant.types import Array
from quant.windows import check_period, rolling_std

YEAR_S = 365 * 86_400  # venues that never close


def realised_volatility(close: Array, *, timeframe_s: int, window: int = 20) -> Array:
    """Return the standard deviation of the last ``window`` log returns, per year.

    Shapes: ``close`` (n,) -> (n,); the first ``window`` are NaN.
    Units: fraction per square root of a 365-day year; 0.5 is 50 %.
    Edges: prices must be positive; flat prices give 0.
    Source: J. C. Hull, Options, Futures, and Other Derivatives (volatility from historical
        data: sample deviation times the square root of intervals per year).
    :raises ValueError: if ``window`` is out of range.
    """
    check_period("window", window, least=2)
    returns = np.diff(np.log(close), prepend=np.nan)
    return rolling_std(returns, window, ddof=1) * float(np.sqrt(YEAR_S / timeframe_s))
