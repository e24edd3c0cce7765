"""What happens round a language model's call: permission, prompt, money, books, health."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from pytest_django import Settings

from decisions.models import Decision
from evaluation import admission, services
from evaluation.evaluators.scripted import Scripted
from evaluation.jobs import EVALUATE
from evaluation.models import (
    Attempt,
    Evaluation,
    ModelState,
    Price,
    PromptVersion,
)
from evaluation.queries import Assignment
from evaluation.types import ALL_MODELS, AttemptStatus
from pipeline.models import StageRun
from pipeline.stage import Finished
from pipeline.types import Claim, Done, GiveUp
from tests.evaluation.talkers import Talker, Wire, account, enriched, evaluation
from tests.factories import NOON
from tests.running import run_stage

pytestmark = pytest.mark.django_db


def assignments() -> dict[Any, Assignment]:
    ids = list(Evaluation.objects.values_list("id", flat=True))
    return dict(services.prepare(ids=ids, now=datetime.now(UTC)))


def only(assigned: dict[Any, Assignment]) -> Assignment:
    [assignment] = assigned.values()
    return assignment


def test_a_language_model_is_given_the_active_prompt_and_its_card(wire: Wire) -> None:
    talker = Talker(name="a")
    wire(talker)
    enriched()

    run_stage(EVALUATE)

    [case] = talker.seen
    assert case.prompt is not None
    assert (case.prompt.name, case.prompt.version) == ("judge", 1)
    assert case.card is not None
    assert case.card.model_id == "talker-1"
    assert PromptVersion.objects.get(name="judge", version=1).used_at is not None


def test_cost_tokens_and_prompt_stand_on_evaluation_and_decision(wire: Wire) -> None:
    wire(Talker(name="a"))
    enriched()

    run_stage(EVALUATE)

    row = evaluation()
    assert row.cost_usd == Attempt.objects.get().cost_usd == Decimal("0.003")
    assert row.reserved_usd is None
    assert row.model_version == "talker-1-0611"
    assert account() == account("a") == (Decimal(0), Decimal("0.003"), 1)
    meta = Decision.objects.get(model="a").model_meta
    assert meta["cost_usd"] == "0.003"
    assert meta["tokens_used"] == 1100
    assert meta["flags"] == []


def test_a_price_that_nobody_knows_is_flagged_and_never_nothing(wire: Wire) -> None:
    wire(Talker(name="a"))
    Price.objects.all().delete()
    enriched()

    run_stage(EVALUATE)

    assert evaluation().cost_usd is None
    meta = Decision.objects.get(model="a").model_meta
    assert (meta["cost_usd"], meta["flags"]) == (None, ["COST_UNKNOWN"])


def test_evidence_that_is_not_in_the_facts_is_flagged(wire: Wire) -> None:
    talker = Talker(name="a")
    talker.evidence = (
        {"tag": "no_trend", "field": "price.mid", "value": "42000"},
        {"tag": "no_trend", "field": "price.bid", "value": "99"},
    )
    wire(talker)
    enriched(payload='{"price": {"mid": 42000, "bid": 41999}}')

    run_stage(EVALUATE)

    assert evaluation().grounding_score == 0.5
    assert evaluation().ungrounded == ["price.bid = 99"]
    meta = Decision.objects.get(model="a").model_meta
    assert (meta["grounding_score"], meta["flags"]) == (0.5, ["UNGROUNDED"])


def test_models_by_numbers_know_no_budget_no_breaker_and_no_switch(
    wire: Wire, settings: Settings
) -> None:
    settings.LLM_BUDGET_USD_PER_DAY = Decimal(0)
    settings.LLM_BUDGET_USD_PER_DECISION = Decimal(0)
    admission.switch(name=ALL_MODELS, is_enabled=False, actor="ann", why="", now=NOON)
    talker = Talker(name="a")
    wire(talker, Scripted(name="b"))
    enriched()

    run_stage(EVALUATE)

    assert evaluation("b").outcome == "ok"
    assert evaluation("a").outcome == "disabled"
    assert not talker.seen
    assert not Attempt.objects.filter(evaluation__model="a").exists()


@pytest.mark.parametrize("setting", ["LLM_BUDGET_USD_PER_DAY", "LLM_BUDGET_USD_PER_DECISION"])
def test_a_call_beyond_a_budget_is_not_made(wire: Wire, settings: Settings, setting: str) -> None:
    setattr(settings, setting, Decimal("0.000001"))
    talker = Talker(name="a")
    wire(talker, Scripted(name="b"))
    enriched()

    run_stage(EVALUATE)

    row = evaluation()
    assert (row.status, row.outcome, row.verdict) == ("ABSTAINED", "over_budget", None)
    assert setting in row.reason
    assert not talker.seen
    assert not Decision.objects.filter(model="a").exists()


def test_faults_open_the_breaker_and_the_next_signal_is_not_sent(
    wire: Wire, settings: Settings
) -> None:
    settings.LLM_BREAKER_FAULTS = 2
    talker = Talker(name="a", statuses=(AttemptStatus.OVERLOADED,) * 9)
    wire(talker, Scripted(name="b"))
    for _ in range(2):
        enriched()
        run_stage(EVALUATE)

    enriched()
    run_stage(EVALUATE)

    assert len(talker.seen) == 2
    last = Evaluation.objects.filter(model="a").order_by("created_at", "signal_id").last()
    assert last is not None
    assert last.outcome == "overloaded"
    assert last.reason.startswith("circuit open until")
    assert ModelState.objects.get(name="a").faults_in_row == 2  # a refusal is no further fault


def test_without_a_prompt_a_language_model_abstains(wire: Wire) -> None:
    wire(Talker(name="a"), Scripted(name="b"))
    PromptVersion.objects.filter(name="judge").update(status="DRAFT")
    enriched()

    run_stage(EVALUATE)

    row = evaluation()
    assert (row.outcome, row.reason) == (
        "stale_input",
        "there is no active version of the prompt 'judge'",
    )
    assert evaluation("b").outcome == "ok"


def test_a_model_that_was_taken_out_abstains_instead_of_failing(wire: Wire) -> None:
    wire(Talker(name="a"), Scripted(name="b"))
    enriched()
    wire(Scripted(name="b"))

    run_stage(EVALUATE)

    assert (evaluation().outcome, evaluation().reason) == (
        "disabled",
        "a is no longer among AI_MODELS",
    )


def test_a_lost_workers_reservation_is_used_again(wire: Wire) -> None:
    wire(Talker(name="a"))
    enriched()
    first = only(assignments())
    held = account()[0]

    again = only(assignments())

    assert first.evaluation.reserved_usd == again.evaluation.reserved_usd == held > 0
    assert account()[0] == held


def test_work_that_failed_for_good_counts_its_reservation_as_spent(wire: Wire) -> None:
    wire(Talker(name="a"), Scripted(name="b"))
    enriched()
    assignments()
    held = account()[0]
    run = StageRun.objects.get(subject=evaluation().id)

    services.fail_evaluation(run, GiveUp("the worker died three times"), NOON)

    assert account() == (Decimal(0), held, 0)
    assert evaluation().reserved_usd is None


def test_calls_that_end_after_their_signal_are_written_down_and_not_used(wire: Wire) -> None:
    wire(Talker(name="a"))
    signal = enriched()
    assignment = only(assignments())
    services.skip_open_evaluations(event_id=signal.event_id, reason="EXPIRED", now=NOON)
    claim = Claim(
        id=1, stage="evaluate", subject=evaluation().id, trace=signal.event_id, run=1, token=1,
        attempts=1,
    )  # fmt: skip

    opinion = asyncio.run(services.ask(assignment))
    services.record_late(claim, assignment, opinion, NOON)

    row = evaluation()
    assert (row.status, row.verdict, row.cost_usd) == ("SKIPPED", None, Decimal("0.003"))
    assert Attempt.objects.get().number == 1
    assert account() == (Decimal(0), Decimal("0.003"), 1)
    assert not Decision.objects.exists()


def test_two_workers_that_called_for_one_evaluation_leave_all_their_calls(wire: Wire) -> None:
    wire(Talker(name="a"))
    signal = enriched()
    mine, theirs = only(assignments()), only(assignments())
    claim = Claim(
        id=1, stage="evaluate", subject=evaluation().id, trace=signal.event_id, run=1, token=2,
        attempts=2,
    )  # fmt: skip

    services.record_late(claim, mine, asyncio.run(services.ask(mine)), NOON)
    answered = Done(asyncio.run(services.ask(theirs)))
    services.record_opinions([Finished(EVALUATE, claim, theirs, answered)], NOON)

    assert list(Attempt.objects.order_by("number").values_list("number", flat=True)) == [1, 2]
    assert evaluation().cost_usd == Decimal("0.006")
    assert account() == (Decimal(0), Decimal("0.006"), 2)


def test_recorded_calls_cost_nothing_and_reserve_nothing(wire: Wire, settings: Settings) -> None:
    settings.LLM_RECORDING = "replay"
    settings.LLM_BUDGET_USD_PER_DAY = Decimal(0)
    wire(Talker(name="a"))
    enriched()

    run_stage(EVALUATE)

    assert evaluation().outcome == "ok"
    assert evaluation().cost_usd == 0


def test_a_breaker_that_opened_lets_one_signal_of_a_batch_try(
    wire: Wire, settings: Settings
) -> None:
    settings.LLM_BREAKER_FAULTS = 1
    talker = Talker(name="a", statuses=(AttemptStatus.OVERLOADED,))
    wire(talker, Scripted(name="b"))
    enriched()
    run_stage(EVALUATE)
    ModelState.objects.filter(name="a").update(open_until=NOON - timedelta(days=1))
    for _ in range(5):
        enriched()

    run_stage(EVALUATE)

    assert len(talker.seen) == 2
    assert ModelState.objects.get(name="a").open_until is None
    outcomes = Evaluation.objects.filter(model="a").values_list("outcome", flat=True)
    assert sorted(outcomes) == ["ok"] + ["overloaded"] * 5
