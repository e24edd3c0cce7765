"""How the house is doing: what the health page shows, measured over a bounded window.

Nothing here grows with the number of stored signals: rates and percentiles come from the newest
rows alone, so they say over how many and since when.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.db import connection

from decisions.models import Decision
from evaluation import queries as evaluation
from evaluation.models import ModelState
from evaluation.types import ALL_MODELS
from lens_site.pages.ranks import at_share
from markets import queries as markets
from markets.types import CircuitPhase, ProviderState
from pipeline import queries as pipeline
from pipeline import queue
from pipeline.models import Heartbeat, StageRun, Switch
from pipeline.types import RunStatus
from signals.models import Signal
from signals.types import Origin

WINDOW = timedelta(minutes=15)
ROWS = 400
"""The newest rows that are looked at, so that a page costs the same on a desk of any size."""

TARGETS_MS: Mapping[str, float] = {
    "enrich": 2_000,
    "evaluate": 3_000,
    "jury": 1_000,
    "publish": 1_000,
    "whole": 6_000,
}
ERRORS_TARGET_FRAC = 0.01
WAITING_TOO_LONG = timedelta(seconds=30)
DISK_LOW_FRAC = 0.05
CLOCK_OFF = timedelta(seconds=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """One station of the pipeline; what nobody has measured lately is None."""

    key: str
    waiting: int = 0
    oldest_s: float | None = None
    p95_ms: float | None = None
    target_ms: float = 0.0
    per_min: float | None = None
    done: int = 0
    failed: int = 0

    @property
    def is_slow(self) -> bool:
        """Whether the target is missed."""
        return self.p95_ms is not None and self.p95_ms > self.target_ms

    @property
    def is_stuck(self) -> bool:
        """Whether work lies for too long."""
        return self.oldest_s is not None and self.oldest_s > WAITING_TOO_LONG.total_seconds()

    @property
    def is_failing(self) -> bool:
        """Whether more fails than may."""
        total = self.done + self.failed
        return bool(total) and self.failed / total > ERRORS_TARGET_FRAC

    @property
    def is_well(self) -> bool:
        """Whether there is nothing to say against it."""
        return not (self.is_slow or self.is_stuck or self.is_failing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependency:
    """Something the house leans on: whether it is there, and what is known of it."""

    name: str
    is_ok: bool
    said: str = ""
    took_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One running program, what it holds now, and whether its version is another than ours."""

    beat: Heartbeat
    holds: int
    is_silent: bool
    is_other_version: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Everything the health page tells."""

    boxes: Sequence[Box]
    dependencies: Sequence[Dependency]
    providers: Sequence[ProviderState]
    models: Sequence[ModelState]
    programs: Sequence[Program]
    switches: Sequence[Switch]
    letters: int
    spent_usd: float | None

    @property
    def missing(self) -> list[str]:
        """The kinds of program of which none reports."""
        alive = {each.beat.kind for each in self.programs if not each.is_silent}
        return [kind for kind in ("worker", "conductor") if kind not in alive]

    @property
    def failing_models(self) -> list[ModelState]:
        """Models that are left alone after faults just now."""
        return [row for row in self.models if row.open_until and row.name != ALL_MODELS]

    @property
    def failing_providers(self) -> list[ProviderState]:
        """Markets that are not asked just now."""
        return [each for each in self.providers if each.phase is not CircuitPhase.CLOSED]


def examine(*, now: datetime) -> Condition:
    """Return how the house is doing at ``now``."""
    return Condition(
        boxes=_boxes(now),
        dependencies=_dependencies(now),
        providers=markets.provider_states(),
        models=[row for row in evaluation.list_model_states() if _concerns(row, now)],
        programs=_programs(now),
        switches=pipeline.list_switches(),
        letters=pipeline.count_open_letters(),
        spent_usd=evaluation.spent_on(day=now.date()).get(ALL_MODELS),
    )


def _boxes(now: datetime) -> list[Box]:
    depths = {each.stage: each for each in pipeline.list_depths()}
    runs = _ended_runs(since=now - WINDOW)
    boxes = []
    for stage in ("enrich", "evaluate", "jury"):
        took = [ms for name, status, ms in runs if name == stage and status == RunStatus.DONE]
        failed = sum(name == stage and status == RunStatus.FAILED for name, status, _ in runs)
        depth = depths.get(stage)
        boxes.append(
            Box(
                key=stage,
                waiting=depth.waiting if depth else 0,
                oldest_s=_age_s(depth.oldest_at if depth else None, now),
                p95_ms=at_share(took, 0.95),
                target_ms=TARGETS_MS[stage],
                per_min=len(took) / (WINDOW.total_seconds() / 60),
                done=len(took),
                failed=failed,
            )
        )
    return [*boxes, _publishing(now), _whole(now)]


def _ended_runs(*, since: datetime) -> list[tuple[str, str, float]]:
    """Return stage, state and duration of the newest pieces of work that ended since then."""
    rows = StageRun.objects.order_by("-id").values_list(
        "stage", "status", "claimed_at", "finished_at"
    )[:ROWS]
    return [
        (stage, status, (finished - claimed).total_seconds() * 1_000)
        for stage, status, claimed, finished in rows
        if claimed is not None and finished is not None and finished >= since
    ]


def _publishing(now: datetime) -> Box:
    waiting = Decision.objects.filter(published_at=None, withheld="").order_by("evaluated_at")
    oldest = waiting.values_list("evaluated_at", flat=True).first()
    rows = Decision.objects.filter(seq__isnull=False).order_by("-seq")
    times = rows.values_list("evaluated_at", "published_at")[:ROWS]
    took = [
        (published - evaluated).total_seconds() * 1_000
        for evaluated, published in times
        if published is not None and published >= now - WINDOW
    ]
    return Box(
        key="publish",
        waiting=waiting[:ROWS].count(),
        oldest_s=_age_s(oldest, now),
        p95_ms=at_share(took, 0.95),
        target_ms=TARGETS_MS["publish"],
        per_min=len(took) / (WINDOW.total_seconds() / 60),
        done=len(took),
    )


def _whole(now: datetime) -> Box:
    """Return the way of whole signals, from the door until they were out."""
    rows = Signal.objects.order_by("-id").values_list(
        "origin", "status", "received_at", "terminal_at"
    )[:ROWS]
    recent = [row for row in rows if row[0] == Origin.LIVE and row[2] >= now - WINDOW]
    took = [
        (ended - received).total_seconds() * 1_000
        for _, status, received, ended in recent
        if ended is not None and status == "PUBLISHED"
    ]
    return Box(
        key="whole",
        p95_ms=at_share(took, 0.95),
        target_ms=TARGETS_MS["whole"],
        per_min=len(recent) / (WINDOW.total_seconds() / 60),
        done=len(took),
        failed=sum(status == "DEAD" for _, status, _, _ in recent),
    )


def _dependencies(now: datetime) -> list[Dependency]:
    started = time.perf_counter()
    clock = pipeline.database_now()
    took_ms = (time.perf_counter() - started) * 1_000
    offset = abs(now - clock)
    found = [
        Dependency(name="database", is_ok=True, said=_database_said(), took_ms=took_ms),
        Dependency(
            name="clock",
            is_ok=offset < CLOCK_OFF,
            said=f"{offset.total_seconds() * 1_000:.0f} ms from the database's",
        ),
    ]
    started = time.perf_counter()
    answers = queue.is_answering()
    took_ms = (time.perf_counter() - started) * 1_000
    said = "" if answers else "no answer: signals are accepted and judged, a second or so later"
    found.append(Dependency(name="Redis", is_ok=answers, said=said, took_ms=took_ms))
    disk = shutil.disk_usage(settings.VAR_DIR if settings.VAR_DIR.exists() else Path("/"))
    free = disk.free / disk.total
    found.append(
        Dependency(
            name="disk", is_ok=free > DISK_LOW_FRAC, said=f"{disk.free / 2**30:.1f} GiB free"
        )
    )
    return found


def _database_said() -> str:
    if connection.vendor == "sqlite":
        path = Path(str(connection.settings_dict["NAME"]))
        size = path.stat().st_size if path.exists() else 0
    else:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_database_size(current_database())")
            size = int(cursor.fetchone()[0])
    return f"{connection.vendor}, {size / 2**20:.0f} MiB"


def _programs(now: datetime) -> list[Program]:
    held: dict[str, int] = {}
    running = StageRun.objects.filter(status=RunStatus.RUNNING).values_list("worker", flat=True)
    for worker in running[:ROWS]:
        held[worker] = held.get(worker, 0) + 1
    return [
        Program(
            beat=beat,
            holds=held.get(beat.name, 0),
            is_silent=now - beat.seen_at > Heartbeat.STALE_AFTER,
            is_other_version=beat.version != settings.VERSION,
        )
        for beat in pipeline.list_heartbeats()
    ]


def _concerns(row: ModelState, now: datetime) -> bool:
    del now
    return row.name == ALL_MODELS or row.name in settings.AI_MODELS


def _age_s(at: datetime | None, now: datetime) -> float | None:
    return None if at is None else max(0.0, (now - at).total_seconds())
