"""Every write to signals: accepting them, and moving them along their life."""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q, QuerySet

from pipeline import services as pipeline
from pipeline import statements, tracing
from pipeline.logs import masked
from pipeline.models import DeadLetter
from pipeline.parsing import time_text
from pipeline.prepared import Given, PreparedUpdate
from pipeline.queries import is_paused, list_dead_letters
from pipeline.queue import RedisError, redis_client
from pipeline.types import (
    Batch,
    FieldError,
    InvalidRequest,
    LensError,
    NotFound,
    Overloaded,
    SwitchName,
)
from signals import queries
from signals.mapping import parse_mapping, read_message, understand
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
from signals.types import (
    OPEN_STATUSES,
    TRANSITIONS,
    HookDraft,
    IdempotencyConflict,
    MuteKind,
    Origin,
    Receipt,
    SignalEnded,
    SignalStatus,
    Submission,
)

SLUG_BYTES = 24
HINT_CHARS = 4
NOTE_MAX_CHARS = 2_000
MUTED_MAX_CHARS = 100
DEMO_BATCH = 200
DEMO_LEFT_ALONE = timedelta(seconds=60)
"""How long an unfinished demo signal is left to who may be at work on it."""
HOOK_USE_WRITTEN_EVERY = timedelta(minutes=1)
KEYS_OUTLIVE_SIGNALS_BY = timedelta(hours=24)
ANY_SPENT = """
SELECT 1 FROM signals_spentkey WHERE (owner, idempotency_key) IN (VALUES {marks}) LIMIT 1
"""
Answers = list[Receipt | IdempotencyConflict]
END_STATUSES = frozenset(SignalStatus) - frozenset(OPEN_STATUSES)

EVALUATED = PreparedUpdate(
    lambda given: (
        Signal.objects.filter(
            event_id__in=given.each(Signal, "event_id", name="events"),
            status=SignalStatus.ENRICHED,
        ),
        {"status": SignalStatus.EVALUATED},
    )
)
PUBLISHED = PreparedUpdate(
    lambda given: (
        Signal.objects.filter(id__in=given.each(Signal, "id", name="ids")),
        {"status": SignalStatus.PUBLISHED, "terminal_at": given(Signal, "terminal_at")},
    )
)


def _moved(*columns: str) -> PreparedUpdate:
    """Prepare setting these columns of a signal that stands where it may be moved from."""

    def compose(given: Given) -> tuple[QuerySet[Signal], dict[str, Any]]:
        allowed = given.each(Signal, "status", name="allowed")
        rows = Signal.objects.filter(event_id=given(Signal, "event_id"), status__in=allowed)
        return rows, {column: given(Signal, column) for column in columns}

    return PreparedUpdate(compose)


ENRICHED = PreparedUpdate(
    lambda given: (
        Signal.objects.filter(
            event_id__in=given.each(Signal, "event_id", name="events"),
            status=SignalStatus.ENQUEUED,
        ),
        {"status": SignalStatus.ENRICHED},
    )
)
MOVED = _moved("status", "terminal_at")
MOVED_WITH_REASON = _moved("status", "terminal_at", "reason")


def refuse_when_overloaded(*, now: datetime) -> None:
    """Refuse new work that could not be finished in time, before anything is stored.

    While operators have paused intake, signals are stored without limit and nothing is promised.

    :raises Overloaded: when too much is unfinished or the oldest waits too long.
    """
    if is_paused(SwitchName.INTAKE):
        return
    unfinished, age = queries.get_backlog(now=now)
    if unfinished > settings.BACKLOG_MAX_SIGNALS:
        raise Overloaded(
            f"{unfinished} signals are unfinished (limit {settings.BACKLOG_MAX_SIGNALS});"
            " send again in a moment"
        )
    if age > timedelta(seconds=settings.BACKLOG_MAX_AGE_S):
        raise Overloaded(
            f"the oldest signal has waited {age.total_seconds():.0f} s"
            f" (limit {settings.BACKLOG_MAX_AGE_S}); send again in a moment"
        )


def room_left(*, now: datetime) -> float:
    """Return how many signals may come in before some are refused."""
    if is_paused(SwitchName.INTAKE):
        return math.inf
    unfinished, age = queries.get_backlog(now=now)
    is_late = age > timedelta(seconds=settings.BACKLOG_MAX_AGE_S)
    return 0 if is_late else settings.BACKLOG_MAX_SIGNALS + 1 - unfinished


def submit_signals(
    *,
    submissions: Sequence[Submission],
    now: datetime,
    tell: Callable[[Answers], None] | None = None,
) -> Answers:
    """Store signals durably and return what each sender is told, in order.

    One transaction writes the rows, their timelines and their first work. A key that was used
    before gives the first answer again, or the conflict if the body differs; the database
    decides, so parallel twins get one signal. ``tell`` gets the same as soon as it stands, before
    anybody is woken to work on it.
    """
    rows = [_row(submission, now=now) for submission in submissions]
    brought_by = {
        row.event_id: submission.request_id
        for row, submission in zip(rows, submissions, strict=True)
    }
    with transaction.atomic(), tracing.requests(brought_by):
        holders = _store_keyed([row for row in rows if row.idempotency_key is not None])
        answers = [_receipt(row, holders.get(row.event_id, row)) for row in rows]
        if tell is not None:
            transaction.on_commit(partial(tell, answers))
        with statements.together(), pipeline.trail():
            statements.insert([row for row in rows if row.idempotency_key is None])
            fresh = [row for row in rows if row.event_id not in holders]
            for row in fresh:
                pipeline.record(
                    trace=row.event_id, verb="RECEIVED", actor=row.owner, at=now, source=row.source
                )
            if fresh:
                pipeline.announce("signal.submitted", signals=fresh, now=now)
    return answers


def _store_keyed(rows: Sequence[Signal]) -> dict[UUID, Signal]:
    """Store signals under their keys; return who holds the key of those that came too late.

    A key outlives its signal: whoever brings the key of one that was purged lately is late too.
    """
    if not rows:
        return {}
    in_order: list[Signal] = sorted(rows, key=_mark)  # so that nobody waits in a circle
    asked = ANY_SPENT.format(marks=_places(rows)), _marks(rows)
    stored, spent = statements.insert_missing(in_order, tell="event_id", then=asked)
    holders = _holders_lately_purged(rows) if spent else {}
    returned = [row.event_id for row in rows if _mark(row) in holders and row.event_id in stored]
    if returned:
        Signal.objects.filter(event_id__in=returned).delete()
        stored -= set(returned)
    late = [row for row in rows if row.event_id not in stored]
    if late:
        holders |= _holders(late)
    return {row.event_id: holders[_mark(row)] for row in late}


def _holders_lately_purged(rows: Sequence[Signal]) -> dict[tuple[str, str], Signal]:
    spent = SpentKey.objects.filter(
        owner__in={row.owner for row in rows},
        idempotency_key__in={row.idempotency_key for row in rows},
    )
    return {
        (key.owner, key.idempotency_key): Signal(
            event_id=key.event_id, body_sha256=key.body_sha256, received_at=key.received_at
        )
        for key in spent
    }


def _holders(rows: Sequence[Signal]) -> dict[tuple[str, str], Signal]:
    found = Signal.objects.filter(
        owner__in={row.owner for row in rows},
        idempotency_key__in={row.idempotency_key for row in rows},
    )
    return {_mark(row): row for row in found}


def _places(rows: Sequence[Signal]) -> str:
    return ", ".join(["(%s, %s)"] * len(rows))


def _marks(rows: Sequence[Signal]) -> list[str]:
    return [part for row in rows for part in _mark(row)]


def _row(submission: Submission, *, now: datetime) -> Signal:
    draft = submission.draft
    return Signal(
        event_id=uuid4(),
        origin=submission.origin,
        replay_id=submission.replay_id,
        event_type=draft.event_type,
        symbol=draft.symbol,
        symbol_given=draft.symbol_given,
        direction=draft.direction,
        entry_price=draft.entry_price,
        size=draft.size,
        liquidation_price=draft.liquidation_price,
        target_price=draft.target_price,
        stop_price=draft.stop_price,
        ts_utc=draft.ts_utc,
        source=draft.source,
        valid_for_s=draft.valid_for_s,
        timeframe=draft.timeframe,
        feature_profile=draft.feature_profile,
        notes=draft.notes,
        context=dict(draft.context),
        owner=submission.owner,
        idempotency_key=submission.idempotency_key,
        body_sha256=submission.body_sha256,
        received_at=now,
        expires_at=_expiry(submission, now=now),
    )


def _expiry(submission: Submission, *, now: datetime) -> datetime | None:
    """Return when the advice loses its worth inside the house.

    Recorded markets run on the signal's own time, so nothing expires there. A signal that comes
    in older than the age gate allows, with no validity of its own, is left to that gate.
    """
    if submission.origin == Origin.REPLAY or settings.PROVIDER_PRIMARY == "recorded":
        return None
    draft = submission.draft
    if draft.valid_for_s is not None:
        return draft.ts_utc + timedelta(seconds=draft.valid_for_s)
    end = draft.ts_utc + timedelta(seconds=settings.MAX_SIGNAL_AGE_S)
    return end if end > now else None


def _mark(row: Signal) -> tuple[str, str]:
    return (row.owner, row.idempotency_key or "")


def _receipt(row: Signal, stored: Signal) -> Receipt | IdempotencyConflict:
    if row.event_id != stored.event_id and row.body_sha256 != stored.body_sha256:
        return IdempotencyConflict(
            f"the idempotency key {row.idempotency_key!r} was used before with another body;"
            " use a new key for a new signal"
        )
    return Receipt(
        event_id=stored.event_id,
        received_at=stored.received_at,
        replayed=row.event_id != stored.event_id,
    )


def advance(
    *,
    event_id: UUID,
    to: SignalStatus,
    now: datetime,
    reason: dict[str, Any] | None = None,
    frm: Iterable[SignalStatus] | None = None,
) -> bool:
    """Move a signal to another status and return whether it was there to be moved.

    An end also closes what is still open under it.
    """
    allowed = [status for status, nexts in TRANSITIONS.items() if to in nexts]
    ends = to in END_STATUSES
    values: dict[str, Any] = {"status": to, "terminal_at": now if ends else None}
    move = MOVED
    if reason is not None:
        move, values["reason"] = MOVED_WITH_REASON, reason
    if not move.run(event_id=event_id, allowed=list(frm or allowed), **values):
        return False
    if ends and to != SignalStatus.DEAD:
        pipeline.settle_letters(traces=[event_id], end=str(to), at=now)
    if ends and to != SignalStatus.PUBLISHED:
        pipeline.skip_runs(traces=[event_id], reason=to)
        pipeline.announce("signal.closed", event_id=event_id, reason=str(to), now=now)
    return True


def rerun(*, letter: DeadLetter, now: datetime) -> None:
    """Take a dead signal up again from its beginning, as a new run."""
    rows = Signal.objects.filter(event_id=letter.trace, status=SignalStatus.DEAD)
    if rows.update(status=SignalStatus.ENQUEUED, run=F("run") + 1, terminal_at=None, reason={}):
        signal = Signal.objects.get(event_id=letter.trace)
        pipeline.announce("signal.submitted", signals=[signal], now=now)


def mark_enriched(*, event_ids: Sequence[UUID]) -> set[UUID]:
    """Note of signals that their facts are frozen; return those that were still waiting for it."""
    return ENRICHED.changed(tell="event_id", events=event_ids)


def mark_evaluated(*, event_ids: Sequence[UUID]) -> None:
    """Note of signals that every model has answered and at least one has judged."""
    EVALUATED.run(events=event_ids)


def mark_published(*, signals: Sequence[Signal], now: datetime) -> None:
    """Close judged signals, whose rows are held and whose decisions are all out."""
    if not signals:
        return
    PUBLISHED.run(ids=[signal.id for signal in signals], terminal_at=now)
    pipeline.settle_letters(
        traces=[signal.event_id for signal in signals], end=str(SignalStatus.PUBLISHED), at=now
    )
    for signal in signals:
        pipeline.record(
            trace=signal.event_id, verb="PUBLISHED", actor="publisher", at=now, run=signal.run
        )


def expire_overdue(*, now: datetime, limit: int = 200) -> int:
    """Close signals whose validity has passed; stale advice must not come out as fresh."""
    expired = queries.list_expired(now=now, limit=limit)
    return sum(expire(event_id=signal.event_id, now=now) for signal in expired)


def expire(*, event_id: UUID, now: datetime) -> bool:
    """Close one signal as expired."""
    with transaction.atomic():
        signal = Signal.objects.select_for_update().get(event_id=event_id)
        reason = {
            "gate": "validity",
            "limit": time_text(signal.expires_at),
            "value": time_text(now),
            "unit": "time",
        }
        moved = advance(
            event_id=event_id,
            to=SignalStatus.EXPIRED,
            now=now,
            reason=reason,
            frm=OPEN_STATUSES,
        )
        if moved:
            pipeline.record(
                trace=event_id, verb="EXPIRED", actor="lens", at=now, run=signal.run, **reason
            )
    return moved


def cancel(*, event_id: UUID, actor: str, reason: str, now: datetime) -> Signal:
    """Close a signal that is under way because an operator says so, and return it.

    Nothing more is judged or published of it, and its dead letters are resolved; cancelling it
    again changes nothing. A decision that is being numbered at this very moment is still
    published.

    :raises NotFound: if there is no such signal.
    :raises InvalidRequest: if no reason is given.
    :raises SignalEnded: if it has come to another end already.
    """
    reason = pipeline.checked_reason(reason)
    with transaction.atomic():
        signal = Signal.objects.select_for_update().filter(event_id=event_id).first()
        if signal is None:
            raise NotFound(f"there is no signal {event_id}")
        told = {"reason": reason, "by": actor}
        if advance(event_id=event_id, to=SignalStatus.CANCELLED, now=now, reason=told):
            pipeline.record_act(
                trace=event_id,
                verb="CANCELLED",
                actor=actor,
                object=f"signal:{event_id}",
                before={"status": signal.status},
                after={"status": SignalStatus.CANCELLED, "reason": reason},
                at=now,
                run=signal.run,
            )
            letters = list_dead_letters(filters={"trace": event_id})
            note = "the signal was cancelled"
            pipeline.resolve_letters(letters=letters, actor=actor, note=note, at=now)
        elif signal.status != SignalStatus.CANCELLED:
            raise SignalEnded(f"the signal has ended as {signal.status} already")
        signal.refresh_from_db()
    return signal


def start_replay(
    *, candles_path: str, candles_sha256: str, symbol: str, every_s: int, now: datetime
) -> Replay:
    """Store what is replayed, so that its signals know where their market comes from."""
    return Replay.objects.create(
        candles_path=candles_path,
        candles_sha256=candles_sha256,
        symbol=symbol,
        every_s=every_s,
        created_at=now,
    )


def create_hook(*, draft: HookDraft, actor: str, now: datetime) -> tuple[Hook, str]:
    """Return a new webhook and its slug, which nobody can ever read again.

    :raises UnusableMapping: naming what is wrong with the mapping.
    """
    parse_mapping(draft.mapping)
    slug = secrets.token_urlsafe(SLUG_BYTES)
    hook_id = uuid4()
    with transaction.atomic():
        hook = Hook.objects.create(
            id=hook_id,
            name=draft.name,
            kind=draft.kind,
            slug_sha256=queries.slug_digest(slug),
            slug_hint=slug[-HINT_CHARS:],
            owner=f"hook-{hook_id.hex[:12]}",
            source=draft.source,
            mapping=draft.mapping,
            address_list=list(draft.addresses),
            created_at=now,
            created_by=actor,
        )
        _record_hook("HOOK_CREATED", hook, after=_settings_of(hook), actor=actor, now=now)
    return hook, slug


def rotate_hook(*, hook: Hook, actor: str, now: datetime) -> str:
    """Return a new slug for a webhook; the old one opens nothing from now on."""
    slug = secrets.token_urlsafe(SLUG_BYTES)
    before, after = {"ends_in": hook.slug_hint}, {"ends_in": slug[-HINT_CHARS:]}
    with transaction.atomic():
        Hook.objects.filter(pk=hook.pk).update(
            slug_sha256=queries.slug_digest(slug), slug_hint=slug[-HINT_CHARS:]
        )
        _record_hook("HOOK_ROTATED", hook, before=before, after=after, actor=actor, now=now)
    hook.refresh_from_db()
    return slug


def change_hook(*, hook: Hook, draft: HookDraft, actor: str, now: datetime) -> Hook:
    """Return the webhook as it was changed; its slug and its owner stay.

    :raises UnusableMapping: naming what is wrong with the mapping.
    """
    parse_mapping(draft.mapping)
    with transaction.atomic():
        hook = Hook.objects.select_for_update().get(pk=hook.pk)
        before = _settings_of(hook)
        Hook.objects.filter(pk=hook.pk).update(
            name=draft.name,
            source=draft.source,
            mapping=draft.mapping,
            address_list=list(draft.addresses),
        )
        hook.refresh_from_db()
        _record_hook(
            "HOOK_CHANGED", hook, before=before, after=_settings_of(hook), actor=actor, now=now
        )
    return hook


def switch_hook(*, hook: Hook, is_active: bool, actor: str, now: datetime) -> None:
    """Switch a webhook on or off; doing so again changes nothing."""
    with transaction.atomic():
        rows = Hook.objects.filter(pk=hook.pk, is_active=not is_active)
        if rows.update(is_active=is_active):
            verb = "HOOK_SWITCHED_ON" if is_active else "HOOK_SWITCHED_OFF"
            before, after = {"is_active": not is_active}, {"is_active": is_active}
            _record_hook(verb, hook, before=before, after=after, actor=actor, now=now)
    hook.refresh_from_db()


def _settings_of(hook: Hook) -> dict[str, Any]:
    return {
        "name": hook.name,
        "source": hook.source,
        "mapping": hook.mapping,
        "addresses": hook.address_list,
    }


def _record_hook(
    verb: str,
    hook: Hook,
    *,
    actor: str,
    now: datetime,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    pipeline.record_act(
        actor=actor, verb=verb, object=f"webhook:{hook.pk}", before=before, after=after, at=now
    )


def receive_message(*, hook: Hook, body: bytes, content_type: str, now: datetime) -> Receipt:
    """Store the signal that a webhook's message means and return what its sender is told.

    :raises Overloaded: when too much is unfinished.
    :raises InvalidSignal: if the message is no signal under the webhook's mapping.
    :raises BodyTooLarge: over ``HOOK_BODY_MAX_BYTES``.
    :raises IdempotencyConflict: if the same message came before with other content.
    """
    refuse_when_overloaded(now=now)
    message = read_message(body, content_type=content_type, max_bytes=settings.HOOK_BODY_MAX_BYTES)
    found = understand(message, rules=parse_mapping(hook.mapping), source=hook.source, now=now)
    submission = Submission(
        draft=found.draft,
        owner=hook.owner,
        idempotency_key=found.once_key,
        body_sha256=found.sha256,
    )
    [answer] = submit_signals(submissions=[submission], now=now)
    if not isinstance(answer, Receipt):
        raise answer
    unseen = Q(last_used_at=None) | Q(last_used_at__lt=now - HOOK_USE_WRITTEN_EVERY)
    Hook.objects.filter(unseen, pk=hook.pk).update(last_used_at=now)
    return answer


def keep_refusal(
    *, hook: Hook, error: LensError, body: bytes, content_type: str, address: str, now: datetime
) -> None:
    """Keep a message that was refused, without secrets, and forget the oldest of too many."""
    text = body[: settings.HOOK_REFUSAL_BODY_BYTES].decode("utf-8", "replace")
    with transaction.atomic():
        HookRefusal.objects.create(
            hook=hook,
            at=now,
            address=address or None,
            content_type=content_type[:100].replace("\0", ""),
            body=masked(text.replace("\0", "\N{REPLACEMENT CHARACTER}")),
            code=error.code,
            complaint=error.detail,
            faults=[
                {"field": fault.field, "code": fault.code, "message": masked(fault.message)}
                for fault in error.errors
            ],
        )
        kept = HookRefusal.objects.filter(hook=hook).order_by("-id").values_list("id", flat=True)
        for last in kept[settings.HOOK_REFUSALS_KEPT : settings.HOOK_REFUSALS_KEPT + 1]:
            HookRefusal.objects.filter(hook=hook, id__lte=last).delete()


def note_complaint(*, owner: str, error: LensError, now: datetime) -> None:
    """Keep for a while why an owner's last call made no signal; never raises."""
    faults = [
        {"field": fault.field, "code": fault.code, "message": masked(fault.message)}
        for fault in error.errors
    ]
    note = {"at": now.isoformat(), "detail": error.detail, "faults": faults}
    with suppress(RedisError):
        redis_client().set(
            queries.complaint_name(owner), json.dumps(note), ex=queries.COMPLAINT_KEPT
        )


def start_demo_feed(*, now: datetime) -> bool:
    """Let a desk that has no signal yet make demo signals by itself; return whether it will."""
    if not settings.DEMO_FEED_SIGNALS or Signal.objects.exists():
        return False
    _, is_new = DemoFeed.objects.get_or_create(id=1, defaults={"started_at": now, "next_at": now})
    return is_new


def take_demo_turn(*, now: datetime) -> bool:
    """Return whether the caller is to send the next demo signal now; of several callers, one is."""
    due = DemoFeed.objects.filter(
        stopped_at=None, next_at__lte=now, sent__lt=settings.DEMO_FEED_SIGNALS
    )
    next_at = now + timedelta(seconds=settings.DEMO_FEED_EVERY_S)
    return due.exists() and bool(due.update(sent=F("sent") + 1, next_at=next_at))


def stop_demo_feed(*, actor: str, now: datetime) -> None:
    """Make no more demo signals; stopping again changes nothing."""
    with transaction.atomic():
        rows = DemoFeed.objects.filter(stopped_at=None)
        if rows.update(stopped_at=now, stopped_by=actor):
            pipeline.record_act(actor=actor, verb="DEMO_STOPPED", object="demo:feed", at=now)


def clear_demo(*, actor: str, now: datetime) -> int:
    """Stop the demo, forget its signals with all that hangs on them, and return how many.

    Signals that somebody is still at work on stay until they have ended; the trail stays for
    good. The first steps are shown no more once nothing is left.
    """
    stop_demo_feed(actor=actor, now=now)
    cleared = 0
    while batch := queries.list_demo_ids(limit=DEMO_BATCH, ended_before=now - DEMO_LEFT_ALONE):
        with transaction.atomic():
            rows = Signal.objects.filter(origin=Origin.DEMO, event_id__in=batch)
            found = list(rows.values_list("id", "event_id"))
            gone = Batch(tuple(row[0] for row in found), tuple(row[1] for row in found))
            pipeline.announce("demo.cleared", event_ids=batch)
            pipeline.announce("signals.purging", batch=gone, now=now)
            pipeline.forget_work(traces=batch)
            rows.delete()
            pipeline.record_purged(actor=actor, at=now, signals=gone.signals)
        cleared += len(batch)
    if cleared:
        pipeline.record_act(
            actor=actor, verb="DEMO_CLEARED", object="demo:signals", at=now, count=cleared
        )
    if not queries.list_demo_ids(limit=1):
        DemoFeed.objects.filter(dismissed_at=None).update(dismissed_at=now)
    return cleared


def remember_keys(*, batch: Batch, now: datetime) -> None:
    """Keep the idempotency keys of signals that are being purged for another day."""
    keyed = Signal.objects.filter(id__in=batch.signals, idempotency_key__isnull=False)
    SpentKey.objects.bulk_create(
        [
            SpentKey(
                owner=signal.owner,
                idempotency_key=signal.idempotency_key or "",
                body_sha256=signal.body_sha256,
                event_id=signal.event_id,
                received_at=signal.received_at,
                until=now + KEYS_OUTLIVE_SIGNALS_BY,
            )
            for signal in keyed.order_by("owner", "idempotency_key")
        ],
        ignore_conflicts=True,
    )


def write_note(*, signal: Signal, text: str, actor: str, now: datetime) -> Note:
    """Keep what a person has to say about a signal; nobody but people reads it.

    Who says the same again, as a second click does, is understood the first time.

    :raises InvalidRequest: if it says nothing, or too much.
    """
    text = text.strip()
    if not 1 <= len(text) <= NOTE_MAX_CHARS:
        fault = f"must have 1 to {NOTE_MAX_CHARS} characters"
        raise InvalidRequest(f"a note {fault}", (FieldError("text", "length", fault),))
    last = Note.objects.filter(signal=signal, author=actor).order_by("-id").first()
    if last is not None and last.text == text:
        return last
    with transaction.atomic():
        note = Note.objects.create(signal=signal, text=text, author=actor, at=now)
        pipeline.record_act(
            trace=signal.event_id,
            actor=actor,
            verb="NOTED",
            object=f"note:{note.pk}",
            after={"text": text},
            at=now,
        )
    return note


def mute(*, wish: Mute, actor: str, now: datetime) -> Mute:
    """Have a source or a symbol give no more notice; muting anew changes until when.

    Nothing but notices hangs on it: signals are judged, decided and published as before.

    :raises InvalidRequest: if it names nothing.
    """
    value = wish.value.strip()
    value = value.upper() if wish.kind == MuteKind.SYMBOL else value
    if wish.kind not in MuteKind.values or not 1 <= len(value) <= MUTED_MAX_CHARS:
        fault = "must name a source or a symbol"
        raise InvalidRequest(f"a mute {fault}", (FieldError("value", "required", fault),))
    with transaction.atomic():
        row, _ = Mute.objects.update_or_create(
            kind=wish.kind,
            value=value,
            person=wish.person,
            defaults={"until": wish.until, "muted_by": actor, "muted_at": now},
        )
        pipeline.record_act(
            actor=actor, verb="MUTED", object=f"mute:{row.pk}", after=_muted(row), at=now
        )
    return row


def unmute(*, row: Mute, actor: str, now: datetime) -> None:
    """Have it give notice again; doing so twice changes nothing."""
    told = _muted(row)
    with transaction.atomic():
        if Mute.objects.filter(pk=row.pk).delete()[0]:
            pipeline.record_act(
                actor=actor, verb="UNMUTED", object=f"mute:{told['id']}", before=told, at=now
            )


def _muted(row: Mute) -> dict[str, Any]:
    return {
        "id": row.pk,
        "kind": row.kind,
        "value": row.value,
        "person": row.person,
        "until": time_text(row.until),
    }


def place_hold(*, hold: Hold, actor: str, now: datetime) -> Hold:
    """Put a legal hold in force: what it names is not purged until it is lifted.

    :raises InvalidRequest: if it names nothing, or gives no reason.
    """
    hold.reason = pipeline.checked_reason(hold.reason)
    named = _named(hold)
    if not named:
        fault = "must name a signal, a source, a symbol or a time"
        raise InvalidRequest(f"a hold {fault}", (FieldError("event_id", "required", fault),))
    if hold.since and hold.until and hold.since >= hold.until:
        fault = "must be later than the beginning"
        raise InvalidRequest(f"the end {fault}", (FieldError("until", "order", fault),))
    hold.placed_by, hold.placed_at = actor, now
    with transaction.atomic():
        hold.save(force_insert=True)
        pipeline.record_act(
            trace=hold.event_id,
            actor=actor,
            verb="HOLD_PLACED",
            object=f"hold:{hold.pk}",
            after={**named, "reason": hold.reason},
            at=now,
        )
    return hold


def lift_hold(*, hold: Hold, actor: str, reason: str, now: datetime) -> Hold:
    """Let what a hold named be purged again; lifting it twice changes nothing.

    :raises InvalidRequest: if no reason is given.
    """
    reason = pipeline.checked_reason(reason)
    with transaction.atomic():
        rows = Hold.objects.filter(pk=hold.pk, lifted_at=None)
        if rows.update(lifted_at=now, lifted_by=actor, lift_reason=reason):
            pipeline.record_act(
                trace=hold.event_id,
                actor=actor,
                verb="HOLD_LIFTED",
                object=f"hold:{hold.pk}",
                before={**_named(hold), "reason": hold.reason},
                after={"lifted": reason},
                at=now,
            )
    hold.refresh_from_db()
    return hold


def _named(hold: Hold) -> dict[str, str]:
    named = {
        "event_id": hold.event_id and str(hold.event_id),
        "source": hold.source,
        "symbol": hold.symbol,
        "since": time_text(hold.since),
        "until": time_text(hold.until),
    }
    return {name: value for name, value in named.items() if value}
