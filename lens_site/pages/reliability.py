"""A reliability plot as plain SVG: stated probability across, what came true upwards; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from quant.scores import Bin

SIZE = 240
MARGIN = 28
LARGEST = 7.0
SMALLEST = 2.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """One bin in the plot's own units, with its interval as a line."""

    x: float
    y: float
    low_y: float
    high_y: float
    radius: float
    bin: Bin


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """The plot of one model; without dots there is nothing to show."""

    name: str
    dots: tuple[Dot, ...]
    size: int = SIZE
    start: int = MARGIN
    end: int = SIZE - 8

    @property
    def bottom(self) -> int:
        """Where 0 lies upwards."""
        return self.size - self.start


def plot_of(name: str, bins: Sequence[Bin]) -> Plot:
    """Return where each bin lies; larger dots stand for more decisions."""
    most = max((each.n for each in bins), default=1)
    return Plot(name=name, dots=tuple(_dot(each, most) for each in bins))


def _dot(each: Bin, most: int) -> Dot:
    low, high = each.interval
    return Dot(
        x=_across(each.mean_p),
        y=_upwards(each.win_rate),
        low_y=_upwards(low),
        high_y=_upwards(high),
        radius=round(max(SMALLEST, LARGEST * (each.n / most) ** 0.5), 1),
        bin=each,
    )


def _across(share: float) -> float:
    return round(MARGIN + share * (SIZE - 8 - MARGIN), 1)


def _upwards(share: float) -> float:
    return round(SIZE - MARGIN - share * (SIZE - 8 - MARGIN), 1)
