"""The question that is fixed when a decision is made: is the target hit before the stop."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import isfinite

from quant.types import Side

MINUTE_MS = 60_000
FILL_WINDOW_MS = 15 * MINUTE_MS  # how long an entry price may wait to be touched; A8
TARGET_ATR_MULTIPLE = 2.0  # where a signal names no target; A8
STOP_ATR_MULTIPLE = 1.0  # where a signal names no stop; A8


class BadQuestion(ValueError):
    """The levels or times make no question that bars could answer."""


class Fill(StrEnum):
    """When the trade that is asked about begins."""

    AT_ONCE = "AT_ONCE"
    """With the first bar: the entry is a price of the moment."""

    ON_TOUCH = "ON_TOUCH"
    """In the first bar whose range holds the entry; never, if none does within the window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One trade to watch, with everything that decides what became of it.

    Units: prices in quote currency; times in unix milliseconds UTC, lengths in milliseconds.
    Edges: the clock starts with the first bar that opens at or after ``asked_ms``, because of an
        older bar nobody knows which part came after; lengths count in whole bars, rounded up.
        Bars are of a minute; ``bar_ms`` lets recordings that hold only longer ones answer too.
    Source: specification A8; the consensus specification, part 13.
    :raises BadQuestion: if target and stop do not lie on their sides of the entry, or a price or
        length is not above 0.
    """

    side: Side
    entry: float
    target: float
    stop: float
    asked_ms: int
    horizon_ms: int
    fill: Fill = Fill.AT_ONCE
    fill_window_ms: int = FILL_WINDOW_MS
    bar_ms: int = MINUTE_MS

    def __post_init__(self) -> None:
        prices = (self.entry, self.target, self.stop)
        if not all(isfinite(price) and price > 0.0 for price in prices):
            raise BadQuestion(f"prices must be above 0, were {prices}")
        sign = self.side.sign
        if not sign * (self.target - self.entry) > 0.0:
            raise BadQuestion(f"a {self.side} from {self.entry} cannot aim at {self.target}")
        if not sign * (self.entry - self.stop) > 0.0:
            raise BadQuestion(f"a {self.side} from {self.entry} cannot stop at {self.stop}")
        if min(self.horizon_ms, self.fill_window_ms, self.bar_ms) <= 0:
            raise BadQuestion("horizon, fill window and bar must be longer than 0")

    @property
    def risk(self) -> float:
        """The way from entry to stop, which is 1 R."""
        return abs(self.entry - self.stop)

    @property
    def reward_risk(self) -> float:
        """The way to the target in R."""
        return abs(self.target - self.entry) / self.risk

    @property
    def opens_ms(self) -> int:
        """When the first bar that counts opens."""
        return self._whole(self.asked_ms)

    @property
    def ends_ms(self) -> int:
        """When the bar opens at whose first price a trade that is still open ends."""
        return self.opens_ms + self._whole(self.horizon_ms)

    @property
    def fill_until_ms(self) -> int:
        """When the first bar opens in which it is too late to fill."""
        return min(self.opens_ms + self._whole(self.fill_window_ms), self.ends_ms)

    def in_r(self, price: float) -> float:
        """Return what a price earns, in R."""
        return self.side.sign * (price - self.entry) / self.risk

    def _whole(self, length_ms: int) -> int:
        return -(-length_ms // self.bar_ms) * self.bar_ms


def atr_barriers(
    *,
    side: Side,
    entry: float,
    atr: float,
    target_multiple: float = TARGET_ATR_MULTIPLE,
    stop_multiple: float = STOP_ATR_MULTIPLE,
) -> tuple[float, float]:
    """Return target and stop for a signal that names none.

    Shapes: scalars -> two scalars.
    Units: quote currency.
    Edges: nothing is checked here; ``Question`` refuses levels that make no sense.
    Source: specification A8; vectors ``engine.lifecycle_cases``.
    """
    target = entry + side.sign * atr * target_multiple
    return target, entry - side.sign * atr * stop_multiple
