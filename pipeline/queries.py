"""Reading the conveyor: timelines, depths, dead letters, signs of life."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any, ClassVar
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.db.models import (
    Case,
    Count,
    F,
    IntegerField,
    Max,
    Min,
    Model,
    OuterRef,
    QuerySet,
    Subquery,
    When,
)
from django.db.models.functions import Now

from pipeline import statements
from pipeline.models import (
    HELD_OR_COSTLY,
    AuditEvent,
    Chain,
    DeadLetter,
    Heartbeat,
    Purge,
    StageRun,
    Switch,
)
from pipeline.parsing import ids_beginning
from pipeline.prepared import Prepared
from pipeline.types import Batch, LetterStatus, PurgeStatus, RunStatus, SwitchName

GROUPS_MAX = 200
CLOCKS_APART = timedelta(minutes=1)
"""How far the clocks of two programs may be apart: rows of one moment lie so near one another."""

PAUSED: Prepared[Switch] = Prepared(
    lambda _: Switch.objects.filter(is_paused=True).order_by("name")
)
NEXT_DUE: Prepared[StageRun] = Prepared(
    lambda given: (
        StageRun.objects.filter(
            stage__in=given.each(StageRun, "stage", name="stages"), status=RunStatus.PENDING
        )
        .order_by("next_at")
        .values_list("next_at", Now())[:1]
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Depth:
    """How much unfinished work one stage has, and since when the oldest waits."""

    stage: str
    waiting: int
    oldest_at: datetime | None


def list_timeline(*, trace: UUID) -> list[AuditEvent]:
    """Return the trail of one signal, oldest first."""
    return list(AuditEvent.objects.filter(trace=trace).order_by("id"))


def list_runs(*, trace: UUID) -> list[StageRun]:
    """Return the units of work of one signal, oldest first."""
    return list(StageRun.objects.filter(trace=trace).order_by("id"))


def requests_of(*, traces: Collection[UUID]) -> dict[UUID, str]:
    """Return which request brought each signal, or asked for its present run."""
    rows = StageRun.objects.filter(trace__in=traces).exclude(request_id="").order_by("id")
    return dict(rows.values_list("trace", "request_id"))


def list_depths() -> list[Depth]:
    """Return the unfinished work that is already due, by stage."""
    rows = (
        StageRun.objects.unfinished()
        .filter(next_at__lte=Now())
        .values("stage")
        .annotate(waiting=Count("id"), oldest_at=Min("next_at"))
        .order_by("stage")
    )
    return [Depth(**row) for row in rows]


def survey(*, stages: Sequence[str]) -> dict[str, int]:
    """Return the stages that have due work, each with the most deaths that one piece has caused.

    Takes no lock: it only tells a worker where to look. What it costs does not grow with what
    waits: of that it looks for one piece, and deaths are counted where they can have been.
    """
    if not stages:
        return {}
    statement, values = _survey(tuple(stages), settings.LEASE_LOSSES_MAX)
    return {stage: deaths or 0 for stage, deaths in statements.read(statement, values)}


@cache  # composing it takes longer than running it
def _survey(stages: tuple[str, ...], losses_max: int) -> tuple[str, list[Any]]:
    deaths = Case(
        When(status=RunStatus.RUNNING, then=F("losses") + 1),
        default=F("losses"),
        output_field=IntegerField(),
    )
    parts, values = [], []
    for stage in stages:
        due = StageRun.objects.due(losses_max=losses_max).filter(stage=stage).order_by()
        costly = due.filter(HELD_OR_COSTLY).values("stage").annotate(worst=Max(deaths))
        any_due, due_values = due.values("id")[:1].query.sql_with_params()
        worst, worst_values = costly.values("worst").query.sql_with_params()
        parts.append(f"SELECT %s, ({worst}) WHERE EXISTS ({any_due})")
        values += [stage, *worst_values, *due_values]
    return " UNION ALL ".join(parts), values


def has_overdue(*, by: timedelta) -> bool:
    """Say whether due work has been left lying for longer than ``by``."""
    due = StageRun.objects.due(losses_max=settings.LEASE_LOSSES_MAX)
    return due.filter(next_at__lt=Now() - by).exists()


def seconds_until_due(*, stages: Collection[str]) -> float | None:
    """Return how long until the next waiting work falls due; None when nothing waits."""
    found = NEXT_DUE.rows(stages=stages)
    return None if not found else float((found[0][0] - found[0][1]).total_seconds())


def list_exhausted(*, limit: int) -> list[StageRun]:
    """Return work that nobody holds and nobody may claim again."""
    rows = StageRun.objects.exhausted(losses_max=settings.LEASE_LOSSES_MAX)
    return list(rows.order_by("id")[:limit])


def list_dead_letters(*, filters: dict[str, Any]) -> QuerySet[DeadLetter]:
    """Select dead letters, newest first; ``filters`` are column look-ups."""
    return DeadLetter.objects.filter(**filters).order_by("-created_at", "-id")


def get_dead_letter(*, letter_id: UUID) -> DeadLetter | None:
    """Return one dead letter."""
    return DeadLetter.objects.filter(id=letter_id).first()


def find_letters_by_beginning(*, digits: str, limit: int) -> list[DeadLetter]:
    """Return dead letters whose id begins with these hexadecimal digits."""
    first, last = ids_beginning(digits)
    return list(DeadLetter.objects.filter(id__gte=first, id__lte=last)[:limit])


def count_open_letters() -> int:
    """Return how many dead letters wait for an operator."""
    return DeadLetter.objects.filter(status=LetterStatus.OPEN).count()


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterGroup:
    """Dead letters that are alike: how many, since when, and the reason of the latest."""

    fingerprint: str
    stage: str
    code: str
    reason: str
    count: int
    first_at: datetime
    last_at: datetime

    STILL_WITHIN: ClassVar[timedelta] = timedelta(minutes=10)

    def is_still_happening(self, *, now: datetime) -> bool:
        """Say whether the latest of them is fresh: retrying would likely fail again."""
        return now - self.last_at < self.STILL_WITHIN


def group_letters(*, status: LetterStatus = LetterStatus.OPEN) -> list[LetterGroup]:
    """Return the dead letters by what they died of, the largest group first."""
    rows = DeadLetter.objects.filter(status=status)
    latest = rows.filter(fingerprint=OuterRef("fingerprint")).order_by("-created_at")
    groups = (
        rows.values("fingerprint", "stage", "code")
        .annotate(count=Count("id"), first_at=Min("created_at"), last_at=Max("created_at"))
        .annotate(reason=Subquery(latest.values("reason")[:1]))
        .order_by("-count", "fingerprint")[:GROUPS_MAX]
    )
    return [LetterGroup(**group) for group in groups]


def count_open_letters_by_stage() -> dict[str, int]:
    """Return how many dead letters wait for an operator, by stage."""
    rows = DeadLetter.objects.filter(status=LetterStatus.OPEN).values_list("stage")
    return dict(rows.annotate(many=Count("id")).order_by("stage"))


def list_heartbeats() -> Sequence[Heartbeat]:
    """Return every program that has ever reported, by kind and name."""
    return list(Heartbeat.objects.order_by("kind", "name"))


def database_now() -> datetime:
    """Return the database's clock, the only one that leases and waits are measured by."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("SELECT strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now')")
            return datetime.fromisoformat(str(cursor.fetchone()[0]))
        cursor.execute("SELECT clock_timestamp()")
        value: datetime = cursor.fetchone()[0]
        return value


def list_lines(*, traces: Collection[UUID], verb: str) -> list[AuditEvent]:
    """Return the lines of one kind in several trails."""
    return list(AuditEvent.objects.filter(trace__in=traces, verb=verb))


def list_switches() -> list[Switch]:
    """Return every switch, also those that nobody has ever thrown."""
    thrown = Switch.objects.in_bulk()
    return [thrown.get(name) or Switch(name=name) for name in SwitchName.values]


def list_paused() -> list[Switch]:
    """Return the switches that halt something now: what a banner on every page tells of."""
    return PAUSED.rows()


def is_paused(name: str) -> bool:
    """Say whether operators have halted ``name``."""
    return any(switch.name == name for switch in PAUSED.rows())


def rows_to_purge(*, batch: Batch) -> list[QuerySet[Any]]:
    """Return the work, the letters and the trails of signals that are being purged."""
    return [
        StageRun.objects.filter(trace__in=batch.events),
        DeadLetter.objects.filter(trace__in=batch.events),
        AuditEvent.objects.filter(trace__in=batch.events),
    ]


def list_in_hand(*, batch: Batch) -> Mapping[str, Collection[int]]:
    """Return signals with dead letters that are not resolved, or with unfinished work."""
    by_event = dict(zip(batch.events, batch.signals, strict=True))
    letters = DeadLetter.objects.exclude(status=LetterStatus.RESOLVED)
    runs = StageRun.objects.unfinished()
    settled_id = Chain.objects.values_list("settled_id", flat=True).first() or 0
    fresh = AuditEvent.objects.filter(id__gt=settled_id)

    def named(rows: QuerySet[Any]) -> set[int]:
        found = rows.filter(trace__in=batch.events).values_list("trace", flat=True)
        return {by_event[event_id] for event_id in found}

    return {
        "open dead letter": named(letters),
        "unfinished": named(runs),
        "not sealed yet": named(fresh),
    }


def get_chain() -> Chain | None:
    """Return how far the trail is sealed, and what its last verification found."""
    return Chain.objects.filter(id=1).first()


def get_purge() -> Purge | None:
    """Return the purge that runs, or was left running by a process that died."""
    return Purge.objects.filter(status=PurgeStatus.RUNNING).first()


def list_purges(*, limit: int) -> list[Purge]:
    """Return the last purges, newest first."""
    return list(Purge.objects.order_by("-id")[:limit])


def first_id(model: type[Model], column: str, *, at: datetime) -> int | None:
    """Return the id of the first row of ``at`` or later, found by halving; None if there is none.

    Rows get their ids in the order of ``column``, give or take what runs at the same time.
    """
    ids = model._default_manager.order_by("pk").values_list("pk", column)
    newest = ids.last()
    if newest is None or newest[1] < at:
        return None
    low, high = 0, newest[0]
    while low < high:
        middle = (low + high) // 2
        found = ids.filter(pk__gt=middle).first()
        if found is not None and found[1] < at:
            low = found[0]
        else:
            high = middle
    return low + 1
