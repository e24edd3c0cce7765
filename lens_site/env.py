"""The only reader of the environment: typed values, each name remembered."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import environ

ROOT = Path(__file__).resolve().parent.parent

_env = environ.Env()

NAMES: dict[str, str] = {}
"""Every name that was asked for, with its default; the settings table is printed from it."""


def text(name: str, default: str = "") -> str:
    """Return the variable ``name``, or the content of the file that ``<name>_FILE`` names."""
    NAMES[name] = default
    path = os.environ.get(f"{name}_FILE")
    if path:
        return Path(path).read_text(encoding="utf-8").strip()
    return str(_env.str(name, default=default)).strip()


def integer(name: str, default: int) -> int:
    """Return the variable ``name`` as a whole number."""
    NAMES[name] = str(default)
    return int(_env.int(name, default=default))


def number(name: str, default: float) -> float:
    """Return the variable ``name`` as a number."""
    NAMES[name] = str(default)
    return float(_env.float(name, default=default))


def flag(name: str, *, default: bool) -> bool:
    """Return the variable ``name`` as a yes or no."""
    NAMES[name] = str(default).lower()
    return bool(_env.bool(name, default=default))


def words(name: str, default: str = "") -> tuple[str, ...]:
    """Return the comma-separated variable ``name`` as its parts."""
    return tuple(part.strip() for part in text(name, default).split(",") if part.strip())


def unknown_names(prefixes: tuple[str, ...]) -> list[str]:
    """List variables that carry one of ``prefixes`` but that nothing has asked for."""
    known = set(NAMES) | {f"{name}_FILE" for name in NAMES}
    return sorted(name for name in os.environ if name.startswith(prefixes) and name not in known)


def database(url: str) -> dict[str, Any]:
    """Return Django's form of a database URL."""
    return dict(environ.Env.db_url_config(url))
