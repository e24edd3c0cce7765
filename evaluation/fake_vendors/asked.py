"""One call as every vendor understands it, and what is said to it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

BYTES_PER_TOKEN = 4
CACHE_BLOCK_TOKENS = 64


class Ending(StrEnum):
    """How an answer ends; each wire says it in its own words."""

    STOP = "stop"
    TRUNCATED = "truncated"
    REFUSED = "refused"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One call, free of its wire format; ``turns`` holds what was said before the last question.

    ``questions`` is there for decision endpoints only. ``schema`` is what the call demands of the
    answer's shape; ``is_json`` whether JSON was asked for at all; ``is_thinking`` and ``is_cached``
    whether the wire counts thoughts and cached tokens apart.
    """

    vendor: str
    model: str
    system: str
    user: str
    turns: tuple[str, ...] = ()
    schema: Mapping[str, Any] | None = None
    is_json: bool = False
    is_thinking: bool = True
    is_cached: bool = True
    max_tokens: int | None = None
    questions: Mapping[str, Any] | Sequence[Any] | None = None

    @property
    def prompt(self) -> str:
        """Everything that the model reads."""
        return "\n".join((self.system, *self.turns, self.user))


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one call; ``cached`` is part of ``tokens_in``, ``reasoning`` of ``tokens_out``."""

    tokens_in: int = 0
    cached: int = 0
    tokens_out: int = 0
    reasoning: int = 0

    @property
    def total(self) -> int:
        """Tokens in and out."""
        return self.tokens_in + self.tokens_out


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What the model says to one call."""

    id: str
    model: str
    text: str = ""
    answers: Mapping[str, Any] | Sequence[Any] = field(default_factory=dict)
    ending: Ending = Ending.STOP
    usage: Usage | None = field(default_factory=Usage)


def digest(*parts: object) -> str:
    """Return the same 64 hexadecimal digits for the same parts, on every machine."""
    return hashlib.sha256("\x1f".join(str(part) for part in parts).encode()).hexdigest()


def unit(*parts: object) -> float:
    """Return a number in [0, 1) that the parts alone determine."""
    return int(digest(*parts)[:13], 16) / 16**13


def tokens(text: str) -> int:
    """Return how many tokens a text counts as: one for every four bytes begun."""
    return -(-len(text.encode()) // BYTES_PER_TOKEN)


def usage_of(asked: Asked, text: str) -> Usage:
    """Return the tokens of a call and its answer; the system's text counts as cached before.

    Whole blocks of ``CACHE_BLOCK_TOKENS`` come from the cache, so figures do not depend on the
    order of calls. Reasoning never takes an answer past the call's limit.
    """
    thought = 20 + int(unit("thought", asked.model, asked.prompt) * 160) if asked.is_thinking else 0
    said = tokens(text)
    if asked.max_tokens is not None:
        thought = max(0, min(thought, asked.max_tokens - said))
    return Usage(
        tokens_in=tokens(asked.prompt),
        cached=_cached(asked),
        tokens_out=said + thought,
        reasoning=thought,
    )


def _cached(asked: Asked) -> int:
    return tokens(asked.system) // CACHE_BLOCK_TOKENS * CACHE_BLOCK_TOKENS if asked.is_cached else 0
