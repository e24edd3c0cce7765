"""From what a stranger's webhook brings to the body of a signal, by rules; pure.

A mapping has one rule for each field of a signal. A rule names paths into the message, the first
of which that holds something counts; words that are put in place of the message's own; and what
stands there when no path holds anything.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic import ValidationError as PydanticError

from signals.parsing import SignalBody, load_json, parse_signal
from signals.types import (
    BodyTooLarge,
    EventType,
    FieldError,
    HookKind,
    InvalidSignal,
    SignalDraft,
    UnusableMapping,
)

NOW = "$now"
"""As a value or default of ``ts_utc``: the moment at which the message came in."""

FORM = "application/x-www-form-urlencoded"
FORM_FIELDS_MAX = 100
SHOWN_CHARS = 60
PLACES = Decimal("0.00000001")
NUMBERS = ("entry_price", "size", "liquidation_price", "target_price", "stop_price")
EPOCHS = {"epoch_s": 1, "epoch_ms": 1000}
ABSENT = frozenset({"", "nan", "na", "n/a", "none", "null"})
UNFILLED = re.compile(r"\{\{[^{}]*\}\}|\{[a-z_]+\}")

FieldName = Literal[
    "event_type",
    "symbol",
    "signal_direction",
    "entry_price",
    "size",
    "liquidation_price",
    "ts_utc",
    "source",
    "valid_for_s",
    "target_price",
    "stop_price",
    "timeframe",
    "feature_profile",
    "notes",
    "context",
]
Path = Annotated[
    str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^.\s]+(\.[^.\s]+)*$")
]
Constant = str | int | Decimal | None


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class Rule(BaseModel):
    """How one field of the signal is had from a message."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    paths: Annotated[tuple[Path, ...], BeforeValidator(_listed), Field(max_length=8)] = Field(
        default=(), alias="from"
    )
    words: Annotated[dict[str, str | None], Field(max_length=50)] = {}
    shape: Literal["text", "epoch_s", "epoch_ms"] = Field(default="text", alias="as")
    value: Constant = None
    default: Constant = None


class Rules(BaseModel):
    """A whole mapping; ``once_by`` names what makes a message the same message again."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fields: Annotated[dict[FieldName, Rule], Field(min_length=1)]
    once_by: Annotated[tuple[Path, ...], Field(max_length=4)] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Understood:
    """A message that is a signal: its draft, and what tells it from others."""

    draft: SignalDraft
    body: Mapping[str, Any]
    once_key: str | None
    sha256: str


def parse_mapping(value: Any) -> Rules:
    """Return the rules that ``value`` writes down.

    :raises UnusableMapping: naming what is wrong by its path.
    """
    try:
        return Rules.model_validate(value)
    except PydanticError as error:
        faults = tuple(
            FieldError(
                ".".join(str(part) for part in fault["loc"]) or "mapping",
                "invalid",
                fault["msg"].removeprefix("Value error, "),
            )
            for fault in error.errors(include_url=False, include_input=False)
        )
        raise UnusableMapping("the mapping breaks the rules", faults) from error


def read_message(body: bytes, *, content_type: str, max_bytes: int) -> dict[str, Any]:
    """Return the object that a message is, be it sent as JSON, as plain text or as a form.

    :raises BodyTooLarge: over ``max_bytes``.
    :raises InvalidSignal: if it is no object, saying what it is instead.
    """
    if len(body) > max_bytes:
        raise BodyTooLarge(f"the body has {len(body)} bytes; at most {max_bytes} are accepted")
    if content_type.partition(";")[0].strip().lower() == FORM:
        return _read_form(body)
    value = load_json(body, max_bytes=max_bytes)
    if not isinstance(value, dict):
        text = 'the message must be a JSON object, such as {"ticker": "BTCUSDT", ...}'
        raise InvalidSignal(text, (FieldError("body", "type", text),))
    return value


def _read_form(body: bytes) -> dict[str, Any]:
    try:
        pairs = parse_qsl(
            body.decode("utf-8"), keep_blank_values=True, max_num_fields=FORM_FIELDS_MAX
        )
    except ValueError as error:
        text = f"the form must be UTF-8 with at most {FORM_FIELDS_MAX} fields"
        raise InvalidSignal(text, (FieldError("body", "form", text),)) from error
    return dict(pairs)


def understand(
    message: Mapping[str, Any], *, rules: Rules, source: str, now: datetime
) -> Understood:
    """Return the signal that a message means under the rules.

    :raises InvalidSignal: naming every field that breaks a rule, and where its value came from.
    """
    body: dict[str, Any] = {"source": source}
    origins: dict[str, str] = {}
    for name, rule in rules.fields.items():
        found = _had(rule, message)
        if found is None:
            _put_default(body, name, rule, now=now)
        else:
            origins[name], given = found
            body[name] = _fitted(name, given, rule)
    try:
        draft = parse_signal(body, now=now)
    except InvalidSignal as error:
        raise InvalidSignal(error.detail, _with_origins(error.errors, origins, message)) from error
    text = json.dumps(message, sort_keys=True, default=str)
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    once_key = _once_key(rules, message, digest=digest, dated="ts_utc" in origins)
    return Understood(draft=draft, body=body, once_key=once_key, sha256=digest)


def _had(rule: Rule, message: Mapping[str, Any]) -> tuple[str, Any] | None:
    """Return the first path that holds something, and what it holds, in our own words."""
    for path in rule.paths:
        value = _at(message, path)
        word = str(value).strip().lower() if isinstance(value, str | int | Decimal) else ""
        if word in {key.lower() for key in rule.words}:
            value = {key.lower(): ours for key, ours in rule.words.items()}[word]
        if value is not None:
            return path, value
    return None


def _at(message: Mapping[str, Any], path: str) -> Any:
    """Return what stands at a dotted path; None where nothing does, or nothing was filled in."""
    value: Any = message
    for part in path.split("."):
        if isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        elif isinstance(value, Mapping) and part in value:
            value = value[part]
        else:
            return None
    if isinstance(value, str):
        text = value.strip()
        return None if text.lower() in ABSENT or UNFILLED.fullmatch(text) else text
    return value


def _put_default(body: dict[str, Any], name: str, rule: Rule, *, now: datetime) -> None:
    given = rule.value if "value" in rule.model_fields_set else rule.default
    if given == NOW and name == "ts_utc":
        body[name] = now.astimezone(UTC).isoformat()
    elif given is not None:
        body[name] = _fitted(name, given, rule)
    elif name == "liquidation_price":
        body[name] = None


def _fitted(name: str, value: Any, rule: Rule) -> Any:
    """Return a value in the form that its field wants; what does not fit stays as it is."""
    if name in NUMBERS:
        return _number(value)
    if name == "valid_for_s" and isinstance(value, str) and value.isdecimal():
        return int(value)
    if rule.shape in EPOCHS:
        return _moment(value, per_s=EPOCHS[rule.shape])
    if name in {"context", "valid_for_s"} or isinstance(value, dict | list | bool):
        return value
    return str(value)


def _number(value: Any) -> Any:
    """Return a number with at most eight decimals, as no venue has more."""
    try:
        exact = Decimal(str(value))
        return f"{exact.quantize(PLACES):f}".rstrip("0").rstrip(".")
    except InvalidOperation:
        return value


def _moment(value: Any, *, per_s: int) -> Any:
    try:
        return datetime.fromtimestamp(float(value) / per_s, UTC).isoformat()
    except (TypeError, ValueError, OverflowError, OSError):
        return value


def _once_key(rules: Rules, message: Mapping[str, Any], *, digest: str, dated: bool) -> str | None:
    """Return the idempotency key: the ids that the rules name, else the content if it is dated."""
    ids = [_at(message, path) for path in rules.once_by]
    if ids and all(isinstance(each, str | int) for each in ids):
        named = json.dumps([str(each) for each in ids])
        return f"once:{hashlib.sha256(named.encode('utf-8', 'surrogatepass')).hexdigest()}"
    return f"body:{digest}" if dated and not ids else None


def _with_origins(
    faults: tuple[FieldError, ...], origins: Mapping[str, str], message: Mapping[str, Any]
) -> tuple[FieldError, ...]:
    return tuple(
        FieldError(fault.field, fault.code, fault.message + _told(fault.field, origins, message))
        for fault in faults
    )


def _told(field: str, origins: Mapping[str, str], message: Mapping[str, Any]) -> str:
    path = origins.get(field)
    if path is None:
        return ""
    text = json.dumps(_at(message, path), default=str, ensure_ascii=False)
    shown = text if len(text) <= SHOWN_CHARS else text[:SHOWN_CHARS] + "…"
    return f" (the message says {path}: {shown})"


OPENING: Mapping[str, str | None] = {
    "open": EventType.OPEN_SIGNAL,
    "entry": EventType.OPEN_SIGNAL,
    "entry_fill": EventType.OPEN_SIGNAL,
    "close": EventType.CLOSE_SIGNAL,
    "exit": EventType.CLOSE_SIGNAL,
    "exit_fill": EventType.CLOSE_SIGNAL,
}
STARTERS: Mapping[str, Mapping[str, Any]] = {
    HookKind.TRADINGVIEW: {
        "fields": {
            "event_type": {
                "from": ["event", "position"],
                "words": {
                    **OPENING,
                    "long": EventType.OPEN_SIGNAL,
                    "short": EventType.OPEN_SIGNAL,
                    "flat": EventType.CLOSE_SIGNAL,
                },
                "default": EventType.OPEN_SIGNAL,
            },
            "symbol": {"from": ["ticker", "symbol"]},
            "signal_direction": {
                "from": ["direction", "position", "previous", "action"],
                "words": {"buy": "long", "sell": "short", "flat": None},
            },
            "entry_price": {"from": ["price", "close"]},
            "size": {"from": ["contracts", "size"], "default": "1"},
            "liquidation_price": {"from": "liquidation_price"},
            "stop_price": {"from": "stop"},
            "target_price": {"from": "target"},
            "ts_utc": {"from": "time", "default": NOW},
            "notes": {"from": "comment"},
        }
    },
    HookKind.FREQTRADE: {
        "fields": {
            "event_type": {"from": "event", "words": dict(OPENING)},
            "symbol": {"from": "pair"},
            "signal_direction": {"from": "direction", "words": {"long": "long", "short": "short"}},
            "entry_price": {"from": "price"},
            "size": {"from": "amount"},
            "liquidation_price": {"from": "liquidation_price"},
            "stop_price": {"from": "stop"},
            "ts_utc": {"value": NOW},
            "notes": {"from": "tag"},
        },
        "once_by": ["event", "trade_id"],
    },
    HookKind.GENERIC: {
        "fields": {
            name: {"from": name, **({"default": NOW} if name == "ts_utc" else {})}
            for name in SignalBody.model_fields
            if name != "source"
        }
    },
}
"""What a new webhook of each kind starts with."""
