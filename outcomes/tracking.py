"""Following open questions over closed candles, one market and symbol at a time.

What has been seen is stored with the outcome, behind a guard, so that a second tracker, a
repeated pass or a restart counts no candle twice; what was not stored is followed again from the
same candles to the same end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import numpy as np
from django.conf import settings
from django.db import transaction

from outcomes import queries
from outcomes.asking import fix_levels
from outcomes.following import followed, put_track, put_unresolvable, to_ms
from outcomes.models import Outcome, Question
from outcomes.types import OutcomeStatus
from quant.indicators.atr import atr
from quant.lifecycle import BadQuestion, Recording, follow, give_up, is_behind
from quant.types import Bars

ATR_PERIOD = 14
CHECKPOINT = timedelta(minutes=15)
"""How far a question is followed before that is stored; a restart follows it again from there."""

PROGRESS = ("seen_until", "waiting_since", "entered_at", "bars", "mfe_r", "mae_r", "ambiguous")
ENDING = (
    *PROGRESS,
    "status",
    "gapped",
    "resolution",
    "won",
    "exit_at",
    "exit_price",
    "known_at",
    "gross_r",
    "cost_r",
    "net_r",
    "reason",
    "resolved_at",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """What one look at one symbol came to."""

    looked_at: int = 0
    ended: int = 0
    behind: int = 0


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was stored of an outcome before it was followed on."""

    until: datetime
    waiting_since: datetime | None


def advance(
    *, market: str, symbol: str, replay_id: UUID | None, bars: Bars, as_of: datetime, now: datetime
) -> Pass:
    """Follow all open questions of one symbol over the candles that are known at ``as_of``.

    A candle that is missing is waited for; when it has been missing for the patience that
    ``OUTCOME_GAP_PATIENCE_S`` sets, the question is unresolvable.
    """
    recording = Recording.of(bars)
    looked_at = ended = behind = 0
    after: UUID | None = None
    while True:
        rows = queries.list_open(
            market=market,
            symbol=symbol,
            replay_id=replay_id,
            candle_s=bars.timeframe_s,
            until=as_of,
            after=after,
            limit=settings.TRACK_BATCH,
        )
        if not rows:
            return Pass(looked_at=looked_at, ended=ended, behind=behind)
        after = rows[-1].pk
        seen = {row.pk: _Seen(row.seen_until, row.waiting_since) for row in rows}
        for row in rows:
            behind += _follow(row, recording, as_of=as_of, now=now)
        ended += _store(rows, seen)
        looked_at += len(rows)


def _follow(row: Outcome, recording: Recording, *, as_of: datetime, now: datetime) -> bool:
    """Follow one outcome as far as candles go and say whether the next one is overdue."""
    try:
        state = followed(row)
    except BadQuestion as error:
        if row.question.target_price is not None:
            put_unresolvable(row, reason=f"BAD_LEVELS: {error}", now=now)
        return False
    track = follow(state.question, recording, track=state.track)
    behind = is_behind(state.question, track, now_ms=to_ms(as_of))
    if behind:
        patience_ms = settings.OUTCOME_GAP_PATIENCE_S * 1000
        track = give_up(state.question, track, now_ms=to_ms(as_of), patience_ms=patience_ms)
    row.waiting_since = (row.waiting_since or now) if behind else None
    put_track(row, state.question, track, now=now)
    return behind


def _store(rows: Sequence[Outcome], seen: dict[UUID, _Seen]) -> int:
    """Write what has ended or come a good way, unless somebody else did meanwhile."""
    worth = [row for row in rows if _is_worth_storing(row, seen[row.pk])]
    if not worth:
        return 0
    with transaction.atomic():
        held = Outcome.objects.select_for_update().filter(
            pk__in=[row.pk for row in worth], status=OutcomeStatus.OPEN
        )
        mine = {pk for pk, at in held.values_list("pk", "seen_until") if at == seen[pk].until}
        kept = [row for row in worth if row.pk in mine]
        over = [row for row in kept if row.status != OutcomeStatus.OPEN]
        going = [row for row in kept if row.status == OutcomeStatus.OPEN]
        _write(going, PROGRESS)
        _write(over, ENDING)
    return len(over)


def _write(rows: Sequence[Outcome], columns: Sequence[str]) -> None:
    """Write columns of rows that are there and held, in a tenth of the time of a bulk update."""
    Outcome.objects.bulk_create(
        rows, update_conflicts=True, update_fields=columns, unique_fields=["question"]
    )


def _is_worth_storing(row: Outcome, seen: _Seen) -> bool:
    has_come_far = row.seen_until - seen.until >= CHECKPOINT
    has_turned = (row.waiting_since is None) != (seen.waiting_since is None)
    return has_come_far or has_turned or row.status != OutcomeStatus.OPEN


def set_missing_levels(*, question: Question, bars: Bars | None, fault: str, now: datetime) -> None:
    """Fix the levels of a question that nothing was known for, from candles closed by then.

    ``bars`` are of ``OUTCOME_TIMEFRAME``; None, with the ``fault``, where they cannot be had.
    """
    known = None if bars is None else _range_at(bars, question.opens_at)
    with transaction.atomic():
        outcome = Outcome.objects.select_for_update().select_related("question")
        row = outcome.get(question=question)
        if row.status != OutcomeStatus.OPEN or row.question.sha256:
            return
        if known is None:
            why = fault or "too few candles had closed to set target and stop by"
            put_unresolvable(row, reason=f"NO_LEVELS: {why}", now=now)
            row.save(update_fields=["status", "reason", "resolved_at", "known_at"])
            return
        fix_levels(row.question, atr=known)
        row.question.save(update_fields=["target_price", "stop_price", "atr", "basis", "sha256"])


def _range_at(bars: Bars, at: datetime) -> float | None:
    """Return the average true range of the candles that had closed at a moment."""
    closed = bars[: int(np.searchsorted(bars.close_ms, to_ms(at), side="right"))]
    if len(closed) <= ATR_PERIOD:
        return None
    value = float(atr(closed.high, closed.low, closed.close, period=ATR_PERIOD)[-1])
    return value if value > 0.0 else None


def close_unfindable(
    *, market: str, symbol: str, replay_id: UUID | None, reason: str, now: datetime
) -> int:
    """Close the questions on a symbol that its market does not know, after the patience."""
    before = now - timedelta(seconds=settings.OUTCOME_GAP_PATIENCE_S)
    rows = Outcome.objects.filter(
        status=OutcomeStatus.OPEN,
        market=market,
        symbol=symbol,
        question__replay_id=replay_id,
        question__asked_at__lte=before,
    )
    with transaction.atomic():
        gone = list(rows.select_for_update(of=("self",)))
        for row in gone:
            put_unresolvable(row, reason=f"UNKNOWN_INSTRUMENT: {reason}", now=now)
        Outcome.objects.bulk_update(gone, ["status", "reason", "resolved_at", "known_at"])
    return len(gone)
