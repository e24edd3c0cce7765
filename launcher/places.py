"""Where things lie: the checkout, the state directory and what is inside it."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from launcher.terminal import Stop

ROOT: Final = Path(__file__).resolve().parent.parent
SOCKET_PATH_LIMIT: Final = 100  # bytes; Linux takes 107, macOS 103, so both are safe


class NotOurs(Stop):
    """A directory belongs to another user or cannot be written."""


@dataclass(frozen=True, slots=True)
class Places:
    """The paths of one checkout and its state directory."""

    root: Path
    var: Path

    @property
    def run(self) -> Path:
        """Return the directory of the lock, the state note and the sockets."""
        return self.var / "run"

    @property
    def log(self) -> Path:
        """Return the directory of the full logs."""
        return self.var / "log"

    @property
    def static(self) -> Path:
        """Return the directory of collected static files, which web expects to exist."""
        return self.var / "static"

    @property
    def secrets(self) -> Path:
        """Return the file of generated secrets."""
        return self.var / "secret.env"

    @property
    def database(self) -> Path:
        """Return the SQLite file used when no DATABASE_URL is set."""
        return self.var / "lens.sqlite3"

    @property
    def venv(self) -> Path:
        """Return the virtual environment of this checkout."""
        return self.root / ".venv"

    @property
    def python(self) -> Path:
        """Return the interpreter inside the virtual environment."""
        return self.venv / "bin" / "python"

    @property
    def manage(self) -> Path:
        """Return Django's own entry."""
        return self.root / "manage.py"

    def shown(self, path: Path) -> str:
        """Return a path as a person reads it: relative inside the checkout."""
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)


def places(environment: Mapping[str, str], *, root: Path = ROOT) -> Places:
    """Return the places of a checkout; LENS_VAR_DIR may move the state directory."""
    named = environment.get("LENS_VAR_DIR", "")
    var = Path(named).expanduser() if named else root / "var"
    return Places(root=root, var=var if var.is_absolute() else root / var)


def make_private(where: Places) -> None:
    """Create the state directories, readable by their owner alone.

    :raises NotOurs: when they cannot be created or belong to somebody else.
    """
    try:
        for path in (where.var, where.run, where.log, where.static):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if stat.S_IMODE(where.var.stat().st_mode) & 0o077:
            where.var.chmod(0o700)
    except OSError as error:
        raise _not_writable(where.var, error) from error
    if not os.access(where.run, os.W_OK | os.X_OK):
        raise _not_writable(where.var, None)


def socket_path(where: Places, name: str) -> Path:
    """Return where a socket will lie, in a short private directory when the path is too long.

    :raises NotOurs: when the short directory exists and is not private to this user.
    """
    wanted = where.run / name
    if len(os.fsencode(wanted)) <= SOCKET_PATH_LIMIT:
        return wanted
    digest = hashlib.sha256(os.fsencode(where.var.resolve())).hexdigest()[:12]
    short = Path("/tmp") / f"lens-{os.geteuid()}-{digest}"  # noqa: S108 - owner and mode are checked
    return private_directory(short) / name


def forget_socket(where: Places, path: Path) -> None:
    """Remove a socket whose server has ended, and the short directory that held it."""
    with suppress(OSError):
        path.unlink(missing_ok=True)
        if path.parent != where.run:
            path.parent.rmdir()


def private_directory(path: Path) -> Path:
    """Create a directory for this user alone, or check that an existing one is.

    :raises NotOurs: when somebody else owns it, it is a link, or others may enter.
    """
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
    found = path.lstat()
    private = not stat.S_IMODE(found.st_mode) & 0o077
    if not (stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and private):
        raise NotOurs(
            f"{path} is not private to you",
            why="another user could read or replace the sockets inside it",
            todo=f"remove it (rm -r {path}) or set LENS_VAR_DIR to a shorter path",
        )
    return path


def _not_writable(var: Path, error: OSError | None) -> NotOurs:
    owner = ""
    try:
        owner = f"it belongs to user {var.stat().st_uid}, you are {os.geteuid()}"
    except OSError:
        owner = str(error or "")
    return NotOurs(
        f"the state directory {var} cannot be written",
        why=owner,
        todo="run as its owner, or set LENS_VAR_DIR to a directory of yours",
    )
