"""Whether a model's reasons rest on what it was given; pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from evaluation.parsing import leaves, plain_text
from evaluation.types import Verdict

REL_TOLERANCE = 1e-3  # of the value, for numbers retold with fewer digits
ROUNDING_MOST = 0.02  # of the value, for numbers cut to the digits that are told
UNTRUSTED = "original.untrusted"
NOT_KNOWN = frozenset({"unknown", "null", "none"})
SHOWN_MAX_CHARS = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class Grounding:
    """Which share of the evidence exists, and what does not.

    ``score`` is None for a verdict that names no evidence.
    """

    score: float | None
    unmatched: tuple[str, ...]


def score(verdict: Verdict, payload: Mapping[str, Any]) -> Grounding:
    """Return how much of the verdict's evidence stands in the payload, path and value.

    What the signal's sender wrote is no evidence. A number may be rounded as people round; a
    text must be the same but for its case.

    Units: ``score`` is a fraction.
    """
    if not verdict.evidence:
        return Grounding(score=None, unmatched=())
    known = dict(leaves(payload))
    unmatched = tuple(
        plain_text(f"{reason['field']} = {reason['value']}", most=SHOWN_MAX_CHARS)
        for reason in verdict.evidence
        if not _exists(str(reason["field"]), reason["value"], known)
    )
    matched = len(verdict.evidence) - len(unmatched)
    return Grounding(score=matched / len(verdict.evidence), unmatched=unmatched)


def _exists(field: str, told: Any, known: Mapping[str, Any]) -> bool:
    if field not in known or field == UNTRUSTED or field.startswith(f"{UNTRUSTED}."):
        return False
    value = known[field]
    if value is None:
        return str(told).strip().lower() in NOT_KNOWN
    if isinstance(value, bool):
        return str(told).strip().lower() == str(value).lower()
    numbers = _number(told), _number(value)
    if numbers[0] is not None and numbers[1] is not None:
        return _is_near(numbers[0], numbers[1])
    return str(told).strip().casefold() == str(value).strip().casefold()


def _number(value: Any) -> Decimal | None:
    """Return a number, or a text that is one, exactly as it is written."""
    try:
        number = Decimal(str(value).strip())
    except ArithmeticError:
        return None
    return number if number.is_finite() else None


def _is_near(told: Decimal, value: Decimal) -> bool:
    """Say whether ``told`` is ``value`` to within its last digit, or a thousandth."""
    exponent = told.as_tuple().exponent
    last_digit = 10.0 ** min(int(exponent), 0)
    size = abs(float(value))
    allowed = max(REL_TOLERANCE * size, min(last_digit, ROUNDING_MOST * size))
    return math.isclose(float(told), float(value), rel_tol=1e-12, abs_tol=allowed)
