"""From a language model's answer to a verdict, or to what is wrong with it; pure.

A model's answer is a stranger's text. It is read strictly and never mended: what is not exactly
an answer is refused with the path of its fault, which the model may be told once. Only texts for
people are changed, where they lose invisible characters and what is too long, for nothing hangs
on them.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from evaluation.types import ACTIONS, REASONS, Action, Case, Verdict
from quant.types import Side

ANSWER_MAX_BYTES = 64 * 1024
DEPTH_MAX = 8
INTEGER_MAX_DIGITS = 15
TEXT_MAX_CHARS = 300
VALUE_MAX_CHARS = 100
REASONS_MAX = 6
OFFSET_MAX_BPS = 1_000.0  # beyond it is no offset any more; policy allows far less
STOP_FAR_FRAC = 0.5  # a stop farther off than half the price is a slip of the digits
FIELD_PATH = re.compile(r"[A-Za-z0-9_]+(?:[.\-][A-Za-z0-9_]+|\[[0-9]{1,3}\]){0,11}", re.ASCII)
FIELD_MAX_CHARS = 120

NONE = "none"
ENTRY_TYPES = ("market", "limit")
STOPS: Mapping[str, str] = {
    "fixed": "stop_level",
    "atr": "atr_multiple",
    "trailing": "trail_pct",
}
"""The stop methods, each with the number it needs."""

BOUNDS: Mapping[str, tuple[float, float]] = {
    "p_target_first": (0.0, 1.0),
    "size_pct": (0.0, 100.0),
    "entry_offset_bps": (-OFFSET_MAX_BPS, OFFSET_MAX_BPS),
    "atr_multiple": (0.5, 10.0),
    "trail_pct": (0.01, 100.0),
    "stop_level": (1e-12, 1e12),
}

QUESTIONS: Mapping[str, str] = {
    "OPEN_SIGNAL": (
        "With what probability, from 0 to 1, does the price reach this signal's target before its"
        " stop?"
    ),
    "CLOSE_SIGNAL": (
        "With what probability, from 0 to 1, would the position, if it were kept, reach its target"
        " before its stop?"
    ),
}
"""What ``p_target_first`` means, by event type."""

STOPPED = frozenset({Action.FOLLOW_ENTER, Action.TIGHTEN_STOP})
STAYS_IN = frozenset({Action.FOLLOW_ENTER, Action.HOLD, Action.TIGHTEN_STOP})
REASON_FIELDS = ("tag", "field", "value")


class BadAnswer(ValueError):
    """The answer breaks a rule; the message starts with the JSON path of the fault."""

    def __init__(self, path: str, fault: str) -> None:
        super().__init__(f"{path}: {fault}")
        self.path = path


def ANSWER_SCHEMA(event_type: str) -> dict[str, Any]:  # noqa: N802
    """Return the JSON schema of an answer on signals of that type, as vendors are sent it.

    It keeps to what all vendors understand: every property required, no bounds, no patterns, no
    alternatives but null. Thinking stands before judging. The bounds are ours to enforce.
    """
    entering = {
        "size_pct": {"type": "number"},
        "entry_type": _words(*ENTRY_TYPES, NONE),
        "entry_offset_bps": {"type": ["number", "null"]},
    }
    return _closed(
        {
            "analysis": {"type": "string"},
            "decision": _words(*ACTIONS[event_type]),
            "p_target_first": {"type": "number", "description": QUESTIONS[event_type]},
            **(entering if _is_opening(event_type) else {}),
            "stop_method": _words(*STOPS, NONE),
            **{number: {"type": ["number", "null"]} for number in STOPS.values()},
            "invalidation": {"type": ["string", "null"]},
            "reasons": {
                "type": "array",
                "items": _closed(
                    {
                        "tag": _words(*REASONS),
                        "field": {"type": "string"},
                        "value": {"type": ["number", "string"]},
                    }
                ),
            },
        }
    )


def parse_answer(text: str, *, case: Case) -> Verdict:
    """Return the verdict that ``text`` gives on ``case``.

    ``confidence`` is the probability that the advice is right: ``p_target_first`` for advice to
    be in the position, what is left of 1 for advice to be out of it.

    :raises BadAnswer: if the text is anything but one answer that keeps every rule.
    """
    answer = _exact_object(_load(text), ANSWER_FIELDS[case.event_type], "$")
    action = Action(_word(answer, "decision", ACTIONS[case.event_type]))
    chance = _number(answer, "p_target_first")
    evidence = _reasons(answer["reasons"])
    entry_plan, size_pct = _entry(answer, action) if case.is_opening else (None, 0.0)
    return Verdict(
        action=action,
        confidence=chance if action in STAYS_IN else round(1.0 - chance, 12),
        reasons=tuple(dict.fromkeys(str(reason["tag"]) for reason in evidence)),
        size_pct=size_pct,
        entry_plan=entry_plan,
        risk_plan=_stop(answer, action, case),
        invalidation=_text(answer["invalidation"], "$.invalidation", can_be_null=True) or None,
        evidence=evidence,
        details={
            "analysis": _text(answer["analysis"], "$.analysis"),
            "p_target_first": chance,
        },
    )


def plain_text(text: str, *, most: int = TEXT_MAX_CHARS) -> str:
    """Return the text on one line without control, invisible or direction-changing characters."""
    visible = "".join(" " if unicodedata.category(each)[0] == "C" else each for each in text)
    line = " ".join(visible.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def _words(*words: str) -> dict[str, Any]:
    return {"type": "string", "enum": [str(word) for word in words]}


def _closed(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def _is_opening(event_type: str) -> bool:
    return Action.FOLLOW_ENTER in ACTIONS[event_type]


def _load(text: str) -> Any:
    size = len(text.encode(errors="surrogatepass"))
    if size > ANSWER_MAX_BYTES:
        raise BadAnswer("$", f"has {size} bytes; at most {ANSWER_MAX_BYTES} are read")
    if not text.strip():
        raise BadAnswer("$", "is empty; one JSON object is wanted")
    try:
        value = json.loads(
            text,
            parse_float=_float,
            parse_int=_integer,
            parse_constant=_refuse_constant,
            object_pairs_hook=_without_doubles,
        )
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        fault = f"is not one JSON object and nothing else: {error.msg} at {where}"
        raise BadAnswer("$", fault) from error
    except RecursionError as error:
        raise BadAnswer("$", f"is nested deeper than {DEPTH_MAX} levels") from error
    _refuse_depth(value, depth=1)
    return value


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise BadAnswer("$", "holds a number that is out of range")
    return value


def _integer(text: str) -> int:
    if len(text.lstrip("-")) > INTEGER_MAX_DIGITS:
        raise BadAnswer("$", f"holds a number of more than {INTEGER_MAX_DIGITS} digits")
    return int(text)


def _refuse_constant(name: str) -> NoReturn:
    raise BadAnswer("$", f"holds {name}, which JSON does not know")


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise BadAnswer("$", f"names {_shown(name)} twice")
        found[name] = value
    return found


def _refuse_depth(value: Any, *, depth: int) -> None:
    if not isinstance(value, dict | list):
        return
    if depth > DEPTH_MAX:
        raise BadAnswer("$", f"is nested deeper than {DEPTH_MAX} levels")
    for item in value.values() if isinstance(value, dict) else value:
        _refuse_depth(item, depth=depth + 1)


def _exact_object(value: Any, names: Sequence[str], path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadAnswer(path, f"must be an object, was {_kind(value)}")
    missing = [name for name in names if name not in value]
    if missing:
        raise BadAnswer(f"{path}.{missing[0]}", "is missing")
    for name in value:
        if name not in names:
            raise BadAnswer(path, f"has no field {_shown(name)}")
    return value


def _word(answer: Mapping[str, Any], name: str, words: Sequence[str], path: str = "$") -> str:
    value = answer[name]
    if not isinstance(value, str) or value not in words:
        known = ", ".join(words)
        raise BadAnswer(f"{path}.{name}", f"must be one of {known}, was {_shown(value)}")
    return value


def _number(answer: Mapping[str, Any], name: str) -> float:
    value = answer[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadAnswer(f"$.{name}", f"must be a number, was {_kind(value)}")
    low, high = BOUNDS[name]
    if not low <= value <= high:
        raise BadAnswer(f"$.{name}", f"must be from {low:g} to {high:g}, was {value:g}")
    return float(value) + 0.0  # makes -0.0 a plain 0.0


def _text(value: Any, path: str, *, can_be_null: bool = False) -> str:
    if value is None and can_be_null:
        return ""
    if not isinstance(value, str):
        raise BadAnswer(path, f"must be a text, was {_kind(value)}")
    return plain_text(value)


def _refuse_unless_null(answer: Mapping[str, Any], name: str, why: str) -> None:
    if answer[name] is not None:
        raise BadAnswer(f"$.{name}", f"must be null {why}")


def _entry(answer: Mapping[str, Any], action: Action) -> tuple[dict[str, Any] | None, float]:
    """Return the entry plan and the size of advice to enter, or nothing for any other."""
    kind = _word(answer, "entry_type", (*ENTRY_TYPES, NONE))
    size_pct = _number(answer, "size_pct")
    if action is not Action.FOLLOW_ENTER:
        if kind != NONE:
            raise BadAnswer("$.entry_type", f"must be {NONE} with {action}")
        if size_pct:
            raise BadAnswer("$.size_pct", f"must be 0 with {action}")
        _refuse_unless_null(answer, "entry_offset_bps", f"with {action}")
        return None, 0.0
    if kind == NONE:
        raise BadAnswer("$.entry_type", f"must be {' or '.join(ENTRY_TYPES)} with {action}")
    if not size_pct:
        raise BadAnswer("$.size_pct", f"must be more than 0 with {action}")
    if kind == "limit":
        return {"type": kind, "offset_bps": _number(answer, "entry_offset_bps")}, size_pct
    if answer["entry_offset_bps"] is not None and _number(answer, "entry_offset_bps"):
        raise BadAnswer("$.entry_offset_bps", "must be 0 or null with a market entry")
    return {"type": kind, "offset_bps": 0.0}, size_pct


def _stop(answer: Mapping[str, Any], action: Action, case: Case) -> dict[str, Any] | None:
    """Return the stop of advice that needs one, which has exactly its method's number."""
    method = _word(answer, "stop_method", (*STOPS, NONE))
    if action in STOPPED and method == NONE:
        raise BadAnswer("$.stop_method", f"must be one of {', '.join(STOPS)} with {action}")
    if action not in STOPPED and method != NONE:
        raise BadAnswer("$.stop_method", f"must be {NONE} with {action}")
    for other, number in STOPS.items():
        if other != method:
            _refuse_unless_null(answer, number, f"with stop_method {method}")
    if method == NONE:
        return None
    value = _number(answer, STOPS[method])
    if method == "fixed":
        _refuse_impossible_stop(value, case)
    return {"stop_method": method, STOPS[method]: value}


def _refuse_impossible_stop(level: float, case: Case) -> None:
    price, name = _reference_price(case)
    side = Side(case.side)
    if (level - price) * side.sign >= 0:
        where = "below" if side is Side.LONG else "above"
        fault = f"must lie {where} the {name} {price:g} of a {side}, was {level:g}"
        raise BadAnswer("$.stop_level", fault)
    if abs(level - price) > STOP_FAR_FRAC * price:
        fault = f"must lie within {STOP_FAR_FRAC:.0%} of the {name} {price:g}, was {level:g}"
        raise BadAnswer("$.stop_level", fault)


def _reference_price(case: Case) -> tuple[float, str]:
    """Return the price that a stop is measured from: of an open position it is the market's."""
    if case.is_opening:
        return case.entry_price, "entry price"
    market = json.loads(case.payload).get("market") or {}
    mid = market.get("mid")
    return (float(mid), "market price") if mid else (case.entry_price, "entry price")


def _reasons(value: Any) -> tuple[dict[str, Any], ...]:
    if not isinstance(value, list):
        raise BadAnswer("$.reasons", f"must be a list, was {_kind(value)}")
    if not 1 <= len(value) <= REASONS_MAX:
        fault = f"must hold 1 to {REASONS_MAX} reasons, held {len(value)}"
        raise BadAnswer("$.reasons", fault)
    return tuple(_reason(each, f"$.reasons[{place}]") for place, each in enumerate(value))


def _reason(value: Any, path: str) -> dict[str, Any]:
    reason = _exact_object(value, REASON_FIELDS, path)
    tag = _word(reason, "tag", REASONS, path)
    field, told = reason["field"], reason["value"]
    is_path = isinstance(field, str) and len(field) <= FIELD_MAX_CHARS
    if not is_path or not FIELD_PATH.fullmatch(field):
        fault = f"must be the path of a field, as in ta.timeframes.1h.close, was {_shown(field)}"
        raise BadAnswer(f"{path}.field", fault)
    if isinstance(told, str):
        told = plain_text(told, most=VALUE_MAX_CHARS)
    elif isinstance(told, bool) or not isinstance(told, int | float):
        raise BadAnswer(f"{path}.value", f"must be a number or a text, was {_kind(told)}")
    return {"tag": tag, "field": field, "value": told}


def _kind(value: Any) -> str:
    names = {bool: "a boolean", str: "a text", list: "a list", dict: "an object"}
    return "null" if value is None else names.get(type(value), "a number")


def _shown(value: Any) -> str:
    """Return a stranger's value for an error message: short, printable and in quotes."""
    return json.dumps(plain_text(value, most=40)) if isinstance(value, str) else _kind(value)


ANSWER_FIELDS: Mapping[str, tuple[str, ...]] = {
    event_type: tuple(ANSWER_SCHEMA(event_type)["properties"]) for event_type in ACTIONS
}
"""The fields of an answer by event type, as the schema names them."""


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every plain value within ``value`` with its path, in the order of the keys.

    These are the paths that models are shown and that their evidence must name. What is empty
    is yielded as it is.
    """
    if isinstance(value, Mapping) and value:
        for key in sorted(value):
            yield from leaves(value[key], f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple) and value:
        for place, each in enumerate(value):
            yield from leaves(each, f"{path}[{place}]")
    else:
        yield path, value
