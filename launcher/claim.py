"""Who runs this checkout: a lock that the kernel releases, and a note for the other verbs."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from launcher import programs
from launcher.children import Child
from launcher.places import Places

LEFTOVER_WAIT_S: Final = 5.0


@dataclass(slots=True)
class Running:
    """What the running supervisor tells the other verbs."""

    pid: int
    status: str  # starting, ready, stopping
    url: str = ""
    redis_url: str = ""
    started_at: float = 0.0  # unix seconds, for people
    ready_after_s: float | None = None
    children: dict[str, dict[str, str | int]] = field(default_factory=dict)


class Claim:
    """The one supervisor of a state directory; gone with its process, whatever ends it."""

    def __init__(self, where: Places) -> None:
        self._note = where.run / "up.json"
        self._end = where.run / "ended"
        self._lock = where.run / "up.lock"
        self._descriptor: int | None = None

    def take(self) -> bool:
        """Return whether the claim is ours now."""
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    def is_held(self) -> bool:
        """Return whether a living supervisor holds the claim."""
        if not self._lock.exists():
            return False
        if not self.take():
            return True
        self.release()
        return False

    def release(self) -> None:
        """Give the claim back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def read(self) -> Running | None:
        """Return the last note, which is only true while the claim is held."""
        try:
            return Running(**json.loads(self._note.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, running: Running) -> None:
        """Replace the note in one step."""
        fresh = self._note.with_name(f"up.json.{os.getpid()}")
        fresh.write_text(json.dumps(asdict(running), indent=1) + "\n", encoding="utf-8")
        fresh.chmod(0o600)
        fresh.replace(self._note)

    def clear(self) -> None:
        """Remove the note: nothing runs any more."""
        self._note.unlink(missing_ok=True)

    def remember_end(self, why: str) -> None:
        """Keep why the desk ended by itself, for whoever asks later."""
        self._end.write_text(why, encoding="utf-8")

    def forget_end(self) -> None:
        """A new run begins."""
        self._end.unlink(missing_ok=True)

    def last_end(self) -> str:
        """Return why the last run ended by itself; empty when it was stopped in order."""
        with suppress(OSError):
            return self._end.read_text(encoding="utf-8")
        return ""

    def wait_released(self, *, within_s: float, still: Callable[[], None] = lambda: None) -> bool:
        """Wait until no supervisor holds the claim; return whether that came in time."""
        deadline_s = time.monotonic() + within_s
        while self.is_held():
            if time.monotonic() > deadline_s:
                return False
            still()
            time.sleep(0.1)
        return True


def described(children: Mapping[str, Child]) -> dict[str, dict[str, str | int]]:
    """Return what identifies running children beyond their numbers."""
    return {name: {"pid": c.process.pid, "born": c.born} for name, c in children.items()}


def end_leftovers(running: Running | None) -> list[str]:
    """End children that outlived their supervisor; return their names."""
    ended = []
    for name, child in (running.children if running else {}).items():
        pid, born = int(child["pid"]), str(child["born"])
        if not programs.is_alive(pid, born):
            continue
        ended.append(name)
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGTERM if name == "redis" else signal.SIGKILL)
        _wait_gone(pid, born)
    return ended


def _wait_gone(pid: int, born: str) -> None:
    deadline_s = time.monotonic() + LEFTOVER_WAIT_S
    while programs.is_alive(pid, born):
        if time.monotonic() > deadline_s:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
            return
        time.sleep(0.05)


def log_tail(path: Path, count: int) -> list[str]:
    """Return the last lines of a log; none when there is no log yet."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 400 * count))
            return file.read().decode("utf-8", "replace").splitlines()[-count:]
    except FileNotFoundError:
        return []
