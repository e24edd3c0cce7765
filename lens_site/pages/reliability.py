"""A reliability plot as plain SVG: stated probability across, what came true upwards; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from quant.scores import Bin

SIZE = 300
MARGIN = 34
EDGE = 18
BAND = 42
"""The height of the histogram below the plot."""

LARGEST = 7.0
SMALLEST = 2.5
BAR_WIDTH = 7.0
TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """One bin in the plot's own units, with its interval as a line and its count as a bar."""

    x: float
    y: float
    low_y: float
    high_y: float
    radius: float
    bar_x: float
    bar_y: float
    bar_height: float
    bin: Bin


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A share of the axes, and where it lies on both."""

    share: float
    x: float
    y: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """The plot of one model; without dots there is nothing to show."""

    name: str
    dots: tuple[Dot, ...]
    size: int = SIZE
    height: int = SIZE + BAND
    start: int = MARGIN
    end: int = SIZE - EDGE
    top: int = EDGE
    bar_width: float = BAR_WIDTH

    @property
    def bottom(self) -> int:
        """Where 0 lies upwards."""
        return self.size - self.start

    @property
    def ticks(self) -> list[Tick]:
        """The shares that the axes name."""
        return [Tick(share=share, x=_across(share), y=_upwards(share)) for share in TICKS]


def plot_of(name: str, bins: Sequence[Bin]) -> Plot:
    """Return where each bin lies; larger dots and taller bars stand for more decisions."""
    most = max((each.n for each in bins), default=1)
    return Plot(name=name, dots=tuple(_dot(each, most) for each in bins))


def _dot(each: Bin, most: int) -> Dot:
    low, high = each.interval
    bar_height = round(BAND * each.n / most, 1)
    return Dot(
        x=_across(each.mean_p),
        y=_upwards(each.win_rate),
        low_y=_upwards(low),
        high_y=_upwards(high),
        radius=round(max(SMALLEST, LARGEST * (each.n / most) ** 0.5), 1),
        bar_x=round(_across(each.mean_p) - BAR_WIDTH / 2, 1),
        bar_y=round(SIZE + BAND - bar_height, 1),
        bar_height=bar_height,
        bin=each,
    )


def _across(share: float) -> float:
    return round(MARGIN + share * (SIZE - EDGE - MARGIN), 1)


def _upwards(share: float) -> float:
    return round(SIZE - MARGIN - share * (SIZE - EDGE - MARGIN), 1)
