"""Strict reading of what venues write: a value is what it should be, or it is refused by name."""

from __future__ import annotations

import re
from collections.abc import Mapping

from markets.providers.base import BadMarketData

_DECIMAL = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,30})?", re.ASCII)
_FIRST_MS = 1_262_304_000_000  # 2010-01-01: no venue is older, so a smaller time is in seconds
_LAST_MS = 4_102_444_800_000  # 2100-01-01


def decimal(text: object, *, name: str) -> float:
    """Return the number that a decimal string holds.

    :raises BadMarketData: if it is not a string of that form (NaN, exponents, blanks, numbers).
    """
    if not isinstance(text, str) or not _DECIMAL.fullmatch(text):
        raise BadMarketData(f"{name} is {_shown(text)}, not a decimal string")
    return float(text)


def price(text: object, *, name: str) -> float:
    """Return the positive number that a decimal string holds.

    :raises BadMarketData: if it holds something else.
    """
    number = decimal(text, name=name)
    if number <= 0:
        raise BadMarketData(f"{name} is {_shown(text)}, not above zero")
    return number


def amount(text: object, *, name: str) -> float:
    """Return the number, zero or above, that a decimal string holds.

    :raises BadMarketData: if it holds something else.
    """
    number = decimal(text, name=name)
    if number < 0:
        raise BadMarketData(f"{name} is {_shown(text)}, below zero")
    return number


def time_ms(value: object, *, name: str) -> int:
    """Return a time in unix milliseconds.

    :raises BadMarketData: if the value is no whole number between the years 2010 and 2100.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadMarketData(f"{name} is {_shown(value)}, not a whole number")
    if not _FIRST_MS <= value < _LAST_MS:
        raise BadMarketData(f"{name} is {_shown(value)}, not a time in milliseconds")
    return value


def mapping(value: object, *, name: str) -> Mapping[str, object]:
    """Return an object.

    :raises BadMarketData: if the value is something else.
    """
    if not isinstance(value, dict):
        raise BadMarketData(f"{name} is {_shown(value)}, not an object")
    return value


def sequence(value: object, *, name: str) -> list[object]:
    """Return a list.

    :raises BadMarketData: if the value is something else.
    """
    if not isinstance(value, list):
        raise BadMarketData(f"{name} is {_shown(value)}, not a list")
    return value


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
