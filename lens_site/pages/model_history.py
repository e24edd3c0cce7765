"""What one model has been over time: its versions and prompts one after another, and its faults.

Both come from the newest live answers, as the figures above them do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from evaluation.queries import Answered
from evaluation.types import EvaluationStatus

HOURS = 24
WIDTH, HEIGHT = 100.0, 24.0
LEAST = 2.0
"""How high the smallest bar is, so that one answer in a busy hour is still seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Era:
    """A time in which version and prompt stayed the same."""

    model_version: str
    prompt: str
    since: datetime
    until: datetime
    decided: int
    changed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Hour:
    """What one hour's calls came to."""

    since: datetime
    asked: int
    faults: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hours:
    """The last ``HOURS``, oldest first."""

    hours: tuple[Hour, ...]

    @property
    def faults(self) -> dict[str, int]:
        """How often there was no verdict in these hours, by cause, the most frequent first."""
        counts = Counter[str]()
        for hour in self.hours:
            counts.update(hour.faults)
        return dict(counts.most_common())

    @property
    def asked(self) -> int:
        """How often somebody was asked in these hours."""
        return sum(hour.asked for hour in self.hours)

    @property
    def table(self) -> list[tuple[Hour, list[int]]]:
        """The hours with faults, newest first, each with its count of every cause."""
        causes = self.faults
        return [
            (hour, [hour.faults.get(cause, 0) for cause in causes])
            for hour in reversed(self.hours)
            if hour.faults
        ]

    @property
    def asked_path(self) -> str:
        """The bars of what was asked, as a path in a box of ``WIDTH`` by ``HEIGHT``."""
        return self._path([hour.asked for hour in self.hours])

    @property
    def fault_path(self) -> str:
        """The part of the bars that failed."""
        return self._path([sum(hour.faults.values()) for hour in self.hours])

    def _path(self, counts: Sequence[int]) -> str:
        most = max(hour.asked for hour in self.hours) or 1
        step = WIDTH / HOURS
        return "".join(
            f"M{place * step:.2f} {HEIGHT:g}v-{max(LEAST, HEIGHT * count / most):.2f}"
            f"h{step * 0.8:.2f}V{HEIGHT:g}z"
            for place, count in enumerate(counts)
            if count
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The past of one model, as its page shows it."""

    eras: tuple[Era, ...]
    hours: Hours


def history_of(*, rows: Sequence[Answered], now: datetime) -> History:
    """Return the past of a model over its newest live answers."""
    return History(eras=tuple(_eras(rows)), hours=hours_of(rows=rows, now=now))


def _eras(rows: Sequence[Answered]) -> list[Era]:
    """Return the eras, the newest first, each with what changed when it began."""
    eras: list[Era] = []
    for row in reversed(rows):
        if row.status != EvaluationStatus.DECIDED:
            continue
        last = eras[-1] if eras else None
        if last and (last.model_version, last.prompt) == (row.model_version, row.prompt or ""):
            eras[-1] = _longer(last, until=row.finished_at)
            continue
        eras.append(
            Era(
                model_version=row.model_version,
                prompt=row.prompt or "",
                since=row.finished_at,
                until=row.finished_at,
                decided=1,
                changed=tuple(_changes(last, row)),
            )
        )
    return eras[::-1]


def _longer(era: Era, *, until: datetime) -> Era:
    return Era(
        model_version=era.model_version,
        prompt=era.prompt,
        since=era.since,
        until=until,
        decided=era.decided + 1,
        changed=era.changed,
    )


def _changes(last: Era | None, row: Answered) -> Iterator[str]:
    if last is None:
        return
    if last.model_version != row.model_version:
        yield "version"
    if last.prompt != (row.prompt or ""):
        yield "prompt"


def hours_of(*, rows: Iterable[Answered], now: datetime) -> Hours:
    """Return hour by hour how often models were asked of late, and why there was no verdict."""
    first = now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=HOURS - 1)
    asked = [0] * HOURS
    faults: list[Counter[str]] = [Counter() for _ in range(HOURS)]
    for row in rows:
        place = int((row.finished_at - first) // timedelta(hours=1))
        if 0 <= place < HOURS:
            asked[place] += 1
            if row.status == EvaluationStatus.ABSTAINED:
                faults[place][row.outcome] += 1
    return Hours(
        hours=tuple(
            Hour(
                since=first + timedelta(hours=place),
                asked=asked[place],
                faults=dict(faults[place].most_common()),
            )
            for place in range(HOURS)
        )
    )
