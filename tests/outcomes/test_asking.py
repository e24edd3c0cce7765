"""The question is fixed in the transaction that decides, for everything that is decided."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.db import transaction

from decisions import services as decisions
from decisions.queries import Bench, Made
from enrichment.queries import Enriched
from evaluation.models import Evaluation
from evaluation.queries import Judged
from evaluation.types import AttemptStatus, EvaluationStatus
from outcomes import services
from outcomes.asking import hash_of
from outcomes.models import Outcome, Question
from signals import services as signals
from signals.models import Signal
from signals.types import Direction, Origin, SignalStatus
from tests.factories import NOON, make_decision, make_enrichment, make_evaluation, make_signal

pytestmark = pytest.mark.django_db

LATER = NOON + timedelta(seconds=3)
FACTS = {"atr": {"1h": 400.0}, "mid": 42_010.0, "ensemble": {"adx": 30.0}}


@pytest.fixture
def signal() -> Signal:
    signal = make_signal(status=SignalStatus.ENRICHED)
    make_enrichment(signal, facts=FACTS)
    return signal


def ask_about(signal: Signal, **facts: Any) -> Question:
    enrichment = make_enrichment(signal, facts=FACTS | facts)
    services.ask_about_signals(enriched=[Enriched(signal=signal, enrichment=enrichment)], now=LATER)
    return Question.objects.get(event_id=signal.event_id, run=signal.run, model="")


def test_a_signal_without_levels_gets_them_from_its_frozen_facts() -> None:
    question = ask_about(make_signal())

    assert (question.target_price, question.stop_price) == (Decimal(42_800), Decimal(41_600))
    assert (question.basis, question.regime, question.scope) == ("ATR", "trend", "live")
    assert question.sha256 == hash_of(question)
    assert Outcome.objects.get(question=question).status == "OPEN"


def test_a_signal_keeps_the_levels_it_carries() -> None:
    question = ask_about(make_signal(target_price=Decimal(43_000), stop_price=Decimal(41_000)))

    assert (question.target_price, question.stop_price) == (Decimal(43_000), Decimal(41_000))
    assert question.basis == "SIGNAL"


def test_a_short_aims_below_and_stops_above() -> None:
    question = ask_about(make_signal(direction=Direction.SHORT, liquidation_price=None))

    assert (question.target_price, question.stop_price) == (Decimal(41_200), Decimal(42_400))


@pytest.mark.parametrize(
    ("changes", "scope"),
    [({"origin": Origin.DEMO}, "demo"), ({"origin": Origin.LIVE}, "live")],
)
def test_every_origin_has_a_scope_of_its_own(changes: dict[str, Any], scope: str) -> None:
    assert ask_about(make_signal(**changes)).scope == scope


def test_a_decision_is_asked_about_by_its_own_plan(signal: Signal) -> None:
    evaluation = make_evaluation(
        signal,
        model="a",
        status=EvaluationStatus.DECIDED,
        outcome=AttemptStatus.OK,
        verdict={
            "action": "FOLLOW_ENTER",
            "confidence": 0.8,
            "reasons": ["bullish_trend"],
            "size_pct": 5.0,
            "entry_plan": {"type": "market", "offset_bps": 0},
            "risk_plan": {"stop_method": "atr", "atr_multiple": 2.0},
            "invalidation": None,
        },
    )
    make_evaluation(signal, model="b")
    facts = make_enrichment(make_signal(), facts=FACTS)

    decisions.decide(judged=[Judged(evaluation=evaluation, enrichment=facts)], now=LATER)

    question = Question.objects.get(model="a")
    assert (question.entry_rule, question.entry_price) == ("MARKET", Decimal(42_010))
    assert question.stop_price == Decimal(42_010 - 800)
    assert (question.basis, question.decision) == ("PLAN", "FOLLOW_ENTER")
    assert Outcome.objects.filter(question=question, status="OPEN").exists()
    assert question.opens_at == LATER  # not before the decision itself was made


def test_a_transaction_that_fails_leaves_no_question(signal: Signal) -> None:
    decision = make_decision(signal)
    facts = make_enrichment(make_signal(), facts=FACTS)

    with pytest.raises(RuntimeError), transaction.atomic():
        made = Made(decision=decision, bench=Bench(signal=signal, enrichment=facts))
        services.ask_about_decisions(made=[made], now=LATER)
        raise RuntimeError("the worker dies")

    assert not Question.objects.exists()


def test_asking_again_changes_nothing() -> None:
    signal = make_signal()
    facts = make_enrichment(signal, facts=FACTS)

    enriched = [Enriched(signal=signal, enrichment=facts)]
    services.ask_about_signals(enriched=enriched, now=LATER)
    services.ask_about_signals(enriched=enriched, now=LATER + timedelta(hours=1))

    assert Question.objects.get().asked_at == LATER
    assert Outcome.objects.count() == 1


@pytest.mark.parametrize("end", [SignalStatus.REJECTED, SignalStatus.EXPIRED, SignalStatus.DEAD])
def test_signals_that_end_without_a_decision_are_asked_about_too(end: SignalStatus) -> None:
    signal = make_signal()

    signals.advance(event_id=signal.event_id, to=end, now=LATER)

    question = Question.objects.get(event_id=signal.event_id)
    assert (question.target_price, question.sha256) == (None, "")
    assert question.basis == "CANDLES"


def test_what_is_hashed_decides_the_answer() -> None:
    question = ask_about(make_signal())
    before = hash_of(question)

    for field, value in {"stop_price": Decimal(1), "horizon_s": 1, "event_id": uuid4()}.items():
        kept = getattr(question, field)
        setattr(question, field, value)
        assert hash_of(question) != before
        setattr(question, field, kept)
    assert hash_of(question) == before


def test_a_signal_taken_up_again_is_one_bet_not_two() -> None:
    signal = make_signal()
    signals.advance(event_id=signal.event_id, to=SignalStatus.DEAD, now=LATER)
    signal.run = 2

    ask_about(signal)

    first, second = Outcome.objects.order_by("question__run")
    assert first.scored_at is not None
    assert second.scored_at is None
    assert not Evaluation.objects.exists()
