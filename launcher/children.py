"""One child process: its plan, its output, its log file."""

from __future__ import annotations

import os
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from launcher import programs
from launcher.forkserver import Forked, ForkServer

LOG_LIMIT: Final = 10 * 1024 * 1024  # bytes, before a log is set aside
KEPT_LINES: Final = 15  # of a child's last words, for telling why it died
LINE_LIMIT: Final = 64 * 1024  # bytes of a line without an end


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildPlan:
    """What to start, and how it wants to be stopped."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    cwd: Path
    stop_order: int = 0  # children of a lower order are stopped first
    stop_within_s: float = 5.0
    death_signal: int = signal.SIGKILL  # what it gets when the supervisor is killed
    keep_open: tuple[int, ...] = ()
    shown: bool = True  # whether its lines appear on the terminal
    logged: bool = True  # no for what prints a secret


def open_log(path: Path) -> IO[bytes]:
    """Open a log for appending, setting an over-long one aside as `<name>.1`."""
    with suppress(FileNotFoundError):
        if path.stat().st_size > LOG_LIMIT:
            path.replace(path.with_name(path.name + ".1"))
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    return os.fdopen(descriptor, "ab", buffering=0)


@dataclass(slots=True)
class Child:
    """A running child process."""

    plan: ChildPlan
    process: subprocess.Popen[bytes] | Forked
    born: str
    started_s: float
    log: IO[bytes]
    last_lines: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT_LINES))
    _rest: bytes = b""

    @property
    def pipe(self) -> int:
        """Return the descriptor its output is read from."""
        assert self.process.stdout is not None
        return self.process.stdout.fileno()

    def read(self, on_line: Callable[[str], None]) -> bool:
        """Take in what the child wrote; return False when its output has ended."""
        try:
            content = os.read(self.pipe, 65536)
        except BlockingIOError:
            return True
        except OSError:
            content = b""
        *lines, self._rest = (self._rest + content).split(b"\n")
        if self._rest and (not content or len(self._rest) > LINE_LIMIT):
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            self._take(line, on_line)
        return bool(content)

    def _take(self, line: bytes, on_line: Callable[[str], None]) -> None:
        with suppress(OSError):  # a full disk must not stop the desk
            self.log.write(line + b"\n")
        text = line.decode("utf-8", "replace").rstrip("\r")
        self.last_lines.append(text)
        on_line(text)

    def is_running(self) -> bool:
        """Return whether the process still runs."""
        return self.process.poll() is None

    def ask_to_stop(self) -> None:
        """Send the polite signal."""
        with suppress(ProcessLookupError):
            self.process.terminate()

    def kill(self) -> None:
        """End the child and everything in its session's first group."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Let go of its pipe and its log."""
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.log.close()


def start_child(
    plan: ChildPlan, *, logs: Path, now_s: float, forks: ForkServer | None = None
) -> Child:
    """Start what the plan says, by a fork where that can be had, and return it running."""
    process = _forked(plan, forks) or programs.start(
        plan.command,
        environment=plan.environment,
        cwd=plan.cwd,
        death_signal=plan.death_signal,
        keep_open=plan.keep_open,
    )
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    return Child(
        plan=plan,
        process=process,
        born=programs.birth_of(process.pid),
        started_s=now_s,
        log=open_log(logs / f"{plan.name}.log" if plan.logged else Path(os.devnull)),
    )


def _forked(plan: ChildPlan, forks: ForkServer | None) -> Forked | None:
    if forks is None or not forks.can_start(plan.command, plan.environment):
        return None
    with suppress(OSError):
        return forks.start(
            plan.command,
            name=plan.name,
            cwd=plan.cwd,
            death_signal=plan.death_signal,
            keep_open=plan.keep_open,
        )
    return None


def last_words(lines: Iterable[str], *, count: int = 6) -> str:
    """Return the end of what a program said without the frames of a traceback."""
    told = [line for line in lines if line.strip() and not line.startswith((" ", "Traceback"))]
    return "\n".join(told[-count:]) or "it said nothing"


def ending(code: int) -> str:
    """Return how a process ended, in words."""
    if code >= 0:
        return f"left with code {code}"
    with suppress(ValueError):
        return f"was ended by {signal.Signals(-code).name}"
    return f"was ended by signal {-code}"
