"""What a prompt holds: the payload, its numbers by path, and the schema, if it is told there."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from evaluation.fake_vendors.asked import Asked
from evaluation.parsing import ANSWER_SCHEMA

MEASURED = ("market.", "ta.", "levels.", "derivs.")
LINE = re.compile(
    r"^[\s*-]*`?(?P<path>[A-Za-z_]\w*(?:[.\-]\w+|\[\d+\])*)`?\s*[:=]\s*(?P<value>\S.*?)\s*$", re.M
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """What the fake model understood of a call; ``numbers`` are measured ones only."""

    event_type: str
    is_long: bool
    price: float | None
    size_most_pct: float
    numbers: Mapping[str, float]
    schema: Mapping[str, Any]


def read(asked: Asked) -> Read:
    """Return what a call's prompt holds, wherever in the text that is."""
    facts = _facts(asked)
    schema = asked.schema or schema_in(asked.prompt)
    event_type = _event_type(facts, schema)
    price = _number(facts.get("market.mid")) or _number(facts.get("original.entry_price"))
    most = _number(facts.get("constraints.max_position_size_pct"))
    return Read(
        event_type=event_type,
        is_long=str(facts.get("original.direction", "long")).lower() != "short",
        price=price,
        size_most_pct=10.0 if most is None else most,
        numbers=_measured(facts),
        schema=schema or ANSWER_SCHEMA(event_type),
    )


def objects_in(text: str) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects that stand in a text, outermost only."""
    decoder, at = json.JSONDecoder(), text.find("{")
    while at != -1:
        try:
            found, end = decoder.raw_decode(text, at)
        except (json.JSONDecodeError, RecursionError):
            at = text.find("{", at + 1)
            continue
        if isinstance(found, dict):
            yield found
        at = text.find("{", end)


def schema_in(text: str) -> Mapping[str, Any] | None:
    """Return the last JSON schema of an object that a text holds."""
    found = [each for each in objects_in(text) if isinstance(each.get("properties"), dict)]
    return found[-1] if found else None


def leaves(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Yield what stands at the ends of nested JSON, by its path."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield from leaves(each, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list):
        for place, each in enumerate(value):
            yield from leaves(each, f"{path}[{place}]")
    else:
        yield path, value


def _facts(asked: Asked) -> dict[str, object]:
    text = "\n".join((*asked.turns, asked.user))
    facts: dict[str, object] = {match["path"]: match["value"] for match in LINE.finditer(text)}
    for each in objects_in(text):
        if "properties" not in each:
            facts |= dict(leaves(each))
    return facts


def _event_type(facts: Mapping[str, object], schema: Mapping[str, Any] | None) -> str:
    decision = ((schema or {}).get("properties") or {}).get("decision") or {}
    if "enum" in decision:
        return "OPEN_SIGNAL" if "FOLLOW_ENTER" in decision["enum"] else "CLOSE_SIGNAL"
    told = str(facts.get("original.event_type", "OPEN_SIGNAL")).strip('"')
    return "CLOSE_SIGNAL" if told == "CLOSE_SIGNAL" else "OPEN_SIGNAL"


def _measured(facts: Mapping[str, object]) -> dict[str, float]:
    numbers = {path: _number(value) for path, value in facts.items() if path.startswith(MEASURED)}
    return {path: number for path, number in numbers.items() if number is not None}


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
