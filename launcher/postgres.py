"""A private PostgreSQL for tests and trials: no network port, gone afterwards."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from launcher import programs
from launcher.terminal import Stop

SYSTEM_PLACES: Final = ("/usr/lib/postgresql", "/usr/local/lib/postgresql", "/opt/homebrew/opt")
USER: Final = "lens"
START_WITHIN_S: Final = 30.0
SPEED_OVER_SAFETY: Final = ("fsync=off", "full_page_writes=off")


class PostgresFailed(Stop):
    """The private PostgreSQL could not be started."""


def find_binaries() -> Path | None:
    """Return the directory of the newest initdb and postgres here; None without them."""
    found = [path for place in SYSTEM_PLACES for path in Path(place).glob("*/bin")]
    named = shutil.which("initdb")
    if named:
        found.append(Path(named).resolve().parent)
    usable = [path for path in found if (path / "initdb").exists() and (path / "postgres").exists()]
    return max(usable, key=_version_in, default=None)


def _version_in(directory: Path) -> int:
    numbers = re.findall(r"\d+", str(directory))
    return int(numbers[-1]) if numbers else 0


def unprivileged_user() -> int | None:
    """Return the user to run the server as: PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name).pw_uid
    raise PostgresFailed("neither user postgres nor nobody exists", todo="run as an ordinary user")


@contextmanager
def private_postgres(binaries: Path, directory: Path, *, durable: bool = False) -> Iterator[str]:
    """Run a server inside a directory and yield the address of its database.

    Edges: ``durable`` makes it as safe, and as slow, as a server of one's own should be.
    :raises PostgresFailed: when it cannot be prepared or does not start.
    """
    user = unprivileged_user()
    home = directory / "pg"
    home.mkdir(mode=0o700)
    if user is not None:
        directory.chmod(0o711)  # the server's user must be able to pass through
        os.chown(home, user, -1)
    _prepare(binaries, home, user)
    with (directory / "postgres.log").open("wb") as log:
        server = programs.start(
            _server_command(binaries, home, durable=durable),
            cwd=home,
            output=log,
            user=user,
            death_signal=signal.SIGQUIT,
        )
    try:
        _wait(binaries, home, server, directory / "postgres.log")
        yield f"postgres://{USER}@{str(home).replace('/', '%2F')}/{USER}"
    finally:
        _stop(server)


def _server_command(binaries: Path, home: Path, *, durable: bool) -> list[str]:
    settings = ["listen_addresses=", "max_connections=200"]
    settings += [] if durable else SPEED_OVER_SAFETY
    options = [part for setting in settings for part in ("-c", setting)]
    return [str(binaries / "postgres"), "-D", str(home / "db"), "-k", str(home), *options]


def _prepare(binaries: Path, home: Path, user: int | None) -> None:
    options = ["-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
    answer = programs.run(
        [binaries / "initdb", "-D", home / "db", *options], cwd=home, user=user, timeout_s=120
    )
    if answer.returncode:
        raise PostgresFailed("initdb failed", why=answer.stdout.strip()[-800:])


def _wait(binaries: Path, home: Path, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline_s = time.monotonic() + START_WITHIN_S
    options = ["-h", str(home), "-U", USER, "-d", "postgres", "-qc"]
    while time.monotonic() < deadline_s and server.poll() is None:
        answer = programs.run(
            [binaries / "psql", *options, f"CREATE DATABASE {USER}"], timeout_s=10
        )
        if answer.returncode == 0 or "already exists" in answer.stdout:
            return
        time.sleep(0.2)
    raise PostgresFailed(
        "the private PostgreSQL did not start",
        why=log.read_text(encoding="utf-8", errors="replace").strip()[-800:],
    )


def _stop(server: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        if server.poll() is not None:
            return
        server.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            server.wait(5)
