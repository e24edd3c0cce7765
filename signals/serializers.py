"""The shapes of the signals door: what a reader may ask and what it is answered."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from pipeline.parsing import LIMIT_DEFAULT, LIMIT_MAX, decimal_text, time_text
from signals.models import Signal
from signals.parsing import SignalBody

Word = Annotated[str, Field(max_length=100, pattern=r"^[^\x00-\x1f]+$")]


class SignalQuery(BaseModel):
    """Filters of the list of signals."""

    model_config = ConfigDict(extra="forbid")

    symbol: Word | None = None
    event_type: Literal["OPEN_SIGNAL", "CLOSE_SIGNAL"] | None = None
    source: Word | None = None
    status: (
        Literal[
            "ENQUEUED",
            "ENRICHED",
            "EVALUATED",
            "PUBLISHED",
            "REJECTED",
            "EXPIRED",
            "CANCELLED",
            "DEAD",
        ]
        | None
    ) = None
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    limit: Annotated[int, Field(ge=1, le=LIMIT_MAX)] = LIMIT_DEFAULT
    cursor: Annotated[str, Field(max_length=64)] | None = None

    def lookups(self) -> dict[str, object]:
        """Return the filters as column look-ups."""
        found: dict[str, object | None] = {
            "symbol": self.symbol.upper() if self.symbol else None,
            "event_type": self.event_type,
            "source": self.source,
            "status": self.status,
            "received_at__gte": self.since,
            "received_at__lt": self.until,
        }
        return {column: value for column, value in found.items() if value is not None}


class SignalReceipt(BaseModel):
    """The answer to an accepted signal; by then it is stored for good."""

    event_id: str
    status: Literal["ENQUEUED"]
    received_at: datetime


class SignalBatch(BaseModel):
    """Up to 500 signals in one request."""

    signals: Annotated[list[SignalBody], Field(min_length=1, max_length=500)]


class ItemAnswer(BaseModel):
    """What became of one item of a batch."""

    index: int
    status: int
    event_id: str | None = None
    received_at: datetime | None = None
    replayed: bool | None = None
    code: str | None = None
    detail: str | None = None
    errors: list[dict[str, str]] | None = None


class BatchAnswer(BaseModel):
    """What became of a batch, item by item."""

    accepted: int
    refused: int
    results: list[ItemAnswer]


class ValidationAnswer(BaseModel):
    """The signal as it would be stored."""

    valid: Literal[True]
    signal: dict[str, Any]


class SignalSummary(BaseModel):
    """One signal in a list."""

    event_id: str
    status: str
    origin: str
    event_type: str
    symbol: str
    signal_direction: str
    entry_price: str
    size: str
    liquidation_price: str | None
    target_price: str | None
    stop_price: str | None
    ts_utc: datetime
    source: str
    received_at: datetime
    expires_at: datetime | None
    reason: dict[str, Any]


class SignalPage(BaseModel):
    """One page of signals, newest first."""

    items: list[SignalSummary]
    next_cursor: str | None


class SignalStanding(BaseModel):
    """Where one signal stands."""

    event_id: str
    status: str
    stage: str | None
    run: int
    reason: dict[str, Any]
    received_at: datetime
    duration_ms: int


def signal_json(signal: Signal) -> dict[str, Any]:
    """Return one signal as clients see it."""
    return {
        "event_id": str(signal.event_id),
        "status": signal.status,
        "origin": signal.origin,
        "event_type": signal.event_type,
        "symbol": signal.symbol,
        "signal_direction": signal.direction,
        "entry_price": decimal_text(signal.entry_price),
        "size": decimal_text(signal.size),
        "liquidation_price": decimal_text(signal.liquidation_price),
        "target_price": decimal_text(signal.target_price),
        "stop_price": decimal_text(signal.stop_price),
        "ts_utc": time_text(signal.ts_utc),
        "source": signal.source,
        "received_at": time_text(signal.received_at),
        "expires_at": time_text(signal.expires_at),
        "reason": signal.reason,
    }
