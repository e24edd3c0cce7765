"""Looking back over the last few values, once, for every indicator."""

from __future__ import annotations

import numpy as np

from quant.types import Array

MOST_BARS = 100_000  # the longest period TA-Lib takes
FLOAT_NOISE = 1e-12  # relative; what rounding alone can leave between two equal numbers


def check_period(name: str, value: int, *, least: int = 1) -> None:
    """Refuse a number of bars that no window can have.

    :raises ValueError: if ``value`` lies outside ``least`` to 100,000.
    """
    if not least <= value <= MOST_BARS:
        raise ValueError(f"{name} must be from {least} to {MOST_BARS}, was {value}")


def trailing(values: Array, length: int) -> Array:
    """Return every full window of ``length`` consecutive values, oldest window first.

    Shapes: (n,) -> (max(n - length + 1, 0), length), a read-only view.
    Units: those of ``values``.
    Edges: fewer values than ``length`` give no window.
    Source: numpy.lib.stride_tricks.sliding_window_view, whose checks take eight times as long.
    """
    if values.size < length:
        return np.empty((0, length))
    row = np.ascontiguousarray(values)
    shape, steps = (row.size - length + 1, length), (row.itemsize, row.itemsize)
    windows: Array = np.ndarray(shape, row.dtype, buffer=row, strides=steps)
    windows.flags.writeable = False
    return windows


def after_warm_up(values: Array, *, size: int) -> Array:
    """Return ``values`` at the end of ``size`` places, NaN before them.

    Shapes: (m,) -> (size,), m at most size.
    Units: those of ``values``.
    Edges: no values give NaN everywhere.
    Source: vectors' convention (a warm-up is null, never 0).
    """
    out = np.empty(size)
    out[: size - values.size] = np.nan
    out[size - values.size :] = values
    return out


def rolling_mean(values: Array, length: int) -> Array:
    """Return the mean of the last ``length`` values at each place.

    Shapes: (n,) -> (n,); the first ``length`` - 1 are NaN.
    Units: those of ``values``.
    Edges: a window with NaN gives NaN, and later windows recover; no running sum, so no drift.
    Source: arithmetic.
    """
    return after_warm_up(trailing(values, length).mean(axis=1), size=values.size)


def rolling_sum(values: Array, length: int) -> Array:
    """Return the sum of the last ``length`` values at each place.

    Shapes: (n,) -> (n,); the first ``length`` - 1 are NaN.
    Units: those of ``values``.
    Edges: as ``rolling_mean``.
    Source: arithmetic.
    """
    return after_warm_up(trailing(values, length).sum(axis=1), size=values.size)


def rolling_std(values: Array, length: int, *, ddof: int = 0) -> Array:
    """Return the standard deviation of the last ``length`` values at each place.

    Shapes: (n,) -> (n,); the first ``length`` - 1 are NaN.
    Units: those of ``values``.
    Edges: ``ddof`` 0 is the population's, 1 the sample's; ``length`` must exceed ``ddof``.
    Source: arithmetic.
    """
    return after_warm_up(trailing(values, length).std(axis=1, ddof=ddof), size=values.size)


def rolling_max(values: Array, length: int) -> Array:
    """Return the largest of the last ``length`` values at each place.

    Shapes: (n,) -> (n,); the first ``length`` - 1 are NaN.
    Units: those of ``values``.
    Edges: as ``rolling_mean``.
    Source: arithmetic.
    """
    return after_warm_up(trailing(values, length).max(axis=1), size=values.size)


def rolling_min(values: Array, length: int) -> Array:
    """Return the smallest of the last ``length`` values at each place.

    Shapes: (n,) -> (n,); the first ``length`` - 1 are NaN.
    Units: those of ``values``.
    Edges: as ``rolling_mean``.
    Source: arithmetic.
    """
    return after_warm_up(trailing(values, length).min(axis=1), size=values.size)


def delayed(values: Array, bars: int) -> Array:
    """Return each value ``bars`` places later.

    Shapes: (n,) -> (n,); the first ``bars`` are NaN.
    Units: those of ``values``.
    Edges: a delay of n or more gives NaN everywhere.
    Source: arithmetic.
    """
    return after_warm_up(values[: max(values.size - bars, 0)], size=values.size)


def ratio(above: Array, below: Array, *, otherwise: float = np.nan) -> Array:
    """Return ``above`` / ``below``, and ``otherwise`` where ``below`` is 0.

    Shapes: (n,), (n,) -> (n,).
    Units: those of ``above`` over those of ``below``.
    Edges: NaN on either side stays NaN.
    Source: arithmetic.
    """
    out = np.full(below.shape, otherwise)
    np.divide(above, below, out=out, where=below != 0.0)
    return out


def latest_zscore(values: Array, *, window: int, least: int, floor: float = 0.0) -> Array:
    """Return how far each value lies from the mean of its window, in standard deviations.

    Shapes: (n,) -> (n,); the window holds the value itself and grows up to ``window``.
    Units: population standard deviations.
    Edges: NaN below ``least`` known values and where deviation and ``floor`` are both 0;
        ``floor`` is the smallest deviation divided by; NaN values are left out of the window.
    Source: specification A3, rows 7 and 8.
    """
    out = np.full(values.size, np.nan)
    for i in range(values.size):
        known = values[max(i + 1 - window, 0) : i + 1]
        known = known[~np.isnan(known)]
        if np.isnan(values[i]) or known.size < least:
            continue
        spread = max(float(known.std()), floor)
        if spread > 0.0:
            out[i] = (values[i] - known.mean()) / spread
    return out


def power_of_two_near(value: float) -> float:
    """Return the power of two that brings ``value`` close to 1 without rounding it.

    Shapes: scalar -> scalar.
    Units: one over those of ``value``.
    Edges: 0, infinite and NaN give 1.
    Source: TA-Lib takes averages below 1e-14 for zero, and some coins trade at 1e-9.
    """
    if value == 0.0 or not np.isfinite(value):
        return 1.0
    return float(2.0 ** -np.frexp(value)[1])
