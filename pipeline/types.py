"""Values that every room shares with the conveyor: results of work, claims, domain errors."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID

from django.db.models import TextChoices

REASON_MAX_CHARS = 500


class RunStatus(TextChoices):
    """Where one unit of work stands."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    DONE = "DONE"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"


class LetterStatus(TextChoices):
    """Where one dead letter stands."""

    OPEN = "OPEN"
    RETRYING = "RETRYING"
    RESOLVED = "RESOLVED"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedCost:
    """What asking models again will about cost; ``unpriced`` are those of whom nobody can tell."""

    usd: Decimal = Decimal(0)
    unpriced: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPreview:
    """What retrying dead letters would come to.

    ``stale`` of the ``letters`` belong to signals whose validity has passed: retried, these end
    as EXPIRED without asking any model. ``left`` are more than one call takes up.
    """

    letters: int
    not_open: int
    stale: int
    cost: ExpectedCost
    left: int = 0


class SwitchName(TextChoices):
    """What operators can halt for a while; nothing that arrives meanwhile is lost."""

    INTAKE = "intake", "Intake: signals are stored, and wait to be taken up"
    PUBLISHING = "publishing", "Publishing: decisions are made, and wait for their numbers"


class PurgeStatus(TextChoices):
    """Where one purge stands; a killed one stays RUNNING and is taken up by the next."""

    RUNNING = "RUNNING"
    DONE = "DONE"


@dataclass(frozen=True, slots=True)
class Done:
    """The work succeeded; ``value`` is what settling needs."""

    value: Any = None


@dataclass(frozen=True, slots=True)
class RetryIn:
    """The work failed in a way that may pass; ``after_s`` None leaves the wait to the backoff."""

    reason: str
    code: str = "UNAVAILABLE"
    after_s: float | None = None


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The work failed for good."""

    reason: str
    code: str = "FAILED"


Result = Done | RetryIn | GiveUp


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One unit of work that this worker holds until its lease ends."""

    id: int
    stage: str
    subject: UUID
    trace: UUID
    run: int
    token: int
    attempts: int
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Gone:
    """Something that was sealed and is no longer stored: a finding, unless a purge tells of it."""

    kind: str
    number: int
    text: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A signal whose time may be over: row, public id, when it ended, whether it is held."""

    id: int
    event_id: UUID
    ended_at: datetime
    is_held: bool


@dataclass(frozen=True, slots=True)
class Batch:
    """Signals that are being purged: their rows and, in the same order, their public ids."""

    signals: tuple[int, ...]
    events: tuple[UUID, ...]


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field of a request."""

    field: str
    code: str
    message: str


@dataclass(eq=False)
class LensError(Exception):
    """A foreseen refusal that the HTTP door shows as a problem document."""

    detail: str
    errors: tuple[FieldError, ...] = field(default=())

    code: ClassVar[str] = "INTERNAL_ERROR"
    http_status: ClassVar[int] = 500
    retry_after_s: ClassVar[float | None] = None

    def __str__(self) -> str:
        return self.detail


class NotFound(LensError):
    """Nothing answers to that id."""

    code = "NOT_FOUND"
    http_status = 404


class InvalidRequest(LensError):
    """The request breaks a rule; ``errors`` names the fields."""

    code = "VALIDATION_ERROR"
    http_status = 400


class Overloaded(LensError):
    """The house has more unfinished work than it can promise to finish in time."""

    code = "RATE_LIMITED"
    http_status = 429
    retry_after_s = 5.0
