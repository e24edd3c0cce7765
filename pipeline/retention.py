"""Purging: what ended long ago is removed with all that hangs on it, batch by batch.

A batch is one short transaction: it removes some signals whole, tells in the trail what it removed,
and remembers its place. A purge that was killed leaves no half of a signal behind and is taken up
where it stopped. Only what has ended, is not held and is in nobody's hand is ever touched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils.module_loading import import_string

from pipeline import queries, services
from pipeline.chain import unpacked
from pipeline.chaining import held_chain, seal
from pipeline.models import AuditEvent, Chain, Purge, Seal
from pipeline.parsing import latest_passing
from pipeline.types import Batch, Candidate, PurgeStatus

Rows = Sequence[QuerySet[Any]]
HELD = "legal hold"
SEALS_AT_ONCE = 20


@dataclass(slots=True)
class Tally:
    """What a purge has removed, by table, and what it kept, by reason."""

    removed: Counter[str] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)
    signals: int = 0
    is_done: bool = False


def cutoff_at(now: datetime) -> datetime:
    """Return the moment before which a signal must have ended to be purged."""
    return now - timedelta(days=settings.RETENTION_DAYS)


def start(*, actor: str, now: datetime) -> Purge:
    """Return a purge to go on with: one that was left running, else a new one."""
    _seal_all(now=now)
    purge, _ = Purge.objects.get_or_create(
        status=PurgeStatus.RUNNING,
        defaults={"actor": actor, "cutoff": cutoff_at(now), "started_at": now},
    )
    return purge


def step(*, purge_id: int, now: datetime) -> Tally:
    """Remove one batch, in one transaction, and return what became of it."""
    with transaction.atomic():
        purge = Purge.objects.select_for_update().get(id=purge_id)
        if purge.status != PurgeStatus.RUNNING:
            return Tally(is_done=True)
        chain = held_chain()
        tally = _remove_signals(purge, chain, now=now)
        if tally.is_done:
            _remove_leftovers(purge, chain, tally, now=now)
        purge.removed = Counter(purge.removed) + tally.removed
        purge.kept = Counter(purge.kept) + tally.kept
        if tally.is_done:
            _finish(purge, now=now)
        purge.save()
    return tally


def rehearse(*, now: datetime, at_once: int | None = None) -> Iterator[Tally]:
    """Count what a purge would remove now, so many signals at once, and touch nothing."""
    limit: int = at_once or settings.PURGE_BATCH
    total = Tally()
    after: tuple[datetime | None, int] = (None, 0)
    while not total.is_done:
        candidates = _choose(cutoff=cutoff_at(now), after=after, lock=False, limit=limit)
        total.is_done = len(candidates) < limit
        if candidates:
            after = (candidates[-1].ended_at, candidates[-1].id)
            _rehearse(candidates, total)
        yield total


def _rehearse(candidates: Sequence[Candidate], total: Tally) -> None:
    batch = _spare(candidates, total)
    total.signals += len(batch.signals)
    for rows in _rows_of(batch):
        total.removed[rows.model._meta.db_table] += rows.count()


def _seal_all(*, now: datetime) -> None:
    """Let every line enter the chain first: what was never sealed could vanish unseen.

    Lines that come in meanwhile are left to the conductor: nothing that is purged is so young.
    """
    limit: int = settings.SEAL_BATCH
    while (made := seal(now=now, limit=limit)) is not None and made.count == limit:
        pass


def _remove_signals(purge: Purge, chain: Chain, *, now: datetime) -> Tally:
    tally = Tally()
    candidates = _choose(cutoff=purge.cutoff, after=(purge.place_at, purge.place_id), lock=True)
    if not candidates:
        tally.is_done = True
        return tally
    purge.place_at, purge.place_id = candidates[-1].ended_at, candidates[-1].id
    batch = _spare(candidates, tally)
    if batch.signals:
        services.announce("signals.purging", batch=batch, now=now)
        _remove(purge, chain, tally, rows=_rows_of(batch), signals=batch.signals, now=now)
    tally.signals = len(batch.signals)
    return tally


def _choose(
    *,
    cutoff: datetime,
    after: tuple[datetime | None, int],
    lock: bool,
    limit: int | None = None,
) -> list[Candidate]:
    choose: Callable[..., list[Candidate]] = import_string(settings.PURGE_CHOOSER)
    return choose(cutoff=cutoff, after=after, limit=limit or settings.PURGE_BATCH, lock=lock)


def _spare(candidates: Sequence[Candidate], tally: Tally) -> Batch:
    """Return those that may go, counting why the others stay."""
    spared = {each.id: HELD for each in candidates if each.is_held}
    everybody = Batch(
        tuple(each.id for each in candidates), tuple(each.event_id for each in candidates)
    )
    for path in settings.PURGE_SPARES:
        reasons: Mapping[str, Collection[int]] = import_string(path)(batch=everybody)
        for reason, signals in reasons.items():
            for signal_id in signals:
                spared.setdefault(signal_id, reason)
    tally.kept.update(spared.values())
    going = [each for each in candidates if each.id not in spared]
    return Batch(tuple(each.id for each in going), tuple(each.event_id for each in going))


def _rows_of(batch: Batch) -> list[QuerySet[Any]]:
    return [rows for path in settings.PURGES for rows in import_string(path)(batch=batch)]


def _remove(
    purge: Purge, chain: Chain, tally: Tally, *, rows: Rows, signals: Sequence[int], now: datetime
) -> None:
    """Delete the rows and tell of it; only meanwhile may sealed lines be deleted at all."""
    removed: Counter[str] = Counter()
    lines: list[int] = []
    _open_chain(chain, upto=chain.settled_id)
    for selected in rows:
        if selected.model is AuditEvent:
            lines += selected.values_list("id", flat=True)
        removed[selected.model._meta.db_table] += _delete(selected)
    _open_chain(chain, upto=0)
    removed += Counter()  # nothing of a table is no news
    tally.removed += removed
    if removed:
        services.record_purged(
            actor=purge.actor,
            at=now,
            signals=signals,
            lines=lines,
            purge=purge.id,
            removed=dict(removed),
        )


def _delete(rows: QuerySet[Any]) -> int:
    """Delete the rows in one statement; what hangs on them was named before them."""
    return rows._raw_delete(rows.db) or 0  # None: nothing could match


def _open_chain(chain: Chain, *, upto: int) -> None:
    chain.removing_upto = upto
    chain.save(update_fields=["removing_upto"])


def _remove_leftovers(purge: Purge, chain: Chain, tally: Tally, *, now: datetime) -> None:
    """Remove what no signal carries any more, a batch of each kind; done when nothing is left."""
    found = [
        rows
        for path in settings.LEFTOVERS
        for rows in import_string(path)(cutoff=purge.cutoff, now=now, limit=settings.PURGE_BATCH)
    ]
    before = tally.removed.total()
    _remove(purge, chain, tally, rows=found, signals=(), now=now)
    _trim_chain(purge, chain, tally, now=now)
    tally.is_done = tally.removed.total() == before


def _trim_chain(purge: Purge, chain: Chain, tally: Tally, *, now: datetime) -> None:
    """Cut off the oldest seals once their time is over and no line of a signal is left in them."""
    cutoff = now - timedelta(days=settings.AUDIT_RETENTION_DAYS)
    oldest = Seal.objects.filter(number__gt=chain.trimmed_number, sealed_at__lt=cutoff)
    going: list[Seal] = []
    lines: list[int] = []
    for one in oldest.order_by("number")[:SEALS_AT_ONCE]:
        ids = [line_id for line_id, _ in unpacked(bytes(one.lines))]
        if AuditEvent.objects.filter(id__in=ids, trace__isnull=False).exists():
            break
        going.append(one)
        lines += ids
    if not going:
        return
    last = going[-1]
    chain.trimmed_number = last.number
    _open_chain(chain, upto=chain.settled_id)
    chain.save(update_fields=["trimmed_number"])
    acts = AuditEvent.objects.filter(id__in=lines)
    seals = Seal.objects.filter(number__lte=last.number)
    for selected in (acts, seals):
        tally.removed[selected.model._meta.db_table] += _delete(selected)
    _open_chain(chain, upto=0)
    services.record_purged(
        actor=purge.actor,
        at=now,
        signals=(),
        purge=purge.id,
        seals={"upto": last.number, "hash": last.hash},
    )


def _finish(purge: Purge, *, now: datetime) -> None:
    purge.status, purge.finished_at = PurgeStatus.DONE, now
    services.record_act(
        actor=purge.actor,
        verb="PURGE_FINISHED",
        object=f"purge:{purge.id}",
        at=now,
        after={
            "cutoff": purge.cutoff.isoformat(),
            "removed": dict(purge.removed),
            "kept": dict(purge.kept),
        },
    )


def is_due(*, now: datetime) -> bool:
    """Say whether the daily purge should run: its hour has passed, and no purge since."""
    if settings.PURGE_AT == "never":
        return False
    if queries.get_purge() is not None:
        return True
    last = next(iter(queries.list_purges(limit=1)), None)
    if last is None:
        return bool(_choose(cutoff=cutoff_at(now), after=(None, 0), lock=False))
    return last.started_at < latest_passing(settings.PURGE_AT, now=now)


def rest_s(worked_s: float) -> float:
    """Return how long to rest after so much work, so that others get their share."""
    share_pct: int = settings.PURGE_SHARE_PCT
    return worked_s * (100 / share_pct - 1)
