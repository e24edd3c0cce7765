"""Who may do what: scopes, identities, and the refusals at the door."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network

from django.db.models import TextChoices

from pipeline.types import LensError

Network = IPv4Network | IPv6Network


class Scope(TextChoices):
    """One thing that a key may do; ``admin`` stands for all of them."""

    SIGNALS_WRITE = "signals:write"
    SIGNALS_READ = "signals:read"
    DECISIONS_READ = "decisions:read"
    STREAM = "stream"
    OPS = "ops"
    ADMIN = "admin"


class KeyStatus(TextChoices):
    """Whether a key opens the door."""

    ACTIVE = "ACTIVE"
    EXPIRED = "EXPIRED"
    REVOKED = "REVOKED"


class IdentityKind(TextChoices):
    """How somebody proved who they are."""

    KEY = "key"
    ENVIRONMENT = "environment"
    SESSION = "session"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Somebody who has proved who they are.

    ``owner`` stays the same when a key is rotated, so what belongs to a client (its idempotency
    keys, its share of the rate limit) hangs on it and not on ``key_id``.
    """

    key_id: str
    owner: str
    name: str
    scopes: frozenset[Scope]
    kind: IdentityKind = IdentityKind.KEY
    rate_per_min: int | None = None
    burst: int | None = None
    session_key: str = field(default="", repr=False)

    def allows(self, scope: Scope | str) -> bool:
        """Say whether this identity may do what ``scope`` names."""
        return Scope.ADMIN in self.scopes or scope in self.scopes

    @property
    def actor(self) -> str:
        """How the audit trail names this identity."""
        return f"{self.kind}:{self.key_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyDraft:
    """What a key is to be; ``rate_per_min`` and ``burst`` None mean the house's default."""

    name: str
    scopes: frozenset[Scope]
    expires_at: datetime | None = None
    addresses: tuple[str, ...] = ()
    rate_per_min: int | None = None
    burst: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKey:
    """What checking a key needs to know of its row."""

    identity: Identity
    secret_hmac: str
    pepper_version: int
    networks: tuple[Network, ...]
    expires_at: datetime | None
    revoked_at: datetime | None


class Unauthorized(LensError):
    """Nobody has proved who is asking."""

    code = "UNAUTHORIZED"
    http_status = 401


class Forbidden(LensError):
    """Who is asking may not do this."""

    code = "FORBIDDEN"
    http_status = 403


class ForeignOrigin(Forbidden):
    """A page of another site tried to open a socket."""


class ServiceUnavailable(LensError):
    """Something that this request needs is away for the moment."""

    code = "SERVICE_UNAVAILABLE"
    http_status = 503
    retry_after_s = 1.0


class TooManyCalls(LensError):
    """Somebody calls more often than they may; ``wait_s`` says how long to pause."""

    code = "RATE_LIMITED"
    http_status = 429

    def __init__(self, *, wait_s: float) -> None:
        super().__init__("Too many calls.")
        self.wait_s = wait_s


class TooManyWrongKeys(LensError):
    """One address has presented too many wrong keys; ``wait_s`` says how long to pause."""

    code = "RATE_LIMITED"
    http_status = 429

    def __init__(self, *, wait_s: float) -> None:
        super().__init__("Too many wrong keys from this address.")
        self.wait_s = wait_s
