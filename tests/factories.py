"""Plain makers of rows; every argument has a sensible default."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

from decisions.models import Decision
from enrichment.models import Enrichment
from evaluation.models import Evaluation
from pipeline.models import DeadLetter
from pipeline.services import fingerprint
from signals.models import Signal
from signals.types import Direction, EventType, Origin, SignalDraft, SignalStatus, Submission

NOON = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)


def make_body(**changes: Any) -> dict[str, Any]:
    """Return the body of a valid request; ``None`` as a change removes the field."""
    body = {
        "event_type": "OPEN_SIGNAL",
        "symbol": "BTC",
        "signal_direction": "long",
        "entry_price": 42000.00,
        "size": 0.1,
        "liquidation_price": 38000.00,
        "ts_utc": datetime.now(UTC).isoformat(),
        "source": "strategy_alpha",
    } | changes
    return {name: value for name, value in body.items() if value is not None}


def make_draft(**changes: Any) -> SignalDraft:
    """Return a draft of a long on BTC at noon."""
    values: dict[str, Any] = {
        "event_type": EventType.OPEN_SIGNAL,
        "symbol": "BTC",
        "symbol_given": "BTC",
        "direction": Direction.LONG,
        "entry_price": Decimal(42000),
        "size": Decimal("0.1"),
        "liquidation_price": Decimal(38000),
        "ts_utc": NOON,
        "source": "strategy_alpha",
    }
    return SignalDraft(**(values | changes))


def make_submission(*, owner: str = "tester", **changes: Any) -> Submission:
    """Return a submission; what is no field of it goes to the draft."""
    own = {name: changes.pop(name) for name in list(changes) if name in SUBMISSION_FIELDS}
    return Submission(draft=make_draft(**changes), owner=owner, **own)


SUBMISSION_FIELDS = {"origin", "idempotency_key", "body_sha256", "replay_id"}


def make_signal(**changes: Any) -> Signal:
    """Return a stored live signal, received at noon, that nothing has happened to."""
    values = {
        "event_type": EventType.OPEN_SIGNAL,
        "symbol": "BTC",
        "symbol_given": "BTC",
        "direction": Direction.LONG,
        "entry_price": Decimal(42000),
        "size": Decimal("0.1"),
        "liquidation_price": Decimal(38000),
        "ts_utc": NOON,
        "source": "strategy_alpha",
        "owner": "tester",
        "received_at": NOON,
        "origin": Origin.LIVE,
    }
    return Signal.objects.create(**(values | changes))


def make_enrichment(signal: Signal, **changes: Any) -> Enrichment:
    """Return the frozen facts of a signal, almost empty."""
    values = {
        "event_id": signal.event_id,
        "run": signal.run,
        "profile": "trend_follow_v1",
        "profile_version": 1,
        "policy_version": 1,
        "provider": "recorded",
        "as_of": signal.ts_utc,
        "payload": "{}",
        "payload_sha256": "0" * 64,
        "facts": {},
        "facts_sha256": "0" * 64,
        "constraints": {},
        "quality_flags": {},
        "gates": [],
        "provenance": {},
        "duration_ms": 1,
        "created_at": signal.received_at,
    }
    return Enrichment.objects.create(**(values | changes))


def make_evaluation(signal: Signal, **changes: Any) -> Evaluation:
    """Return one model's pending evaluation of a signal."""
    values = {
        "signal": signal,
        "run": signal.run,
        "model": "ensemble",
        "created_at": signal.received_at,
    }
    return Evaluation.objects.create(**(values | changes))


def make_decision(signal: Signal | None = None, **changes: Any) -> Decision:
    """Return an unpublished decision to follow."""
    signal = signal or make_signal()
    values = {
        "id": uuid4(),
        "signal": signal,
        "event_id": signal.event_id,
        "run": signal.run,
        "model": "ensemble",
        "origin": signal.origin,
        "symbol": signal.symbol,
        "event_type": signal.event_type,
        "source": signal.source,
        "decision": "FOLLOW_ENTER",
        "confidence": 0.75,
        "confidence_raw": 0.75,
        "size_pct": 10.0,
        "reasons": ["bullish_trend"],
        "model_meta": {
            "model_name": "ensemble",
            "model_version": "ensemble-1",
            "latency_ms": 0.2,
            "status": "SUCCESS",
            "tokens_used": None,
            "cost_usd": None,
            "prompt_version": None,
            "prompt_hash": None,
        },
        "evaluated_at": signal.received_at + timedelta(seconds=1),
    }
    return Decision.objects.create(**(values | changes))


def make_letter(signal: Signal | None = None, **changes: Any) -> DeadLetter:
    """Return an open dead letter of a signal whose facts could not be had."""
    signal = signal or make_signal(status=SignalStatus.DEAD)
    values: dict[str, Any] = {
        "trace": signal.event_id,
        "stage": "enrich",
        "subject": signal.event_id,
        "run": signal.run,
        "code": "MARKET_DATA_UNAVAILABLE",
        "reason": "HTTP 500 from the venue",
        "attempts": 6,
        "created_at": signal.received_at,
    } | changes
    values.setdefault(
        "fingerprint",
        fingerprint(stage=values["stage"], code=values["code"], reason=values["reason"]),
    )
    return DeadLetter.objects.create(**values)
