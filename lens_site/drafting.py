"""Signals that the house makes itself, for the demo and for replays; pure.

They pass the same checks as a client's.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from lens_site.refusal import Refused
from quant.levels import liquidation_price
from quant.types import Side
from signals.parsing import parse_signal
from signals.types import EventType, InvalidSignal, SignalDraft

LEVERAGE = 5.0
DECIMALS = 8
"""The most that a price or a size may have; Source: contract, section 3."""


class UnusableSignal(Refused):
    """What was asked for makes no valid signal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """What a made-up trader enters, worth so much in quote currency."""

    symbol: str
    side: Side
    entry: float
    worth: float

    @property
    def size(self) -> float:
        """The size in base units."""
        return self.worth / self.entry

    @property
    def liquidation(self) -> float:
        """Where a venue would close it."""
        return liquidation_price(side=self.side, entry=self.entry, leverage=LEVERAGE)


def draft_open(*, position: Position, at: datetime, source: str, now: datetime) -> SignalDraft:
    """Return the signal to enter a position.

    :raises UnusableSignal: naming the field that breaks a rule.
    """
    return _draft(
        position,
        {
            "event_type": EventType.OPEN_SIGNAL,
            "signal_direction": str(position.side),
            "entry_price": number_text(position.entry),
            "liquidation_price": number_text(position.liquidation),
        },
        at=at,
        source=source,
        now=now,
    )


def draft_close(
    *, position: Position, price: float, at: datetime, source: str, now: datetime
) -> SignalDraft:
    """Return the signal to leave a position at a price.

    The liquidation price is left out once the market has passed it.
    :raises UnusableSignal: naming the field that breaks a rule.
    """
    is_alive = (price - position.liquidation) * position.side.sign > 0
    return _draft(
        position,
        {
            "event_type": EventType.CLOSE_SIGNAL,
            "signal_direction": f"close_{position.side}",
            "entry_price": number_text(price),
            "liquidation_price": number_text(position.liquidation) if is_alive else None,
        },
        at=at,
        source=source,
        now=now,
    )


def _draft(
    position: Position, body: dict[str, object], *, at: datetime, source: str, now: datetime
) -> SignalDraft:
    whole = {
        **body,
        "symbol": position.symbol,
        "size": number_text(position.size),
        "ts_utc": at.isoformat(timespec="milliseconds"),
        "source": source,
    }
    try:
        return parse_signal(whole, now=now)
    except InvalidSignal as error:
        faults = "; ".join(f"{fault.field} {fault.message}" for fault in error.errors)
        raise UnusableSignal(f"no signal on {position.symbol!r} can be made", why=faults) from error


def number_text(value: float) -> str:
    """Return a number as a plain decimal, with at most eight decimals and no idle zeros.

    Edges: what is smaller than the last decimal becomes 0, which no signal may carry.
    """
    return f"{value:.{DECIMALS}f}".rstrip("0").rstrip(".")
