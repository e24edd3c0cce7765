"""Reading published decisions, for the feed and for the lists."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from heapq import nlargest
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db.models import Count, Exists, Max, Min, OuterRef, Q, QuerySet

from decisions.models import FIRST_RULING, LATER_RULING, Decision, PublicationHead
from decisions.parsing import ABSTENTION, SIGNAL_STATUS, Filters
from decisions.terms import planned, terms_of
from decisions.types import JURY, House, Terms, scope_of
from enrichment import queries as enrichments
from enrichment.models import Enrichment
from evaluation.models import Evaluation
from evaluation.types import Action, EvaluationStatus
from pipeline.models import AuditEvent
from pipeline.parsing import ids_beginning
from pipeline.types import Batch
from quant.types import Side
from signals.models import Signal
from signals.types import Direction, Origin

ARRIVAL_VERB = "ENQUEUED"
CLOSING_VERBS = ("PUBLISHED", "REJECTED", "EXPIRED", "CANCELLED", "DEAD")
FOLLOWED = (str(Action.FOLLOW_ENTER), str(Action.FOLLOW_EXIT))
NOTICE_VERBS = (ARRIVAL_VERB, "MODEL_DONE", *CLOSING_VERBS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What happened to a signal beside decisions: it came, a model abstained, it ended."""

    kind: str
    event_id: UUID
    symbol: str
    event_type: str
    source: str
    origin: str
    model: str
    status: str
    reason: Any
    at: datetime


def get_head() -> int:
    """Return the last number given to a published decision; 0 before the first."""
    numbered = Decision.objects.aggregate(last=Max("seq"))["last"] or 0
    head = PublicationHead.objects.values_list("head", flat=True).first() or 0
    return max(numbered, head)


def count_unpublished() -> int:
    """Return how many decisions wait for their number."""
    return Decision.objects.filter(published_at=None, withheld="").count()


def get_oldest_seq() -> int | None:
    """Return the number from which on every decision is still stored; None when there is none."""
    oldest: int | None = Decision.objects.aggregate(first=Min("seq"))["first"]
    complete = PublicationHead.objects.values_list("complete_from", flat=True).first() or 1
    return None if oldest is None else max(oldest, complete)


def list_published(
    *, after_seq: int, limit: int, upto: int | None = None, filters: Filters | None = None
) -> list[Decision]:
    """Return numbered decisions after ``after_seq``, in order, at most up to ``upto``."""
    rows = Decision.objects.filter(seq__gt=after_seq)
    if upto is not None:
        rows = rows.filter(seq__lte=upto)
    if filters is not None:
        rows = rows.filter(_wanted(filters))
    return list(rows.order_by("seq")[:limit])


def list_decisions(
    *, filters: Filters, since: datetime | None = None, until: datetime | None = None
) -> QuerySet[Decision]:
    """Select published decisions, unordered."""
    rows = Decision.objects.filter(_wanted(filters), published_at__isnull=False)
    if since is not None:
        rows = rows.filter(published_at__gte=since)
    if until is not None:
        rows = rows.filter(published_at__lt=until)
    return rows


def get_decision(*, decision_id: UUID) -> Decision | None:
    """Return one published decision."""
    return Decision.objects.filter(id=decision_id, published_at__isnull=False).first()


def find_by_beginning(*, digits: str, limit: int) -> list[Decision]:
    """Return decisions whose id begins with these hexadecimal digits."""
    first, last = ids_beginning(digits)
    return list(Decision.objects.filter(id__gte=first, id__lte=last).only("event_id")[:limit])


def has_model(name: str) -> bool:
    """Say whether a model of this name is asked, is the jury, or has ever decided."""
    return name in settings.AI_MODELS or name == JURY or _has_decided(name)


def latest_trail_id() -> int:
    """Return the last id of the audit trail; 0 when it is empty."""
    return AuditEvent.objects.aggregate(last=Max("id"))["last"] or 0


def list_notices(*, after_id: int, limit: int) -> tuple[list[tuple[int, Notice]], int]:
    """Return what happened after trail line ``after_id``, by line, and the last line read."""
    lines = list(
        AuditEvent.objects.filter(id__gt=after_id, verb__in=NOTICE_VERBS).order_by("id")[:limit]
    )
    traces = {line.trace for line in lines if line.trace is not None}
    signals = {signal.event_id: signal for signal in _signals(traces)}
    abstained = _abstentions(traces)
    found = [
        (line.id, notice)
        for line in lines
        if line.trace in signals
        and (notice := _notice(line, signals[line.trace], abstained)) is not None
    ]
    return found, lines[-1].id if lines else after_id


def _has_decided(name: str) -> bool:
    return Decision.objects.filter(model=name).exists()


def _signals(traces: Collection[UUID]) -> Sequence[Signal]:
    if not traces:
        return ()
    shown = ("event_id", "symbol", "event_type", "source", "origin")
    return list(Signal.objects.filter(event_id__in=traces).only(*shown))


def _abstentions(traces: Collection[UUID]) -> dict[tuple[UUID, str, int], Evaluation]:
    if not traces:
        return {}
    rows = Evaluation.objects.filter(
        signal__event_id__in=traces, rerun=None, status=EvaluationStatus.ABSTAINED
    ).select_related("signal")
    return {(row.signal.event_id, row.model, row.run): row for row in rows}


def _notice(
    line: AuditEvent, signal: Signal, abstained: dict[tuple[UUID, str, int], Evaluation]
) -> Notice | None:
    model = str(line.details.get("model", "")) if line.verb == "MODEL_DONE" else ""
    evaluation = abstained.get((signal.event_id, model, line.run))
    if model and evaluation is None:
        return None
    return Notice(
        kind=ABSTENTION if model else SIGNAL_STATUS,
        event_id=signal.event_id,
        symbol=signal.symbol,
        event_type=signal.event_type,
        source=signal.source,
        origin=signal.origin,
        model=model,
        status=evaluation.outcome if evaluation else line.verb,
        reason=evaluation.reason if evaluation else line.details,
        at=line.at,
    )


def _wanted(filters: Filters) -> Q:
    """Return the filters as a condition; ``Filters.passes_decision`` says the same in memory."""
    wanted = Q(origin__in=filters.origin)
    for name in ("model", "symbol", "event_type", "decision", "source"):
        values = getattr(filters, name)
        if values:
            wanted &= Q(**{f"{name}__in": values})
    if filters.min_confidence:
        wanted &= Q(confidence__gte=filters.min_confidence)
    return wanted


def list_last_words(*, event_ids: Collection[UUID], models: Collection[str]) -> list[Decision]:
    """Return the last revision of what these judges decided on each run of the signals."""
    rows = Decision.objects.filter(event_id__in=event_ids, model__in=models).order_by("revision")
    return list({(row.event_id, row.run, row.model): row for row in rows}.values())


def house_rules() -> House:
    """Return the rules by which bets are set from now on."""
    return House(
        target_atr_multiple=settings.TP_ATR_MULTIPLIER,
        stop_atr_multiple=settings.SL_ATR_MULTIPLIER,
        horizon_s=settings.SIGNAL_MAX_TTL,
        fill_within_s=settings.OUTCOME_FILL_WITHIN_S,
        fee_bps=settings.OUTCOME_FEE_BPS,
        slippage_bps=settings.OUTCOME_SLIPPAGE_BPS,
        funding_bps_per_hour=settings.OUTCOME_FUNDING_BPS_PER_HOUR,
    )


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A signal before its judges, with the facts that they were given."""

    signal: Signal
    enrichment: Enrichment

    @cached_property
    def terms(self) -> Terms | None:
        """The bet behind the signal, if it is known."""
        return get_terms(signal=self.signal, enrichment=self.enrichment)

    @property
    def scope(self) -> str:
        """What of the past may be learnt from here."""
        return scope_of(
            origin=self.signal.origin,
            simulated=self.enrichment.simulated,
            replay_id=self.signal.replay_id,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A decision that was just made, and what it was made on."""

    decision: Decision
    bench: Bench


def get_terms(*, signal: Signal, enrichment: Enrichment | None) -> Terms | None:
    """Return the bet behind a signal, or None while nothing is known to set its levels by."""
    return terms_with(
        side=Direction(signal.direction).side,
        entry=float(signal.entry_price),
        target=None if signal.target_price is None else float(signal.target_price),
        stop=None if signal.stop_price is None else float(signal.stop_price),
        atr=enrichments.atr_of(enrichment=enrichment, timeframe=settings.OUTCOME_TIMEFRAME),
    )


def terms_with(
    *, side: Side, entry: float, target: float | None, stop: float | None, atr: float | None
) -> Terms | None:
    """Return the bet with these levels under the rules in force, or None without any levels."""
    return terms_of(side=side, entry=entry, target=target, stop=stop, atr=atr, house=house_rules())


def planned_terms(*, terms: Terms, risk_plan: Mapping[str, Any] | None, entry: float) -> Terms:
    """Return the bet as a decision's plan changes it."""
    return planned(terms, risk_plan=risk_plan, entry=entry)


def list_of_signals(*, signals: Collection[Signal]) -> dict[int, list[Decision]]:
    """Return by signal what was decided on its present run, the last revision of each judge."""
    runs = {signal.id: signal.run for signal in signals}
    found: dict[int, dict[str, Decision]] = {signal_id: {} for signal_id in runs}
    for row in Decision.objects.filter(signal__in=list(runs)).order_by("revision"):
        if row.run == runs[row.signal_id]:
            found[row.signal_id][row.model] = row
    return {signal_id: list(rows.values()) for signal_id, rows in found.items()}


class Word(NamedTuple):
    """What lists show of a decision."""

    signal_id: int
    run: int
    model: str
    seq: int | None
    decision: str
    confidence: float
    confidence_raw: float
    calibration: Mapping[str, Any] | None
    expires_at: datetime | None
    published_at: datetime | None


def list_words(*, signals: Collection[Signal]) -> dict[int, list[Word]]:
    """Return by signal the last word of each judge on its present run; plain rows, for lists."""
    runs = {signal.id: signal.run for signal in signals}
    found: dict[int, dict[str, Word]] = {signal_id: {} for signal_id in runs}
    rows = Decision.objects.filter(signal__in=list(runs)).order_by("revision")
    for row in rows.values_list(*Word._fields):
        word = Word(*row)
        if word.run == runs[word.signal_id]:
            found[word.signal_id][word.model] = word
    return {signal_id: list(words.values()) for signal_id, words in found.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Which word of which judge a signal must have had."""

    judge: str = JURY
    actions: tuple[str, ...] = ()
    min_confidence: float = 0.0

    def newest(
        self, signals: QuerySet[Signal], *, filters: Mapping[str, object], limit: int
    ) -> list[Signal]:
        """Return the newest of the signals on whose present run the judge decided so.

        ``filters`` are look-ups of the signal's columns.
        """
        asked = limit
        while True:
            said = self._said(filters=filters, limit=asked)
            found = list(self.among(signals.filter(id__in=said)))
            if len(found) >= limit or len(said) < asked:
                return found[:limit]
            asked *= 2  # some were taken up anew since, and were given another word

    def _said(self, *, filters: Mapping[str, object], limit: int) -> list[int]:
        """Return the newest signals, by row id, on any run of which the judge decided so.

        Each word is asked for by itself: their index has the signals of one word in their order,
        so rare words cost no more than others. The columns are the decision's own, for a join
        would hide that order; a source alone is the signal's, which has an index of it.
        """
        own = {f"signal__{name}" if name == "source" else name: filters[name] for name in filters}
        rows = self._rows().filter(**own).order_by("-signal_id").values_list("signal_id", flat=True)
        found: set[int] = set()
        for action in self.actions or tuple(Action):
            found.update(rows.filter(decision=action).distinct()[:limit])
        return nlargest(limit, found)

    def among(self, signals: QuerySet[Signal]) -> QuerySet[Signal]:
        """Keep of a few signals those on whose present run the judge decided so."""
        rows = self._rows().filter(signal=OuterRef("id"), run=OuterRef("run"))
        if self.actions:
            rows = rows.filter(decision__in=self.actions)
        return signals.filter(Exists(rows))

    def _rows(self) -> QuerySet[Decision]:
        return Decision.objects.filter(model=self.judge, confidence__gte=self.min_confidence)


def count_first_rulings(*, since: datetime, until: datetime | None = None) -> tuple[int, int]:
    """Return how many live signals the jury first ruled on in a span, and on how many to follow.

    Read from an index alone; the figures of adjoining spans add up.
    """
    rows = _first_rulings(since=since)
    if until is not None:
        rows = rows.filter(published_at__lt=until)
    followed = Count("decision", filter=Q(decision__in=FOLLOWED))
    found = rows.aggregate(ruled=Count("decision"), followed=followed)
    return found["ruled"], found["followed"]


def _first_rulings(*, since: datetime) -> QuerySet[Decision]:
    return Decision.objects.filter(FIRST_RULING, published_at__gte=since)


def count_later_rulings(*, since: datetime) -> tuple[int, int]:
    """Return how many live signals only later words since a moment are of, and so to follow.

    Later words are revisions and those of another run; a signal whose first word falls into the
    same span is counted with that.
    """
    rows = Decision.objects.filter(LATER_RULING, published_at__gte=since)
    if not rows.exists():  # on most days nobody is judged twice
        return 0, 0
    first = _first_rulings(since=since).filter(signal=OuterRef("signal"))
    followed = rows.filter(decision__in=FOLLOWED)
    return (
        _count_signals(rows.exclude(Exists(first))),
        _count_signals(followed.exclude(Exists(first.filter(decision__in=FOLLOWED)))),
    )


def _count_signals(rows: QuerySet[Decision]) -> int:
    return rows.aggregate(n=Count("signal", distinct=True))["n"] or 0


def list_delays_ms(*, limit: int) -> list[float]:
    """Return from receipt to the jury's first word, of the last live signals that it ruled on."""
    rows = Decision.objects.filter(
        model=JURY, seq__isnull=False, origin=Origin.LIVE, revision=1, run=1
    )
    times = rows.order_by("-seq").values_list("signal__received_at", "published_at")[:limit]
    return [(until - since).total_seconds() * 1000 for since, until in times if until]


def rows_to_purge(*, batch: Batch) -> list[QuerySet[Any]]:
    """Return the decisions on signals that are being purged."""
    return [Decision.objects.filter(signal_id__in=batch.signals)]
