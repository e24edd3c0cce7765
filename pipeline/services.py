"""Every write of the conveyor: opening, claiming and settling work, the trail, dead letters."""

from __future__ import annotations

import hashlib
import logging
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache
from random import Random
from typing import Any, Protocol, Self
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import DateTimeField, ExpressionWrapper, F, QuerySet
from django.db.models.functions import Now
from django.utils.module_loading import import_string

from pipeline import queue, statements
from pipeline.chain import Ranges
from pipeline.logs import without_secrets
from pipeline.metrics import count_rare
from pipeline.models import UNFINISHED, AuditEvent, DeadLetter, Heartbeat, StageRun, Switch
from pipeline.prepared import Given, PreparedUpdate
from pipeline.retry import backoff
from pipeline.tracing import current_request_id, request_id_of
from pipeline.types import (
    REASON_MAX_CHARS,
    Claim,
    FieldError,
    GiveUp,
    InvalidRequest,
    LetterStatus,
    NotFound,
    RetryIn,
    RetryPreview,
    RunStatus,
    SwitchName,
)

logger = logging.getLogger(__name__)
trail_logger = logging.getLogger("lens.trail")

ACTOR_MAX_CHARS = 100
OBJECT_MAX_CHARS = 100

HOUSE = "lens"
"""Who closes letters whose retry came to an end."""

WORK = "work"
PUBLISH = "publish"
RETRY_AT_ONCE = 500


def _skipping(given: Given) -> tuple[QuerySet[StageRun], dict[str, Any]]:
    traces = given.each(StageRun, "trace", name="traces")
    rows = StageRun.objects.unfinished().filter(trace__in=traces)
    return rows, {
        "status": RunStatus.SKIPPED,
        "finished_at": Now(),
        "lease_until": None,
        "reason": given(StageRun, "reason"),
        "token": F("token") + 1,
    }


def _skipping_of(given: Given) -> tuple[QuerySet[StageRun], dict[str, Any]]:
    rows, changes = _skipping(given)
    return rows.filter(stage__in=given.each(StageRun, "stage", name="stages")), changes


SKIP_RUNS = PreparedUpdate(_skipping)
SKIP_RUNS_OF = PreparedUpdate(_skipping_of)
RESOLVE_RETRYING = PreparedUpdate(
    lambda given: (
        DeadLetter.objects.filter(
            trace__in=given.each(DeadLetter, "trace", name="traces"), status=LetterStatus.RETRYING
        ),
        {
            "status": LetterStatus.RESOLVED,
            "resolved_at": given(DeadLetter, "resolved_at"),
            "resolved_by": HOUSE,
            "note": given(DeadLetter, "note"),
        },
    )
)


class LeaseLost(Exception):
    """Somebody else has taken the work over; whatever this worker made of it is void."""


class Wanted(Protocol):
    """What claiming needs to know of a stage."""

    @property
    def name(self) -> str:
        """The stage's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """A unit of work to open; ``due_at`` None means at once.

    ``given`` is what the work needs, where whoever opens it has it at hand: then a worker with
    room for it takes it up in the same stroke. Its subject must be new.
    """

    stage: str
    subject: UUID
    trace: UUID
    attempts_max: int
    run: int = 1
    due_at: datetime | None = None
    given: Any = None


@dataclass(slots=True, kw_only=True)
class Reception:
    """What a worker has room for while it settles, and what it thereby takes up itself."""

    worker: str
    room: dict[str, int]
    taken: list[tuple[Claim, Any]] = field(default_factory=list)
    leaves_some: bool = False

    def takes(self, opening: Opening) -> bool:
        """Say whether this opening is taken up at once, and count it."""
        if opening.given is None or opening.due_at is not None or not self.room.get(opening.stage):
            return False
        self.room[opening.stage] -= 1
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line that the trail is about to get, by its columns."""

    trace: UUID | None
    run: int
    at: datetime
    verb: str
    actor: str
    request_id: str
    details: Any
    object: str = ""


def open_runs(openings: Iterable[Opening]) -> None:
    """Open units of work and ring for workers when the transaction commits.

    Opening the same stage, subject and run twice is harmless: the first stays. What the worker
    whose transaction this is has room for, it holds from the start: nobody is rung for it.
    """
    reception: Reception | None = getattr(_open, "reception", None)
    taken: list[Opening] = []
    left: list[Opening] = []
    for opening in openings:
        is_taken = reception is not None and reception.takes(opening)
        (taken if is_taken else left).append(opening)
    if reception is not None and taken:
        _open_held(taken, reception)
    rows = [_NewRun.of(opening) for opening in left]
    statements.insert(rows, into=StageRun, ignore_conflicts=True)
    if any(opening.due_at is None for opening in left):
        queue.ring_after_commit(WORK)
        if reception is not None:
            reception.leaves_some = True


@dataclass(frozen=True, slots=True)
class _NewRun:
    """A unit of work by those of its columns that differ from one to the next."""

    stage: str
    subject: UUID
    trace: UUID
    run: int
    attempts_max: int
    next_at: datetime | None
    request_id: str
    worker: str = ""
    status: str = RunStatus.PENDING
    token: int = 0
    attempts: int = 0

    @classmethod
    def of(cls, opening: Opening) -> Self:
        return cls(
            opening.stage,
            opening.subject,
            opening.trace,
            opening.run,
            opening.attempts_max,
            opening.due_at,
            request_id_of(opening.trace),
        )

    def held_by(self, worker: str) -> Self:
        """Return the work as its first claim leaves it."""
        return replace(self, worker=worker, status=RunStatus.RUNNING, token=1, attempts=1)

    def claim(self, key: int) -> Claim:
        return Claim(
            id=key,
            stage=self.stage,
            subject=self.subject,
            trace=self.trace,
            run=self.run,
            token=self.token,
            attempts=self.attempts,
            request_id=self.request_id,
        )


def _open_held(taken: Sequence[Opening], reception: Reception) -> None:
    """Open work that its worker claims with the same statement."""
    rows = [_NewRun.of(opening).held_by(reception.worker) for opening in taken]
    keys = statements.insert_held(rows, into=StageRun, lease_s=settings.LEASE_MS / 1000)
    for opening, row, key in zip(taken, rows, keys, strict=True):
        reception.taken.append((row.claim(key), opening.given))


@contextmanager
def receiving(reception: Reception) -> Iterator[None]:
    """Let work that is opened meanwhile be taken up by the worker whose transaction this is."""
    room, is_whole = dict(reception.room), False
    _open.reception = reception
    try:
        yield
        is_whole = True
    finally:
        _open.reception = None
        if not is_whole:
            reception.room, reception.taken = room, []


def record(
    *, trace: UUID | None, verb: str, actor: str, at: datetime, run: int = 1, **details: Any
) -> None:
    """Append one line to the trail; inside :func:`trail` it is written with its neighbours."""
    _append(
        Line(
            trace=trace,
            run=run,
            at=at,
            verb=verb,
            actor=actor[:ACTOR_MAX_CHARS],
            request_id=request_id_of(trace),
            details=without_secrets(details),
        )
    )


def record_act(  # noqa: PLR0913  the columns of a line
    *,
    actor: str,
    verb: str,
    object: str,
    at: datetime,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    request_id: str | None = None,
    trace: UUID | None = None,
    run: int = 1,
    **details: Any,
) -> None:
    """Append what a person or a program with a key did to the same trail.

    ``object`` names what was changed, as ``kind:id``. ``before`` and ``after`` hold what the act
    changed and nothing else; None says that there was nothing, or is nothing any more. The request
    is the one being served unless another is named. What looks like a secret is struck out.
    """
    _append(
        Line(
            trace=trace,
            run=run,
            at=at,
            verb=verb,
            actor=actor[:ACTOR_MAX_CHARS],
            object=object[:OBJECT_MAX_CHARS],
            request_id=current_request_id() if request_id is None else request_id,
            details=without_secrets(
                {
                    "before": None if before is None else dict(before),
                    "after": None if after is None else dict(after),
                    **details,
                }
            ),
        )
    )


def _append(line: Line) -> None:
    lines = getattr(_open, "lines", None)
    if lines is None:
        statements.insert([line], into=AuditEvent)
        _log_after_commit([line])
    else:
        lines.append(line)


def at_end(*, work: Callable[[Sequence[Any]], None], item: Any) -> None:
    """Hand ``item`` to ``work``; inside :func:`trail` with its neighbours, before the commit.

    For rows that many transactions write: taken at the end, in one order, they are held briefly
    and nobody waits in a circle.
    """
    items = getattr(_open, "items", None)
    if items is None:
        work([item])
    else:
        items.setdefault(work, []).append(item)


_open = threading.local()


@contextmanager
def trail() -> Iterator[None]:
    """Write the lines recorded meanwhile at once, at the end of the open transaction."""
    _open.lines, _open.items = [], {}
    try:
        yield
        while _open.items:  # work may hand on work
            work = min(_open.items, key=lambda each: str(each.__qualname__))
            work(_open.items.pop(work))
        statements.insert(_open.lines, into=AuditEvent)
        _log_after_commit(_open.lines)
    finally:
        _open.lines = _open.items = None


def _log_after_commit(lines: Sequence[Line]) -> None:
    """Write the same lines into the log, where wanted, once they are sure to stand."""
    if settings.TRAIL_LOG and lines:
        transaction.on_commit(lambda: _log(lines), robust=True)


def _log(lines: Sequence[Line]) -> None:
    for line in lines:
        told = {
            "event_id": "" if line.trace is None else str(line.trace),
            "request_id": line.request_id,
            "actor": line.actor,
            "object": line.object,
            "run": line.run,
            "details": line.details,
        }
        trail_logger.info(line.verb, extra={"fields": {k: v for k, v in told.items() if v}})


def announce(event: str, **ids: Any) -> None:
    """Call every service that ``ROUTES`` names for ``event``, inside the open transaction."""
    for path in settings.ROUTES.get(event, ()):
        _service(path)(**ids)


@cache
def _service(path: str) -> Any:
    return import_string(path)


def claim(*, stage: Wanted, limit: int, worker: str, suspects: bool = False) -> list[Claim]:
    """Take up to ``limit`` units of due work of one stage, under a new token and lease.

    Work that has cost workers their lives is taken with ``suspects`` and only then.
    """
    with transaction.atomic():
        rows = statements.take(
            due=_due(stage.name, limit, suspects, settings.LEASE_LOSSES_MAX),
            lease_s=settings.LEASE_MS / 1000,
            worker=worker,
        )
    return [_claim(row) for row in sorted(rows, key=lambda row: (row[-1], row[0]))]


@cache  # composing it takes longer than running it
def _due(stage: str, limit: int, suspects: bool, losses_max: int) -> tuple[str, tuple[Any, ...]]:
    """Return the statement that selects and locks work to claim; call it in a transaction."""
    if suspects:
        due = StageRun.objects.due(losses_max=losses_max).suspect(losses_max=losses_max)
    else:
        due = StageRun.objects.due(losses_max=losses_max - 1)
    chosen = due.filter(stage=stage).order_by("next_at", "id").values("id")
    return chosen.select_for_update(skip_locked=True)[:limit].query.sql_with_params()


def _claim(row: tuple[Any, ...]) -> Claim:
    run_id, stage, subject, trace, run, token, attempts, request_id, _ = row
    return Claim(
        id=run_id,
        stage=stage,
        subject=subject if isinstance(subject, UUID) else UUID(subject),
        trace=trace if isinstance(trace, UUID) else UUID(trace),
        run=run,
        token=token,
        attempts=attempts,
        request_id=request_id,
    )


def renew(*, claims: Sequence[Claim], worker: str) -> set[int]:
    """Prolong the leases of work that this worker still holds, and return the ids of it.

    A living worker loses none.
    """
    ids = {claim.id for claim in claims}
    mine = StageRun.objects.filter(id__in=ids, worker=worker, status=RunStatus.RUNNING)
    if mine.update(lease_until=_from_now(_lease())) == len(ids):
        return ids
    return set(mine.values_list("id", flat=True))


def _lease() -> timedelta:
    return timedelta(milliseconds=settings.LEASE_MS)


def hold(claims: Sequence[Claim]) -> set[int]:
    """Lock the rows of these claims until the commit; return the ids of those still held."""
    if not claims:
        return set()
    rows = StageRun.objects.select_for_update().filter(id__in=[claim.id for claim in claims])
    tokens = {claim.id: claim.token for claim in claims}
    found = rows.filter(status=RunStatus.RUNNING).values_list("id", "token")
    return {run_id for run_id, token in found if tokens[run_id] == token}


def finish_all(claims: Sequence[Claim]) -> set[int]:
    """Mark work as done that is still held, and return the ids of which that is true.

    The rows are locked until the commit, so nobody else can end or take over the work meanwhile.
    """
    return statements.end([(claim.id, claim.token) for claim in claims])


def finish(
    claim: Claim, *, status: RunStatus = RunStatus.DONE, code: str = "", reason: str = ""
) -> None:
    """Mark the work as over, behind its token.

    :raises LeaseLost: if the token is no longer the row's; roll back what belongs to it.
    """
    _behind_token(
        claim, status=status, finished_at=Now(), lease_until=None, code=code, reason=reason
    )


def postpone(claim: Claim, *, result: RetryIn, rng: Random) -> timedelta:
    """Put the work back for a later attempt and return the wait, behind its token.

    :raises LeaseLost: if the token is no longer the row's.
    """
    wait = backoff(
        attempt=claim.attempts,
        base_ms=settings.RETRY_BASE_DELAY_MS,
        max_ms=settings.RETRY_MAX_DELAY_MS,
        after_s=result.after_s,
        rng=rng,
    )
    _behind_token(
        claim,
        status=RunStatus.PENDING,
        next_at=_from_now(wait),
        lease_until=None,
        code=result.code,
        reason=result.reason,
    )
    return wait


def give_back(claims: Sequence[Claim]) -> None:
    """Return unfinished work at shutdown, uncounted, so that others take it at once."""
    with transaction.atomic():
        for held in claims:
            StageRun.objects.filter(id=held.id, token=held.token, status=RunStatus.RUNNING).update(
                status=RunStatus.PENDING,
                attempts=F("attempts") - 1,
                next_at=Now(),
                lease_until=None,
            )
        queue.ring_after_commit(WORK)


def _behind_token(claim: Claim, **values: Any) -> None:
    mine = StageRun.objects.filter(id=claim.id, token=claim.token, status=RunStatus.RUNNING)
    if mine.update(**values) != 1:
        raise LeaseLost(f"{claim.stage} of {claim.subject}, token {claim.token}")


def bury(*, run: StageRun, result: GiveUp, at: datetime) -> None:
    """Fail a unit of work for good and file its dead letter.

    There is one letter per stage and subject: work that was retried and failed again opens the
    same letter again.
    """
    StageRun.objects.filter(id=run.id, status__in=UNFINISHED).update(
        status=RunStatus.FAILED,
        finished_at=Now(),
        lease_until=None,
        code=result.code,
        reason=result.reason,
        token=F("token") + 1,
    )
    DeadLetter.objects.update_or_create(
        stage=run.stage,
        subject=run.subject,
        defaults={
            "trace": run.trace,
            "run": run.run,
            "status": LetterStatus.OPEN,
            "code": result.code,
            "reason": result.reason,
            "fingerprint": fingerprint(stage=run.stage, code=result.code, reason=result.reason),
            "attempts": run.attempts,
            "created_at": at,
            "resolved_at": None,
            "resolved_by": "",
            "note": "",
        },
    )
    labels = {"stage": run.stage, "code": result.code}
    at_end(work=count_rare, item=("lens_dlq_entries_total", labels))


def retry_letter(*, letter: DeadLetter, actor: str, now: datetime, reason: str = "") -> bool:
    """Start the work of an open dead letter again and return whether this call did.

    A second call finds the letter no longer open and changes nothing. What starting again means
    is the stage's affair: ``ROUTES`` names who does it.
    """
    with transaction.atomic():
        rows = DeadLetter.objects.filter(id=letter.id, status=LetterStatus.OPEN)
        if not rows.update(status=LetterStatus.RETRYING, retry_count=F("retry_count") + 1):
            return False
        record_act(
            trace=letter.trace,
            verb="RETRIED",
            actor=actor,
            object=f"letter:{letter.id}",
            before={"status": LetterStatus.OPEN},
            after={"status": LetterStatus.RETRYING},
            at=now,
            run=letter.run,
            stage=letter.stage,
            code=letter.code,
            **({"reason": reason} if reason else {}),
        )
        announce(f"{letter.stage}.retried", letter=letter, now=now)
    return True


def preview_retry(*, letters: QuerySet[DeadLetter], now: datetime) -> RetryPreview:
    """Return what :func:`retry_letters` would do with the same letters, and change nothing."""
    chosen = _retryable(letters)
    count = letters.filter(status=LetterStatus.OPEN).count()
    stale: set[UUID] = _service(settings.RETRY_STALE)(
        event_ids=[letter.trace for letter in chosen], now=now
    )
    worth = [letter for letter in chosen if letter.trace not in stale]
    return RetryPreview(
        letters=len(chosen),
        not_open=letters.exclude(status=LetterStatus.OPEN).count(),
        stale=len(chosen) - len(worth),
        cost=_service(settings.RETRY_COST)(letters=worth),
        left=count - len(chosen),
    )


def retry_letters(
    *, letters: QuerySet[DeadLetter], actor: str, now: datetime, reason: str = ""
) -> int:
    """Start the work of dead letters again, oldest first, and return how many were started.

    At most ``RETRY_AT_ONCE``, each for itself: who calls again goes on with the rest, and what
    is no longer open is left alone.
    """
    return sum(
        retry_letter(letter=letter, actor=actor, now=now, reason=reason)
        for letter in _retryable(letters)
    )


def _retryable(letters: QuerySet[DeadLetter]) -> list[DeadLetter]:
    rows = letters.filter(status=LetterStatus.OPEN)
    return list(rows.order_by("created_at", "id")[:RETRY_AT_ONCE])


def settle_letters(*, traces: Sequence[UUID], end: str, at: datetime) -> None:
    """Close the letters of signals whose retry came to an end, noting which."""
    note = f"the retry ended as {end}"
    RESOLVE_RETRYING.run(traces=traces, resolved_at=at, note=note)


def skip_runs(*, traces: Sequence[UUID], reason: str, stages: Sequence[str] | None = None) -> None:
    """Close the unfinished work of signals; whoever still holds some writes nothing more."""
    if stages is None:
        SKIP_RUNS.run(traces=traces, reason=reason)
    else:
        SKIP_RUNS_OF.run(traces=traces, reason=reason, stages=stages)


def forget_work(*, traces: Sequence[UUID]) -> None:
    """Forget the work and the dead letters of signals that are being taken away."""
    StageRun.objects.filter(trace__in=traces).delete()
    DeadLetter.objects.filter(trace__in=traces).delete()


def fingerprint(*, stage: str, code: str, reason: str) -> str:
    """Return one mark for failures that are alike: ids and numbers in the reason do not count."""
    shape = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|\d+(\.\d+)?", "#", reason)
    return hashlib.sha256(f"{stage}|{code}|{shape}".encode()).hexdigest()[:16]


def resolve_letter(*, letter: DeadLetter, actor: str, note: str, at: datetime) -> bool:
    """Close a dead letter without running it again and return whether this call did."""
    with transaction.atomic():
        found = DeadLetter.objects.select_for_update().filter(id=letter.id)
        before = (
            found.exclude(status=LetterStatus.RESOLVED).values_list("status", flat=True).first()
        )
        if before is None:
            return False
        found.update(status=LetterStatus.RESOLVED, resolved_at=at, resolved_by=actor, note=note)
        record_act(
            trace=letter.trace,
            verb="RESOLVED",
            actor=actor,
            object=f"letter:{letter.id}",
            before={"status": before},
            after={"status": LetterStatus.RESOLVED, "note": note},
            at=at,
            stage=letter.stage,
        )
    return True


def resolve_letters(*, letters: QuerySet[DeadLetter], actor: str, note: str, at: datetime) -> int:
    """Close dead letters without running them again and return how many this call closed.

    :raises InvalidRequest: if no note is given.
    """
    note = checked_reason(note)
    with transaction.atomic(), trail():
        rows = letters.exclude(status=LetterStatus.RESOLVED).order_by("created_at", "id")
        return sum(
            resolve_letter(letter=letter, actor=actor, note=note, at=at)
            for letter in rows[:RETRY_AT_ONCE]
        )


def reopen_letters(*, letters: QuerySet[DeadLetter], actor: str, now: datetime) -> int:
    """Open dead letters again that people closed by mistake; return how many this call opened.

    Good for ``LETTER_UNDO_S`` after closing, and only for letters that were open before: one that
    was being retried meanwhile may have had its end told already.
    """
    with transaction.atomic(), trail():
        closed = letters.select_for_update().filter(
            status=LetterStatus.RESOLVED,
            resolved_at__gt=now - timedelta(seconds=settings.LETTER_UNDO_S),
        )
        rows = closed.exclude(resolved_by=HOUSE).order_by("created_at", "id")
        chosen = [row for row in rows[:RETRY_AT_ONCE] if _was_open(row)]
        for letter in chosen:
            _reopen(letter, actor=actor, now=now)
    return len(chosen)


def _was_open(letter: DeadLetter) -> bool:
    closing = AuditEvent.objects.filter(object=f"letter:{letter.id}", verb="RESOLVED")
    line = closing.order_by("-id").first()
    return line is not None and line.details["before"]["status"] == LetterStatus.OPEN


def _reopen(letter: DeadLetter, *, actor: str, now: datetime) -> None:
    note = letter.note
    letter.status, letter.resolved_at, letter.resolved_by = LetterStatus.OPEN, None, ""
    letter.note = ""
    letter.save(update_fields=["status", "resolved_at", "resolved_by", "note"])
    record_act(
        trace=letter.trace,
        verb="REOPENED",
        actor=actor,
        object=f"letter:{letter.id}",
        before={"status": LetterStatus.RESOLVED, "note": note},
        after={"status": LetterStatus.OPEN},
        at=now,
        stage=letter.stage,
    )


def pause(*, name: str, actor: str, reason: str, now: datetime) -> Switch:
    """Halt intake or publishing and return the switch; a halted one keeps who halted it and why.

    Programs that are under way finish what they hold, and take nothing new from then on.

    :raises NotFound: if there is no such switch.
    :raises InvalidRequest: if no reason is given.
    """
    return _throw(name=name, is_paused=True, actor=actor, reason=reason, now=now)


def resume(*, name: str, actor: str, reason: str, now: datetime) -> Switch:
    """Let intake or publishing go on where it was halted, and return the switch.

    :raises NotFound: if there is no such switch.
    :raises InvalidRequest: if no reason is given.
    """
    return _throw(name=name, is_paused=False, actor=actor, reason=reason, now=now)


def _throw(*, name: str, is_paused: bool, actor: str, reason: str, now: datetime) -> Switch:
    if name not in SwitchName.values:
        raise NotFound(f"there is no switch {name!r}; there are {', '.join(SwitchName.values)}")
    reason = checked_reason(reason)
    with transaction.atomic():
        switch, _ = Switch.objects.select_for_update().get_or_create(name=name)
        if switch.is_paused == is_paused:
            return switch
        switch.is_paused, switch.reason, switch.actor, switch.since = is_paused, reason, actor, now
        switch.save()
        verb = "PAUSED" if is_paused else "RESUMED"
        record_act(
            verb=verb,
            actor=actor,
            object=f"switch:{name}",
            before={"is_paused": not is_paused},
            after={"is_paused": is_paused, "reason": reason},
            at=now,
        )
        queue.ring_after_commit(WORK if name == SwitchName.INTAKE else PUBLISH)
    return switch


def checked_reason(reason: str) -> str:
    """Return why an operator does something, which the trail must be able to tell.

    :raises InvalidRequest: if it is empty or too long.
    """
    stripped = reason.strip()
    if 1 <= len(stripped) <= REASON_MAX_CHARS:
        return stripped
    fault = f"must say why, in 1 to {REASON_MAX_CHARS} characters"
    raise InvalidRequest(f"the reason {fault}", (FieldError("reason", "length", fault),))


def beat(*, name: str, kind: str, started_at: datetime, at: datetime) -> None:
    """Leave a sign of life and sweep away programs that fell silent an hour ago."""
    Heartbeat.objects.update_or_create(
        name=name,
        defaults={
            "kind": kind,
            "version": settings.VERSION,
            "started_at": started_at,
            "seen_at": at,
        },
    )
    Heartbeat.objects.filter(seen_at__lt=at - timedelta(hours=1)).delete()


def forget(*, name: str) -> None:
    """Take a program that stops in order off the list."""
    Heartbeat.objects.filter(name=name).delete()


def _from_now(wait: timedelta) -> ExpressionWrapper[Any] | Now:
    """Return a moment by the database's clock; SQLite's sums are finer than its clock."""
    return Now() if not wait else ExpressionWrapper(Now() + wait, output_field=DateTimeField())


def record_purged(
    *, actor: str, at: datetime, signals: Iterable[int], lines: Iterable[int] = (), **details: Any
) -> None:
    """Tell in the trail which signals and which lines of it are taken away, for good reason."""
    record(
        trace=None,
        verb="PURGED",
        actor=actor,
        at=at,
        signals=Ranges.of(signals).as_json(),
        lines=Ranges.of(lines).as_json(),
        **details,
    )
