"""The text that language models are given: at most 4 KB of JSON that is the same every time; pure.

``source``, ``notes`` and ``context`` are other people's text. They stand under
``original.untrusted``, without control or invisible characters and cut to a length, and are the
first to go when space runs out, so that nobody can write measured facts out of the payload.
Messages of providers never enter it: ``quality_flags.provider_errors`` holds paths only.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from enrichment.measures import moment
from enrichment.parsing import plain_text
from enrichment.types import Measured, QualityFlags
from quant.types import TIMEFRAMES
from signals.models import Signal

PAYLOAD_MAX_BYTES = 4_096
SIGNIFICANT_DIGITS = 8
NOTES_MAX_CHARS = 400
NOTES_SHORT_CHARS = 100
CONTEXT_MAX_BYTES = 600
LEVELS_KEPT = 2
FLAGS_KEPT = 5

Payload = dict[str, Any]


def canonical(value: object) -> str:
    """Return JSON with sorted keys and no spaces, which is the same for equal values.

    :raises ValueError: if there is a NaN or an infinity in it.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def sha256_of(text: str) -> str:
    """Return the hash of a text's UTF-8 bytes."""
    return hashlib.sha256(text.encode()).hexdigest()


def payload_of(
    *,
    signal: Signal,
    as_of: datetime,
    parts: Mapping[str, Measured],
    constraints: Mapping[str, Any],
    flags: QualityFlags,
    simulated: bool,
) -> str:
    """Return the payload as it is frozen and sent.

    When it would be longer than ``PAYLOAD_MAX_BYTES`` these go, in this order, until it fits,
    each with a note under ``quality_flags``: context, the end of the notes, the notes, all levels
    but the nearest two a side, the levels, the book, timeframes from the shortest on, all but the
    first flags of each kind, derivatives.
    """
    measured = {key: dict(part.values) for key, part in parts.items()}
    market = measured.get("market", {}) | ({"label": "SIMULATED"} if simulated else {})
    told = flags.to_dict()
    told["provider_errors"] = [error.partition(":")[0] for error in flags.provider_errors]
    whole: Payload = {
        "as_of": moment(as_of),
        "original": _original(signal),
        "market": market,
        "ta": measured.get("ta", {"timeframes": {}}),
        "levels": measured.get("levels", {}),
        "derivs": measured.get("derivs", {}),
        "constraints": dict(constraints),
        "quality_flags": told,
    }
    payload: Payload = {key: _rounded(part) for key, part in whole.items()}
    _add_context(payload, signal.context)
    text = canonical(payload)
    for shrink in _shrinkings(payload):
        if len(text.encode()) <= PAYLOAD_MAX_BYTES:
            break
        shrink(payload)
        text = canonical(payload)
    return text


def _size(value: object) -> int:
    return len(canonical(value).encode())


def _rounded(value: object) -> object:
    """Return plain values with floats at fixed significant digits, whole ones without a point."""
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        short = float(f"{value:.{SIGNIFICANT_DIGITS}g}")
        return int(short) if short.is_integer() and abs(short) < 1e15 else short
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, Mapping):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    return value


def _original(signal: Signal) -> dict[str, Any]:
    given = {
        "event_type": str(signal.event_type),
        "symbol": signal.symbol,
        "direction": str(signal.direction),
        "entry_price": _exact(signal.entry_price),
        "size": _exact(signal.size),
        "liquidation_price": _exact(signal.liquidation_price),
        "target_price": _exact(signal.target_price),
        "stop_price": _exact(signal.stop_price),
        "ts_utc": moment(signal.ts_utc),
    }
    if signal.timeframe:
        given["timeframe"] = signal.timeframe
    untrusted = {"source": plain_text(signal.source, most=100)}
    if signal.notes:
        untrusted["notes"] = plain_text(signal.notes, most=NOTES_MAX_CHARS)
    return {**given, "untrusted": untrusted}


def _exact(price: Decimal | None) -> str | None:
    return None if price is None else format(price.normalize(), "f")


def _add_context(payload: Payload, context: Mapping[str, Any]) -> None:
    if not context:
        return
    clean = _cleaned(context)
    size = _size(clean)
    if size > CONTEXT_MAX_BYTES or _size(payload) + size > PAYLOAD_MAX_BYTES:
        _note(payload, f"original.untrusted.context left out: {size} bytes")
        return
    payload["original"]["untrusted"]["context"] = clean


def _cleaned(value: object) -> object:
    if isinstance(value, str):
        return plain_text(value, most=CONTEXT_MAX_BYTES)
    if isinstance(value, Mapping):
        return {plain_text(key, most=100): _cleaned(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_cleaned(each) for each in value]
    return _rounded(value)


def _note(payload: Payload, text: str) -> None:
    payload["quality_flags"]["notes"].append(text)


Shrinking = Callable[[Payload], None]


def _shrinkings(payload: Payload) -> Sequence[Shrinking]:
    """Return what makes a payload smaller, dearest last."""
    by_length = sorted(payload["ta"]["timeframes"], key=lambda name: TIMEFRAMES[name])
    return (
        _without_context,
        _with_short_notes,
        _without_notes,
        _with_near_levels,
        _without_levels,
        _without_book,
        *(_without_timeframe(name) for name in by_length),
        _with_few_flags,
        _without_derivatives,
    )


def _without_context(payload: Payload) -> None:
    if payload["original"]["untrusted"].pop("context", None) is not None:
        _note(payload, "original.untrusted.context left out: no space")


def _with_short_notes(payload: Payload) -> None:
    untrusted = payload["original"]["untrusted"]
    if len(untrusted.get("notes", "")) > NOTES_SHORT_CHARS:
        untrusted["notes"] = plain_text(untrusted["notes"], most=NOTES_SHORT_CHARS)
        _note(payload, "original.untrusted.notes cut: no space")


def _without_notes(payload: Payload) -> None:
    if payload["original"]["untrusted"].pop("notes", None) is not None:
        _note(payload, "original.untrusted.notes left out: no space")


def _with_near_levels(payload: Payload) -> None:
    levels = payload["levels"]
    sides = [
        side for side in ("supports", "resistances") if len(levels.get(side, ())) > LEVELS_KEPT
    ]
    for side in sides:
        levels[side] = levels[side][:LEVELS_KEPT]
    if sides:
        _note(payload, f"levels: only the nearest {LEVELS_KEPT} a side, no space")


def _without_levels(payload: Payload) -> None:
    if payload["levels"]:
        payload["levels"] = {}
        _forget(payload, "levels")


def _without_book(payload: Payload) -> None:
    if "book" in payload["market"]:
        del payload["market"]["book"]
        _forget(payload, "market.book")


def _without_timeframe(name: str) -> Shrinking:
    def shrink(payload: Payload) -> None:
        del payload["ta"]["timeframes"][name]
        _forget(payload, f"ta.timeframes.{name}")

    return shrink


def _with_few_flags(payload: Payload) -> None:
    for kind, paths in payload["quality_flags"].items():
        if len(paths) > FLAGS_KEPT:
            more = len(paths) - FLAGS_KEPT
            payload["quality_flags"][kind] = [*paths[:FLAGS_KEPT], f"and {more} more"]


def _without_derivatives(payload: Payload) -> None:
    if payload["derivs"]:
        payload["derivs"] = {}
        _forget(payload, "derivs")


def _forget(payload: Payload, path: str) -> None:
    """Replace the flags of what was left out by one note."""
    flags = payload["quality_flags"]
    for kind, entries in flags.items():
        flags[kind] = [
            each
            for each in entries
            if each != path and not each.startswith((f"{path}.", f"{path}:"))
        ]
    _note(payload, f"{path} left out: no space")
