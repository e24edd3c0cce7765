"""Cutting, joining and checking candles."""

from __future__ import annotations

import numpy as np

from quant.types import Bars


def resample(bars: Bars, *, timeframe_s: int, include_forming: bool = False) -> Bars:
    """Return the bars joined into a longer timeframe.

    Shapes: n source bars -> at most one bar per bin touched.
    Units: bins start at multiples of ``timeframe_s`` seconds since the unix epoch.
    Edges: the first bin is left out when its first source bar is missing, because its open is
        unknown; the last bin is left out when its last source bar is missing, unless
        ``include_forming``; a hole inside leaves a bin made of the bars there are, and a bin
        without any bar stays absent.
    Source: candle definition of the venues (open of the first, close of the last, extremes, sum).
    :raises ValueError: if ``timeframe_s`` is not a multiple of the timeframe of ``bars``.
    """
    if timeframe_s < bars.timeframe_s or timeframe_s % bars.timeframe_s:
        raise ValueError(f"{timeframe_s} s is not a multiple of {bars.timeframe_s} s")
    if not len(bars):
        return Bars.empty(timeframe_s=timeframe_s)
    bins = bars.open_ms // (timeframe_s * 1000) * (timeframe_s * 1000)
    firsts = np.flatnonzero(np.diff(bins, prepend=bins[0] - 1))
    lasts = np.append(firsts[1:] - 1, len(bars) - 1)
    joined = Bars(
        bins[firsts],
        bars.open[firsts],
        np.maximum.reduceat(bars.high, firsts),
        np.minimum.reduceat(bars.low, firsts),
        bars.close[lasts],
        np.add.reduceat(bars.volume, firsts),
        timeframe_s,
    )
    start = int(bars.open_ms[0] != joined.open_ms[0])
    whole = include_forming or bars.close_ms[-1] == joined.close_ms[-1]
    return joined[start : len(joined) if whole else -1]


def closed_at(bars: Bars, *, as_of_ms: int) -> Bars:
    """Return the bars that had closed at that moment.

    Shapes: n bars -> the first m of them.
    Units: ``as_of_ms`` in unix milliseconds UTC.
    Edges: a bar that closes exactly then counts as closed.
    Source: specification part 1 (evaluators read closed bars only, so nothing looks ahead).
    """
    return bars[: int(np.searchsorted(bars.close_ms, as_of_ms, side="right"))]


def gaps(bars: Bars) -> list[tuple[int, int]]:
    """Return the holes between bars, each from the first missing open time to the next bar's.

    Shapes: n bars -> at most n - 1 pairs.
    Units: unix milliseconds UTC; the end of a pair is not itself missing.
    Edges: fewer than two bars have no holes.
    Source: a bar opens when the one before it closes.
    """
    before = np.flatnonzero(np.diff(bars.open_ms) > bars.timeframe_s * 1000)
    return [(int(bars.close_ms[i]), int(bars.open_ms[i + 1])) for i in before]
