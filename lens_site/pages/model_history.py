"""What one model has been over time: its versions and prompts one after another, and its faults.

Both come from the newest live rows, as the figures above them do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from evaluation import queries as evaluation
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
    """What one hour's calls came to, and its bar in a box of ``WIDTH`` by ``HEIGHT``."""

    since: datetime
    asked: int
    faults: Mapping[str, int] = field(default_factory=dict)
    x: float
    width: float
    height: float
    fault_height: float

    @property
    def y(self) -> float:
        """Where the whole bar begins."""
        return round(HEIGHT - self.height, 2)

    @property
    def fault_y(self) -> float:
        """Where the part that failed begins."""
        return round(HEIGHT - self.fault_height, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The past of one model, as its page shows it."""

    eras: tuple[Era, ...]
    hours: tuple[Hour, ...]

    @property
    def faults(self) -> dict[str, int]:
        """How often it failed in the hours shown, by cause."""
        counts = Counter[str]()
        for hour in self.hours:
            counts.update(hour.faults)
        return dict(counts.most_common())

    @property
    def asked(self) -> int:
        """How often it was asked in the hours shown."""
        return sum(hour.asked for hour in self.hours)


def history_of(*, model: str, limit: int, now: datetime) -> History:
    """Return the past of a model over its newest live answers, at most ``limit``."""
    rows = evaluation.list_answered(model=model, limit=limit)
    return History(eras=tuple(_eras(rows)), hours=tuple(_hours(rows, now=now)))


def _eras(rows: Sequence[Answered]) -> list[Era]:
    """Return the eras, the newest first, each with what changed when it began."""
    eras: list[Era] = []
    for row in reversed(rows):
        if row.status != EvaluationStatus.DECIDED:
            continue
        last = eras[-1] if eras else None
        if last and (last.model_version, last.prompt) == (row.model_version, row.prompt):
            eras[-1] = _longer(last, until=row.finished_at)
            continue
        eras.append(
            Era(
                model_version=row.model_version,
                prompt=row.prompt,
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
    if last.prompt != row.prompt:
        yield "prompt"


def _hours(rows: Sequence[Answered], *, now: datetime) -> Iterator[Hour]:
    first = now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=HOURS - 1)
    by_hour: list[list[Answered]] = [[] for _ in range(HOURS)]
    for row in rows:
        place = int((row.finished_at - first) // timedelta(hours=1))
        if 0 <= place < HOURS:
            by_hour[place].append(row)
    most = max(map(len, by_hour)) or 1
    step = WIDTH / HOURS
    for place, found in enumerate(by_hour):
        faults = Counter(row.outcome for row in found if row.status == EvaluationStatus.ABSTAINED)
        yield Hour(
            since=first + timedelta(hours=place),
            asked=len(found),
            faults=dict(faults.most_common()),
            x=round(place * step, 2),
            width=round(step * 0.8, 2),
            height=_height(len(found), most),
            fault_height=_height(faults.total(), most),
        )


def _height(count: int, most: int) -> float:
    return round(max(LEAST, HEIGHT * count / most), 2) if count else 0.0
