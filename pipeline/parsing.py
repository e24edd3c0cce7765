"""What the HTTP doors share: filters, cursors and times as text; pure."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.types import REASON_MAX_CHARS, FieldError, InvalidRequest

Model = TypeVar("Model", bound=BaseModel)

LIMIT_DEFAULT = 50
LIMIT_MAX = 100


class ReasonBody(BaseModel):
    """Why an operator does something."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[str, Field(min_length=1, max_length=REASON_MAX_CHARS)]


def parse_query(model: type[Model], params: Mapping[str, str]) -> Model:
    """Return the query parameters as ``model``.

    :raises InvalidRequest: naming each parameter that is unknown or breaks a rule.
    """
    try:
        return model.model_validate(dict(params.items()))
    except ValidationError as error:
        faults = tuple(
            FieldError(
                ".".join(str(part) for part in fault["loc"]) or "query",
                "unknown_field" if fault["type"] == "extra_forbidden" else fault["type"],
                fault["msg"].removeprefix("Value error, "),
            )
            for fault in error.errors(include_url=False, include_input=False)
        )
        raise InvalidRequest("the query breaks the rules", faults) from error


def write_cursor(key: int) -> str:
    """Return an opaque mark for the place after the row ``key``."""
    return base64.urlsafe_b64encode(str(key).encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> int:
    """Return the row that :func:`write_cursor` marked.

    :raises InvalidRequest: when the mark is not one of ours.
    """
    try:
        key = int(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii"))
    except (binascii.Error, ValueError) as error:
        text = "is not a cursor of ours; take it from next_cursor unchanged"
        raise InvalidRequest(text, (FieldError("cursor", "invalid", text),)) from error
    if not 0 <= key < 2**63:
        text = "is out of range"
        raise InvalidRequest(text, (FieldError("cursor", "invalid", text),))
    return key


def ids_beginning(digits: str) -> tuple[UUID, UUID]:
    """Return the first and the last id that begin with these hexadecimal digits."""
    return UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))


def time_text(at: datetime | None) -> str | None:
    """Return a time as clients see it: UTC, RFC 3339, ``Z``."""
    return None if at is None else at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def decimal_text(value: Decimal | None) -> str | None:
    """Return a price or an amount as clients see it: plain, without needless zeros."""
    return None if value is None else f"{value.normalize():f}"


def latest_passing(time_of_day: str, *, now: datetime) -> datetime:
    """Return when the clock last came to a time of day such as 03:30, in the zone of ``now``."""
    hour, minute = (int(part) for part in time_of_day.split(":"))
    today = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return today if today <= now else today - timedelta(days=1)
