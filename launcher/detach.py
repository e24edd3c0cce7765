"""`up --detach`: the supervisor lives on without a terminal; we relay its words until ready."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Final

from launcher import programs
from launcher.children import open_log
from launcher.claim import Claim
from launcher.places import ROOT, Places, make_private

STOPPED_BY_HAND: Final = 130


def bring_up_apart(
    where: Places, arguments: Sequence[str], *, live: bool, tied: bool = False, hidden: bool = False
) -> int:
    """Start a supervisor of its own and return its code, 0 as soon as it is ready."""
    make_private(where)
    process = programs.start_apart(
        [
            sys.executable,
            ROOT / "lens",
            "up",
            *arguments,
            "--as-child",
            "live" if live else "plain",
        ],
        environment=os.environ,
        tied=tied,
    )
    assert process.stdout is not None
    try:
        while chunk := os.read(process.stdout.fileno(), 65536):
            if not hidden:
                sys.stdout.buffer.write(chunk)
                sys.stdout.flush()
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        return STOPPED_BY_HAND
    running = Claim(where).read()
    if running and running.pid == process.pid and running.status == "ready":
        return 0
    return process.wait()


def leave_terminal(where: Places) -> None:
    """Let go of the terminal: from now on our own lines go to a log."""
    with open_log(where.log / "lens.log") as log:
        sys.stdout.flush()
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
