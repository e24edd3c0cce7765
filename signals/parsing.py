"""From the bytes of a request to a signal draft, or to the list of what is wrong; pure."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal, NoReturn

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
)

from quant.types import TIMEFRAMES, Side
from signals.types import (
    BodyTooLarge,
    Direction,
    EventType,
    FieldError,
    InvalidSignal,
    SignalDraft,
)

BODY_MAX_BYTES = 64 * 1024
BATCH_BODY_MAX_BYTES = 2 * 1024 * 1024
CONTEXT_MAX_BYTES = 8 * 1024
DEPTH_MAX = 16
EXPONENT_MAX = 40
FUTURE_MAX = timedelta(seconds=60)
OLDEST_YEAR = 2000
DECIMAL_TEXT = re.compile(r"[0-9]{1,12}(\.[0-9]{1,8})?", re.ASCII)
SYMBOL_TEXT = re.compile(r"[A-Z0-9][A-Z0-9/_:.-]{0,19}", re.ASCII)
RFC3339_TEXT = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)


def load_json(body: bytes, *, max_bytes: int = BODY_MAX_BYTES) -> Any:
    """Return the JSON value of ``body``, numbers with a point as exact decimals.

    :raises BodyTooLarge: over ``max_bytes``.
    :raises InvalidSignal: not UTF-8 JSON, doubled keys, NaN or Infinity, or nested too deep.
    """
    if len(body) > max_bytes:
        raise BodyTooLarge(f"the body has {len(body)} bytes; at most {max_bytes} are accepted")
    try:
        value = EXACT.decode(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise _invalid("body", "encoding", "the body must be UTF-8 text") from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise _invalid("body", "json", f"not JSON: {error.msg} at {where}") from error
    except RecursionError as error:
        raise _invalid("body", "depth", f"nested deeper than {DEPTH_MAX} levels") from error
    _refuse_depth(value)
    return value


def parse_signal(value: Any, *, now: datetime) -> SignalDraft:
    """Return the draft that ``value`` (from :func:`load_json`) describes.

    :raises InvalidSignal: naming every field that breaks a rule.
    """
    if not isinstance(value, dict):
        raise _invalid("body", "type", "the body must be a JSON object")
    try:
        body = SignalBody.model_validate(value)
    except ValidationError as error:
        raise InvalidSignal("the signal breaks the rules", _field_errors(error)) from error
    faults = [*_time_faults(body, now=now), *_side_faults(body)]
    if faults:
        raise InvalidSignal("the signal breaks the rules", tuple(faults))
    return _draft(body)


def _exact(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        raise ValueError("must be a number or a decimal string")
    text = format(value, "f") if isinstance(value, Decimal) else str(value)
    if isinstance(value, Decimal) and "." in text:
        text = text.rstrip("0").rstrip(".")
    if not DECIMAL_TEXT.fullmatch(text):
        raise ValueError("must be a plain positive decimal below 1e12 with at most 8 decimals")
    exact = Decimal(text)
    if exact <= 0:
        raise ValueError("must be greater than 0")
    return exact


def _symbol(value: Any) -> str:
    if not isinstance(value, str) or not SYMBOL_TEXT.fullmatch(value.upper()):
        raise ValueError("must be 1 to 20 characters of A-Z 0-9 / _ : . - starting with A-Z or 0-9")
    if value.upper() != unicodedata.normalize("NFKC", value).upper() or not value.isascii():
        raise ValueError("must be plain ASCII")
    return value


def _moment(value: Any) -> Any:
    if not isinstance(value, str) or not RFC3339_TEXT.fullmatch(value):
        raise ValueError("must be an RFC 3339 time with Z or an offset, e.g. 2026-01-31T10:30:00Z")
    return value


def _printable(value: str) -> str:
    if any(unicodedata.category(char)[0] == "C" for char in value):
        raise ValueError("must not hold control or invisible characters")
    return value


def _text(value: str) -> str:
    if any(unicodedata.category(char) in {"Cc", "Cs"} and char not in "\n\t" for char in value):
        raise ValueError("must not hold control characters or halves of characters")
    return value


def _timeframe(value: str) -> str:
    if value not in TIMEFRAMES:
        raise ValueError(f"must be one of {' '.join(TIMEFRAMES)}")
    return value


def _context(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    text = json.dumps(value, default=str, ensure_ascii=False)
    if "\\u0000" in text or any(unicodedata.category(char) == "Cs" for char in text):
        raise ValueError("must not hold NUL or halves of characters")
    if len(text.encode()) > CONTEXT_MAX_BYTES:
        raise ValueError(f"must be at most {CONTEXT_MAX_BYTES} bytes of JSON")
    return value


Positive = Annotated[
    Decimal,
    BeforeValidator(_exact),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1e12},
                {"type": "string", "pattern": r"^[0-9]{1,12}(\.[0-9]{1,8})?$"},
            ]
        }
    ),
]


class SignalBody(BaseModel):
    """A trading signal as a client sends it."""

    model_config = ConfigDict(extra="forbid", strict=False, frozen=True)

    event_type: Literal["OPEN_SIGNAL", "CLOSE_SIGNAL"]
    symbol: Annotated[str, BeforeValidator(_symbol), Field(examples=["BTC"], max_length=20)]
    signal_direction: Literal["long", "short", "close_long", "close_short"]
    entry_price: Positive
    size: Positive
    liquidation_price: Positive | None = Field(
        description="below entry for a long, above for a short; null only where the instrument"
        " cannot be liquidated"
    )
    ts_utc: Annotated[AwareDatetime, BeforeValidator(_moment)]
    source: Annotated[
        str, Field(min_length=1, max_length=100, strict=True), AfterValidator(_printable)
    ]
    valid_for_s: Annotated[int, Field(ge=1, le=86_400, strict=True)] | None = None
    target_price: Positive | None = None
    stop_price: Positive | None = None
    timeframe: Annotated[str, AfterValidator(_timeframe)] | None = None
    feature_profile: Annotated[str, Field(pattern=r"^[a-z0-9_]{1,64}$")] | None = None
    notes: Annotated[str, Field(max_length=1000), AfterValidator(_text)] | None = None
    context: Annotated[dict[str, Any], BeforeValidator(_context)] | None = None


def _time_faults(body: SignalBody, *, now: datetime) -> list[FieldError]:
    if body.ts_utc > now + FUTURE_MAX:
        text = f"lies more than {FUTURE_MAX.seconds} s in the future; is the sender's clock right?"
        return [FieldError("ts_utc", "in_future", text)]
    if body.ts_utc.year < OLDEST_YEAR:
        return [FieldError("ts_utc", "too_old", f"lies before the year {OLDEST_YEAR}")]
    return []


def _side_faults(body: SignalBody) -> list[FieldError]:
    closing = body.event_type == EventType.CLOSE_SIGNAL
    if not closing and body.signal_direction.startswith("close_"):
        text = "an OPEN_SIGNAL is long or short"
        return [FieldError("signal_direction", "wrong_for_event_type", text)]
    sign = Side(body.signal_direction.removeprefix("close_")).sign
    rules = {
        "liquidation_price": (body.liquidation_price, -sign),
        "stop_price": (body.stop_price, -sign),
        "target_price": (body.target_price, sign),
    }
    if closing:
        rules = {"liquidation_price": rules["liquidation_price"]}
    return [
        FieldError(name, "wrong_side", f"must lie {_where(want)} entry_price for this direction")
        for name, (price, want) in rules.items()
        if price is not None and (price - body.entry_price) * want <= 0
    ]


def _where(sign: int) -> str:
    return "above" if sign > 0 else "below"


def _draft(body: SignalBody) -> SignalDraft:
    direction = body.signal_direction
    if body.event_type == EventType.CLOSE_SIGNAL and not direction.startswith("close_"):
        direction = f"close_{direction}"  # type: ignore[assignment]
    return SignalDraft(
        event_type=EventType(body.event_type),
        symbol=body.symbol.upper(),
        symbol_given=body.symbol,
        direction=Direction(direction),
        entry_price=body.entry_price,
        size=body.size,
        liquidation_price=body.liquidation_price,
        ts_utc=body.ts_utc,
        source=body.source,
        target_price=body.target_price,
        stop_price=body.stop_price,
        valid_for_s=body.valid_for_s,
        timeframe=body.timeframe or "",
        feature_profile=body.feature_profile or "",
        notes=body.notes or "",
        context=_plain(body.context or {}),
    )


def _plain(value: Any) -> Any:
    """Return ``value`` with decimals as text, so that it can be stored as JSON unchanged."""
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def _field_errors(error: ValidationError) -> tuple[FieldError, ...]:
    return tuple(
        FieldError(
            field=".".join(str(part) for part in fault["loc"] if not _is_branch(part)) or "body",
            code=_code(fault["type"]),
            message=_message(fault["type"], fault["msg"]),
        )
        for fault in error.errors(include_url=False, include_input=False)
    )


def _is_branch(part: int | str) -> bool:
    return isinstance(part, str) and ("[" in part or part in {"dict", "function-before"})


def _code(kind: str) -> str:
    return {
        "missing": "required",
        "extra_forbidden": "unknown_field",
        "value_error": "invalid",
    }.get(kind, kind)


def _message(kind: str, text: str) -> str:
    if kind == "extra_forbidden":
        return "no such field; check its spelling"
    if kind == "missing":
        return "is required"
    return text.removeprefix("Value error, ")


def _decimal(text: str) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation as error:
        raise _invalid("body", "number", f"the number {text[:20]} is out of range") from error
    if value and abs(value.adjusted()) > EXPONENT_MAX:
        raise _invalid("body", "number", f"the number {text[:20]} is out of range")
    return value


def _integer(text: str) -> int:
    if len(text) > 15:
        raise _invalid("body", "number", f"the number {text[:20]}… has too many digits")
    return int(text)


def _refuse_constant(name: str) -> NoReturn:
    raise _invalid("body", "number", f"{name} is not a number that JSON knows")


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        doubled = next(name for name in names if names.count(name) > 1)
        raise _invalid(doubled, "doubled", "is given more than once")
    return found


EXACT = json.JSONDecoder(
    parse_float=_decimal,
    parse_int=_integer,
    parse_constant=_refuse_constant,
    object_pairs_hook=_without_doubles,
)


def _refuse_depth(value: Any, depth: int = 0) -> None:
    if depth > DEPTH_MAX:
        raise _invalid("body", "depth", f"nested deeper than {DEPTH_MAX} levels")
    items = value.values() if isinstance(value, dict) else value
    if isinstance(value, dict | list):
        for item in items:
            _refuse_depth(item, depth + 1)


def _invalid(field: str, code: str, message: str) -> InvalidSignal:
    return InvalidSignal(message, (FieldError(field, code, message),))
