"""What commands take as arguments, read from the words that a person types."""

from __future__ import annotations

import argparse
import re
from datetime import UTC, datetime

UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def duration(text: str) -> int:
    """Return a duration such as 15m in seconds."""
    match = re.fullmatch(r"(\d+)([smhd])", text)
    if match is None or not int(match[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is no duration such as 15m, 1h or 1d")
    return int(match[1]) * UNITS[match[2]]


def moment(text: str) -> datetime:
    """Return an ISO 8601 time, UTC if it names no offset."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no ISO 8601 time such as 2022-01-03 or 2022-01-03T10:30"
        ) from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def positive(text: str) -> int:
    """Return a whole number above 0."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)
