"""Where in a model's raw answer the fault stands that it was refused for; pure."""

from __future__ import annotations

import json
import re

PATH = re.compile(r"(?:^|; )\$((?:\.\w+|\[\d+\])*): ")
STEP = re.compile(r"\.(\w+)|\[(\d+)\]")
LINE = re.compile(r" at line (\d+), column (\d+)")
BLANKS = re.compile(r"[ \t\r\n]*")
DECODER = json.JSONDecoder()

Span = tuple[int, int]


def fault_in(answer: str, error: str) -> Span | None:
    """Return from where to where the fault stands that an error names, or None if it names none.

    Edges: of a value that is missing it is the beginning of what should have held it, and of text
    that is no JSON the letter at which reading stopped.
    """
    named = PATH.search(error)
    if named is None:
        return None
    stopped = LINE.search(error)
    if stopped is not None:
        return _letter_at(answer, line=int(stopped[1]), column=int(stopped[2]))
    if not named[1]:
        return None
    try:
        return _value_at(answer, named[1])
    except (ValueError, RecursionError):
        return None


def _letter_at(text: str, *, line: int, column: int) -> Span | None:
    before = text.split("\n")[: line - 1]
    at = sum(len(each) + 1 for each in before) + column - 1
    return (at, at + 1) if at < len(text) else (len(text) - 1, len(text)) if text else None


def _value_at(text: str, path: str) -> Span:
    """Return where the value at a path stands.

    :raises ValueError: if the text is no JSON up to there.
    """
    at = _next(text, 0)
    if text[at : at + 1] != "{":
        raise ValueError("an answer is one object")
    for name, place in STEP.findall(path):
        found = _member(text, at, name) if name else _item(text, at, int(place))
        if found is None:
            return at, at + 1
        at = found
    return at, DECODER.raw_decode(text, at)[1]


def _member(text: str, at: int, name: str) -> int | None:
    """Return where the value of a field begins in the object that begins at ``at``."""
    if text[at : at + 1] != "{":
        return None
    at = _next(text, at + 1)
    while text[at : at + 1] == '"':
        key, end = DECODER.raw_decode(text, at)
        value_at = _next(text, _next(text, end) + 1)  # past the colon
        if key == name:
            return value_at
        at = _after(text, DECODER.raw_decode(text, value_at)[1])
    return None


def _item(text: str, at: int, place: int) -> int | None:
    """Return where an item begins in the list that begins at ``at``."""
    if text[at : at + 1] != "[":
        return None
    at = _next(text, at + 1)
    for _ in range(place):
        if text[at : at + 1] in ("", "]"):
            return None
        at = _after(text, DECODER.raw_decode(text, at)[1])
    return None if text[at : at + 1] in ("", "]") else at


def _after(text: str, end: int) -> int:
    """Return where the next member begins after one that ended, past the comma."""
    at = _next(text, end)
    return _next(text, at + 1) if text[at : at + 1] == "," else at


def _next(text: str, at: int) -> int:
    found = BLANKS.match(text, at)
    return found.end() if found else at
