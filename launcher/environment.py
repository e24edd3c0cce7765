"""The environment of every child: the shell's, the .env file, the secrets, the addresses."""

from __future__ import annotations

import os
import re
import secrets
import stat
from pathlib import Path
from typing import Final
from urllib.parse import quote

from launcher.places import Places
from launcher.terminal import Stop

ASSIGNMENT: Final = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)")
SECRET_NAMES: Final = ("SECRET_KEY", "LENS_KEY_PEPPER", "LENS_ENCRYPTION_KEYS")
NOT_FOR_CHILDREN: Final = ("PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "VIRTUAL_ENV")


class BadEnvironmentFile(Stop):
    """A line of an environment file is not an assignment."""


def read_environment_file(path: Path) -> dict[str, str]:
    """Return the assignments of a .env file; nothing when there is no file.

    Edges: `export` in front, single and double quotes, `#` comments; no variable is expanded.
    :raises BadEnvironmentFile: when a line cannot be read, naming it.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise BadEnvironmentFile(f"{path} cannot be read", why=str(error)) from error
    found: dict[str, str] = {}
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        match = ASSIGNMENT.fullmatch(line)
        if match is None:
            raise BadEnvironmentFile(
                f"{path}:{number} is not an assignment",
                why="a line must look like NAME=value",
                todo="correct the line or put a # in front of it",
            )
        found[match[1]] = _unquoted(match[2])
    return found


def _unquoted(value: str) -> str:
    quoted = re.match(r"""(['"])(.*?)\1\s*(?:#.*)?$""", value)
    if quoted:
        return quoted[2]
    return re.split(r"\s+#", value, maxsplit=1)[0].strip()


def shell_environment(root: Path) -> dict[str, str]:
    """Return the shell's variables over those of the .env file at the root."""
    return {**read_environment_file(root / ".env"), **os.environ}


def ensure_secrets(where: Places) -> bool:
    """Write the secrets that are still missing, 0600; return whether any was made.

    :raises BadEnvironmentFile: when the file exists and cannot be read.
    """
    found = read_environment_file(where.secrets)
    if where.secrets.exists() and stat.S_IMODE(where.secrets.stat().st_mode) & 0o077:
        where.secrets.chmod(0o600)
    missing = [name for name in SECRET_NAMES if not found.get(name)]
    if not missing:
        return False
    lines = [f"{name}={secrets.token_urlsafe(48)}" for name in missing]
    _append_privately(where.secrets, lines)
    return True


def _append_privately(path: Path, lines: list[str]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        if file.tell() == 0:
            file.write("# Made by ./lens up. Losing it makes every API key invalid: back it up.\n")
        file.write("\n".join(lines) + "\n")
        file.flush()
        os.fsync(file.fileno())


def sqlite_url(path: Path) -> str:
    """Return the address of a SQLite file, safe for spaces and signs in its path."""
    return f"sqlite:///{quote(str(path))}"


def redis_url(socket: Path, *, database: int = 0) -> str:
    """Return the address of a Redis behind a unix socket."""
    return f"unix://{quote(str(socket))}?db={database}"


def child_environment(where: Places, *, redis: str) -> dict[str, str]:
    """Return all variables that web, workers and commands run with."""
    environment = shell_environment(where.root)
    for name in NOT_FOR_CHILDREN:
        environment.pop(name, None)
    for name, value in read_environment_file(where.secrets).items():
        environment.setdefault(name, value)
    environment["LENS_VAR_DIR"] = str(where.var)
    environment["REDIS_URL"] = redis
    if not environment.get("DATABASE_URL"):
        environment["DATABASE_URL"] = sqlite_url(where.database)
    environment["DJANGO_SETTINGS_MODULE"] = "lens_site.settings"
    environment["PYTHONUNBUFFERED"] = "1"
    environment["VIRTUAL_ENV"] = str(where.venv)
    environment["PATH"] = f"{where.venv / 'bin'}{os.pathsep}{environment.get('PATH', os.defpath)}"
    return environment
