"""Reading signals."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

from django.db.models import Count, Exists, OuterRef, Q, QuerySet

from pipeline.parsing import ids_beginning
from pipeline.prepared import Prepared
from pipeline.queue import RedisError, redis_client
from pipeline.types import Batch, Candidate
from signals.models import (
    DemoFeed,
    Hold,
    Hook,
    HookRefusal,
    Mute,
    Note,
    Replay,
    Signal,
    SpentKey,
)
from signals.types import OPEN_STATUSES, Origin, SignalStatus

COMPLAINT_KEPT = timedelta(minutes=10)

HELD: Prepared[Signal] = Prepared(
    lambda given: (
        Signal.objects.select_for_update()
        .filter(id__in=given.each(Signal, "id", name="ids"))
        .order_by("id")
    )
)
WAITING: Prepared[Signal] = Prepared(
    lambda given: Signal.objects.filter(
        event_id__in=given.each(Signal, "event_id", name="events"), status=given(Signal, "status")
    )
)


def get_signal(*, event_id: UUID) -> Signal | None:
    """Return one signal, with its replay if it is of one."""
    return Signal.objects.filter(event_id=event_id).select_related("replay").first()


def list_signals(*, filters: dict[str, object]) -> QuerySet[Signal]:
    """Select signals, newest first; ``filters`` are column look-ups."""
    return Signal.objects.filter(**filters).order_by("-id")


def get_neighbours(*, signal: Signal) -> tuple[Signal | None, Signal | None]:
    """Return the signals that came in just before and just after one."""
    before = Signal.objects.filter(id__lt=signal.id).order_by("-id").first()
    after = Signal.objects.filter(id__gt=signal.id).order_by("id").first()
    return before, after


def find_by_beginning(*, digits: str, limit: int) -> list[Signal]:
    """Return signals whose id begins with these hexadecimal digits."""
    first, last = ids_beginning(digits)
    return list(Signal.objects.filter(event_id__gte=first, event_id__lte=last)[:limit])


def list_waiting(*, event_ids: Sequence[UUID], status: SignalStatus) -> list[Signal]:
    """Return those of the signals that stand at ``status``."""
    return WAITING.rows(events=event_ids, status=status)


def hold(*, ids: Collection[int]) -> dict[int, Signal]:
    """Return signals by row id, held until the commit; taken in one order, so nobody waits long."""
    return {row.id: row for row in HELD.rows(ids=ids)}


def hold_evaluated(*, limit: int) -> list[Signal]:
    """Return fully judged signals, oldest first, held until the commit."""
    return _evaluated(limit).rows()


@cache
def _evaluated(limit: int) -> Prepared[Signal]:
    rows = Signal.objects.select_for_update().filter(status=SignalStatus.EVALUATED)
    return Prepared(lambda _: rows.only("id", "event_id", "run").order_by("id")[:limit])


def list_expired(*, now: datetime, limit: int) -> list[Signal]:
    """Return open signals whose validity has passed."""
    rows = Signal.objects.filter(status__in=OPEN_STATUSES, expires_at__lt=now)
    return list(rows.order_by("expires_at")[:limit])


def list_lapsed(*, event_ids: Collection[UUID], now: datetime) -> set[UUID]:
    """Return those of the signals whose validity has passed."""
    rows = Signal.objects.filter(event_id__in=event_ids, expires_at__lt=now)
    return set(rows.values_list("event_id", flat=True))


def get_backlog(*, now: datetime) -> tuple[int, timedelta]:
    """Return how many live signals are unfinished, and the age of the oldest still waiting."""
    live = Signal.objects.exclude(origin=Origin.REPLAY)
    waiting = live.filter(status=SignalStatus.ENQUEUED).order_by("id")  # as they came in
    unfinished = live.filter(status__in=OPEN_STATUSES).count()
    oldest = waiting.values_list("received_at", flat=True).first()
    return unfinished, (now - oldest) if oldest else timedelta(0)


def count_received(
    *, origin: Origin, since: datetime, until: datetime | None = None, most: int | None = None
) -> int:
    """Return how many signals of an origin came in within a span, which may be open to now.

    No more than ``most`` are counted.
    """
    rows = Signal.objects.filter(origin=origin, received_at__gte=since)
    if until is not None:
        rows = rows.filter(received_at__lt=until)
    return rows[:most].count()


def count_by_status(*, replay_id: UUID) -> dict[str, int]:
    """Return how many signals of one replay stand where."""
    rows = Signal.objects.filter(replay_id=replay_id).values_list("status")
    return dict(rows.annotate(n=Count("id")).order_by())


def slug_digest(slug: str) -> str:
    """Return what a webhook's slug is kept as; 192 random bits need neither salt nor pepper."""
    return hashlib.sha256(slug.encode("utf-8", "surrogatepass")).hexdigest()


def get_hook_by_slug(*, slug: str) -> Hook | None:
    """Return the webhook whose address ends in ``slug``."""
    return Hook.objects.filter(slug_sha256=slug_digest(slug)).first()


def get_hook(*, hook_id: UUID) -> Hook | None:
    """Return one webhook."""
    return Hook.objects.filter(pk=hook_id).first()


def list_hooks() -> list[Hook]:
    """Return every webhook, newest first."""
    return list(Hook.objects.order_by("-created_at", "id"))


def list_refusals(*, hook: Hook, limit: int = 20, after_id: int = 0) -> list[HookRefusal]:
    """Return the messages of a webhook that were refused lately, newest first."""
    rows = HookRefusal.objects.filter(hook=hook, id__gt=after_id)
    return list(rows.order_by("-id")[:limit])


def get_demo_feed() -> DemoFeed | None:
    """Return the demo of this desk; None if it never had one."""
    return DemoFeed.objects.first()


def has_live_signals() -> bool:
    """Say whether anybody has ever sent a signal of their own."""
    return Signal.objects.filter(origin=Origin.LIVE).exists()


def list_demo_ids(*, limit: int, ended_before: datetime | None = None) -> list[UUID]:
    """Return the ids of demo signals, oldest first; those that ended, or came before a moment."""
    rows = Signal.objects.filter(origin=Origin.DEMO).order_by("id")
    if ended_before is not None:
        has_ended = ~Q(status__in=OPEN_STATUSES)
        rows = rows.filter(has_ended | Q(received_at__lt=ended_before))
    return list(rows.values_list("event_id", flat=True)[:limit])


def latest_row_id() -> int:
    """Return the row id of the newest signal; 0 before the first."""
    return Signal.objects.order_by("-id").values_list("id", flat=True).first() or 0


def first_live_after(*, row_id: int, owners: Sequence[str]) -> Signal | None:
    """Return the first live signal after a row, of these owners if any are named."""
    rows = Signal.objects.filter(id__gt=row_id, origin=Origin.LIVE)
    if owners:
        rows = rows.filter(owner__in=owners)
    return rows.order_by("id").first()


@dataclass(frozen=True, slots=True, kw_only=True)
class Complaint:
    """Why the last message of a sender was no signal."""

    at: datetime
    detail: str
    faults: Sequence[dict[str, str]]


def latest_complaint(*, owners: Sequence[str], now: datetime) -> Complaint | None:
    """Return the newest refusal of these owners within ``COMPLAINT_KEPT``, at either door."""
    since = now - COMPLAINT_KEPT
    kept = HookRefusal.objects.filter(hook__owner__in=owners, at__gte=since).order_by("-id").first()
    found = (
        [] if kept is None else [Complaint(at=kept.at, detail=kept.complaint, faults=kept.faults)]
    )
    try:
        notes = redis_client().mget([complaint_name(each) for each in owners]) if owners else []
    except RedisError:
        notes = []
    for note in notes:
        if note:
            said = json.loads(note)
            at = datetime.fromisoformat(said["at"])
            found.append(Complaint(at=at, detail=said["detail"], faults=said["faults"]))
    return max(found, key=lambda complaint: complaint.at, default=None)


def complaint_name(owner: str) -> str:
    """Return under which name Redis keeps the last complaint about an owner."""
    return f"lens:complaint:{owner}"


def first_received_at() -> datetime | None:
    """Return when the oldest signal that is still stored came in."""
    return Signal.objects.order_by("id").values_list("received_at", flat=True).first()


def choose_purgeable(
    *, cutoff: datetime, after: tuple[datetime | None, int], limit: int, lock: bool
) -> list[Candidate]:
    """Return signals that ended before ``cutoff``, in the order of their ends.

    Held ones are among them, marked. Under ``lock`` they are locked, and those that somebody else
    has locked are passed over.
    """
    at, signal_id = after
    rows = Signal.objects.filter(terminal_at__lt=cutoff).annotate(is_held=Exists(_holds()))
    if at is not None:
        rows = rows.filter(Q(terminal_at__gt=at) | Q(terminal_at=at, id__gt=signal_id))
        rows = rows.filter(terminal_at__gte=at)
    if lock:
        rows = rows.select_for_update(skip_locked=True, of=("self",))
    found = rows.order_by("terminal_at", "id").values_list(
        "id", "event_id", "terminal_at", "is_held"
    )
    return [
        Candidate(signal_id, event_id, ended_at, is_held)
        for signal_id, event_id, ended_at, is_held in found[:limit]
        if ended_at is not None
    ]


def _holds() -> QuerySet[Hold]:
    """Select the holds in force that mean the signal of the outer query."""
    return Hold.objects.filter(
        Q(event_id=None) | Q(event_id=OuterRef("event_id")),
        Q(source="") | Q(source=OuterRef("source")),
        Q(symbol="") | Q(symbol=OuterRef("symbol")),
        Q(since=None) | Q(since__lte=OuterRef("received_at")),
        Q(until=None) | Q(until__gt=OuterRef("received_at")),
        lifted_at=None,
    )


def rows_to_purge(*, batch: Batch) -> list[QuerySet[Any]]:
    """Return what people wrote about signals, and the signals themselves."""
    return [
        Note.objects.filter(signal_id__in=batch.signals),
        Signal.objects.filter(id__in=batch.signals),
    ]


def list_notes(*, signal: Signal) -> list[Note]:
    """Return what people wrote about a signal, oldest first."""
    return list(Note.objects.filter(signal=signal).order_by("id"))


def list_mutes(*, person: str, now: datetime) -> list[Mute]:
    """Return what gives no notice to a person: by their own wish, and for the whole desk."""
    rows = Mute.objects.filter(Q(until=None) | Q(until__gt=now), person__in=["", person])
    return list(rows.order_by("kind", "value", "person"))


def get_mute(*, mute_id: int) -> Mute | None:
    """Return one mute."""
    return Mute.objects.filter(pk=mute_id).first()


def leftovers(*, cutoff: datetime, now: datetime, limit: int) -> list[QuerySet[Any]]:
    """Return keys whose time is over and replays without signals."""
    keys = SpentKey.objects.filter(until__lte=now).values_list("id", flat=True)
    replays = Replay.objects.filter(created_at__lt=cutoff, signal=None).values_list("id", flat=True)
    return [
        SpentKey.objects.filter(id__in=list(keys[:limit])),
        Replay.objects.filter(id__in=list(replays[:limit])),
    ]


def list_holds() -> list[Hold]:
    """Return the legal holds in force, newest first."""
    return list(Hold.objects.filter(lifted_at=None).order_by("-id"))
