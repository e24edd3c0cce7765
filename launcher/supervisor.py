"""Keeping children alive and stopping them in order. One thread, so no child outlives us."""

from __future__ import annotations

import math
import select
import selectors
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import FrameType
from typing import Final

from launcher.children import Child, ChildPlan, ending, last_words, start_child
from launcher.forkserver import ForkServer
from launcher.terminal import Screen, Stop

QUICK_DEATH_S: Final = 10.0
QUICK_DEATHS_ALLOWED: Final = 5
FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 15.0
TICK_S: Final = 0.2
LOOK_S: Final = 0.02  # while somebody waits for what comes next
KILL_WAIT_S: Final = 5.0

OnLine = Callable[[str], None]


class Interrupted(Exception):
    """A person or the system asked us to stop."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal.Signals(signal_number).name)
        self.signal_number = signal_number


class GaveUp(Stop):
    """A child died too often in a row."""


@dataclass(slots=True)
class _Waiting:
    plan: ChildPlan
    due_s: float


class Supervisor:
    """Starts children, restarts the dead with growing pauses, stops all in order."""

    def __init__(
        self,
        *,
        screen: Screen,
        logs: Path,
        on_change: Callable[[Mapping[str, Child]], None] = lambda children: None,
        first_pause_s: float = FIRST_PAUSE_S,
        quick_death_s: float = QUICK_DEATH_S,
    ) -> None:
        self._screen = screen
        self._logs = logs
        self._on_change = on_change
        self._first_pause_s = first_pause_s
        self._quick_death_s = quick_death_s
        self._children: dict[str, Child] = {}
        self._waiting: list[_Waiting] = []
        self._quick_deaths: dict[str, int] = {}
        self._selector = selectors.DefaultSelector()
        self._signals: list[int] = []
        self._stopping = False
        self._forks: ForkServer | None = None

    @property
    def has_fork_server(self) -> bool:
        """Whether a fork server runs, is on its way or will come back."""
        return self._forks is not None

    @property
    def children(self) -> Mapping[str, Child]:
        """Return the children that run now, by name."""
        return self._children

    def listen_to_signals(self) -> None:
        """Turn Ctrl-C, SIGTERM and SIGHUP into an ordered stop."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._note_signal)

    def _note_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals.append(number)

    def fork_from(self, forks: ForkServer, plan: ChildPlan) -> None:
        """Start a fork server; whatever it can start is forked from it once it is ready."""
        self._forks = forks
        self.start(plan)

    def start(self, plan: ChildPlan) -> None:
        """Start a child and keep it alive from now on."""
        child = self._begin(plan)
        self._children[plan.name] = child
        self._selector.register(child.pipe, selectors.EVENT_READ, child)
        self._on_change(self._children)

    def tick(self, timeout_s: float = TICK_S) -> None:
        """Pass on output, restart the dead, notice signals.

        :raises Interrupted: when a signal asked us to stop.
        :raises GaveUp: when a child died too often.
        """
        self._pump(timeout_s)
        if self._signals and not self._stopping:
            raise Interrupted(self._signals[0])
        for child in [child for child in self._children.values() if not child.is_running()]:
            self._bury(child)
        now_s = time.monotonic()
        for waiting in [waiting for waiting in self._waiting if waiting.due_s <= now_s]:
            self._waiting.remove(waiting)
            self.start(waiting.plan)

    def wait_until(self, check: Callable[[], bool], *, within_s: float) -> bool:
        """Keep the children going until a check holds; return whether it did in time."""
        deadline_s = time.monotonic() + within_s
        while not check():
            if time.monotonic() >= deadline_s:
                return False
            self.tick(LOOK_S)
        return True

    def run_to_end(
        self,
        plan: ChildPlan,
        *,
        on_line: OnLine = lambda line: None,
        within_s: float = math.inf,
    ) -> tuple[int, Sequence[str]]:
        """Run one command beside the children; return its code and its last lines.

        Edges: one that takes too long is killed, and ends as whatever the kernel killed does.
        """
        child = self._begin(plan)
        deadline_s = child.started_s + within_s
        try:
            while child.is_running():
                select.select([child.pipe], [], [], LOOK_S)
                child.read(on_line)
                self.tick(0)
                if time.monotonic() > deadline_s:
                    child.kill()
            while child.read(on_line):
                pass
            return child.process.returncode, tuple(child.last_lines)
        finally:
            if child.is_running():
                child.kill()
                child.process.wait()
            child.close()

    def stop(self) -> None:
        """Stop all children, the lowest order first; a second signal kills what is left."""
        self._stopping = True
        self._waiting.clear()
        self._signals = self._signals[:1]
        by_order = sorted(self._children.values(), key=lambda child: child.plan.stop_order)
        for _, group in groupby(by_order, key=lambda child: child.plan.stop_order):
            self._stop_together(list(group))
        self._on_change(self._children)

    def _stop_together(self, group: list[Child]) -> None:
        began_s = time.monotonic()
        for child in group:
            child.ask_to_stop()
        within_s = max(child.plan.stop_within_s for child in group)
        while any(child.is_running() for child in group):
            if len(self._signals) > 1 or time.monotonic() - began_s > within_s:
                break
            self._pump(0.05)
        for child in group:
            self._end(child)

    def _end(self, child: Child) -> None:
        if child.is_running():
            self._screen.child("lens", f"{child.plan.name} did not stop in time, killed")
        child.kill()  # also what it may have started itself
        with suppress(Exception):
            child.process.wait(KILL_WAIT_S)
        self._forget(child)

    def _is_fork_server(self, child: Child) -> bool:
        return self._forks is not None and self._forks.descriptor in child.plan.keep_open

    def _is_forking(self) -> bool:
        """Say whether the fork server that has just ended ever could fork, and know it lost.

        One that could not even import the application is not started again: the programs, which
        are started anew, say better than it what is wrong.
        """
        if self._forks is None or not self._forks.is_ready():
            return False
        self._forks.lost()
        return True

    def _begin(self, plan: ChildPlan) -> Child:
        return start_child(plan, logs=self._logs, now_s=time.monotonic(), forks=self._forks)

    def _pump(self, timeout_s: float) -> None:
        if not self._selector.get_map():
            time.sleep(timeout_s)
            return
        for key, _ in self._selector.select(timeout_s):
            child: Child = key.data
            if not child.read(self._line_of(child)):
                self._selector.unregister(key.fd)

    def _line_of(self, child: Child) -> OnLine:
        def show(line: str) -> None:
            if child.plan.shown:
                self._screen.child(child.plan.name, line)

        return show

    def _forget(self, child: Child) -> None:
        while child.read(self._line_of(child)):
            if not _has_more(child):
                break
        with suppress(KeyError):
            self._selector.unregister(child.pipe)
        child.close()
        self._children.pop(child.plan.name, None)

    def _bury(self, child: Child) -> None:
        name, code = child.plan.name, child.process.returncode
        has_failed = self._is_fork_server(child) and not self._is_forking()
        child.kill()
        self._forget(child)
        if has_failed:
            self._forks = None
            self._on_change(self._children)
            return
        lived_s = time.monotonic() - child.started_s
        deaths = self._quick_deaths.get(name, 0) + 1 if lived_s < self._quick_death_s else 1
        self._quick_deaths[name] = deaths
        if deaths >= QUICK_DEATHS_ALLOWED:
            raise GaveUp(
                f"{name} died {deaths} times in a row, it {ending(code)}",
                why=last_words(child.last_lines),
                todo=f"read {self._logs / name}.log, then start again",
            )
        pause_s = min(self._first_pause_s * 2 ** (deaths - 1), LONGEST_PAUSE_S)
        self._waiting.append(_Waiting(child.plan, time.monotonic() + pause_s))
        self._screen.child("lens", f"{name} {ending(code)}, again in {pause_s:.1f} s")
        self._on_change(self._children)


def _has_more(child: Child) -> bool:
    return bool(select.select([child.pipe], [], [], 0)[0])
