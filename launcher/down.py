"""`down`, `status` and `logs`: what other terminals can do with the running desk."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from launcher.claim import Claim, Running, end_leftovers, log_tail
from launcher.places import Places
from launcher.questions import Answer, ask, complaints
from launcher.terminal import OWN_NAME, Screen, Stop, seconds

STOP_WITHIN_S: Final = 75.0  # web 5 s, conductor and workers 22 s each, Redis 15 s
KILL_WITHIN_S: Final = 5.0
FOLLOW_EVERY_S: Final = 0.3


class WouldNotStop(Stop):
    """The supervisor did not end."""


class NoSuchLog(Stop):
    """No log carries that name."""


def bring_down(where: Places, screen: Screen, *, now: bool = False, quietly: bool = False) -> int:
    """Stop the desk in order and return when nothing of it is left.

    :raises WouldNotStop: when the supervisor does not end.
    """
    claim = Claim(where)
    running = claim.read()
    if not claim.is_held():
        ended = end_leftovers(running)
        claim.clear()
        text = f"ended what was left over: {', '.join(ended)}" if ended else "nothing is running"
        _say(screen, text, quietly=quietly, status="down", ended=ended)
        return 0
    if running is None:
        raise WouldNotStop(
            f"somebody holds {where.run / 'up.lock'} without saying who",
            todo="it may just be starting: try again in a moment",
        )
    began_s = time.monotonic()
    _end_supervisor(claim, running, now=now)
    end_leftovers(running)
    claim.clear()
    took_s = time.monotonic() - began_s
    _say(screen, f"stopped in {seconds(took_s)}", quietly=quietly, status="down", took_s=took_s)
    return 0


def _end_supervisor(claim: Claim, running: Running, *, now: bool) -> None:
    steps = [(signal.SIGKILL, KILL_WITHIN_S)]
    if not now:
        steps = [(signal.SIGTERM, STOP_WITHIN_S), *steps]
    for number, within_s in steps:
        with suppress(ProcessLookupError):
            try:
                os.kill(running.pid, number)
            except PermissionError as error:
                raise WouldNotStop(
                    f"the desk belongs to another user (pid {running.pid})",
                    todo="stop it as that user or with sudo",
                ) from error
        if claim.wait_released(within_s=within_s):
            return
    raise WouldNotStop(f"pid {running.pid} did not end", todo=f"kill -9 {running.pid}")


def _say(screen: Screen, text: str, *, quietly: bool, **facts: object) -> None:
    if screen.machine and not quietly:
        screen.report(facts)
    elif not quietly:
        screen.line(text)


def show_status(where: Places, screen: Screen) -> int:
    """Print what runs; return 0 when the desk is ready and 1 when it is not."""
    claim = Claim(where)
    running = claim.read() if claim.is_held() else None
    if running is None:
        if screen.machine:
            screen.report({"status": "down", "ready": False, "last_end": claim.last_end()})
        screen.line("nothing is running; start it with ./lens up")
        if claim.last_end():
            screen.fail("last run", claim.last_end())
        return 1
    answer = ask(running.url, "/ready") if running.url else Answer(0, "")
    if screen.machine:
        screen.report(_status_facts(running, answer))
    else:
        _print_status(running, screen, answer)
    return 0 if answer.code == 200 else 1


def _status_facts(running: Running, answer: Answer) -> dict[str, Any]:
    pids = {name: child["pid"] for name, child in running.children.items()}
    facts = {"status": running.status, "pid": running.pid, "url": running.url, "children": pids}
    return {**facts, "ready": answer.code == 200, "dependencies": _parsed(answer.body)}


def _print_status(running: Running, screen: Screen, answer: Answer) -> None:
    since = datetime.fromtimestamp(running.started_at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    screen.line(f"{running.status}  pid {running.pid}  {running.url}  since {since}")
    for name, child in running.children.items():
        screen.done(name, f"pid {child['pid']}")
    if answer.code == 200:
        screen.done("ready", "all dependencies answer")
        return
    screen.fail("ready", f"/ready says {answer.code or 'nothing'}")
    for complaint in complaints(answer.body):
        screen.line(f"  {complaint}")


def _parsed(body: str) -> object:
    try:
        return json.loads(body)
    except ValueError:
        return None


def show_logs(
    where: Places, screen: Screen, *, names: Sequence[str], count: int, follow: bool
) -> int:
    """Print the last lines of the logs, and go on printing them when asked to follow.

    :raises NoSuchLog: when a named log does not exist.
    """
    paths = _log_paths(where, names)
    ends = {}
    for path in paths:
        ends[path] = path.stat().st_size
        for line in log_tail(path, count):
            _show_line(screen, path, line)
    while follow:
        time.sleep(FOLLOW_EVERY_S)
        for path in _log_paths(where, names):
            ends[path] = _print_since(path, ends.get(path, 0), screen)
    return 0


def _show_line(screen: Screen, path: Path, line: str) -> None:
    own = line.startswith(OWN_NAME)  # the supervisor's lines carry their name already
    screen.always(line) if own else screen.child(path.stem, line)


def _log_paths(where: Places, names: Sequence[str]) -> list[Path]:
    found = {path.stem: path for path in sorted(where.log.glob("*.log"))}
    unknown = [name for name in names if name not in found]
    if unknown:
        raise NoSuchLog(
            f"there is no log named {', '.join(unknown)}",
            why=f"there are: {', '.join(found) or 'none yet'}",
            todo="./lens logs shows all of them",
        )
    return [found[name] for name in names] if names else list(found.values())


def _print_since(path: Path, offset: int, screen: Screen) -> int:
    size = path.stat().st_size
    if size <= offset:
        return size  # unchanged, or set aside and begun anew
    with path.open("rb") as file:
        file.seek(offset)
        content = file.read(size - offset)
    whole, _, rest = content.rpartition(b"\n")
    for line in whole.decode("utf-8", "replace").splitlines():
        _show_line(screen, path, line)
    return size - len(rest)
