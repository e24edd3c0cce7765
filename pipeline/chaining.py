"""Chaining the trail: committed lines enter the hash chain in batches, none ever skipped.

Whoever writes lines knows nothing of this and waits for nobody. Ids are given before the commit, so
a line may come up late under a low id; lines are therefore sealed as they become visible, and the
place below which nothing can come any more moves only when everybody who was writing is done.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Max

from pipeline import anchors
from pipeline.chain import GENESIS, content_hash, moment, packed, seal_hash, unpacked
from pipeline.models import AuditEvent, Chain, Seal

WRITERS = """
SELECT virtualtransaction FROM pg_locks
WHERE locktype = 'relation' AND mode = 'RowExclusiveLock' AND granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND relation = %s::regclass AND pid IS DISTINCT FROM pg_backend_pid()
"""


def seal(*, now: datetime, limit: int) -> Seal | None:
    """Seal up to ``limit`` committed lines in one seal and return it; None when there are none."""
    if not _has_news():
        return None
    with transaction.atomic():
        chain = held_chain()
        last_id = _last_id()
        writers = _writers()
        settled_id = chain.barrier_id if set(writers).isdisjoint(chain.barrier) else 0
        if not writers:
            settled_id = last_id
        lines, all_of_them = _unsealed(chain, limit=limit)
        made = _write(lines, now=now) if lines else None
        if all_of_them and settled_id > chain.settled_id:
            chain.settled_id = settled_id
        if all_of_them and chain.settled_id >= chain.barrier_id:
            chain.barrier_id, chain.barrier = last_id, writers
        chain.save(update_fields=["settled_id", "barrier_id", "barrier"])
    return made


def held_chain() -> Chain:
    """Return the chain's row, held; the first sealing makes it."""
    held = Chain.objects.select_for_update()
    return held.filter(id=1).first() or held.get_or_create(id=1)[0]


def line_hash(line: AuditEvent) -> str:
    """Return the hash of one line as it is stored."""
    return content_hash(
        {
            "id": line.id,
            "trace": None if line.trace is None else str(line.trace),
            "run": line.run,
            "at": moment(line.at),
            "verb": line.verb,
            "actor": line.actor,
            "object": line.object,
            "request_id": line.request_id,
            "details": line.details,
        }
    )


def _has_news() -> bool:
    """Say, without a lock, whether there may be something to seal or to settle."""
    chain = Chain.objects.filter(id=1).first()
    return _last_id() > (chain.settled_id if chain else 0)


def _last_id() -> int:
    return AuditEvent.objects.aggregate(last=Max("id"))["last"] or 0


def _writers() -> list[str]:
    """Return the transactions that may hold lines which nobody sees yet.

    PostgreSQL lists whoever holds the table's lock for writing, which is taken before the first
    id is drawn and kept until the commit is visible. SQLite has one writer: us.
    """
    if connection.vendor != "postgresql":
        return []
    with connection.cursor() as cursor:
        cursor.execute(WRITERS, [AuditEvent._meta.db_table])
        return [str(row[0]) for row in cursor.fetchall()]


def _unsealed(chain: Chain, *, limit: int) -> tuple[list[AuditEvent], bool]:
    """Return visible lines that are in no seal, and whether these are all there are."""
    sealed = sealed_after(chain.settled_id)
    ids = AuditEvent.objects.filter(id__gt=chain.settled_id).order_by("id")
    found = list(ids.values_list("id", flat=True)[: limit + 1 + len(sealed)])
    fresh = [line_id for line_id in found if line_id not in sealed]
    wanted = fresh[:limit]
    rows = AuditEvent.objects.filter(id__in=wanted).order_by("id") if wanted else []
    return list(rows), len(fresh) <= limit


def sealed_after(settled_id: int) -> Collection[int]:
    """Return the ids above ``settled_id`` that are sealed; lines that overtook others."""
    seals = Seal.objects.filter(last_id__gt=settled_id).values_list("lines", flat=True)
    return {
        line_id for lines in seals for line_id, _ in unpacked(bytes(lines)) if line_id > settled_id
    }


def _write(lines: Sequence[AuditEvent], *, now: datetime) -> Seal:
    last = Seal.objects.order_by("-number").values_list("number", "hash").first()
    number, previous = (1, GENESIS) if last is None else (last[0] + 1, last[1])
    for line in lines:
        if line.verb in settings.ANCHORED_VERBS:
            named = settings.ANCHORED_VERBS[line.verb]
            anchors.append(kind="revoked", at=line.at, **{named: line.details[named]})
    entries = packed((line.id, line_hash(line)) for line in lines)
    return Seal.objects.create(
        number=number,
        previous=previous,
        hash=seal_hash(number=number, previous=previous, sealed_at=now, lines=entries),
        sealed_at=now,
        first_id=min(line.id for line in lines),
        last_id=max(line.id for line in lines),
        count=len(lines),
        lines=entries,
    )


class Sealer:
    """Seals what has come in and writes anchors when they are due; one lives in each conductor."""

    def __init__(self) -> None:
        self._started = False
        self._anchored_at: datetime | None = None
        self._unanchored: Seal | None = None
        self._lines = 0

    def step(self, *, now: datetime) -> bool:
        """Seal one batch, anchor it if that is due, and say whether there may be more at once."""
        if not self._started:
            self._take_up()
        made = seal(now=now, limit=settings.SEAL_BATCH)
        if made is not None:
            self._unanchored = made
            self._lines += made.count
        if self._unanchored is not None and self._is_due(now):
            self._anchor(self._unanchored, now=now)
        return made is not None and made.count == settings.SEAL_BATCH

    def _take_up(self) -> None:
        """Go on where another process stopped, perhaps between a seal and its anchor."""
        last = anchors.read().last
        newest = Seal.objects.order_by("-number").first()
        if last is not None:
            self._anchored_at = datetime.fromisoformat(last.at)
        if newest is not None and (last is None or newest.number > last.number):
            self._unanchored = newest
        self._started = True

    def _is_due(self, now: datetime) -> bool:
        return (
            self._is_first_of_day(now)
            or self._lines >= settings.ANCHOR_EVERY_LINES
            or now - (self._anchored_at or now) >= timedelta(seconds=settings.ANCHOR_EVERY_S)
        )

    def _is_first_of_day(self, now: datetime) -> bool:
        return self._anchored_at is None or now.date() != self._anchored_at.date()

    def _anchor(self, last: Seal, *, now: datetime) -> None:
        daily = {"daily": True} if self._is_first_of_day(now) else {}
        anchors.append(kind="anchor", at=now, seal=last.number, hash=last.hash, **daily)
        self._anchored_at, self._unanchored, self._lines = now, None, 0
