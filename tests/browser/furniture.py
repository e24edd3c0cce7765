"""What the desk holds when a browser comes: signals of every kind, some with hostile texts."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from access.services import issue_key
from access.types import KeyDraft, Scope
from decisions.models import Decision
from decisions.services import publish
from enrichment.models import Enrichment
from evaluation import rerunning
from evaluation.models import Attempt, Evaluation, ModelState
from evaluation.queries import Selection
from evaluation.services import evaluators
from notifications import services as notifications
from notifications.notifiers.base import Answer
from notifications.types import EndpointDraft
from pipeline import services as pipeline
from signals.mapping import STARTERS
from signals.models import Signal
from signals.services import create_hook, keep_refusal
from signals.types import (
    Direction,
    HookDraft,
    HookKind,
    InvalidSignal,
    Origin,
    SignalStatus,
)
from tests.factories import make_decision, make_evaluation, make_letter, make_signal

HOSTILE = (
    "<script>document.title='broken'</script><img src=x onerror=alert(1)> "
    "[link](javascript:alert(1)) \u202eevil\u202c \u200bzero\u200b שלום "
)
LONG_REASON = HOSTILE + "long " * ((4_000 - len(HOSTILE)) // 5)
ANSWERS: tuple[dict[str, Any], ...] = (
    {"model": "chatgpt", "action": "FOLLOW_ENTER", "confidence": 0.78, "size": 15.0, "ms": 1850},
    {"model": "claude", "action": "FOLLOW_ENTER", "confidence": 0.71, "size": 12.0, "ms": 2130},
    {"model": "deepseek", "action": "IGNORE", "confidence": 0.55, "size": 0.0, "ms": 680},
)
REFUSED = "$.size_pct: must be from 0 to 100, was 250"
REFUSED_ANSWER = '{"decision": "FOLLOW_ENTER", "size_pct": 250, "reasons": []}'
JUDGES = ("ensemble", "rules", "jury")
SYSTEM = "You judge trading signals. Answer with JSON only."


def furnish_desk(
    *, now: datetime, send: Callable[..., str], judge: Callable[[], None]
) -> dict[str, str]:
    """Fill the database and return the ids of the signals that tests look at."""
    drifted = send(symbol="XRP", direction="long", entry_price="9.0", liquidation_price="1.0")
    demo = send(symbol="SOL", direction="long", origin="DEMO", source="demo")
    ids = {
        "drifted": drifted,
        "demo": demo,
        "plain": send(symbol="BTC", direction="long"),
        "short": send(symbol="ETH", direction="short", source="beta"),
        "close": send(symbol="BTC", direction="close_long"),
    }
    judge()
    model = Signal.objects.get(event_id=ids["plain"])
    ids["rich"] = _rich(like=model, now=now)
    ids["hostile"] = _hostile(like=model, now=now)
    publish(now=datetime.now(UTC), limit=1_000)
    ids["rerun"] = _judged_again(event_id=model.event_id, now=now)
    judge()
    ids["waiting"] = send(symbol="DOGE", direction="long", source="gamma")
    return ids | _operated(now=now)


def _judged_again(*, event_id: UUID, now: datetime) -> str:
    plan = rerunning.plan_named(
        selection=Selection(event_ids=(event_id,), limit=1),
        evaluators=evaluators(),
        model="rules",
        prompt="",
        now=now,
    )
    return str(rerunning.start_rerun(plan=plan, actor="tester", now=now).id)


def _operated(*, now: datetime) -> dict[str, str]:
    """Store what operators look at: dead letters, a webhook with what it refused, a sick model."""
    dead = {"status": SignalStatus.DEAD, "received_at": now, "ts_utc": now}
    letter = make_letter(make_signal(**dead), reason=LONG_REASON, created_at=now)
    make_letter(make_signal(**dead), code="NO_VERDICT", reason="gemini auth", stage="jury")
    draft = HookDraft(
        name="<i>alerts</i>",
        kind=HookKind.TRADINGVIEW,
        source="tradingview",
        mapping=STARTERS[HookKind.TRADINGVIEW],
    )
    hook, _ = create_hook(draft=draft, actor="tester", now=now)
    keep_refusal(
        hook=hook,
        error=InvalidSignal(HOSTILE),
        body=LONG_REASON.encode(),
        content_type="text/plain",
        address="127.0.0.1",
        now=now,
    )
    key = KeyDraft(name=HOSTILE[:60].strip(), scopes=frozenset(Scope))
    issue_key(draft=key, actor="tester", now=now)
    ModelState.objects.create(
        name="rules", open_until=now + timedelta(hours=1), last_fault=HOSTILE[:200]
    )
    ids = {"letter": str(letter.id), "group": letter.fingerprint, "hook": str(hook.id)}
    return ids | _delivered(now=now)


def _delivered(*, now: datetime) -> dict[str, str]:
    """Store an endpoint that answers with what nobody should believe."""
    draft = EndpointDraft(name=HOSTILE[:60].strip(), url="https://bot.example/" + "x" * 300)
    endpoint, _ = notifications.create_endpoint(draft=draft, actor="tester", now=now)
    notifications.send_test(endpoint=endpoint, actor="tester", now=now)
    [parcel] = notifications.claim(limit=1, now=now)
    answer = Answer(status=500, text=LONG_REASON, duration_ms=312.0)
    notifications.settle(parcel=parcel, answer=answer, now=now)
    return {"endpoint": str(endpoint.id), "delivery": str(parcel.delivery.id)}


def _rich(*, like: Signal, now: datetime) -> str:
    """Store a signal that five models have judged, one of which failed."""
    at = now - timedelta(seconds=40)
    signal = _copy(like, received_at=at, source="strategy_alpha", notes="Breakout of the range.")
    facts = _facts(like, signal)
    for answer in ANSWERS:
        _judged(signal, facts, at=at, **answer)
    _abstained(signal, model="gemini", at=at)
    for model in ("ensemble", "rules"):
        _like_before(like, signal, model=model, at=at)
    _ruled(signal, at=at + timedelta(seconds=4.4))
    return str(signal.event_id)


def _hostile(*, like: Signal, now: datetime) -> str:
    """Store a signal whose sender and whose model write to whoever reads them."""
    at = now - timedelta(seconds=20)
    signal = _copy(like, received_at=at, source="<b>bold</b> source", notes=HOSTILE)
    facts = _facts(like, signal)
    _judged(
        signal,
        facts,
        at=at,
        model="chatgpt",
        action="IGNORE",
        confidence=0.5,
        size=0.0,
        ms=900,
        invalidation=LONG_REASON,
        answer='{"decision": "IGNORE", "why": "' + LONG_REASON + '"}',
    )
    _ruled(signal, at=at + timedelta(seconds=2), action="IGNORE", counts={"IGNORE": 1})
    return str(signal.event_id)


def _copy(like: Signal, *, received_at: datetime, source: str, notes: str) -> Signal:
    price = like.entry_price
    signal = make_signal(
        symbol=like.symbol,
        symbol_given=like.symbol_given,
        direction=Direction.LONG,
        entry_price=price,
        liquidation_price=like.liquidation_price,
        stop_price=round(price * Decimal("0.98"), 4),
        target_price=round(price * Decimal("1.04"), 4),
        ts_utc=received_at - timedelta(seconds=1),
        received_at=received_at,
        expires_at=received_at + timedelta(seconds=300),
        status=SignalStatus.PUBLISHED,
        terminal_at=received_at + timedelta(seconds=4.5),
        source=source,
        notes=notes,
    )
    steps: tuple[tuple[str, float, dict[str, Any]], ...] = (
        ("RECEIVED", 0.0, {"source": source}),
        ("ENQUEUED", 0.004, {}),
        ("ENRICHED", 1.73, {"duration_ms": 1726}),
    )
    for verb, seconds, details in steps:
        pipeline.record(
            trace=signal.event_id,
            verb=verb,
            actor="lens",
            at=received_at + timedelta(seconds=seconds),
            **details,
        )
    return signal


def _facts(like: Signal, signal: Signal) -> Enrichment:
    facts = Enrichment.objects.get(event_id=like.event_id, run=like.run)
    facts.pk = None
    facts.event_id = signal.event_id
    facts.as_of = signal.received_at
    facts.created_at = signal.received_at + timedelta(seconds=1.7)
    facts.quality_flags = {
        "missing_data": ["market.book"],
        "stale_data": ["derivs: 71 s old, limit 60 s"],
        "out_of_range": [],
        "provider_errors": [],
        "notes": [],
    }
    facts.save(force_insert=True)
    return facts


def _judged(
    signal: Signal,
    facts: Enrichment,
    *,
    at: datetime,
    model: str,
    action: str,
    confidence: float,
    size: float,
    ms: int,
    invalidation: str | None = None,
    answer: str = "",
) -> None:
    done = at + timedelta(milliseconds=1_700 + ms)
    follows = action == "FOLLOW_ENTER"
    plans = {
        "entry_plan": {"type": "limit", "offset_bps": -5} if follows else None,
        "risk_plan": {"stop_method": "atr", "atr_multiple": 2.0} if follows else None,
    }
    reasons = ["ema_bullish_stack", "macd_bullish_cross"] if follows else ["rsi_overbought"]
    evaluation = make_evaluation(
        signal,
        model=model,
        model_version=f"{model}-2026-09",
        status="DECIDED",
        outcome="ok",
        latency_ms=ms,
        cost_usd=Decimal("0.0041"),
        grounding_score=0.92,
        finished_at=done,
        verdict={
            "action": action,
            "confidence": confidence,
            "reasons": reasons,
            "size_pct": size,
            "invalidation": invalidation,
            "evidence": [],
            "details": {},
            **plans,
        },
    )
    Attempt.objects.create(
        evaluation=evaluation,
        number=1,
        status="ok",
        started_at=done - timedelta(milliseconds=ms),
        latency_ms=ms,
        model_requested=model,
        model_reported=f"{model}-2026-09",
        prompt_version="judge v1",
        prompt_sha256="ab" * 32,
        prompt=f"{SYSTEM}\n\n{facts.payload}",
        answer=answer or f'{{"decision": "{action}", "confidence": {confidence}}}',
        tokens_in=1_180,
        tokens_out=70,
        cost_usd=Decimal("0.0041"),
    )
    pipeline.record(
        trace=signal.event_id,
        verb="MODEL_DONE",
        actor="worker-1",
        at=done,
        model=model,
        status="ok",
        latency_ms=ms,
    )
    make_decision(
        signal,
        id=uuid4(),
        model=model,
        decision=action,
        confidence=confidence,
        confidence_raw=confidence,
        size_pct=size,
        reasons=reasons,
        invalidation=invalidation,
        expires_at=signal.expires_at,
        evaluated_at=done,
        **plans,
    )


def _abstained(signal: Signal, *, model: str, at: datetime) -> None:
    reason = "no answer within 3.0 s"
    done = at + timedelta(seconds=4.385)
    evaluation = make_evaluation(
        signal,
        model=model,
        status="ABSTAINED",
        outcome="timeout",
        reason=reason,
        latency_ms=3_000,
        finished_at=done,
    )
    refused = {"error": REFUSED, "answer": REFUSED_ANSWER}
    for number, (status, told) in enumerate((("invalid", refused), ("timeout", {"error": reason}))):
        Attempt.objects.create(
            evaluation=evaluation,
            number=number + 1,
            status=status,
            started_at=done,
            latency_ms=1_500,
            **told,
        )
    pipeline.record(
        trace=signal.event_id,
        verb="MODEL_DONE",
        actor="worker-1",
        at=done,
        model=model,
        status="timeout",
        latency_ms=3_000,
        reason=reason,
    )


def _like_before(like: Signal, signal: Signal, *, model: str, at: datetime) -> None:
    """Store what a quantitative model said of another signal as its word on this one."""
    row = Evaluation.objects.filter(signal=like, model=model).first()
    if row is None:
        return
    decision = Decision.objects.filter(signal=like, model=model).first()
    row.pk = uuid4()
    row.signal = signal
    row.finished_at = at + timedelta(seconds=1.75)
    row.save(force_insert=True)
    if decision is not None:
        make_decision(
            signal,
            model=model,
            decision=decision.decision,
            confidence=decision.confidence,
            confidence_raw=decision.confidence_raw,
            reasons=decision.reasons,
            size_pct=decision.size_pct,
            expires_at=signal.expires_at,
            evaluated_at=at + timedelta(seconds=1.75),
        )


def _ruled(
    signal: Signal,
    *,
    at: datetime,
    action: str = "FOLLOW_ENTER",
    counts: dict[str, int] | None = None,
) -> None:
    make_decision(
        signal,
        model="jury",
        decision=action,
        confidence=0.68,
        confidence_raw=0.68,
        expires_at=signal.expires_at,
        evaluated_at=at,
        jury={
            "counts": counts or {"FOLLOW_ENTER": 2, "IGNORE": 3},
            "agreement": 0.6,
            "disagreement": 0.12,
            "weights": {"chatgpt": 0.2, "claude": 0.2, "deepseek": 0.2},
            "quorum": {"needed": 3, "voted": 5, "asked": 6},
            "abstained": ["gemini"],
            "decisions": [],
        },
    )


def publish_steadily(*, count: int, per_s: float) -> int:
    """Publish decisions on signals of many symbols at an even pace; return the last number."""
    began, head, done = time.monotonic(), 0, 0
    for number in range(count // len(JUDGES)):
        signal = _fresh(symbol=f"S{number % 4}", at=datetime.now(UTC))
        for model in JUDGES:
            at = datetime.now(UTC)
            make_decision(signal, model=model, evaluated_at=at, expires_at=signal.expires_at)
            head = publish(now=at, limit=10) or head
            done += 1
            time.sleep(max(0.0, began + done / per_s - time.monotonic()))
    return head


def _fresh(*, symbol: str, at: datetime) -> Signal:
    return make_signal(
        symbol=symbol,
        symbol_given=symbol,
        origin=Origin.LIVE,
        status=SignalStatus.PUBLISHED,
        ts_utc=at,
        received_at=at,
        expires_at=at + timedelta(seconds=300),
    )
