"""The shapes of the key door: what an administrator sends and is answered."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from access.models import ApiKey
from access.parsing import network
from access.queries import key_status
from access.types import KeyDraft, KeyStatus, Scope
from pipeline.parsing import time_text
from pipeline.types import FieldError, InvalidRequest

Model = TypeVar("Model", bound=BaseModel)

EXPIRES_MAX_DAYS = 3_650
OVERLAP_MAX_HOURS = 7 * 24
ADDRESSES_MAX = 50
RATE_MAX_PER_MIN = 100_000


def _printable(text: str) -> str:
    stripped = text.strip()
    if not stripped or not stripped.isprintable():
        raise ValueError("must be printable text and not blank")
    return stripped


def _block(text: str) -> str:
    try:
        return str(network(text))
    except ValueError as error:
        raise ValueError(f"must be an address or a CIDR block: {error}") from error


def _without_doubles(scopes: list[Scope]) -> list[Scope]:
    if len(set(scopes)) != len(scopes):
        raise ValueError("must name each scope once")
    return scopes


Name = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_printable)]
Scopes = Annotated[list[Scope], Field(min_length=1), AfterValidator(_without_doubles)]
Block = Annotated[str, Field(max_length=50), AfterValidator(_block)]
Rate = Annotated[int, Field(ge=1, le=RATE_MAX_PER_MIN, strict=True)]


class KeyBody(BaseModel):
    """The body of ``POST /keys``."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    scopes: Scopes
    expires_in_days: Annotated[int, Field(ge=1, le=EXPIRES_MAX_DAYS, strict=True)] | None = None
    addresses: Annotated[list[Block], Field(max_length=ADDRESSES_MAX)] = []
    rate_per_min: Rate | None = None
    burst: Rate | None = None

    def draft(self, *, now: datetime) -> KeyDraft:
        """Return the key that is asked for."""
        life = timedelta(days=self.expires_in_days) if self.expires_in_days else None
        return KeyDraft(
            name=self.name,
            scopes=frozenset(self.scopes),
            expires_at=now + life if life else None,
            addresses=tuple(self.addresses),
            rate_per_min=self.rate_per_min,
            burst=self.burst,
        )


class RotationBody(BaseModel):
    """The body of ``POST /keys/{id}/rotate``; it may be absent."""

    model_config = ConfigDict(extra="forbid")

    overlap_hours: Annotated[float, Field(ge=0, le=OVERLAP_MAX_HOURS, allow_inf_nan=False)] = 24


class EmptyBody(BaseModel):
    """The body of a request that says nothing more; it may be absent."""

    model_config = ConfigDict(extra="forbid")


class KeyView(BaseModel):
    """One key, without its secret."""

    id: str
    name: str
    status: KeyStatus
    scopes: list[Scope]
    owner: str
    addresses: list[str]
    rate_per_min: int | None
    burst: int | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    rotated_from: str | None
    last_used_at: datetime | None
    last_used_address: str | None


class NewKeyView(KeyView):
    """One key with its plain text, which is shown only this once."""

    key: str


class KeyList(BaseModel):
    """Every key, newest first."""

    items: list[KeyView]
    next_cursor: str | None


class TicketView(BaseModel):
    """A ticket that opens one socket."""

    ticket: str
    expires_at: datetime


def parse_body(model: type[Model], body: object) -> Model:
    """Return the body of a request as ``model``.

    :raises InvalidRequest: naming every field that breaks a rule.
    """
    try:
        return model.model_validate(body)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        raise InvalidRequest("The request breaks the rules.", _field_errors(faults)) from error


def key_json(key: ApiKey, *, now: datetime) -> dict[str, Any]:
    """Return one key as administrators see it."""
    return {
        "id": key.id,
        "name": key.name,
        "status": key_status(key=key, now=now).value,
        "scopes": key.scopes,
        "owner": key.owner,
        "addresses": key.address_list,
        "rate_per_min": key.rate_per_min,
        "burst": key.burst,
        "created_at": time_text(key.created_at),
        "expires_at": time_text(key.expires_at),
        "revoked_at": time_text(key.revoked_at),
        "rotated_from": key.rotated_from_id,
        "last_used_at": time_text(key.last_used_at),
        "last_used_address": key.last_used_address,
    }


def _field_errors(faults: Iterable[Any]) -> tuple[FieldError, ...]:
    return tuple(
        FieldError(
            field=".".join(str(part) for part in fault["loc"]) or "body",
            code="unknown_field" if fault["type"] == "extra_forbidden" else fault["type"],
            message=fault["msg"].removeprefix("Value error, "),
        )
        for fault in faults
    )
