"""What the funding rate says about crowding."""

from __future__ import annotations

import numpy as np

from quant.types import Array
from quant.windows import check_period, latest_zscore

LEAST_RATES = 5
STD_FLOOR = 1e-9  # rate; specification A3, row 8
EXTREME_Z = 2.5  # standard deviations; specification A4


def funding_zscore(rates: Array, *, window: int = 50) -> Array:
    """Return how unusual each funding rate is among the last ``window``.

    Shapes: (n,) -> (n,); the first 4 are NaN.
    Units: population standard deviations.
    Edges: the latest rate is in its own window; equal rates give 0.
    Source: specification A3, row 8.
    :raises ValueError: if ``window`` is out of range.
    """
    check_period("window", window)
    return latest_zscore(rates, window=window, least=LEAST_RATES, floor=STD_FLOOR)


def funding_bias(zscore: Array, *, extreme: float = EXTREME_Z) -> Array:
    """Return the side an extreme funding rate speaks for: against the crowd that pays it.

    Shapes: (n,) -> (n,).
    Units: +1 bullish, -1 bearish, 0 when not extreme.
    Edges: NaN stays NaN.
    Source: specification A4, ``funding_extreme``.
    """
    beyond = np.where(np.abs(zscore) >= extreme, -np.sign(zscore), 0.0)
    return np.where(np.isnan(zscore), np.nan, beyond)
