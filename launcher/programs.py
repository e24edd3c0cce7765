"""Starting other programs: the only importer of subprocess, and what ties a child to us."""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Final

PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
PIPE: Final = subprocess.PIPE
TOO_LATE: Final = 124  # as the `timeout` program says it


def tied_to_us(death_signal: int = signal.SIGKILL) -> Callable[[], None] | None:
    """Return what a new child runs so that the kernel signals it when we die; None elsewhere."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def tie() -> None:
        prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != parent:  # we died before the tie was made
            os._exit(1)

    return tie


def run(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout_s: float | None = None,
    user: int | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end and return its code and everything it wrote.

    Edges: a program that takes too long is killed and counts as code 124, with a line saying so.
    """
    try:
        return subprocess.run(  # noqa: S603 - fixed programs, never a shell
            [str(part) for part in command],
            env=environment,
            cwd=cwd,
            timeout=timeout_s,
            user=user,
            group=_group_of(user),
            extra_groups=[] if user is not None else None,
            input="",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            preexec_fn=tied_to_us(),
        )
    except subprocess.TimeoutExpired as late:
        said = late.output.decode("utf-8", "replace") if isinstance(late.output, bytes) else ""
        complaint = f"{said}\n{command[0]} did not end within {timeout_s:g} s"
        return subprocess.CompletedProcess(late.cmd, TOO_LATE, complaint)


def call(command: Sequence[str | Path], *, environment: Mapping[str, str]) -> int:
    """Run a program here, on this terminal, and return its code; Ctrl-C is its to answer."""
    process = subprocess.Popen(  # noqa: S603 - fixed programs, never a shell
        [str(part) for part in command],
        env=environment,
        preexec_fn=tied_to_us(signal.SIGTERM),
    )
    interrupted = 0
    while True:
        try:
            code = process.wait()
            return 128 - code if code < 0 else code
        except KeyboardInterrupt:
            interrupted += 1
            if interrupted > 1:
                process.kill()


def start(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    output: int | IO[bytes] = PIPE,
    death_signal: int | None = signal.SIGKILL,
    user: int | None = None,
    keep_open: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own, its output and errors together."""
    return subprocess.Popen(  # noqa: S603 - fixed programs, never a shell
        [str(part) for part in command],
        env=environment,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        user=user,
        group=_group_of(user),
        extra_groups=[] if user is not None else None,
        start_new_session=True,
        pass_fds=tuple(keep_open),
        preexec_fn=None if death_signal is None else tied_to_us(death_signal),
    )


def start_apart(
    command: Sequence[str | Path], *, environment: Mapping[str, str], tied: bool
) -> subprocess.Popen[bytes]:
    """Start a supervisor without a terminal: its output comes to us, errors go where ours go."""
    return subprocess.Popen(  # noqa: S603 - fixed programs, never a shell
        [str(part) for part in command],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=tied_to_us(signal.SIGTERM) if tied else None,
    )


def _group_of(user: int | None) -> int | None:
    if user is None:
        return None
    return pwd.getpwuid(user).pw_gid


def is_alive(pid: int, born: str) -> bool:
    """Return whether a process still runs and is the one that was born then."""
    return bool(born) and birth_of(pid) == born


def birth_of(pid: int) -> str:
    """Return what tells a process from a later one with the same number; empty when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "" if Path("/proc/self/stat").exists() else _birth_by_ps(pid)
    state, *rest = fields.rpartition(")")[2].split()
    return "" if state in "ZX" else rest[18]


def _birth_by_ps(pid: int) -> str:
    answer = run(["ps", "-o", "lstart=", "-p", str(pid)])
    return answer.stdout.strip() if answer.returncode == 0 else ""
