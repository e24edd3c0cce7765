"""Prices at which the market turned before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quant.types import Array, Bars, Times
from quant.windows import check_period, trailing


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceLevel:
    """A price at which swings ended.

    Units: ``price`` in quote currency; ``last_touch_ms`` is the open time of the latest swing.
    """

    price: float
    touches: int
    last_touch_ms: int


@dataclass(frozen=True, slots=True)
class SupportResistance:
    """Levels below and above the last close, nearest first."""

    supports: tuple[PriceLevel, ...]
    resistances: tuple[PriceLevel, ...]


def support_resistance(
    bars: Bars, *, lookback: int = 100, sensitivity: float = 0.02, reach: int = 2, most: int = 5
) -> SupportResistance:
    """Return the clusters of swing lows below the last close and of swing highs above it.

    A swing high is a bar whose high exceeds those of the ``reach`` bars before it and is not
    exceeded by the ``reach`` bars after it, so it is known only ``reach`` bars later; swing
    lows mirror that. Going away from the close, a swing joins the cluster whose nearest member
    lies within ``sensitivity`` of it; a level is the mean of its swings.

    Shapes: n bars -> at most ``most`` levels a side.
    Units: ``sensitivity`` as a fraction of price.
    Edges: fewer than 2 * ``reach`` + 1 bars, or a close beyond every swing, give no level.
    Source: swing points of J. W. Wilder, 1978 ("significant points"), joined within a band
        as in R. Edwards and J. Magee, Technical Analysis of Stock Trends (zones, not lines).
    :raises ValueError: if a number of bars is out of range or ``sensitivity`` not above 0.
    """
    for name, value in (("lookback", lookback), ("reach", reach), ("most", most)):
        check_period(name, value)
    if not sensitivity > 0.0:
        raise ValueError(f"sensitivity must be above 0, was {sensitivity}")
    seen = bars[-lookback:]
    if not len(seen):
        return SupportResistance((), ())
    close, times = float(seen.close[-1]), seen.open_ms
    lows, highs = _swings(-seen.low, reach), _swings(seen.high, reach)
    lows, highs = lows[seen.low[lows] < close], highs[seen.high[highs] > close]
    return SupportResistance(
        _levels(seen.low[lows], times[lows], close, sensitivity)[:most],
        _levels(seen.high[highs], times[highs], close, sensitivity)[:most],
    )


def _swings(values: Array, reach: int) -> Times:
    """Return the places of the local maxima."""
    windows = trailing(values, 2 * reach + 1)
    middle = windows[:, reach]
    before = (windows[:, :reach] < middle[:, None]).all(axis=1)
    after = (windows[:, reach + 1 :] <= middle[:, None]).all(axis=1)
    return np.flatnonzero(before & after).astype(np.int64) + reach


def _levels(
    prices: Array, times: Times, close: float, sensitivity: float
) -> tuple[PriceLevel, ...]:
    """Return the clusters of prices that all lie on one side of the close, nearest first."""
    nearest_first = np.argsort(np.abs(prices - close), kind="stable").tolist()
    return tuple(
        PriceLevel(
            price=float(prices[members].mean()),
            touches=len(members),
            last_touch_ms=int(times[members].max()),
        )
        for members in _clusters(prices, nearest_first, sensitivity)
    )


def _clusters(prices: Array, order: list[int], sensitivity: float) -> list[list[int]]:
    clusters: list[list[int]] = []
    for place in order:
        if clusters and _apart(prices[place], prices[clusters[-1][0]]) <= sensitivity:
            clusters[-1].append(place)
        else:
            clusters.append([place])
    return clusters


def _apart(one: float, other: float) -> float:
    return abs(one - other) / min(one, other)
