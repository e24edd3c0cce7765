"""On-balance volume."""

from __future__ import annotations

import talib

from quant.types import Array


def obv(close: Array, volume: Array) -> Array:
    """Return the running volume, counted up on rises and down on falls.

    Shapes: two (n,) -> (n,); no warm-up.
    Units: base units; only differences mean anything, the level depends on the first bar.
    Edges: starts at the first volume; an equal close leaves it unchanged.
    Source: J. Granville, 1963; TA-Lib OBV; vectors ``obv``.
    """
    running: Array = talib.OBV(close, volume)
    return running
