"""Fixing the question: written in the transaction that decides, hashed, and never changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any
from uuid import UUID, uuid5

from django.conf import settings

from decisions import queries as decisions
from decisions.models import Decision
from decisions.queries import Made
from decisions.types import Terms, scope_of
from enrichment import queries as enrichments
from enrichment.models import Enrichment
from enrichment.queries import Enriched
from markets.services import BadRecording, recording_span
from outcomes.models import Outcome, Question
from outcomes.types import SIGNAL, EntryRule, LevelBasis
from pipeline import services as pipeline
from pipeline.statements import insert
from signals import queries as signals
from signals.models import Signal
from signals.types import Direction, Origin

QUESTIONS = UUID("6f1f6a1e-7a51-4c0e-9a43-2f0c6c0a7d11")
"""The namespace of question ids: the same decision always gets the same question."""

DECIMALS = Decimal("0.00000001")
BASIS_POINTS = 10_000.0
MARKET_ENTRY = "market"
MINUTE_S = 60
EXIT = "CLOSE_SIGNAL"
SUPERSEDED = "asked anew: the signal was taken up again"


def ask_about_signals(*, enriched: Sequence[Enriched], now: datetime) -> None:
    """Fix signals' own questions once their facts are frozen; all models are scored by them."""
    for each in enriched:
        terms = decisions.get_terms(signal=each.signal, enrichment=each.enrichment)
        _ask(_of_signal(each.signal, each.enrichment, terms, now=now))


def ask_about_closed(*, event_id: UUID, reason: str, now: datetime) -> None:
    """Fix the question of a signal that ended without a decision: it too is followed."""
    del reason
    signal = signals.get_signal(event_id=event_id)
    if signal is None:
        return
    facts = enrichments.get_enrichment(event_id=event_id, run=signal.run)
    terms = decisions.get_terms(signal=signal, enrichment=facts)
    _ask(_of_signal(signal, facts, terms, now=now))


def ask_about_decisions(*, made: Sequence[Made], now: datetime) -> None:
    """Fix the questions of decisions, each with the entry and the stop of its own plan."""
    alike: dict[UUID, dict[str, Any]] = {}
    for each in made:
        bench, event_id = each.bench, each.bench.signal.event_id
        if event_id not in alike:
            alike[event_id] = _columns(bench.signal, bench.enrichment, now=now)
        _ask(_of_decision(each, Question(**alike[event_id]), now=now))


def _of_decision(made: Made, row: Question, *, now: datetime) -> Question:
    decision, bench = made.decision, made.bench
    if not _is_past(bench.signal):
        row.opens_at = max(row.opens_at, now)  # nothing of what it is judged by is known before it
    row.model, row.revision = decision.model, decision.revision
    row.decision_id, row.decision = decision.id, decision.decision
    row.prompt_version = decision.model_meta.get("prompt_version") or ""
    row.id = question_id(event_id=row.event_id, run=row.run, model=row.model, revision=row.revision)
    if bench.terms is not None:
        _set_levels(row, bench.terms, basis=LevelBasis(bench.terms.basis))
        if decision.entry_plan is not None:
            mid = float(bench.enrichment.facts.get("mid") or bench.signal.entry_price)
            _enter(row, bench.terms, decision=decision, mid=mid)
    row.sha256 = hash_of(row) if row.target_price is not None else ""
    return row


def question_id(*, event_id: UUID, run: int, model: str, revision: int) -> UUID:
    """Return the id of the question about one decision, or about the signal itself."""
    return uuid5(QUESTIONS, f"{event_id}:{run}:{model}:{revision}")


def fix_levels(row: Question, *, atr: float) -> None:
    """Set the levels of a question that nothing was known for, from candles closed by then."""
    terms = decisions.terms_with(
        side=Direction(row.side).side,
        entry=float(row.entry_price),
        target=None if row.target_price is None else float(row.target_price),
        stop=None if row.stop_price is None else float(row.stop_price),
        atr=atr,
    )
    _set_levels(row, terms, basis=LevelBasis.CANDLES)
    row.sha256 = hash_of(row)


def hash_of(row: Question) -> str:
    """Return the hash over everything that decides what the answer is."""
    fixed: Mapping[str, Any] = {
        "event_id": str(row.event_id),
        "run": row.run,
        "model": row.model,
        "revision": row.revision,
        "decision": row.decision,
        "event_type": row.event_type,
        "symbol": row.symbol,
        "side": row.side,
        "market": row.market,
        "opens_at": row.opens_at.astimezone(UTC).isoformat(),
        "entry": [str(row.entry_rule), _exact(row.entry_price), row.entry_within_s],
        "target": _exact(row.target_price),
        "stop": _exact(row.stop_price),
        "horizon_s": row.horizon_s,
        "costs": row.costs,
        "definition": row.definition,
    }
    text = json.dumps(fixed, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _of_signal(
    signal: Signal, enrichment: Enrichment | None, terms: Terms | None, *, now: datetime
) -> Question:
    row = Question(**_columns(signal, enrichment, now=now))
    row.id = question_id(event_id=row.event_id, run=row.run, model=SIGNAL, revision=0)
    if terms is not None:
        _set_levels(row, terms, basis=LevelBasis(terms.basis))
        row.sha256 = hash_of(row)
    return row


def _columns(signal: Signal, enrichment: Enrichment | None, *, now: datetime) -> dict[str, Any]:
    """Return what all questions about one signal have alike."""
    market, simulated = _market_of(signal, enrichment)
    house = decisions.house_rules()
    is_exit = signal.event_type == EXIT
    return {
        "scope": scope_of(origin=signal.origin, simulated=simulated, replay_id=signal.replay_id),
        "event_id": signal.event_id,
        "run": signal.run,
        "event_type": signal.event_type,
        "symbol": signal.symbol,
        "source": signal.source,
        "side": str(Direction(signal.direction).side),
        "regime": enrichments.regime_of(enrichment=enrichment),
        "market": market,
        "replay_id": signal.replay_id,
        "candle_s": _candle_s(signal),
        "asked_at": now,
        "opens_at": _opens_at(signal, enrichment),
        "entry_rule": EntryRule.MARKET if is_exit else EntryRule.TOUCH,
        "entry_price": signal.entry_price,
        "entry_within_s": house.fill_within_s,
        "horizon_s": house.horizon_s,
        "target_price": signal.target_price,
        "stop_price": signal.stop_price,
        "basis": LevelBasis.CANDLES,
        "costs": {
            "fee_bps": house.fee_bps,
            "slippage_bps": house.slippage_bps,
            "funding_bps_per_hour": house.funding_bps_per_hour,
        },
    }


def _opens_at(signal: Signal, enrichment: Enrichment | None) -> datetime:
    """Return from when on the market answers: not before the house knew what it was like."""
    if _is_past(signal):
        return signal.ts_utc
    return max(signal.ts_utc, signal.received_at if enrichment is None else enrichment.as_of)


def _is_past(signal: Signal) -> bool:
    """Say whether a signal is judged as of its own time, from a recording."""
    return signal.origin == Origin.REPLAY or settings.PROVIDER_PRIMARY == "recorded"


def _enter(row: Question, terms: Terms, *, decision: Decision, mid: float) -> None:
    """Let a decision enter as it plans to, with the stop that it plans."""
    plan = decision.entry_plan or {}
    is_market = plan.get("type") == MARKET_ENTRY
    offset = float(plan.get("offset_bps") or 0.0) / BASIS_POINTS
    entry = mid if is_market else float(row.entry_price) * (1.0 + offset)
    planned = decisions.planned_terms(terms=terms, risk_plan=decision.risk_plan, entry=entry)
    row.entry_rule = EntryRule.MARKET if is_market else EntryRule.TOUCH
    row.entry_price = _stored(entry)
    _set_levels(row, planned, basis=LevelBasis(planned.basis))


def _set_levels(row: Question, terms: Terms | None, *, basis: LevelBasis) -> None:
    if terms is None:
        return
    row.target_price, row.stop_price = _stored(terms.target), _stored(terms.stop)
    row.atr, row.basis = terms.atr, basis


def _ask(row: Question) -> None:
    pipeline.at_end(work=_store, item=row)


def _store(rows: Sequence[Question]) -> None:
    """Write questions with their open outcomes; one that is there already stays as it is."""
    insert(rows, ignore_conflicts=True)
    insert([_open(row) for row in rows], ignore_conflicts=True)
    again = [row.event_id for row in rows if row.run > 1 and row.model == SIGNAL]
    if again:
        latest = {row.event_id: row.run for row in rows}
        for event_id in again:
            Outcome.objects.filter(
                question__event_id=event_id, question__run__lt=latest[event_id], scored_at=None
            ).update(scored_at=rows[0].asked_at, reason=SUPERSEDED)


def _open(row: Question) -> Outcome:
    return Outcome(
        question=row,
        scope=row.scope,
        market=row.market,
        symbol=row.symbol,
        opens_at=row.opens_at,
        seen_until=first_open(row.opens_at, candle_s=row.candle_s),
    )


def first_open(at: datetime, *, candle_s: int) -> datetime:
    """Return when the first candle opens of which nothing lies before a moment."""
    past = at.timestamp() % candle_s
    return at if not past else at + timedelta(seconds=candle_s - past)


def _market_of(signal: Signal, enrichment: Enrichment | None) -> tuple[str, bool]:
    """Return which provider answers for a signal's market, and whether that market is made up."""
    if signal.origin == Origin.REPLAY:
        return "recorded", False
    if signal.origin == Origin.DEMO:
        return "simulated", True
    market = str(settings.PROVIDER_PRIMARY)
    return market, market == "simulated" or bool(enrichment and enrichment.simulated)


def _candle_s(signal: Signal) -> int:
    if signal.replay is None:
        return MINUTE_S
    try:
        return _recorded_s(signal.replay.candles_path)
    except BadRecording:
        return MINUTE_S  # without its recording the question cannot be answered anyway


@lru_cache(maxsize=64)
def _recorded_s(path: str) -> int:
    return recording_span(path).timeframe_s


def _stored(price: float) -> Decimal:
    return Decimal(repr(price)).quantize(DECIMALS)


def _exact(price: Decimal | None) -> str | None:
    return None if price is None else f"{Decimal(price).quantize(DECIMALS):f}"
