"""One signal as one row: how every model stands, the verdict, and how far it is."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from django.conf import settings
from django.utils.functional import Promise
from django.utils.translation import gettext as _

from decisions import queries as decisions
from decisions.queries import Word
from decisions.types import JURY
from enrichment import queries as enrichment
from evaluation import queries as evaluation
from evaluation.queries import Stand
from evaluation.types import EvaluationStatus
from lens_site.pages import formats, words
from signals.models import Signal
from signals.types import OPEN_STATUSES, SignalStatus

SQUARES = {
    "FOLLOW_ENTER": "follow",
    "FOLLOW_EXIT": "follow",
    "IGNORE": "ignore",
    "HOLD": "ignore",
    "TIGHTEN_STOP": "tighten",
}
DRIFT = re.compile(r'"price_drift_bps_from_entry":(-?[0-9.]+(?:e-?[0-9]+)?)')
SQUARES_USUAL = 6
PENDING, ABSTAINED, SKIPPED = "pending", "abstained", "skipped"
COLUMNS = (
    "event_id",
    "run",
    "status",
    "reason",
    "origin",
    "symbol",
    "direction",
    "entry_price",
    "received_at",
    "expires_at",
)
"""What a row shows of its signal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Square:
    """How one model stands: a letter to see, words to hear."""

    model: str
    letter: str
    state: str
    words: str


class Frozen(NamedTuple):
    """What a row shows of the facts around its signal."""

    simulated: bool = False
    payload: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One signal and what has become of it so far."""

    signal: Signal
    squares: tuple[Square, ...]
    ruling: Word | None
    asked: int
    followed: int
    answered: int
    drift_bps: float | None
    simulated: bool
    seq: int
    state: str
    is_today: bool

    @property
    def word(self) -> words.Words:
        """What the badge says."""
        if self.state == "waiting":
            return _("waiting")
        if self.state == "partial" or self.ruling is None:
            return _end_word(self.signal)
        return words.phrase(words.ACTIONS, self.ruling.decision)

    @property
    def is_follow(self) -> bool:
        """Whether the verdict is to act."""
        return self.ruling is not None and self.ruling.decision in words.FOLLOWING

    @property
    def latency_ms(self) -> float | None:
        """From receipt to the verdict, once there is one."""
        if self.ruling is None or self.ruling.published_at is None or self.ruling.run > 1:
            return None
        return (self.ruling.published_at - self.signal.received_at).total_seconds() * 1000

    @property
    def stale_at(self) -> datetime | None:
        """When the advice loses its worth."""
        return self.ruling.expires_at if self.ruling else self.signal.expires_at


def rows_of(signals: Sequence[Signal], *, now: datetime) -> list[Row]:
    """Return the signals as rows, in the same order; asks the database three times in all."""
    evaluations = evaluation.list_of_signals(signals=signals)
    decided = decisions.list_words(signals=signals)
    found = enrichment.list_enrichments(event_ids=[each.event_id for each in signals])
    columns = ("event_id", "run", "simulated", "payload")
    facts = {(event_id, run): Frozen(*rest) for event_id, run, *rest in found.values_list(*columns)}
    return [
        _row(
            signal,
            evaluations=evaluations[signal.id],
            decided=[each for each in decided[signal.id] if each.published_at],
            facts=facts.get((signal.event_id, signal.run), Frozen()),
            now=now,
        )
        for signal in signals
    ]


def _row(
    signal: Signal,
    *,
    evaluations: Collection[Stand],
    decided: Collection[Word],
    facts: Frozen,
    now: datetime,
) -> Row:
    ruling = next((each for each in decided if each.model == JURY), None)
    members = {each.model: each for each in decided if each.model != JURY}
    squares = tuple(_squares(signal, evaluations=evaluations, members=members))
    return Row(
        signal=signal,
        squares=squares,
        ruling=ruling,
        asked=len(squares),
        followed=sum(each.decision in words.FOLLOWING for each in members.values()),
        answered=sum(each.state != PENDING for each in squares),
        drift_bps=drift_bps(facts.payload),
        simulated=facts.simulated,
        seq=max((each.seq or 0 for each in decided), default=0),
        state=_state(signal, ruling=ruling, squares=squares, now=now),
        is_today=signal.received_at >= midnight(now),
    )


def _state(signal: Signal, *, ruling: Word | None, squares: Sequence[Square], now: datetime) -> str:
    if ruling is not None:
        is_stale = ruling.expires_at is not None and ruling.expires_at < now
        return "stale" if is_stale else "decided"
    if signal.status in OPEN_STATUSES:
        return "partial" if any(each.state != PENDING for each in squares) else "waiting"
    return {SignalStatus.REJECTED: "rejected", SignalStatus.DEAD: "dead"}.get(
        SignalStatus(signal.status), "expired"
    )


def _end_word(signal: Signal) -> words.Words:
    if signal.status == SignalStatus.REJECTED:
        return words.phrase(words.REFUSALS, str(signal.reason.get("gate", "rejected")))
    return {
        SignalStatus.EXPIRED: _("expired"),
        SignalStatus.CANCELLED: _("cancelled"),
        SignalStatus.DEAD: _("dead letter"),
    }.get(SignalStatus(signal.status), _("being judged"))


def _squares(
    signal: Signal, *, evaluations: Collection[Stand], members: Mapping[str, Word]
) -> Iterator[Square]:
    known = {each.model: each for each in evaluations}
    is_over = signal.status not in OPEN_STATUSES
    names = [name for name in settings.AI_MODELS if name in known or not known]
    names += sorted(set(known) - set(names))
    for name, letter in words.letters(names).items():
        state, said = _standing(known.get(name), members.get(name), is_over=is_over)
        yield Square(model=name, letter=letter, state=state, words=f"{name}: {said}")


def _standing(
    row: Stand | None, decision: Word | None, *, is_over: bool
) -> tuple[str, str | Promise]:
    if decision is not None:
        share = formats.percent(decision.confidence)
        said = f"{words.phrase(words.ACTIONS, decision.decision)}, {share}"
        return SQUARES.get(decision.decision, "ignore"), said
    if row is not None and row.status == EvaluationStatus.ABSTAINED:
        return ABSTAINED, _("abstained: %s") % words.phrase(words.CAUSES, row.outcome)
    if is_over or (row is not None and row.status == EvaluationStatus.SKIPPED):
        return SKIPPED, _("not asked")
    return PENDING, _("not answered yet")


def drift_bps(payload: str) -> float | None:
    """Return how far the price had gone from the entry when the facts were taken."""
    found = DRIFT.search(payload)
    return float(found[1]) if found else None


def has_many_models() -> bool:
    """Say whether the column of squares needs more room than usual."""
    return len(settings.AI_MODELS) > SQUARES_USUAL


def midnight(now: datetime) -> datetime:
    """Return when the UTC day of ``now`` began."""
    return now - timedelta(
        hours=now.hour, minutes=now.minute, seconds=now.second, microseconds=now.microsecond
    )
