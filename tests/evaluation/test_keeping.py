"""What was paid for outlives its worker, and counts for the same question only."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.db.models.functions import Now
from pytest_django import Settings

from decisions.models import Decision
from evaluation import admission, authoring, keeping, services
from evaluation.jobs import EVALUATE
from evaluation.models import Attempt, Evaluation, PromptVersion, Rerun
from evaluation.queries import Assignment
from evaluation.types import ALL_MODELS, AttemptStatus, EvaluationKind, Opinion
from pipeline import services as pipeline
from pipeline.models import StageRun
from pipeline.stage import Finished
from pipeline.types import Claim, Done
from tests.evaluation.talkers import Talker, Wire, account, enriched, evaluation
from tests.factories import NOON
from tests.running import run_stage

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _own_shelf(settings: Settings, tmp_path: Path) -> None:
    settings.ANSWERS_DIR = tmp_path / "answers"


def answered_and_killed() -> tuple[Claim, Assignment, Opinion]:
    """Let a worker ask and have its answer, and end before it has written anything down."""
    claim, assignment = take_over()
    opinion = asyncio.run(services.ask(assignment))
    return claim, assignment, opinion


def take_over() -> tuple[Claim, Assignment]:
    StageRun.objects.update(lease_until=Now() - timedelta(seconds=1))
    [claim] = pipeline.claim(stage=EVALUATE, limit=1, worker="w")
    [assignment] = services.resume(ids=[claim.subject], now=NOON).values()
    return claim, assignment


def lose_lease_and_run() -> None:
    StageRun.objects.update(lease_until=Now() - timedelta(seconds=1))
    run_stage(EVALUATE)


def settle(claim: Claim, assignment: Assignment, opinion: Opinion) -> None:
    services.record_opinions([Finished(EVALUATE, claim, assignment, Done(opinion))], NOON)


def test_whoever_takes_over_settles_with_the_answer_of_a_killed_worker(wire: Wire) -> None:
    talker = Talker(name="a")
    talker.evidence = ({"tag": "no_trend", "field": "price.mid", "value": "42000"},)
    wire(talker)
    enriched(payload='{"price": {"mid": 42000}}')
    _, _, opinion = answered_and_killed()

    lose_lease_and_run()

    assert len(talker.seen) == 1
    assert evaluation().outcome == "ok"
    [call], [made] = Attempt.objects.all(), opinion.attempts
    assert (call.started_at, call.latency_ms) == (made.started_at, made.latency_ms)
    assert (call.tokens_in, call.request_id, call.prompt) == (1000, "req-1", made.prompt)
    assert made.prompt
    assert account() == account("a") == (Decimal(0), Decimal("0.003"), 1)
    meta = Decision.objects.get(model="a").model_meta
    assert (meta["cost_usd"], meta["tokens_used"]) == ("0.003", 1100)


def test_a_kept_answer_is_what_was_answered(wire: Wire) -> None:
    talker = Talker(name="a")
    talker.evidence = ({"tag": "no_trend", "field": "price.mid", "value": "42000"},)
    wire(talker)
    enriched()
    _, _, opinion = answered_and_killed()

    _, assignment = take_over()

    assert assignment.kept == opinion


def test_a_kept_answer_needs_neither_permission_nor_money(wire: Wire, settings: Settings) -> None:
    talker = Talker(name="a")
    wire(talker)
    enriched()
    answered_and_killed()
    admission.switch(name=ALL_MODELS, is_enabled=False, actor="ann", why="", now=NOON)
    settings.LLM_BUDGET_USD_PER_DAY = Decimal(0)

    lose_lease_and_run()

    assert (evaluation().outcome, len(talker.seen)) == ("ok", 1)


def test_another_prompt_is_another_question(wire: Wire) -> None:
    talker = Talker(name="a")
    wire(talker)
    enriched()
    answered_and_killed()
    first = PromptVersion.objects.get(name="judge", status="ACTIVE")
    PromptVersion.objects.create(
        name="judge", version=9, system=f"{first.system} Be brief.", user=first.user,
        sha256="9" * 64, created_at=NOON, created_by="ann",
    )  # fmt: skip
    authoring.promote_prompt(name="judge", version=9, actor="ann", now=NOON)

    lose_lease_and_run()

    assert [case.prompt.version for case in talker.seen if case.prompt] == [1, 9]


def test_under_other_terms_a_kept_answer_does_not_count(wire: Wire) -> None:
    talker = Talker(name="a")
    wire(talker)
    enriched()
    answered_and_killed()
    talker.wishes = "another temperature"

    lose_lease_and_run()

    assert len(talker.seen) == 2


def test_an_answer_counts_for_its_own_evaluation_only(wire: Wire) -> None:
    talker = Talker(name="a")
    wire(talker)
    signal = enriched()
    answered_and_killed()
    rerun = Rerun.objects.create(model="a", signals=1, created_at=NOON, created_by="ann")
    again = Evaluation.objects.create(
        signal=signal, run=1, kind=EvaluationKind.REPLAY, rerun=rerun, model="a", created_at=NOON
    )
    ids = list(Evaluation.objects.values_list("id", flat=True))
    [kept] = keeping.look_up(ids).values()
    [other] = services.resume(ids=[again.id], now=NOON).values()

    assert other.kept is None
    assert keeping.read(kept, assignment=other, terms=talker.terms) is None


def test_what_others_have_planted_is_not_believed(wire: Wire, settings: Settings) -> None:
    talker = Talker(name="a")
    wire(talker)
    enriched()
    settings.SECRET_KEY, ours = "somebody else's", settings.SECRET_KEY
    answered_and_killed()
    settings.SECRET_KEY = ours

    lose_lease_and_run()

    assert len(talker.seen) == 2


def test_an_abstention_is_not_kept_so_its_model_is_asked_again(wire: Wire) -> None:
    talker = Talker(name="a", statuses=(AttemptStatus.OVERLOADED,))
    wire(talker)
    enriched()
    answered_and_killed()

    lose_lease_and_run()

    assert (len(talker.seen), evaluation().outcome) == (2, "ok")


def test_where_nothing_can_be_kept_the_model_is_asked_again(
    wire: Wire, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    settings.ANSWERS_DIR = tmp_path / "file" / "answers"
    talker = Talker(name="a")
    wire(talker)
    enriched()
    answered_and_killed()

    lose_lease_and_run()

    assert (len(talker.seen), evaluation().outcome) == (2, "ok")


def test_nothing_is_kept_where_that_is_not_wanted(wire: Wire, settings: Settings) -> None:
    settings.ANSWER_KEPT_S = 0
    talker = Talker(name="a")
    wire(talker)
    enriched()
    answered_and_killed()

    lose_lease_and_run()

    assert len(talker.seen) == 2


def test_a_call_is_told_once_when_its_maker_wakes_up_before_its_taker_has_written(
    wire: Wire,
) -> None:
    talker = Talker(name="a")
    wire(talker)
    enriched()
    claim, mine, opinion = answered_and_killed()
    taken, theirs = take_over()

    services.record_late(claim, mine, opinion, NOON)
    settle(taken, theirs, asyncio.run(services.ask(theirs)))

    assert_told_once(talker)


def test_a_call_is_told_once_when_its_maker_wakes_up_after_its_taker_has_written(
    wire: Wire,
) -> None:
    talker = Talker(name="a")
    wire(talker)
    enriched()
    claim, mine, opinion = answered_and_killed()
    taken, theirs = take_over()

    settle(taken, theirs, asyncio.run(services.ask(theirs)))
    services.record_late(claim, mine, opinion, NOON)

    assert_told_once(talker)


def assert_told_once(talker: Talker) -> None:
    assert len(talker.seen) == 1
    assert [call.number for call in Attempt.objects.all()] == [1]
    assert (evaluation().outcome, evaluation().cost_usd) == ("ok", Decimal("0.003"))
    assert account() == account("a") == (Decimal(0), Decimal("0.003"), 1)
    meta = Decision.objects.get(model="a").model_meta
    assert (meta["cost_usd"], meta["tokens_used"]) == ("0.003", 1100)


def test_what_is_settled_is_kept_no_longer(
    wire: Wire, settings: Settings, django_capture_on_commit_callbacks: Any
) -> None:
    wire(Talker(name="a"))
    enriched()
    answered_and_killed()
    [page] = settings.ANSWERS_DIR.iterdir()
    assert page.stat().st_size

    with django_capture_on_commit_callbacks(execute=True):
        lose_lease_and_run()

    assert not page.stat().st_size
