"""What forced closes say about the side that is being squeezed."""

from __future__ import annotations

FLOOR_USD = 50_000.0  # specification A4, LIQ_MIN_USD
FULL_AT_FLOORS = 5.0  # evidence is full from five times the floor; specification A5


def liquidation_ratio(*, longs: float, shorts: float) -> float:
    """Return liquidated longs for each liquidated short.

    Shapes: scalars -> scalar.
    Units: both in the same unit, counts or quote currency.
    Edges: ``shorts`` counts as at least 1.
    Source: specification A3, row 9.
    """
    return longs / max(shorts, 1.0)


def liquidation_bias(*, long_usd: float, short_usd: float, floor_usd: float = FLOOR_USD) -> float:
    """Return the signed evidence in what was liquidated.

    Shapes: scalars -> scalar.
    Units: +1 when only shorts were liquidated (bullish), -1 when only longs.
    Edges: 0 below the floor; full strength only from five times the floor.
    Source: specification A5, profile aligned.
    """
    total = long_usd + short_usd
    if total < floor_usd or total == 0.0:
        return 0.0
    return (short_usd - long_usd) / total * min(total / (FULL_AT_FLOORS * floor_usd), 1.0)
