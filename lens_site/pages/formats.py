"""How numbers, spans of time and strangers' texts read on pages; pure.

``static/lens/format.js`` says the same for what arrives later; it redraws these in the reader's
own locale and time zone. What is not known reads ``UNKNOWN``, never 0.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal, InvalidOperation

UNKNOWN = "–"
MINUS = "−"
THIN = "\u202f"
PRICE_DIGITS = 8
FIGURES_LEAST = 5
ID_SHOWN = 8
INVISIBLE_KINDS = frozenset({"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"})
BLANK_LETTERS = frozenset("\u115f\u1160\u3164\uffa0\u2800\u034f\u180e")
HARMLESS = frozenset("\n\t")

Number = int | float | Decimal | str | None


def number(value: Number) -> Decimal | None:
    """Return a value as a finite decimal, or None if it is none."""
    if value is None or isinstance(value, bool) or value == "":
        return None
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        return None
    return found if found.is_finite() else None


def grouped(value: Decimal, *, digits: int | None = None, least: int = 0) -> str:
    """Return a number with grouped thousands and a true minus.

    With ``digits`` it is rounded to so many decimals; without, it keeps its own, ``least`` or more.
    """
    if digits is not None:
        text = f"{value:,.{digits}f}"
    else:
        whole, _, rest = f"{value:,f}".partition(".")
        rest = rest.rstrip("0").ljust(least, "0")
        text = f"{whole}.{rest}" if rest else whole
    if text.startswith("-"):
        text = MINUS + text[1:] if text.strip("-0,.") else text[1:]
    return text


def price(value: Number) -> str:
    """Return a price with the digits it was given, at most ``PRICE_DIGITS`` decimals."""
    found = number(value)
    if found is None:
        return UNKNOWN
    return grouped(round(found, PRICE_DIGITS))


def digits_of(sent: Decimal) -> int:
    """Return how many decimals an instrument's prices have, as one that was sent shows.

    Edges: a round price still has ``FIGURES_LEAST`` figures, for it says little about the tick.
    """
    own = -int(sent.normalize().as_tuple().exponent)
    return max(0, own, FIGURES_LEAST - 1 - sent.adjusted())


def whole(value: Number) -> str:
    """Return a count."""
    found = number(value)
    return UNKNOWN if found is None else grouped(found, digits=0)


def percent(frac: Number, *, digits: int = 0) -> str:
    """Return a share of 0 to 1 as per cent."""
    found = number(frac)
    return UNKNOWN if found is None else f"{grouped(found * 100, digits=digits)}{THIN}%"


def points(pct: Number, *, digits: int = 1) -> str:
    """Return 0 to 100 as per cent, without a needless ``.0``."""
    found = number(pct)
    return UNKNOWN if found is None else f"{grouped(round(found, digits))}{THIN}%"


def change(frac: Number, *, digits: int = 2) -> str:
    """Return a relative change as per cent with its sign."""
    found = number(frac)
    if found is None:
        return UNKNOWN
    return f"{_sign(round(found * 100, digits))}{percent(found, digits=digits)}"


def bps(value: Number, *, digits: int = 0) -> str:
    """Return basis points with their sign."""
    found = number(value)
    if found is None:
        return UNKNOWN
    return f"{_sign(round(found, digits))}{grouped(found, digits=digits)}{THIN}bps"


def usd(value: Number) -> str:
    """Return US dollars; amounts under ten cents keep four decimals."""
    found = number(value)
    if found is None:
        return UNKNOWN
    is_small = 0 < abs(found) < Decimal("0.1")
    text = grouped(found, digits=4 if is_small else 2)
    return f"{MINUS}${text[1:]}" if text.startswith(MINUS) else f"${text}"


def ratio(value: Number) -> str:
    """Return R multiples and the like, with two decimals."""
    found = number(value)
    return UNKNOWN if found is None else grouped(found, digits=2)


def score(value: Number) -> str:
    """Return a score of forecasts, such as Brier's, with three decimals."""
    found = number(value)
    return UNKNOWN if found is None else grouped(found, digits=3)


def delta(value: Number) -> str:
    """Return a difference between scores with its sign and four decimals."""
    found = number(value)
    if found is None:
        return UNKNOWN
    return f"{_sign(round(found, 4))}{grouped(found, digits=4)}"


def span(ms: Number) -> str:
    """Return a length of time in the unit that suits it."""
    found = number(ms)
    if found is None:
        return UNKNOWN
    value = float(found)
    if 0 < abs(value) < 1:
        return f"{grouped(found, digits=1)}{THIN}ms"
    if abs(value) < 1_000:
        return f"{value:.0f}{THIN}ms"
    if abs(value) < 60_000:
        return f"{value / 1_000:.{_digits_of_seconds(value)}f}{THIN}s"
    return age(value / 1_000)


def _digits_of_seconds(ms: float) -> int:
    """Return three figures' worth of decimals; whole seconds, as targets are, have none."""
    if ms % 1_000 == 0:
        return 0
    return 2 if abs(ms) < 10_000 else 1


def age(seconds: float | None) -> str:
    """Return a length of time in at most two units, as people say it."""
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    left = max(0, round(seconds))
    if left < 60:
        return f"{left}{THIN}s"
    for size, name, below, below_name in (
        (86_400, "d", 3_600, "h"),
        (3_600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if left >= size:
            rest = left % size // below
            head = f"{left // size}{THIN}{name}"
            return f"{head} {rest}{THIN}{below_name}" if rest else head
    return UNKNOWN


def clock(at: datetime) -> str:
    """Return the time of day, to the second."""
    return f"{at:%H:%M:%S}"


def day(at: datetime) -> str:
    """Return the day, for what is not of today."""
    return f"{at.day} {at:%b}"


def short_stamp(at: datetime) -> str:
    """Return day of the year and time, as lists have room for."""
    return f"{at.day} {at:%b %H:%M:%S}"


def stamp(at: datetime) -> str:
    """Return day and time, to the second."""
    return f"{at:%Y-%m-%d %H:%M:%S}"


def pieces(text: str) -> Iterator[tuple[str, str]]:
    """Return a stranger's text in pieces: what may be shown, and names of what would not show.

    Each piece has one of both. Controls, marks of direction, zero-width and blank letters are
    named, so that nothing hides and nothing turns the text around it.
    """
    plain: list[str] = []
    for letter in text:
        if letter not in HARMLESS and is_hidden(letter):
            if plain:
                yield "".join(plain), ""
                plain = []
            yield "", f"U+{ord(letter):04X}"
        else:
            plain.append(letter)
    if plain:
        yield "".join(plain), ""


def is_hidden(letter: str) -> bool:
    """Say whether a letter does something without being seen."""
    return unicodedata.category(letter) in INVISIBLE_KINDS or letter in BLANK_LETTERS


def name_of(code: str) -> str:
    """Return the name of a letter written as ``U+202E``."""
    letter = chr(int(code.removeprefix("U+"), 16))
    return unicodedata.name(letter, "control")


def short_id(value: object) -> str:
    """Return the beginning of an id, enough to tell it from others by eye."""
    return str(value)[:ID_SHOWN]


def _sign(value: Decimal) -> str:
    return "+" if value > 0 else ""
