"""Many questions over recorded bars, skipping from one decisive bar to the next."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quant.lifecycle.question import Question
from quant.lifecycle.track import Bar, Status, Track, advance, begin
from quant.types import Bars, Times


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """Recorded bars, with how far each unbroken run of sound bars reaches.

    Shapes: ``run_end`` is (n,), the place after the last bar of the run that holds the bar; a bar
        whose prices cannot be true has its own place, which is an empty run.
    """

    bars: Bars
    run_end: Times

    @classmethod
    def of(cls, bars: Bars) -> Recording:
        """Return the recording of those bars."""
        places = np.arange(len(bars), dtype=np.int64)
        sound = _sound(bars)
        broken = np.ones(len(bars) + 1, dtype=bool)  # whether a run cannot go on into this place
        broken[1:-1] = (np.diff(bars.open_ms) != bars.timeframe_s * 1000) | ~sound[1:] | ~sound[:-1]
        ends = np.flatnonzero(broken)
        run_end = ends[np.searchsorted(ends, places, side="right")]
        return cls(bars, np.where(sound, run_end, places))

    def at(self, place: int) -> Bar:
        """Return the bar at a place."""
        bars = self.bars
        return Bar(
            int(bars.open_ms[place]),
            float(bars.open[place]),
            float(bars.high[place]),
            float(bars.low[place]),
            float(bars.close[place]),
        )


def follow_many(questions: Iterable[Question], recording: Recording) -> list[Track]:
    """Return where each question stands at the end of the recording; see ``follow``."""
    return [follow(question, recording) for question in questions]


def follow(question: Question, recording: Recording, *, track: Track | None = None) -> Track:
    """Return where a question stands after all bars of a recording that it needs.

    Shapes: (n,) bars -> one track.
    Units: those of ``Track``.
    Edges: the same as ``advance`` with one bar after the other, from ``track`` on or from the
        beginning; it stops before a gap and never looks at a bar after the one that decides.
    Source: ``quant.lifecycle.track.advance``.
    :raises ValueError: if the bars are not of the length that the question counts in.
    """
    if recording.bars.timeframe_s * 1000 != question.bar_ms:
        raise ValueError(f"the question counts in bars of {question.bar_ms} ms")
    track = begin(question) if track is None else track
    while not track.status.is_final:
        start = int(np.searchsorted(recording.bars.open_ms, track.next_ms))
        if start == len(recording.bars) or recording.bars.open_ms[start] != track.next_ms:
            return track
        end = int(recording.run_end[start])
        if end == start:
            return track
        place = _decisive(question, track, recording.bars, start, end)
        if place > start:
            track = _skip(question, track, recording.bars[start:place])
        if place < end:
            track = advance(question, track, recording.at(place))
    return track


def _decisive(question: Question, track: Track, bars: Bars, start: int, end: int) -> int:
    """Return the first place from ``start`` whose bar does more than pass, or ``end``."""
    if track.status is Status.WAITING:
        last = start + (question.fill_until_ms - track.next_ms) // question.bar_ms - 1
        end_of_search = min(last, end)
        part = slice(start, end_of_search)
        met = (bars.low[part] <= question.entry) & (bars.high[part] >= question.entry)
    else:
        last = start + (question.ends_ms - track.next_ms) // question.bar_ms
        end_of_search = min(last, end)
        part = slice(start, end_of_search)
        above, below = max(question.target, question.stop), min(question.target, question.stop)
        met = (bars.high[part] >= above) | (bars.low[part] <= below)
    return start + int(met.argmax()) if met.any() else end_of_search


def _skip(question: Question, track: Track, passed: Bars) -> Track:
    """Count bars that touched no level, or not even the entry."""
    next_ms = int(passed.open_ms[-1]) + question.bar_ms
    if track.status is Status.WAITING:
        return Track(status=track.status, next_ms=next_ms)
    high, low = question.in_r(float(passed.high.max())), question.in_r(float(passed.low.min()))
    return Track(
        status=track.status,
        next_ms=next_ms,
        filled_ms=track.filled_ms,
        bars=track.bars + len(passed),
        mfe_r=max(track.mfe_r, high, low),
        mae_r=min(track.mae_r, high, low),
        ambiguous=track.ambiguous,
    )


def _sound(bars: Bars) -> npt.NDArray[np.bool_]:
    low, high = bars.low, bars.high
    sound: npt.NDArray[np.bool_] = (low > 0.0) & np.isfinite(high)
    for price in (bars.open, bars.close):
        sound &= (low <= price) & (price <= high)
    return sound
