"""The only reader of the environment: typed values, each name remembered."""

from __future__ import annotations

import os
import re
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured

ROOT = Path(__file__).resolve().parent.parent

_env = environ.Env()

NAMES: dict[str, str] = {}
"""Every name that was asked for, with its default; the settings table is printed from it."""

MEMBERS: set[str] = set()
"""Every name that was asked for because a pattern of ``NAMES`` stands for it."""

ANY = "<NAME>"
SECRET = re.compile(r"KEY|SECRET|PEPPER|PASSWORD|TOKEN|DSN")


def text(name: str, default: str = "") -> str:
    """Return the variable ``name``, or the content of the file that ``<name>_FILE`` names."""
    NAMES[name] = default
    return _read(name, default)


def _read(name: str, default: str) -> str:
    path = os.environ.get(f"{name}_FILE")
    if path:
        return Path(path).read_text(encoding="utf-8").strip()
    return str(_env.str(name, default=default)).strip()


def integer(name: str, default: int) -> int:
    """Return the variable ``name`` as a whole number.

    :raises ImproperlyConfigured: if it is something else.
    """
    NAMES[name] = str(default)
    try:
        return int(_env.int(name, default=default))
    except ValueError as error:
        raise _not_a("whole number", name) from error


def number(name: str, default: float) -> float:
    """Return the variable ``name`` as a number.

    :raises ImproperlyConfigured: if it is something else.
    """
    NAMES[name] = str(default)
    try:
        return float(_env.float(name, default=default))
    except ValueError as error:
        raise _not_a("number", name) from error


def _not_a(kind: str, name: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(f"{name} must be a {kind}, not {os.environ.get(name)!r}")


def flag(name: str, *, default: bool) -> bool:
    """Return the variable ``name`` as a yes or no."""
    NAMES[name] = str(default).lower()
    return bool(_env.bool(name, default=default))


def words(name: str, default: str = "") -> tuple[str, ...]:
    """Return the comma-separated variable ``name`` as its parts."""
    return tuple(part.strip() for part in text(name, default).split(",") if part.strip())


def integers(name: str, default: str) -> tuple[int, ...]:
    """Return the comma-separated variable ``name`` as whole numbers.

    :raises ImproperlyConfigured: if one of them is none.
    """
    given = words(name, default)
    if not all(part.isdecimal() for part in given):
        raise ImproperlyConfigured(f"{name} must be whole numbers, divided by commas")
    return tuple(int(part) for part in given)


def amount(name: str, default: str) -> Decimal | None:
    """Return the variable ``name`` as an amount of money, None when it is left empty.

    :raises ImproperlyConfigured: if it is no amount.
    """
    given = text(name, default)
    if not given:
        return None
    try:
        found = Decimal(given)
    except InvalidOperation as error:
        raise ImproperlyConfigured(f"{name} is {given!r}, which is no amount.") from error
    if not found.is_finite() or found < 0:
        raise ImproperlyConfigured(f"{name} is {given!r}, which is no amount.")
    return found


def member(pattern: str, name: str, default: str = "") -> str:
    """Return the variable that ``pattern`` names once ``name`` stands in it."""
    concrete = pattern.replace(ANY, _upper(name))
    MEMBERS.add(concrete)
    return _read(concrete, default)


def members(pattern: str) -> tuple[str, ...]:
    """Return what stands for the name in those variables of ``pattern`` that are not empty."""
    head, tail = pattern.split(ANY)
    shape = re.compile(f"{head}([A-Z0-9][A-Z0-9_]*?){tail}(?:_FILE)?")
    found = [shape.fullmatch(name) for name, value in sorted(os.environ.items()) if value]
    return tuple(dict.fromkeys(match[1].lower() for match in found if match))


def declare(pattern: str, default: str = "") -> None:
    """Remember a name that stands for many, so that its meaning is described."""
    NAMES[pattern] = default


def _upper(name: str) -> str:
    return re.sub(r"[^A-Z0-9]", "_", name.upper())


def unknown_names(prefixes: tuple[str, ...]) -> list[str]:
    """List variables that carry one of ``prefixes`` but that nothing has asked for."""
    asked = set(NAMES) | MEMBERS
    known = asked | {f"{name}_FILE" for name in asked}
    return sorted(name for name in os.environ if name.startswith(prefixes) and name not in known)


def shown_values() -> dict[str, str]:
    """Return what every name was set to, as people may see it: of secrets only whether they are.

    A name that nobody set is left out, for its default counts.
    """
    shown = {}
    for name in NAMES:
        if os.environ.get(f"{name}_FILE"):
            shown[name] = "(set by a file)"
        elif os.environ.get(name):
            shown[name] = "(set)" if SECRET.search(name) else os.environ[name].strip()
    return shown


def database(url: str) -> dict[str, Any]:
    """Return Django's form of a database URL."""
    return dict(environ.Env.db_url_config(url))
