"""Who may be asked: switches, breakers, safe mode."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

import pytest
from pytest_django import Settings

from evaluation import admission
from evaluation.admission import Health, Turnstile
from evaluation.models import ModelState
from evaluation.types import ALL_MODELS, AttemptStatus
from pipeline.models import AuditEvent
from tests.factories import NOON

pytestmark = pytest.mark.django_db

OK, FAULT = AttemptStatus.OK, AttemptStatus.OVERLOADED


@pytest.fixture(autouse=True)
def _limits(settings: Settings) -> None:
    settings.LLM_BREAKER_FAULTS = 3
    settings.LLM_BREAKER_OPEN_S = 300
    settings.LLM_SAFE_MODE_FAULTS = 6
    settings.LLM_SAFE_MODE_OPEN_S = 60


def show(model: str, *statuses: AttemptStatus, at: datetime = NOON, reported: str = "x-1") -> None:
    admission.note(
        [
            Health(model=model, status=status, reason="why", reported=reported, at=at)
            for status in statuses
        ]
    )


def refused(model: str, *, at: datetime = NOON) -> str:
    refusal = Turnstile(models=[model], now=at).refusal(model)
    return "" if refusal is None else f"{refusal.status}: {refusal.reason}"


def test_a_model_that_nothing_is_known_of_is_asked() -> None:
    assert refused("a") == ""


def test_faults_in_a_row_open_the_breaker_for_a_while() -> None:
    show("a", FAULT, FAULT)
    assert refused("a") == ""

    show("a", FAULT)

    assert refused("a") == "overloaded: circuit open until 12:05:00 UTC after overloaded: why"
    assert refused("b") == ""


def test_an_answer_in_between_starts_the_count_anew() -> None:
    show("a", FAULT, FAULT, OK, FAULT, FAULT)

    assert refused("a") == ""


def test_what_is_no_fault_of_the_model_does_not_count() -> None:
    quiet = [AttemptStatus.OVER_BUDGET, AttemptStatus.DISABLED, AttemptStatus.STALE_INPUT]

    show("a", *quiet * 5)

    assert not ModelState.objects.exists()


@pytest.mark.parametrize("status", [AttemptStatus.AUTH, AttemptStatus.QUOTA])
def test_a_wrong_key_or_an_empty_account_opens_the_breaker_at_once(
    status: AttemptStatus, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        show("a", status)

    assert refused("a").startswith("overloaded: circuit open")
    assert "circuit of a open for 300 s" in caplog.text


def test_after_the_wait_one_signal_tries_the_model_and_the_others_wait_for_it() -> None:
    show("a", FAULT, FAULT, FAULT)
    later = NOON + timedelta(seconds=301)
    one, other = Turnstile(models=["a"], now=later), Turnstile(models=["a"], now=later)

    assert one.refusal("a") is None
    assert one.refusal("a") is not None
    lost = other.refusal("a")
    assert lost is not None
    assert lost.reason == "circuit half open: a is being tried by another signal"


def test_an_answer_of_the_trial_closes_the_breaker() -> None:
    show("a", FAULT, FAULT, FAULT)
    later = NOON + timedelta(seconds=301)
    assert refused("a", at=later) == ""

    show("a", OK, at=later)

    assert refused("a", at=later) == ""
    assert ModelState.objects.get(name="a").faults_in_row == 0


def test_a_fault_of_the_trial_opens_the_breaker_again() -> None:
    show("a", FAULT, FAULT, FAULT)
    later = NOON + timedelta(seconds=301)
    assert refused("a", at=later) == ""

    show("a", FAULT, at=later)

    assert "circuit open until 12:10:01" in refused("a", at=later)


def test_a_trial_whose_worker_died_is_tried_again() -> None:
    show("a", FAULT, FAULT, FAULT)
    later = NOON + timedelta(seconds=301)
    assert refused("a", at=later) == ""

    assert refused("a", at=later + timedelta(seconds=29)) != ""
    assert refused("a", at=later + timedelta(seconds=31)) == ""


def test_faults_in_a_row_over_all_models_are_safe_mode_for_all() -> None:
    for model in ("a", "b", "c"):
        show(model, FAULT, FAULT)

    assert refused("d").startswith("overloaded: safe mode until 12:01:00")
    later = NOON + timedelta(seconds=61)
    assert refused("d", at=later) == ""
    show("d", OK, at=later)
    assert refused("a", at=later) == ""


def test_one_model_that_answers_keeps_the_house_out_of_safe_mode() -> None:
    for model in ("a", "b", "c", "e"):
        show(model, FAULT, FAULT)
        show("d", OK)

    assert refused("d") == ""


def test_a_switch_stops_one_model_until_a_person_turns_it_on() -> None:
    admission.switch(name="a", is_enabled=False, actor="ann", why="too dear", now=NOON)

    assert refused("a") == "disabled: a is switched off by ann: too dear"
    assert refused("b") == ""
    show("a", OK)
    assert refused("a", at=NOON + timedelta(days=9)) != ""
    admission.switch(name="a", is_enabled=True, actor="ann", why="", now=NOON)
    assert refused("a") == ""


def test_switching_leaves_a_line_of_who_and_why() -> None:
    admission.switch(name="a", is_enabled=False, actor="ann", why="too dear", now=NOON)

    line = AuditEvent.objects.get(verb="MODEL_SWITCHED")
    assert (line.actor, line.object) == ("ann", "model:a")
    assert line.details == {
        "before": {"is_enabled": True},
        "after": {"is_enabled": False, "why": "too dear"},
    }


def test_the_kill_switch_stops_every_language_model() -> None:
    admission.switch(name=ALL_MODELS, is_enabled=False, actor="ann", why="", now=NOON)

    assert refused("a") == "disabled: every language model is switched off by ann"


def test_switching_on_closes_the_breaker() -> None:
    show("a", FAULT, FAULT, FAULT)

    admission.switch(name="a", is_enabled=True, actor="ann", why="", now=NOON)

    assert refused("a") == ""


def test_a_model_that_reports_another_name_is_noticed(caplog: pytest.LogCaptureFixture) -> None:
    show("a", OK, reported="x-2026-01")

    with caplog.at_level(logging.WARNING):
        show("a", OK, reported="x-2026-02")

    assert "a reports itself as x-2026-02, no longer as x-2026-01" in caplog.text
    assert ModelState.objects.get(name="a").reported_model == "x-2026-02"


def test_a_healthy_model_is_not_written_to_with_each_answer() -> None:
    show("a", OK)
    before = ModelState.objects.get(name="a").last_ok_at

    show("a", OK, at=NOON + timedelta(seconds=30))

    assert ModelState.objects.get(name="a").last_ok_at == before
    show("a", OK, at=NOON + timedelta(seconds=90))
    assert ModelState.objects.get(name="a").last_ok_at == NOON + timedelta(seconds=90)
