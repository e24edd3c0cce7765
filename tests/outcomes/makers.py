"""Plain makers of the outcomes room's rows; every argument has a sensible default."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

from outcomes.models import Outcome, Question
from tests.factories import NOON


def make_question(**changes: Any) -> Question:
    """Return a fixed question, open since noon: long BTC at 100, target 102, stop 99, 6 hours."""
    values: dict[str, Any] = {
        "scope": "live",
        "event_id": uuid4(),
        "run": 1,
        "event_type": "OPEN_SIGNAL",
        "symbol": "BTC",
        "source": "strategy_alpha",
        "side": "long",
        "market": "scripted",
        "asked_at": NOON,
        "opens_at": NOON,
        "entry_rule": "MARKET",
        "entry_price": Decimal(100),
        "entry_within_s": 900,
        "horizon_s": 21_600,
        "target_price": Decimal(102),
        "stop_price": Decimal(99),
        "basis": "ATR",
        "atr": 1.0,
        "costs": {"fee_bps": 5.0, "slippage_bps": 1.0, "funding_bps_per_hour": 0.0},
        "sha256": "0" * 64,
    }
    return Question.objects.create(**(values | changes))


def make_open(question: Question | None = None, **changes: Any) -> Outcome:
    """Return the outcome of a question that the market has not answered yet."""
    question = question or make_question()
    values: dict[str, Any] = {
        "question": question,
        "scope": question.scope,
        "market": question.market,
        "symbol": question.symbol,
        "opens_at": question.opens_at,
        "seen_until": question.opens_at,
    }
    return Outcome.objects.create(**(values | changes))


LATER = NOON + timedelta(hours=7)
