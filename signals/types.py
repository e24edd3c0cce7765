"""What a signal is made of, before and beside its row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db.models import TextChoices

from pipeline.types import FieldError, LensError
from quant.types import Side


class EventType(TextChoices):
    """What the sender asks: enter, or leave what was entered."""

    OPEN_SIGNAL = "OPEN_SIGNAL"
    CLOSE_SIGNAL = "CLOSE_SIGNAL"


class Direction(TextChoices):
    """The side that is entered or left."""

    LONG = "long"
    SHORT = "short"
    CLOSE_LONG = "close_long"
    CLOSE_SHORT = "close_short"

    @property
    def side(self) -> Side:
        """The side of the position that the signal speaks of."""
        return Side(self.value.removeprefix("close_"))


class Origin(TextChoices):
    """Who made the signal: a client, the demo feed, or a replay of recorded candles."""

    LIVE = "LIVE"
    DEMO = "DEMO"
    REPLAY = "REPLAY"


class MuteKind(TextChoices):
    """What nobody is to be notified about."""

    SOURCE = "SOURCE"
    SYMBOL = "SYMBOL"


class HookKind(TextChoices):
    """Whose messages a webhook takes; it decides the mapping that one starts with."""

    TRADINGVIEW = "tradingview", "TradingView"
    FREQTRADE = "freqtrade", "freqtrade"
    GENERIC = "generic", "Any other"


class SignalStatus(TextChoices):
    """Where one signal stands; clients see these words."""

    ENQUEUED = "ENQUEUED"
    ENRICHED = "ENRICHED"
    EVALUATED = "EVALUATED"
    PUBLISHED = "PUBLISHED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"
    CANCELLED = "CANCELLED"
    DEAD = "DEAD"


OPEN_STATUSES = (SignalStatus.ENQUEUED, SignalStatus.ENRICHED, SignalStatus.EVALUATED)

S = SignalStatus
TRANSITIONS: Mapping[SignalStatus, tuple[SignalStatus, ...]] = {
    S.ENQUEUED: (S.ENRICHED, S.REJECTED, S.EXPIRED, S.CANCELLED, S.DEAD),
    S.ENRICHED: (S.EVALUATED, S.PUBLISHED, S.EXPIRED, S.CANCELLED, S.DEAD),
    S.EVALUATED: (S.PUBLISHED, S.EXPIRED, S.CANCELLED),
    S.PUBLISHED: (S.ENQUEUED, S.ENRICHED),
    S.REJECTED: (S.ENQUEUED,),
    S.EXPIRED: (S.ENQUEUED, S.ENRICHED),
    S.CANCELLED: (),
    S.DEAD: (S.ENQUEUED, S.ENRICHED),
}
"""Which status may follow which; the way back from an end is an operator's retry, a new run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalDraft:
    """A signal that passed every check and has no row yet."""

    event_type: EventType
    symbol: str
    symbol_given: str
    direction: Direction
    entry_price: Decimal
    size: Decimal
    liquidation_price: Decimal | None
    ts_utc: datetime
    source: str
    target_price: Decimal | None = None
    stop_price: Decimal | None = None
    valid_for_s: int | None = None
    timeframe: str = ""
    feature_profile: str = ""
    notes: str = ""
    context: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A draft with the circumstances of its arrival."""

    draft: SignalDraft
    owner: str
    origin: Origin = Origin.LIVE
    idempotency_key: str | None = None
    body_sha256: str = ""
    replay_id: UUID | None = None
    request_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What the sender is answered."""

    event_id: UUID
    received_at: datetime
    replayed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HookDraft:
    """What a webhook is to be; ``mapping`` is written down as ``signals.mapping`` reads it."""

    name: str
    kind: HookKind
    source: str
    mapping: Mapping[str, Any]
    addresses: tuple[str, ...] = ()


class InvalidSignal(LensError):
    """The body is not a signal; ``errors`` names the fields."""

    code = "VALIDATION_ERROR"
    http_status = 400


class BodyTooLarge(LensError):
    """The body is over the limit."""

    code = "PAYLOAD_TOO_LARGE"
    http_status = 413


class UnusableMapping(LensError):
    """The mapping of a webhook cannot be followed; ``errors`` names the places."""

    code = "VALIDATION_ERROR"
    http_status = 400


class HookClosed(LensError):
    """The webhook is switched off, or does not take messages from that address."""

    code = "FORBIDDEN"
    http_status = 403


class IdempotencyConflict(LensError):
    """The key was used before, with another body."""

    code = "IDEMPOTENCY_CONFLICT"
    http_status = 422


class SignalEnded(LensError):
    """The signal has come to an end; nothing can be stopped any more."""

    code = "SIGNAL_ENDED"
    http_status = 409


__all__ = [
    "OPEN_STATUSES",
    "TRANSITIONS",
    "BodyTooLarge",
    "Direction",
    "EventType",
    "FieldError",
    "HookClosed",
    "HookDraft",
    "HookKind",
    "IdempotencyConflict",
    "InvalidSignal",
    "MuteKind",
    "Origin",
    "Receipt",
    "SignalDraft",
    "SignalEnded",
    "SignalStatus",
    "Submission",
    "UnusableMapping",
]
