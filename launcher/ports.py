"""The web port: bound once by the supervisor, so nobody can take it while web restarts."""

from __future__ import annotations

import errno
import ipaddress
import re
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final

from launcher.programs import run
from launcher.terminal import Stop

FIRST_PORT: Final = 8000
TRIED_PORTS: Final = 20
BACKLOG: Final = 512
LISTENING: Final = "0A"  # state column of /proc/net/tcp


class PortTaken(Stop):
    """The wanted port cannot be listened on."""


class NotLoopback(Stop):
    """The host would let other machines in and nobody said that they may."""


def listen(host: str, port: int | None) -> socket.socket:
    """Return a listening socket on a port, or on the first free one when none is named.

    :raises PortTaken: when a named port is in use, naming its holder where it can be known.
    """
    candidates = range(FIRST_PORT, FIRST_PORT + TRIED_PORTS) if port is None else (port,)
    for candidate in candidates:
        try:
            return _listen(host, candidate)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or port is not None:
                raise _taken(host, candidate, error) from error
    raise PortTaken(
        f"ports {FIRST_PORT} to {FIRST_PORT + TRIED_PORTS - 1} are all in use",
        todo="name another one: ./lens up --port 9000",
    )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    line = socket.socket(family)
    try:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        line.bind((host, port))
        line.listen(BACKLOG)
    except OSError:
        line.close()
        raise
    return line


def _taken(host: str, port: int, error: OSError) -> PortTaken:
    if error.errno != errno.EADDRINUSE:
        return PortTaken(
            f"cannot listen on {host} port {port}",
            why=error.strerror or str(error),
            todo="ports below 1024 need root; choose another one with --port",
        )
    holder = holder_of(port)
    return PortTaken(
        f"port {port} is in use{f' by {holder}' if holder else ''}",
        todo=f"run `./lens up --port {port + 1}`, or stop that process",
    )


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine's own, out of reach of others."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_host(host: str, *, remote_allowed: bool) -> None:
    """Refuse to let other machines in unless that was asked for in words.

    :raises NotLoopback: when the host is not this machine's own and nobody allowed it.
    """
    if not is_loopback(host) and not remote_allowed:
        raise NotLoopback(
            f"{host} would let other machines reach Lens over plain HTTP",
            why="API keys would travel unencrypted; /health, /ready and the API pages need no key",
            todo="put a TLS proxy in front of 127.0.0.1 (best), or say --allow-remote as well\n"
            "and name the host in ALLOWED_HOSTS",
        )


def holder_of(port: int) -> str:
    """Return who listens on a port as `pid 4211 (python)`; empty when that cannot be known."""
    if Path("/proc/net/tcp").exists():
        return _holder_by_proc(port)
    with suppress(OSError):
        answer = run(["lsof", "-nP", f"-iTCP:{port}", "-sTCP:LISTEN", "-Fpc"], timeout_s=5)
        match = re.search(r"p(\d+)\nc(\S+)", answer.stdout)
        if match:
            return f"pid {match[1]} ({match[2]})"
    return ""


def _holder_by_proc(port: int) -> str:
    inodes = set(_listening_inodes(port))
    if not inodes:
        return ""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                if str(descriptor.readlink()) in inodes:
                    name = (process / "comm").read_text(encoding="utf-8").strip()
                    return f"pid {process.name} ({name})"
    return ""


def _listening_inodes(port: int) -> list[str]:
    found = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            for line in Path(table).read_text(encoding="utf-8").splitlines()[1:]:
                fields = line.split()
                if fields[3] == LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    found.append(f"socket:[{fields[9]}]")
    return found


def address(host: str, port: int) -> str:
    """Return the URL a person opens for a listening socket."""
    name = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104 - shown, not bound
    return f"http://{f'[{name}]' if ':' in name else name}:{port}"
