"""From what a subscriber asks to the filters of its subscription; pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from evaluation.types import Action
from pipeline.types import FieldError, InvalidRequest
from signals.types import EventType, Origin

VALUES_MAX = 100
"""How many values one filter may name."""

SEQ_MAX = 2**63 - 1
PUSHED = (Origin.LIVE.value, Origin.DEMO.value)
"""Origins that the feed carries; replays are only read back."""

CHOICES: Mapping[str, tuple[str, ...]] = {
    "event_type": tuple(EventType.values),
    "decision": tuple(str(action) for action in Action),
}
PATTERNS: Mapping[str, re.Pattern[str]] = {
    "model": re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII),
    "symbol": re.compile(r"[A-Z0-9][A-Z0-9/_:.-]{0,19}", re.ASCII),
    "source": re.compile(r"[^\x00-\x1f\x7f]{1,100}"),
}
FIELDS = (*PATTERNS, *CHOICES, "origin", "min_confidence")

DECISION, ABSTENTION, SIGNAL_STATUS = "decision", "abstention", "signal_status"
TYPES = (DECISION, ABSTENTION, SIGNAL_STATUS)

IsKnown = Callable[[str], bool]


class InvalidFilter(InvalidRequest):
    """A filter names something that does not exist or has the wrong form."""


class Subject(Protocol):
    """What every message of the feed tells of: one signal."""

    @property
    def symbol(self) -> str: ...
    @property
    def event_type(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def origin(self) -> str: ...
    @property
    def model(self) -> str: ...


class Published(Subject, Protocol):
    """What a filter looks at in a decision."""

    @property
    def decision(self) -> str: ...
    @property
    def confidence(self) -> float: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What a reader wants to see; an empty set means any value.

    Only live decisions pass unless another origin is asked for. ``shown`` is the filter as the
    reader is told it, in the form the reader gave.
    """

    model: frozenset[str] = frozenset()
    symbol: frozenset[str] = frozenset()
    event_type: frozenset[str] = frozenset()
    decision: frozenset[str] = frozenset()
    source: frozenset[str] = frozenset()
    origin: frozenset[str] = frozenset({Origin.LIVE.value})
    min_confidence: float = 0.0
    shown: Mapping[str, Any] = field(
        default_factory=lambda: {"origin": Origin.LIVE.value}, compare=False
    )

    def passes(self, subject: Subject) -> bool:
        """Say whether a message about this signal is wanted; a message of no model passes any."""
        return (
            subject.origin in self.origin
            and (not self.model or not subject.model or subject.model in self.model)
            and (not self.symbol or subject.symbol in self.symbol)
            and (not self.event_type or subject.event_type in self.event_type)
            and (not self.source or subject.source in self.source)
        )

    def passes_decision(self, published: Published) -> bool:
        """Say whether this decision is wanted."""
        return (
            self.passes(published)
            and (not self.decision or published.decision in self.decision)
            and published.confidence >= self.min_confidence
        )


def parse_filters(
    given: object, *, is_known_model: IsKnown, origins: Collection[str] = PUSHED
) -> Filters:
    """Return the filters that ``given`` (a JSON object, or None for none) describes.

    :raises InvalidFilter: naming every field that is unknown or has the wrong form.
    """
    if given is None:
        return Filters()
    if not isinstance(given, dict):
        raise _invalid("filters", "must be an object of filter names and values")
    shown: dict[str, Any] = {"origin": Origin.LIVE.value}
    found: dict[str, Any] = {}
    faults: list[FieldError] = []
    for name, value in given.items():
        try:
            shown[name] = _value(name, value, is_known_model=is_known_model, origins=origins)
        except InvalidFilter as error:
            faults.extend(error.errors)
            continue
        if name == "min_confidence":
            found[name] = shown[name]
        else:
            found[name] = frozenset([shown[name]] if isinstance(shown[name], str) else shown[name])
    if faults:
        detail = "; ".join(f"{fault.field} {fault.message}" for fault in faults)
        raise InvalidFilter(detail, tuple(faults))
    return Filters(**found, shown=shown)


def parse_types(given: object) -> frozenset[str]:
    """Return the kinds of message asked for; decisions alone unless something is said.

    :raises InvalidFilter: for anything but known kinds.
    """
    if given is None:
        return frozenset({DECISION})
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list) or not names or any(name not in TYPES for name in names):
        raise _invalid("types", f"must be one or several of {', '.join(TYPES)}")
    return frozenset(names)


def parse_after_seq(given: object) -> int | None:
    """Return the number after which a reader wants to go on.

    :raises InvalidFilter: for anything but a whole number that is not negative.
    """
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int) or not 0 <= given <= SEQ_MAX:
        raise _invalid("after_seq", "must be a whole number, 0 or greater")
    return given


def _value(
    name: str, value: object, *, is_known_model: IsKnown, origins: Collection[str]
) -> str | float | list[str]:
    if name == "min_confidence":
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise _invalid(name, "must be a number from 0 to 1")
        return float(value)
    if name not in FIELDS:
        raise _invalid(str(name), f"is not a filter; there are {', '.join(FIELDS)}")
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list) or not 1 <= len(words) <= VALUES_MAX:
        raise _invalid(name, f"must be a string or a list of 1 to {VALUES_MAX} strings")
    checked = [_word(name, word, is_known_model=is_known_model, origins=origins) for word in words]
    return checked[0] if isinstance(value, str) else checked


def _word(name: str, word: object, *, is_known_model: IsKnown, origins: Collection[str]) -> str:
    if not isinstance(word, str):
        raise _invalid(name, f"must hold strings, not {word!r:.40}")
    if name in PATTERNS:
        text = word.upper() if name == "symbol" else word
        if not PATTERNS[name].fullmatch(text):
            raise _invalid(name, f"cannot be {word!r:.40}")
        if name == "model" and not is_known_model(text):
            raise _invalid(name, f"{word!r:.70} is unknown")
        return text
    allowed = origins if name == "origin" else CHOICES[name]
    if word not in allowed:
        raise _invalid(name, f"cannot be {word!r:.40}; there are {', '.join(allowed)}")
    return word


def _invalid(name: str, message: str) -> InvalidFilter:
    return InvalidFilter(f"{name} {message}", (FieldError(name, "invalid", message),))
