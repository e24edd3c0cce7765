"""From rows to the numbers that decide them, and back; pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from outcomes.models import Outcome, Question
from outcomes.types import EntryRule, OutcomeStatus, Resolution
from quant import lifecycle
from quant.lifecycle import BadQuestion, Costs, Fill, Status, Track
from quant.types import Side

EXIT = "CLOSE_SIGNAL"
RESOLUTIONS = {
    Status.TP_HIT: Resolution.TARGET,
    Status.SL_HIT: Resolution.STOP,
    Status.EXPIRED: Resolution.EXPIRED,
    Status.NOT_FILLED: Resolution.NOT_FILLED,
}
MS = 1000


@dataclass(frozen=True, slots=True)
class Followed:
    """One open outcome with its question as numbers, and how far it has come."""

    outcome: Outcome
    question: lifecycle.Question
    track: Track


def followed(outcome: Outcome) -> Followed:
    """Return an open outcome ready to be followed on.

    :raises BadQuestion: if its levels make no question, such as a stop on the wrong side.
    """
    row = outcome.question
    question = question_of(row)
    entered = outcome.entered_at
    is_open = entered is not None or question.fill is Fill.AT_ONCE
    track = Track(
        status=Status.OPEN if is_open else Status.WAITING,
        next_ms=to_ms(outcome.seen_until),
        filled_ms=to_ms(entered) if entered else question.opens_ms if is_open else None,
        bars=outcome.bars,
        mfe_r=outcome.mfe_r,
        mae_r=outcome.mae_r,
        ambiguous=outcome.ambiguous,
    )
    return Followed(outcome, question, track)


def question_of(row: Question) -> lifecycle.Question:
    """Return a question as numbers.

    :raises BadQuestion: if its levels make none.
    """
    if row.target_price is None or row.stop_price is None:
        raise BadQuestion("the question has no levels")
    return lifecycle.Question(
        side=Side(row.side),
        entry=float(row.entry_price),
        target=float(row.target_price),
        stop=float(row.stop_price),
        asked_ms=to_ms(row.opens_at),
        horizon_ms=row.horizon_s * MS,
        fill=Fill.AT_ONCE if row.entry_rule == EntryRule.MARKET else Fill.ON_TOUCH,
        fill_window_ms=row.entry_within_s * MS,
        bar_ms=row.candle_s * MS,
    )


def put_track(
    outcome: Outcome, question: lifecycle.Question, track: Track, *, now: datetime
) -> None:
    """Write where a question stands into its row, with what it earned if it has ended."""
    outcome.seen_until = to_time(track.next_ms)
    outcome.entered_at = None if track.filled_ms is None else to_time(track.filled_ms)
    outcome.bars, outcome.mfe_r, outcome.mae_r = track.bars, track.mfe_r, track.mae_r
    outcome.ambiguous, outcome.gapped = track.ambiguous, track.gapped
    if track.status is Status.DATA_GAP:
        at = f"{to_time(track.next_ms):%Y-%m-%d %H:%M}"
        put_unresolvable(outcome, reason=f"DATA_GAP: no candle of {at} UTC came", now=now)
        outcome.known_at = to_time(track.settled_ms or track.next_ms)
    elif track.status.is_final:
        _put_end(outcome, question, track, now=now)


def put_unresolvable(outcome: Outcome, *, reason: str, now: datetime) -> None:
    """Close a question that cannot be answered; nothing is guessed."""
    outcome.status, outcome.reason = OutcomeStatus.UNRESOLVABLE, reason[:200]
    outcome.resolved_at = now
    outcome.known_at = outcome.known_at or outcome.seen_until


def _put_end(
    outcome: Outcome, question: lifecycle.Question, track: Track, *, now: datetime
) -> None:
    outcome.status, outcome.resolved_at = OutcomeStatus.RESOLVED, now
    outcome.resolution = RESOLUTIONS[track.status]
    outcome.known_at = to_time(track.settled_ms or track.next_ms)
    if not track.status.has_exit:
        return
    settled = lifecycle.settle(question, track, costs=costs_of(outcome.question.costs))
    outcome.exit_at = to_time(track.exit_ms or track.next_ms)
    outcome.exit_price = track.exit_price
    outcome.gross_r, outcome.cost_r = settled.gross_r, settled.cost_r
    outcome.net_r = settled.net_r
    is_exit = outcome.question.event_type == EXIT
    outcome.won = settled.gross_r < 0.0 if is_exit else settled.won


def costs_of(stored: dict[str, Any]) -> Costs:
    """Return the costs that a question was asked with."""
    return Costs(
        fee_bps=stored["fee_bps"],
        slippage_bps=stored["slippage_bps"],
        funding_bps_per_hour=stored["funding_bps_per_hour"],
    )


def to_ms(at: datetime) -> int:
    """Return a moment in unix milliseconds."""
    return round(at.timestamp() * MS)


def to_time(ms: int) -> datetime:
    """Return the moment of unix milliseconds."""
    return datetime.fromtimestamp(ms / MS, UTC)
