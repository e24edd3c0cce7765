"""The value that a share of all values does not exceed; one rule for every page."""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil


def at_share(values: Iterable[float], share: float) -> float | None:
    """Return the value that ``share`` of the values do not exceed; None of nothing."""
    ranked = sorted(values)
    return ranked[ceil(share * len(ranked)) - 1] if ranked else None
