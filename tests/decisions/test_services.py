from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from decisions import deliberation, ledger, services
from decisions.clamp import Needs
from decisions.jobs import JURY as JURY_WORK
from decisions.models import Decision
from decisions.types import JURY
from enrichment.models import Enrichment
from evaluation.models import Evaluation
from evaluation.queries import Judged
from evaluation.types import AttemptStatus, EvaluationStatus
from pipeline import services as pipeline
from pipeline.models import AuditEvent, DeadLetter, StageRun
from pipeline.stage import Finished
from pipeline.types import Claim, Done
from signals.models import Signal
from signals.types import Direction, Origin, SignalStatus
from tests.factories import NOON, make_decision, make_enrichment, make_evaluation, make_signal

pytestmark = pytest.mark.django_db

LATER = NOON + timedelta(seconds=3)


@pytest.fixture(autouse=True)
def _three_models(settings: Settings) -> None:
    settings.AI_MODELS = ("a", "b", "c")


@pytest.fixture
def signal() -> Signal:
    signal = make_signal(status=SignalStatus.ENRICHED)
    make_enrichment(signal, constraints={"max_position_size_pct": 25})
    for model in ("a", "b", "c"):
        make_evaluation(signal, model=model)
    return signal


def judged(signal: Signal, model: str, action: str | None, **changes: Any) -> Judged:
    """Let a model answer (None: abstain)."""
    row = Evaluation.objects.get(signal=signal, model=model)
    row.status = EvaluationStatus.DECIDED if action else EvaluationStatus.ABSTAINED
    row.outcome = AttemptStatus.OK if action else AttemptStatus.TIMEOUT
    row.reason = "" if action else "no answer"
    row.verdict = (
        action
        and {
            "action": action,
            "confidence": 0.8,
            "reasons": ["bullish_trend"],
            "size_pct": 50.0,
            "entry_plan": None,
            "risk_plan": None,
            "invalidation": None,
        }
        | changes
    )
    row.finished_at = LATER
    row.save()
    return Judged(evaluation=row, enrichment=Enrichment.objects.get(event_id=signal.event_id))


def answer(signal: Signal, model: str, action: str | None, **changes: Any) -> None:
    """Let a model answer and the decision follow."""
    services.decide(judged=[judged(signal, model, action, **changes)], now=LATER)


def rule_at_the_deadline(signal: Signal) -> None:
    event_id = signal.event_id
    claim = Claim(id=1, stage="jury", subject=event_id, trace=event_id, run=1, token=1, attempts=1)
    services.convene_juries([Finished(JURY_WORK, claim, event_id, Done())], LATER)


def status_of(signal: Signal) -> str:
    return Signal.objects.get(id=signal.id).status


def test_a_verdict_becomes_a_decision_within_the_policy(signal: Signal) -> None:
    answer(signal, "a", "FOLLOW_ENTER")

    decision = Decision.objects.get(model="a")
    assert (decision.decision, decision.confidence, decision.size_pct) == ("FOLLOW_ENTER", 0.8, 25)
    assert decision.policy_adjustments == [
        {
            "field": "size_pct",
            "rule": "max_position_size_pct",
            "asked": 50.0,
            "allowed": 25.0,
        }
    ]


def test_an_abstention_is_no_decision(signal: Signal) -> None:
    answer(signal, "a", None)

    assert not Decision.objects.exists()
    assert status_of(signal) == SignalStatus.ENRICHED


def test_the_jury_rules_when_the_last_model_has_answered(signal: Signal) -> None:
    answer(signal, "a", "FOLLOW_ENTER")
    answer(signal, "b", None)
    assert not Decision.objects.filter(model=JURY).exists()

    answer(signal, "c", "FOLLOW_ENTER")

    ruling = Decision.objects.get(model=JURY)
    assert (ruling.decision, ruling.revision) == ("FOLLOW_ENTER", 1)
    assert ruling.jury is not None
    assert ruling.jury["abstained"] == ["b"]
    assert status_of(signal) == SignalStatus.PUBLISHED


def test_a_late_answer_that_changes_nothing_brings_no_revision(signal: Signal) -> None:
    answer(signal, "a", "FOLLOW_ENTER")
    answer(signal, "b", "FOLLOW_ENTER")
    rule_at_the_deadline(signal)

    answer(signal, "c", "IGNORE")

    assert Decision.objects.filter(model=JURY).count() == 1
    assert status_of(signal) == SignalStatus.PUBLISHED


def test_a_late_answer_that_tips_the_balance_is_published_as_revision_two(
    signal: Signal, settings: Settings
) -> None:
    settings.JURY_QUORUM_PCT = 30
    answer(signal, "a", "FOLLOW_ENTER")
    rule_at_the_deadline(signal)

    answer(signal, "b", "IGNORE")

    rulings = Decision.objects.filter(model=JURY).order_by("revision")
    assert [(row.revision, row.decision) for row in rulings] == [(1, "FOLLOW_ENTER"), (2, "IGNORE")]


def test_a_decision_is_published_by_the_transaction_that_makes_it(signal: Signal) -> None:
    answer(signal, "a", "FOLLOW_ENTER")

    decision = Decision.objects.get(model="a")
    assert (decision.seq, decision.published_at) == (1, LATER)


def test_what_the_ledger_says_of_decisions_is_true_of_them_as_they_are_stored(
    signal: Signal,
) -> None:
    plans = {
        "entry_plan": {"type": "limit", "offset_bps": -12.5},
        "risk_plan": {"stop_method": "atr", "atr_multiple": 2.0, "note": ["é", 1e-7, None]},
        "confidence": 0.1 + 0.2,
        "reasons": ("bullish_trend",),
        "invalidation": 'below "41,000"',
    }
    for model in ("a", "b", "c"):
        answer(signal, model, "FOLLOW_ENTER", **plans)

    lines = AuditEvent.objects.filter(verb=ledger.LEDGER)
    told = {entry[0]: entry[2] for line in lines for entry in line.details["decisions"]}
    assert told == {row.id.hex: ledger.decision_hash(row) for row in Decision.objects.all()}


def test_what_was_decided_while_publishing_was_paused_comes_out_before_what_follows(
    signal: Signal,
) -> None:
    pipeline.pause(name="publishing", actor="op", reason="looking", now=NOON)
    answer(signal, "a", "FOLLOW_ENTER")
    answer(signal, "b", "IGNORE")
    assert not Decision.objects.exclude(published_at=None).exists()

    pipeline.resume(name="publishing", actor="op", reason="looked", now=NOON)
    answer(signal, "c", "FOLLOW_ENTER")

    rows = Decision.objects.order_by("seq").values_list("model", "seq")
    assert list(rows) == [("a", 1), ("b", 2), ("c", 3), (JURY, 4)]
    assert status_of(signal) == SignalStatus.PUBLISHED


def test_what_is_decided_while_more_waits_than_fits_a_batch_waits_its_turn(
    signal: Signal, settings: Settings
) -> None:
    settings.PUBLISH_BATCH = 1
    pipeline.pause(name="publishing", actor="op", reason="looking", now=NOON)
    answer(signal, "a", "FOLLOW_ENTER")
    answer(signal, "b", "IGNORE")
    pipeline.resume(name="publishing", actor="op", reason="looked", now=NOON)

    answer(signal, "c", "FOLLOW_ENTER")
    while services.publish(now=LATER, limit=1) is not None:
        pass

    rows = Decision.objects.order_by("seq").values_list("model", "seq")
    assert list(rows) == [("a", 1), ("b", 2), ("c", 3), (JURY, 4)]


def test_the_deadline_rules_with_whoever_has_voted(signal: Signal) -> None:
    answer(signal, "a", "FOLLOW_ENTER")
    rule_at_the_deadline(signal)
    assert not Decision.objects.filter(model=JURY).exists(), "one of three is below the quorum"

    answer(signal, "b", "FOLLOW_ENTER")
    rule_at_the_deadline(signal)

    assert Decision.objects.get(model=JURY).decision == "FOLLOW_ENTER"
    assert status_of(signal) == SignalStatus.ENRICHED


def test_a_signal_that_nobody_judged_is_dead_with_every_cause(signal: Signal) -> None:
    for model in ("a", "b", "c"):
        answer(signal, model, None)

    letter = DeadLetter.objects.get()
    assert letter.code == "NO_VERDICT"
    assert "a: no answer; b: no answer; c: no answer" in letter.reason
    assert status_of(signal) == SignalStatus.DEAD
    assert AuditEvent.objects.filter(trace=signal.event_id, verb="DEAD").count() == 1


def test_a_replayed_signal_that_nobody_judged_leaves_no_dead_letter(signal: Signal) -> None:
    Signal.objects.filter(id=signal.id).update(origin=Origin.REPLAY)
    for model in ("a", "b", "c"):
        answer(signal, model, None)

    assert status_of(signal) == SignalStatus.DEAD
    assert not DeadLetter.objects.exists()


def test_an_answer_after_the_signals_end_changes_nothing(signal: Signal) -> None:
    Signal.objects.filter(id=signal.id).update(status=SignalStatus.EXPIRED)

    answer(signal, "a", "FOLLOW_ENTER")

    assert not Decision.objects.exists()


def test_the_policy_remembers_what_was_followed_in_live_trading(signal: Signal) -> None:
    Enrichment.objects.update(constraints={"max_trades_per_hour": 1})
    earlier = make_signal(symbol="BTC")
    make_decision(earlier, model="a", evaluated_at=LATER - timedelta(minutes=30))

    answer(signal, "a", "FOLLOW_ENTER")

    decision = Decision.objects.get(signal=signal)
    assert decision.decision == "IGNORE"
    assert decision.policy_adjustments[0]["rule"] == "max_trades_per_hour 1"


def test_the_policy_holds_between_signals_that_are_decided_together(signal: Signal) -> None:
    second = make_signal(status=SignalStatus.ENRICHED, symbol=signal.symbol)
    make_enrichment(second)
    make_evaluation(second, model="a")
    Enrichment.objects.update(constraints={"max_trades_per_hour": 1})
    together = [judged(each, "a", "FOLLOW_ENTER") for each in (signal, second)]

    services.decide(judged=together, now=LATER)

    words = Decision.objects.filter(model="a").order_by("seq").values_list("signal", "decision")
    assert list(words) == [(signal.id, "FOLLOW_ENTER"), (second.id, "IGNORE")]


def test_the_policy_looks_back_at_each_model_and_symbol_by_itself(signal: Signal) -> None:
    Enrichment.objects.update(constraints={"one_direction_only": True})
    short = make_signal(symbol=signal.symbol, direction=Direction.SHORT)
    long = make_signal(symbol="ETH")
    make_decision(short, model="a", evaluated_at=LATER - timedelta(minutes=9))
    make_decision(long, model="b", evaluated_at=LATER - timedelta(minutes=3))

    both = [judged(signal, model, "FOLLOW_ENTER") for model in ("a", "b")]
    services.decide(judged=both, now=LATER)

    rows = Decision.objects.filter(signal=signal).values_list("model", "decision")
    assert dict(rows) == {"a": "IGNORE", "b": "FOLLOW_ENTER"}


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL plans by what is stored")
def test_looking_back_reads_what_was_followed_and_not_all_that_was_ever_decided() -> None:
    both = Needs(entries=True, position=True)
    with CaptureQueriesContext(connection) as asked:
        deliberation.get_past(seats={("a", "BTC"), ("b", "ETH")}, needs=both, now=NOON)

    for statement in [each["sql"] for each in asked.captured_queries]:
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN QUERY PLAN {statement}")
            plan = " ".join(row[-1] for row in cursor.fetchall())
        assert "followed_decision (model=? AND symbol=?" in plan


def test_publishing_numbers_without_holes_in_order() -> None:
    signal = make_signal(status=SignalStatus.ENRICHED)
    for place, model in enumerate(("a", "b", "c")):
        make_decision(signal, model=model, evaluated_at=NOON + timedelta(seconds=place))

    head = services.publish(now=LATER, limit=2)
    then = services.publish(now=LATER, limit=2)

    assert (head, then) == (2, 3)
    rows = Decision.objects.order_by("seq").values_list("seq", "model")
    assert list(rows) == [(1, "a"), (2, "b"), (3, "c")]


def test_a_judged_signal_is_published_once_its_decisions_are_out() -> None:
    signal = make_signal(status=SignalStatus.EVALUATED)
    make_decision(signal)

    services.publish(now=LATER, limit=10)
    again = services.publish(now=LATER, limit=10)

    assert status_of(signal) == SignalStatus.PUBLISHED
    assert again is None
    assert AuditEvent.objects.filter(trace=signal.event_id, verb="PUBLISHED").count() == 1


def test_a_signal_is_not_published_while_a_model_still_thinks() -> None:
    signal = make_signal(status=SignalStatus.ENRICHED)
    make_decision(signal)

    services.publish(now=LATER, limit=10)

    assert Decision.objects.get().seq == 1
    assert status_of(signal) == SignalStatus.ENRICHED


def test_replayed_decisions_are_published_without_a_number() -> None:
    signal = make_signal(status=SignalStatus.EVALUATED, origin=Origin.REPLAY)
    make_decision(signal)

    head = services.publish(now=LATER, limit=10)

    assert head is None
    assert Decision.objects.get().seq is None
    assert status_of(signal) == SignalStatus.PUBLISHED


def test_stale_advice_is_withheld_and_its_signal_expires() -> None:
    signal = make_signal(status=SignalStatus.EVALUATED, expires_at=NOON)
    make_decision(signal, expires_at=NOON)

    head = services.publish(now=NOON + timedelta(minutes=20), limit=10)

    decision = Decision.objects.get()
    assert head is None
    assert (decision.seq, decision.published_at, decision.withheld) == (None, None, "EXPIRED")
    assert status_of(signal) == SignalStatus.EXPIRED


def test_the_database_refuses_to_change_a_published_decision() -> None:
    decision = make_decision()
    services.publish(now=LATER, limit=10)

    with pytest.raises(DatabaseError), transaction.atomic():
        Decision.objects.filter(id=decision.id).update(confidence=0.1)


def test_the_database_refuses_a_second_decision_of_the_same_model_and_revision() -> None:
    signal = make_signal()
    make_decision(signal, model="a")

    with pytest.raises(DatabaseError), transaction.atomic():
        make_decision(signal, model="a")


def test_the_jury_is_summoned_for_its_deadline(settings: Settings) -> None:
    signal = make_signal()
    settings.JURY_DEADLINE_MS = 6_000

    services.summon_jury(signals=[signal], now=NOON)

    run = StageRun.objects.get(stage="jury")
    assert run.next_at == NOON + timedelta(seconds=6)


def test_while_publishing_is_paused_decisions_wait_unnumbered(signal: Signal) -> None:
    decision = make_decision(signal)
    pipeline.pause(name="publishing", actor="ann", reason="a bad model", now=NOON)

    halted = services.publish(now=LATER, limit=10)
    waiting = Decision.objects.get(id=decision.id).seq
    pipeline.resume(name="publishing", actor="ann", reason="mended", now=NOON)
    resumed = services.publish(now=LATER, limit=10)

    assert (halted, waiting) == (None, None)
    assert resumed == Decision.objects.get(id=decision.id).seq
