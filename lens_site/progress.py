"""How far a long judging has come: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol, Self, TypeVar

from rich import progress as rich_progress

from lens_site.terminal import Terminal, in_seconds

LINE_EVERY_S = 5.0


class Progress(Protocol):
    """How many of how many are done."""

    @property
    def total(self) -> int:
        """How many there are."""

    @property
    def done(self) -> int:
        """How many of them have come to an end."""


Told = TypeVar("Told", bound=Progress, contravariant=True)


class Surroundings(Protocol[Told]):
    """What a door lends to a long judging: the clock, the waiting, and somebody to tell."""

    def now(self) -> datetime:
        """Return the present moment."""

    def pause(self, seconds: float) -> None:
        """Let so much time pass."""

    def tell(self, progress: Told) -> None:
        """Hear how far it has come."""


class Lent:
    """A clock, and the progress of judging: a bar on a terminal, else a line now and then."""

    def __init__(self, terminal: Terminal, *, total: int) -> None:
        self._terminal = terminal
        self._bar = rich_progress.Progress(
            rich_progress.TextColumn("judged"),
            rich_progress.BarColumn(),
            rich_progress.MofNCompleteColumn(),
            rich_progress.TextColumn("{task.fields[rate]:.0f}/s"),
            rich_progress.TimeRemainingColumn(compact=True),
            console=terminal.console,
            transient=True,
            disable=not terminal.is_live,
        )
        self._task = self._bar.add_task("judged", total=total, rate=0.0)
        self._began_s = self._told_s = time.monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._bar.stop()

    def now(self) -> datetime:
        return datetime.now(UTC)

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)

    def tell(self, progress: Progress) -> None:
        now_s = time.monotonic()
        rate = progress.done / max(now_s - self._began_s, 0.001)
        self._bar.update(self._task, completed=progress.done, rate=rate)
        if self._terminal.is_live or now_s - self._told_s < LINE_EVERY_S:
            return
        self._told_s = now_s
        left_s = (progress.total - progress.done) / rate if rate else 0.0
        left = f", about {in_seconds(left_s)} left" if rate else ""
        self._terminal.line(f"{progress.done} of {progress.total} judged, {rate:.0f}/s{left}")
