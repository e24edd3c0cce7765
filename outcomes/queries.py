"""Every read of the outcomes room."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import Min

from outcomes.models import Outcome, Question
from outcomes.types import SIGNAL, OutcomeStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Candles of one symbol that open questions wait for, from the oldest that was not seen."""

    market: str
    symbol: str
    replay_id: UUID | None
    candle_s: int
    since: datetime


def list_needs(*, now: datetime, replay_id: UUID | None = None) -> list[Need]:
    """Return what candles the open questions need; a replay's only when it is named."""
    rows = Outcome.objects.filter(
        status=OutcomeStatus.OPEN, seen_until__lt=now, question__replay_id=replay_id
    )
    grouped = rows.values_list("market", "symbol", "question__candle_s")
    return [
        Need(market=market, symbol=symbol, replay_id=replay_id, candle_s=candle_s, since=since)
        for market, symbol, candle_s, since in grouped.annotate(since=Min("seen_until")).order_by(
            "market", "symbol"
        )
    ]


def list_open(
    *,
    market: str,
    symbol: str,
    replay_id: UUID | None,
    candle_s: int,
    until: datetime,
    after: UUID | None,
    limit: int,
) -> list[Outcome]:
    """Return open outcomes of one symbol that candles until a moment may move, a page at a time."""
    rows = Outcome.objects.filter(
        status=OutcomeStatus.OPEN,
        market=market,
        symbol=symbol,
        seen_until__lt=until,
        question__replay_id=replay_id,
        question__candle_s=candle_s,
    )
    if after is not None:
        rows = rows.filter(pk__gt=after)
    return list(rows.select_related("question").order_by("pk")[:limit])


def list_without_levels(*, replay_id: UUID | None = None, limit: int) -> list[Question]:
    """Return questions that nothing was known for when they were asked."""
    rows = Question.objects.filter(
        sha256="", outcome__status=OutcomeStatus.OPEN, replay_id=replay_id
    )
    return list(rows.order_by("asked_at")[:limit])


def get_of_signal(*, event_id: UUID, run: int) -> Outcome | None:
    """Return the outcome of a signal's own question."""
    rows = Outcome.objects.select_related("question")
    return rows.filter(
        question__event_id=event_id, question__run=run, question__model=SIGNAL
    ).first()


def list_of_event(*, event_id: UUID) -> list[Outcome]:
    """Return every outcome of one signal: its own first, then those of its decisions."""
    rows = Outcome.objects.select_related("question").filter(question__event_id=event_id)
    return list(rows.order_by("-question__run", "question__model", "question__revision"))


def count_by_status(*, scope: str) -> dict[str, int]:
    """Return how many signals' questions of a scope stand where, or ended how."""
    rows = Outcome.objects.filter(scope=scope, question__model=SIGNAL)
    counts: dict[str, int] = {}
    for status, resolution in rows.values_list("status", "resolution"):
        word = resolution or status
        counts[word] = counts.get(word, 0) + 1
    return counts
