"""The virtual environment: made once, filled from the hashed lock only when that changed."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from launcher import programs
from launcher.children import open_log
from launcher.places import Places
from launcher.terminal import Screen, Stop, seconds

RUNTIME: Final = "requirements.txt"
DEVELOPMENT: Final = "requirements-dev.txt"
NOTE: Final = "lens-installed.json"
INSTALLER: Final = "uv"
FOR_INSTALLER: Final = {  # where pip is told of an index or a certificate, uv is told too
    "PIP_INDEX_URL": "UV_DEFAULT_INDEX",
    "PIP_CERT": "SSL_CERT_FILE",
}
QUICKLY_WITHIN_S: Final = 180.0
STRICTLY: Final = ("--require-hashes", "--no-deps")
"""The lock names every package; left to resolve again, pip meets newer releases and refuses."""
PINNED: Final = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*(?:\[[^\]]*\])?==", re.MULTILINE)
CAUSES: Final = (
    (
        r"ProxyError|Tunnel connection failed|407 Proxy",
        "the proxy refused the connection",
        "check HTTPS_PROXY (and NO_PROXY), then run the same command again",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|SSLError|SSLCertVerificationError",
        "the package index showed a certificate this machine does not trust",
        "behind a company proxy, set PIP_CERT to its certificate file",
    ),
    (
        r"DO NOT MATCH THE HASHES",
        "a downloaded package differs from what the lock expects",
        "try again; if it stays, the index or a proxy alters packages",
    ),
    (r"No space left on device", "the disk is full", "free about 1 GB, then run it again"),
    (
        r"name resolution|Name or service not known|nodename nor servname|Network is unreachable"
        r"|Failed to establish a new connection|Connection refused|timed out|NewConnectionError",
        "the package index cannot be reached from here (offline, or a proxy is needed)",
        "connect, or set HTTPS_PROXY, or point PIP_INDEX_URL at a reachable index",
    ),
    (
        r"No matching distribution|Could not find a version",
        "the package index does not carry a locked version for this Python and platform",
        "use Python 3.11 or 3.12 on Linux or macOS, or another PIP_INDEX_URL",
    ),
)


class CannotInstall(Stop):
    """The locked packages could not be installed."""


class PythonLacksVenv(Stop):
    """The Python at hand cannot make virtual environments."""


@dataclass(frozen=True, slots=True)
class Installed:
    """How many packages the lock names and how long installing took (None: nothing to do)."""

    count: int
    took_s: float | None

    def __str__(self) -> str:
        took = "unchanged" if self.took_s is None else f"installed in {seconds(self.took_s)}"
        return f"{self.count} locked, {took}"


def check_python() -> None:
    """Refuse a Python without venv and ensurepip, naming the package that brings them.

    :raises PythonLacksVenv: when either is missing.
    """
    missing = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
    if missing:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise PythonLacksVenv(
            f"this Python {version} lacks {' and '.join(missing)}",
            why="Debian and Ubuntu ship them apart from Python itself",
            todo=f"sudo apt install python{version}-venv",
        )


def lock_digest(lock: Path) -> str:
    """Return what changes when the lock or the Python that reads it changes."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return hashlib.sha256(version.encode() + b"\0" + lock.read_bytes()).hexdigest()


def is_current(where: Places, lock_name: str) -> bool:
    """Return whether the environment holds what a lock asks for."""
    wanted = lock_digest(where.root / lock_name)
    return _note(where).get(lock_name) == wanted and where.python.exists()


def ensure_installed(where: Places, screen: Screen, *, lock_name: str = RUNTIME) -> Installed:
    """Make the environment hold what a lock asks for.

    :raises CannotInstall: when pip failed twice, with the cause where it is known.
    :raises PythonLacksVenv: when no environment can be made.
    """
    lock = where.root / lock_name
    count = len(PINNED.findall(lock.read_text(encoding="utf-8")))
    if is_current(where, lock_name):
        return Installed(count, None)
    began_s = time.monotonic()
    _ensure_venv(where, screen)
    _forget_note(where, lock_name)
    if _quickly(where, screen, lock_name):
        _write_note(where, lock_name)
        return Installed(count, time.monotonic() - began_s)
    output = _pip(where, screen, lock_name, count)
    if output is not None:
        screen.warn("packages", "the first try failed, trying once more")
        output = _pip(where, screen, lock_name, count)
    if output is not None:
        raise _cannot_install(where, output)
    _write_note(where, lock_name)
    return Installed(count, time.monotonic() - began_s)


def _ensure_venv(where: Places, screen: Screen) -> None:
    if where.python.exists():
        answer = programs.run([where.python, "-m", "pip", "--version"])
        version = f"(python {sys.version_info.major}.{sys.version_info.minor})"
        if answer.returncode == 0 and version in answer.stdout:
            return
    check_python()
    screen.progress("packages", "making .venv")
    made = programs.run([sys.executable, "-m", "venv", "--clear", where.venv])
    if made.returncode:
        raise CannotInstall(f"{where.venv} could not be made", why=made.stdout.strip()[-600:])


def _quickly(where: Places, screen: Screen, lock_name: str) -> bool:
    """Let the installer that the lock itself names do it; False when pip has to."""
    pinned = _pinned(INSTALLER, (where.root / lock_name).read_text(encoding="utf-8"))
    if not pinned:
        return False
    screen.progress("packages", f"installing {INSTALLER}, which installs the rest")
    only = where.log / "installer.txt"
    only.write_text(pinned, encoding="utf-8")
    environment = _environment()
    for told, untold in FOR_INSTALLER.items():
        if told in environment:
            environment.setdefault(untold, environment[told])
    python, installer = str(where.python), str(where.venv / "bin" / INSTALLER)
    compiled = ["--compile-bytecode"] if lock_name == RUNTIME else []  # the first start needs it
    steps = (
        [python, "-m", "pip", "install", "--no-input", *STRICTLY, "-r", str(only)],
        [installer, "pip", "install", "--python", python, *compiled, *STRICTLY, "-r", lock_name],
    )
    with open_log(where.log / "install.log") as log:
        for step in steps:
            answer = _run(step, environment, where)
            log.write(answer.stdout.encode())
            if answer.returncode:
                return False
    return True


def _run(
    command: Sequence[str], environment: Mapping[str, str], where: Places
) -> subprocess.CompletedProcess[str]:
    try:
        return programs.run(
            command, environment=environment, cwd=where.root, timeout_s=QUICKLY_WITHIN_S
        )
    except OSError as error:
        return subprocess.CompletedProcess([], 1, f"{command[0]}: {error}\n")


def _pinned(name: str, lock: str) -> str:
    """Return the lines of one package in a lock, with its hashes; empty when it has none."""
    found = re.search(rf"^{name}==(?:.*\\\n)*.*\n", lock, re.MULTILINE)
    return found[0] if found else ""


def _environment() -> dict[str, str]:
    environment = {**os.environ, "PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    for name in ("PYTHONHOME", "PYTHONPATH", "PIP_TARGET", "PIP_PREFIX", "PIP_REQUIRE_VIRTUALENV"):
        environment.pop(name, None)
    return environment


def _pip(where: Places, screen: Screen, lock_name: str, count: int) -> str | None:
    """Install; return None when it went well, else what pip wrote."""
    options = ["--no-input", "--progress-bar", "off", *STRICTLY]
    process = programs.start(
        [where.python, "-m", "pip", "install", *options, "-r", where.root / lock_name],
        environment=_environment(),
        cwd=where.root,
    )
    lines: list[str] = []
    with process, open_log(where.log / "install.log") as log:
        try:
            for line in _lines_of(process, log):
                lines.append(line)
                _show_progress(screen, lines, count)
            code = process.wait()
        finally:
            process.kill()
    return None if code == 0 else "\n".join(lines[-60:])


def _lines_of(process: subprocess.Popen[bytes], log: IO[bytes]) -> Iterator[str]:
    assert process.stdout is not None
    for raw in process.stdout:
        log.write(raw)
        yield raw.decode("utf-8", "replace").strip()


def _show_progress(screen: Screen, lines: list[str], count: int) -> None:
    seen = sum(line.startswith(("Collecting ", "Requirement already")) for line in lines)
    if lines[-1].startswith("Installing collected packages"):
        screen.progress("packages", f"{seen} downloaded, installing them")
    else:
        screen.progress("packages", f"{min(seen, count)}/{count} {lines[-1].partition(' (')[0]}")


def _cannot_install(where: Places, output: str) -> CannotInstall:
    log = where.shown(where.log / "install.log")
    for pattern, why, todo in CAUSES:
        if re.search(pattern, output):
            return CannotInstall(
                "the locked packages could not be installed", why=why, todo=f"{todo} (log: {log})"
            )
    errors = [line for line in output.splitlines() if "rror" in line] or output.splitlines()
    return CannotInstall(
        "the locked packages could not be installed",
        why="\n".join(errors[-5:]),
        todo=f"the full output is in {log}",
    )


def _note(where: Places) -> dict[str, str]:
    try:
        content = json.loads((where.venv / NOTE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write_note(where: Places, lock_name: str) -> None:
    names = {lock_name, RUNTIME} if lock_name == DEVELOPMENT else {lock_name}
    note = _note(where) | {name: lock_digest(where.root / name) for name in names}
    (where.venv / NOTE).write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")


def _forget_note(where: Places, lock_name: str) -> None:
    note = _note(where)
    if note.pop(lock_name, None) is not None:
        (where.venv / NOTE).write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")
