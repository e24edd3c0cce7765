"""Counts of the day so far that cost the same in the evening as in the morning."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

SETTLED_AFTER = timedelta(minutes=5)
"""A row's moment is taken when its transaction begins, and none is open for so long."""

STEP = timedelta(minutes=1)

Count = Callable[[datetime, datetime | None], tuple[int, ...]]
"""Counts what falls into a span, which may be open to now; figures of adjoining spans add up."""


class SoFar:
    """Figures since a moment, of which what is settled is counted once and kept.

    Good only for rows that stay as they are for the day: nothing so young is ever purged.
    """

    def __init__(self) -> None:
        self._kept: tuple[datetime, datetime, tuple[int, ...]] | None = None

    def count(self, count: Count, *, since: datetime, now: datetime) -> tuple[int, ...]:
        """Return the figures since a moment, as ``count`` would find them all at once."""
        settled = max(since, now - SETTLED_AFTER)
        if self._kept is None or self._kept[0] != since:
            self._kept = since, settled, count(since, settled)
        _, upto, figures = self._kept
        if settled - upto >= STEP:
            figures = _sum(figures, count(upto, settled))
            self._kept, upto = (since, settled, figures), settled
        return _sum(figures, count(upto, None))

    def forget(self) -> None:
        """Forget what was counted."""
        self._kept = None


def _sum(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip(one, other, strict=True))
