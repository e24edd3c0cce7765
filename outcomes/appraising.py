"""Holding a source's ended signals against time and against chance.

How a signal stood some minutes after it was given, and what the same trade would have earned at
random moments of the day before: both read only candles that had closed when it is done.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

import numpy as np
from django.db import transaction

from outcomes import queries
from outcomes.following import costs_of, question_of
from outcomes.models import Outcome
from quant.lifecycle import BadQuestion, Recording
from quant.sourcecards import DECAY_MINUTES, decay, random_entries
from quant.types import Bars

CONTROLS = 4
"""Random entries for each signal."""

BACK = timedelta(days=1)
"""How far before a signal random entries may lie."""

AFTER = timedelta(minutes=max(DECAY_MINUTES) + 1)
BATCH = 500


def appraise(
    *, market: str, symbol: str, replay_id: UUID | None, bars: Bars, as_of: datetime, now: datetime
) -> int:
    """Add decay and random entries to the ended signals of one symbol; return how many."""
    recording = Recording.of(bars)
    done = 0
    while True:
        rows = queries.list_unappraised(
            market=market,
            symbol=symbol,
            replay_id=replay_id,
            candle_s=bars.timeframe_s,
            until=as_of - AFTER,
            limit=BATCH,
        )
        if not rows:
            return done
        for row in rows:
            _appraise(row, recording, now=now)
        with transaction.atomic():
            Outcome.objects.bulk_update(rows, ["decay_r", "control_r", "appraised_at"])
        done += len(rows)


def _appraise(row: Outcome, recording: Recording, *, now: datetime) -> None:
    row.appraised_at = now
    try:
        question = question_of(row.question)
    except BadQuestion:
        return
    bars = recording.bars
    first_ms, last_ms = question.opens_ms - to_length(BACK), question.opens_ms - question.bar_ms
    within = slice(
        int(np.searchsorted(bars.open_ms, first_ms)),
        int(np.searchsorted(bars.open_ms, last_ms, side="right")),
    )
    row.decay_r = {
        str(minutes): value
        for minutes, value in decay(question, recording).items()
        if value is not None
    }
    row.control_r = random_entries(
        question,
        recording,
        costs=costs_of(row.question.costs),
        count=CONTROLS,
        rng=np.random.default_rng(row.question_id.int % 2**64),
        within=within,
    )


def to_length(span: timedelta) -> int:
    """Return a length in milliseconds."""
    return round(span.total_seconds() * 1000)


__all__ = ["AFTER", "BACK", "appraise"]
