"""How far a question has come, advanced by one closed bar at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from quant.lifecycle.question import Fill, Question


class Status(StrEnum):
    """Where a question stands; all but the first two are final."""

    WAITING = "WAITING"
    OPEN = "OPEN"
    TP_HIT = "TP_HIT"
    SL_HIT = "SL_HIT"
    EXPIRED = "EXPIRED"
    NOT_FILLED = "NOT_FILLED"
    MANUAL = "MANUAL"
    REVERSED = "REVERSED"
    DATA_GAP = "DATA_GAP"

    @property
    def is_final(self) -> bool:
        """Whether nothing can change any more."""
        return self not in _UNFINISHED

    @property
    def has_exit(self) -> bool:
        """Whether there was a trade and it ended at a price."""
        return self in _EXITS


_UNFINISHED = frozenset({Status.WAITING, Status.OPEN})
_EXITS = frozenset({Status.TP_HIT, Status.SL_HIT, Status.EXPIRED, Status.MANUAL, Status.REVERSED})


@dataclass(frozen=True, slots=True)
class Bar:
    """One closed bar.

    Units: ``open_ms`` in unix milliseconds UTC; prices in quote currency.
    """

    open_ms: int
    open: float
    high: float
    low: float
    close: float

    @property
    def is_sound(self) -> bool:
        """Whether the prices can be true together; NaN, crossed and negative ones cannot."""
        within = self.low <= self.open <= self.high and self.low <= self.close <= self.high
        return within and self.low > 0.0 and self.high < float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """How far a question has come.

    Units: times in unix milliseconds UTC; ``mfe_r`` and ``mae_r``, the best and the worst the
        trade stood at, in R, at least and at most 0.
    Edges: ``next_ms`` is when the bar opens that is needed next; ``exit_ms`` when the bar opened
        in which the trade ended; ``settled_ms`` from when on the outcome could be known, which is
        that bar's close; ``bars`` how many bars the trade was held, the last one counted whole;
        ``ambiguous`` that the outcome rests on the worst order of prices within a bar;
        ``gapped`` that the price jumped beyond the level and the exit is the bar's first price.
    """

    status: Status
    next_ms: int
    filled_ms: int | None = None
    exit_ms: int | None = None
    exit_price: float | None = None
    settled_ms: int | None = None
    bars: int = 0
    mfe_r: float = 0.0
    mae_r: float = 0.0
    ambiguous: bool = False
    gapped: bool = False


def begin(question: Question) -> Track:
    """Return where a question stands before its first bar."""
    at_once = question.fill is Fill.AT_ONCE
    return Track(
        status=Status.OPEN if at_once else Status.WAITING,
        next_ms=question.opens_ms,
        filled_ms=question.opens_ms if at_once else None,
    )


def advance(question: Question, track: Track, bar: Bar) -> Track:
    """Return where a question stands after one more closed bar.

    Shapes: one bar.
    Units: those of ``Track``.
    Edges: a final track, a bar already counted, one from beyond a gap, and one whose prices cannot
        be true change nothing, so a duplicate counts once and a gap is waited for (``is_behind``).
        Within a bar the worst order holds: the stop comes before the target. A first price beyond
        a level is known to come first, and is the exit. In the bar that fills at an unknown moment,
        a touched stop counts, and the target only if the bar also closes beyond it.
    Source: specification A8; vectors ``engine.lifecycle_cases`` and ``outcome_resolution``.
    """
    if track.status.is_final or bar.open_ms != track.next_ms or not bar.is_sound:
        return track
    if track.status is Status.WAITING:
        return _wait(question, track, bar)
    if bar.open_ms >= question.ends_ms:
        return _leave(question, track, bar, Status.EXPIRED, bar.open)
    return _hold(question, track, bar)


def close_by_hand(
    question: Question, track: Track, *, price: float, at_ms: int, status: Status = Status.MANUAL
) -> Track:
    """Return the track of a trade that a person, or an opposite signal, ended.

    Units: ``price`` in quote currency; ``at_ms`` in unix milliseconds UTC.
    Edges: a final track stays as it is; one that waits for its entry was not filled.
    :raises ValueError: if ``status`` is neither MANUAL nor REVERSED.
    """
    if status not in (Status.MANUAL, Status.REVERSED):
        raise ValueError(f"a trade is not ended by hand as {status}")
    if track.status.is_final:
        return track
    if track.status is Status.WAITING:
        return replace(track, status=Status.NOT_FILLED, settled_ms=at_ms)
    reached = question.in_r(price)
    return replace(
        track,
        status=status,
        exit_ms=at_ms,
        exit_price=price,
        settled_ms=at_ms,
        mfe_r=max(track.mfe_r, reached),
        mae_r=min(track.mae_r, reached),
    )


def is_behind(question: Question, track: Track, *, now_ms: int) -> bool:
    """Whether the bar that is needed next should have closed by now."""
    return not track.status.is_final and track.next_ms + question.bar_ms <= now_ms


def give_up(question: Question, track: Track, *, now_ms: int, patience_ms: int) -> Track:
    """Return the track as unanswerable if the bar it needs has been missing for too long.

    Units: milliseconds.
    Edges: a final track, and one whose bar may still come, stay as they are.
    Source: specification A8, ``data_gap``.
    """
    if track.status.is_final or now_ms - (track.next_ms + question.bar_ms) < patience_ms:
        return track
    return replace(track, status=Status.DATA_GAP, settled_ms=now_ms)


def _wait(question: Question, track: Track, bar: Bar) -> Track:
    if bar.low <= question.entry <= bar.high:
        filled = replace(track, status=Status.OPEN, filled_ms=bar.open_ms)
        if bar.open == question.entry:
            return _hold(question, filled, bar)
        return _fill_within(question, filled, bar)
    next_ms = bar.open_ms + question.bar_ms
    if next_ms >= question.fill_until_ms:
        return replace(track, status=Status.NOT_FILLED, next_ms=next_ms, settled_ms=next_ms)
    return replace(track, next_ms=next_ms)


def _hold(question: Question, track: Track, bar: Bar) -> Track:
    """Count a bar through all of which the trade was open."""
    sign = question.side.sign
    if sign * (bar.open - question.stop) <= 0.0:
        return _leave(question, track, bar, Status.SL_HIT, bar.open)
    if sign * (bar.open - question.target) >= 0.0:
        return _leave(question, track, bar, Status.TP_HIT, bar.open)
    best, worst = (bar.high, bar.low) if sign > 0 else (bar.low, bar.high)
    on_target = sign * (best - question.target) >= 0.0
    if sign * (worst - question.stop) <= 0.0:
        return _hit(question, track, bar, Status.SL_HIT, ambiguous=on_target)
    if on_target:
        return _hit(question, track, bar, Status.TP_HIT, worst=worst)
    return _stay(question, track, bar, best=best, worst=worst)


def _fill_within(question: Question, track: Track, bar: Bar) -> Track:
    """Count the bar that touched the entry at an unknown moment after its first price."""
    sign = question.side.sign
    best, worst = (bar.high, bar.low) if sign > 0 else (bar.low, bar.high)
    on_target = sign * (best - question.target) >= 0.0
    if sign * (worst - question.stop) <= 0.0:
        certain = sign * (bar.close - question.stop) <= 0.0 and not on_target
        return _hit(question, track, bar, Status.SL_HIT, ambiguous=not certain)
    if sign * (bar.close - question.target) >= 0.0:
        return _hit(question, track, bar, Status.TP_HIT, worst=worst)
    stayed = _stay(question, track, bar, best=bar.close, worst=worst)
    return replace(stayed, ambiguous=True) if on_target else stayed


def _stay(question: Question, track: Track, bar: Bar, *, best: float, worst: float) -> Track:
    return Track(
        status=track.status,
        next_ms=bar.open_ms + question.bar_ms,
        filled_ms=track.filled_ms,
        bars=track.bars + 1,
        mfe_r=max(track.mfe_r, question.in_r(best)),
        mae_r=min(track.mae_r, question.in_r(worst)),
        ambiguous=track.ambiguous,
    )


def _hit(
    question: Question,
    track: Track,
    bar: Bar,
    status: Status,
    *,
    worst: float | None = None,
    ambiguous: bool = False,
) -> Track:
    """End the trade at its level, somewhere within a bar."""
    price = question.target if status is Status.TP_HIT else question.stop
    stayed = _stay(question, track, bar, best=price, worst=price if worst is None else worst)
    return replace(
        stayed,
        status=status,
        exit_ms=bar.open_ms,
        exit_price=price,
        settled_ms=bar.open_ms + question.bar_ms,
        ambiguous=track.ambiguous or ambiguous,
    )


def _leave(question: Question, track: Track, bar: Bar, status: Status, price: float) -> Track:
    """End the trade at the first price of a bar."""
    reached = question.in_r(price)
    level = question.target if status is Status.TP_HIT else question.stop
    return replace(
        track,
        status=status,
        next_ms=bar.open_ms + question.bar_ms,
        exit_ms=bar.open_ms,
        exit_price=price,
        settled_ms=bar.open_ms + question.bar_ms,
        mfe_r=max(track.mfe_r, reached),
        mae_r=min(track.mae_r, reached),
        gapped=status is not Status.EXPIRED and price != level,
    )
