"""What a fake model answers: a valid verdict that the prompt alone determines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.fake_vendors.asked import Asked, digest, unit
from evaluation.fake_vendors.reading import Read, read
from evaluation.types import ACTIONS, REASONS, Action

Answer = dict[str, Any]

TAGS: Mapping[str, str] = {  # what a path speaks of -> a tag that may stand beside it
    "macd": "macd_bullish_cross",
    "rsi": "rsi_neutral",
    "ema": "ema_mixed",
    "funding": "funding_neutral",
    "spread": "tight_spread",
}
NO_TREND = "no_trend"
REASONS_GIVEN = 3
ATR_MULTIPLES = (1.5, 2.0, 2.5, 3.0)
TRAILS_PCT = (0.5, 1.0, 2.0)
STOP_FRAC = 0.02  # how far from the price a fixed stop is put
STAYS_IN = frozenset({Action.FOLLOW_ENTER, Action.HOLD, Action.TIGHTEN_STOP})


def verdict_for(asked: Asked) -> Answer:
    """Return the answer to one call: the same for the same model and prompt.

    It has the properties of the schema that the call (or else its prompt) gives, each with an
    allowed value; without any, the shape that Lens asks for.
    """
    found = read(asked)
    luck = digest("verdict", asked.model, asked.prompt)
    return fitted(found.schema, _whole(found, luck), luck)


def text_of(answer: object) -> str:
    """Return an answer as the text that the model says."""
    return json.dumps(answer, ensure_ascii=False)


def fitted(schema: Mapping[str, Any], known: Mapping[str, Any], luck: str) -> Answer:
    """Return an object of a schema: known values where they are allowed, else any allowed one."""
    properties: Mapping[str, Any] = schema.get("properties") or {}
    return {
        name: known[name] if name in known and allows(each, known[name]) else filled(each, luck)
        for name, each in properties.items()
    }


def allows(schema: Mapping[str, Any], value: object) -> bool:
    """Return whether a value has one of a schema's types and words."""
    if "enum" in schema:
        return value in schema["enum"]
    kinds = _kinds(schema)
    return not kinds or any(_is_kind(value, kind) for kind in kinds)


def filled(schema: Mapping[str, Any], luck: str) -> Any:
    """Return any value that a schema allows."""
    if schema.get("enum"):
        return _pick(schema["enum"], luck, "enum")
    kind = next((each for each in _kinds(schema) if each != "null"), "null")
    if kind == "object":
        return fitted(schema, {}, luck)
    if kind == "array":
        return [filled(schema.get("items") or {}, luck)]
    plain: Mapping[str, Any] = {"string": "ok", "number": 0.5, "integer": 1, "boolean": True}
    return plain.get(kind)


def _kinds(schema: Mapping[str, Any]) -> list[str]:
    if "anyOf" in schema:
        return [kind for each in schema["anyOf"] for kind in _kinds(each)]
    kind = schema.get("type", [])
    return [kind.lower()] if isinstance(kind, str) else [each.lower() for each in kind]


def _is_kind(value: object, kind: str) -> bool:
    if kind in {"number", "integer"}:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and (kind == "number" or float(value).is_integer())  # type: ignore[arg-type]
    kinds: Mapping[str, type] = {
        "string": str,
        "boolean": bool,
        "object": dict,
        "array": list,
        "null": type(None),
    }
    return isinstance(value, kinds.get(kind, object))


def _whole(found: Read, luck: str) -> Answer:
    action = _pick(ACTIONS[found.event_type], luck, "action")
    return judged(found, luck, action)


def judged(found: Read, luck: str, action: Action) -> Answer:
    """Return the whole answer that gives one advice, coherent in itself."""
    chance = 0.5 + 0.45 * unit(luck, "chance")
    chance = round(chance if action in STAYS_IN else 1.0 - chance, 4)
    return {
        "analysis": f"Case {luck[:8]}: the measured facts speak for {action}.",
        "decision": str(action),
        "p_target_first": chance,
        "confidence": chance,
        **_entry(found, luck, action),
        **_stop(found, luck, action),
        "invalidation": "A close beyond the stop." if action in STAYS_IN else None,
        "reasons": _reasons(found, luck),
    }


def _entry(found: Read, luck: str, action: Action) -> Answer:
    if action is not Action.FOLLOW_ENTER:
        return {"size_pct": 0, "entry_type": "none", "entry_offset_bps": None}
    kind = _pick(("market", "limit"), luck, "entry")
    size_pct = round(max(0.1, found.size_most_pct * (0.2 + 0.6 * unit(luck, "size"))), 2)
    offset = 0.0 if kind == "market" else round(-10 * unit(luck, "offset"), 1)
    return {"size_pct": size_pct, "entry_type": kind, "entry_offset_bps": offset}


def _stop(found: Read, luck: str, action: Action) -> Answer:
    nothing = {"stop_method": "none", "stop_level": None, "atr_multiple": None, "trail_pct": None}
    if action not in {Action.FOLLOW_ENTER, Action.TIGHTEN_STOP}:
        return nothing
    numbers: Answer = {
        "atr": {"atr_multiple": _pick(ATR_MULTIPLES, luck, "atr")},
        "trailing": {"trail_pct": _pick(TRAILS_PCT, luck, "trail")},
    }
    if found.price:
        level = found.price * (1 - STOP_FRAC if found.is_long else 1 + STOP_FRAC)
        numbers["fixed"] = {"stop_level": float(f"{level:.6g}")}
    method = _pick(sorted(numbers), luck, "stop")
    return {**nothing, "stop_method": method, **numbers[method]}


def _reasons(found: Read, luck: str) -> list[Answer]:
    paths = sorted(found.numbers, key=lambda path: digest(luck, path))[:REASONS_GIVEN]
    if not paths:
        return [{"tag": NO_TREND, "field": "original.entry_price", "value": str(found.price or 0)}]
    return [
        {"tag": _tag(path), "field": path, "value": _short(found.numbers[path])} for path in paths
    ]


def _tag(path: str) -> str:
    tag = next((tag for word, tag in TAGS.items() if word in path), NO_TREND)
    return tag if tag in REASONS else NO_TREND


def _short(number: float) -> float | int:
    return int(number) if number.is_integer() else number


def _pick(choices: Sequence[Any], *luck: object) -> Any:
    return choices[int(unit(*luck) * len(choices))]
