from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import Group
from django.test import Client
from pytest_django import Settings

from access.models import User
from decisions.types import JURY
from evaluation import queries as evaluation
from evaluation.models import Evaluation, ModelState
from evaluation.types import EvaluationStatus
from lens_site.pages import standings
from lens_site.pages.model_history import history_of
from lens_site.pages.spread import chart_of_spreads, spreads_of
from lens_site.pages.standings import Agreement, Standing, kappa
from signals.models import Signal
from signals.types import Origin, SignalStatus
from tests.factories import make_decision, make_evaluation, make_signal

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
FOLLOW, IGNORE = "FOLLOW_ENTER", "IGNORE"
PAIR = ("rules", "ensemble")


def judged(signal: Signal, decision: str | None, **changes: Any) -> Evaluation:
    values = {
        "model": "rules",
        "status": EvaluationStatus.DECIDED if decision else EvaluationStatus.ABSTAINED,
        "verdict": {"action": decision} if decision else None,
        "latency_ms": 100.0,
        "finished_at": NOW,
    }
    return make_evaluation(signal, **(values | changes))


def standing() -> Standing:
    rows = evaluation.list_answered(model="rules", limit=standings.ROWS_A_MODEL)
    return standings.standing_of(model="rules", rows=rows)


def numbered(signal: Signal, seq: int, **words: str) -> None:
    for place, (model, decision) in enumerate(words.items()):
        make_decision(
            signal, model=model, decision=decision, seq=10 * seq + place, published_at=NOW
        )


def test_a_model_is_told_by_what_it_decided_how_fast_and_why_not() -> None:
    for decision, ms in ((FOLLOW, 100), (IGNORE, 200), (IGNORE, 900)):
        judged(make_signal(), decision, latency_ms=float(ms), cost_usd=Decimal("0.01"))
    judged(make_signal(), None, outcome="timeout", cost_usd=Decimal("0.01"))

    found = standing()

    assert (found.asked, found.decided, found.followed) == (4, 3, 1)
    assert found.abstained == {"timeout": 1}
    assert (found.p50_ms, found.p95_ms) == (200, 900)
    assert found.cost_each_usd == Decimal("0.01")
    assert found.is_few


@pytest.mark.parametrize("origin", [Origin.DEMO, Origin.REPLAY])
def test_demo_and_replays_count_not(origin: Origin) -> None:
    signal = make_signal(origin=origin)
    judged(signal, FOLLOW)
    numbered(signal, 1, rules=FOLLOW, ensemble=FOLLOW)

    assert standing().asked == 0
    assert standings.agreements(models=PAIR, said=standings.newest_words())[PAIR].n == 0
    assert standings.source_standings() == ([], 0)


def test_only_the_newest_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standings, "ROWS_A_MODEL", 2)
    for hour in range(4):
        word = FOLLOW if hour > 1 else IGNORE
        judged(make_signal(), word, finished_at=NOW + timedelta(hours=hour))

    found = standing()

    assert (found.decided, found.followed) == (2, 2)


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([], None),
        ([(True, True)] * 5, None),
        ([(True, True), (False, False)] * 5, 1.0),
        ([(True, False), (False, True)] * 5, -1.0),
        (
            [(True, True)] * 20
            + [(True, False)] * 5
            + [(False, True)] * 10
            + [(False, False)] * 15,
            0.4,
        ),
    ],
)
def test_kappa_is_agreement_beyond_chance(
    pairs: list[tuple[bool, bool]], expected: float | None
) -> None:
    found = kappa(pairs)

    assert found == (None if expected is None else pytest.approx(expected))


def test_agreement_counts_signals_that_both_decided_on() -> None:
    numbered(make_signal(), 1, rules=FOLLOW, ensemble=FOLLOW)
    numbered(make_signal(), 2, rules=IGNORE, ensemble=IGNORE)
    numbered(make_signal(), 3, rules=IGNORE)

    found = standings.agreements(models=PAIR, said=standings.newest_words())

    assert found["rules", "ensemble"] == Agreement(n=2, kappa=1.0)


def test_signals_on_which_models_differ_are_listed() -> None:
    split = make_signal()
    numbered(split, 1, rules=FOLLOW, ensemble=IGNORE)
    numbered(make_signal(), 2, rules=IGNORE, ensemble=IGNORE)

    found = standings.disagreements(models=PAIR, said=standings.newest_words(), limit=10)

    assert found == [(split, {"ensemble": IGNORE, "rules": FOLLOW})]


def test_a_source_is_told_by_what_became_of_its_signals() -> None:
    good = make_signal(source="a", status=SignalStatus.PUBLISHED)
    numbered(good, 1, **{JURY: FOLLOW})
    make_signal(source="a", status=SignalStatus.REJECTED, reason={"gate": "price_drift"})
    make_signal(source="b")

    found, looked_at = standings.source_standings()

    assert looked_at == 3
    assert [each.source for each in found] == ["a", "b"]
    assert found[0].ended == {"PUBLISHED": 1, "REJECTED": 1}
    assert found[0].gates == {"price_drift": 1}
    assert (found[0].follow_frac, found[0].rejected_frac) == (1.0, 0.5)
    assert found[1].follow_frac is None


@pytest.mark.parametrize("path", ["/models", "/sources", "/settings"])
def test_pages_open_on_a_desk_without_any_signal(admin_client: Client, path: str) -> None:
    assert admin_client.get(path).status_code == 200


def test_a_hostile_source_is_shown_as_text(admin_client: Client) -> None:
    make_signal(source="<b>\u202edesk</b>")

    page = admin_client.get("/sources").content.decode()

    assert "<b>\u202edesk" not in page
    assert "U+202E" in page


def test_a_model_page_tells_why_it_is_left_alone(admin_client: Client) -> None:
    name = django_settings.AI_MODELS[0]
    until = datetime.now(UTC) + timedelta(minutes=5)
    ModelState.objects.create(name=name, open_until=until, last_fault="auth: key rejected")

    page = admin_client.get(f"/models/{name}").content.decode()

    assert "Left alone after faults until" in page
    assert "key rejected" in page


def test_switching_a_model_wants_a_reason(admin_client: Client, settings: Settings) -> None:
    name = django_settings.AI_MODELS[0]
    settings.EVALUATORS = {name: {"PROVIDER": "openai", "OPTIONS": {"model_id": "m"}}}

    refused = admin_client.post(f"/models/{name}/switch", {"to": "off", "why": " "})
    done = admin_client.post(f"/models/{name}/switch", {"to": "off", "why": "too dear"})

    state = ModelState.objects.get(name=name)
    assert (refused.status_code, done.status_code) == (400, 302)
    assert (state.is_enabled, state.why, state.changed_by) == (False, "too dear", "user:admin")


def test_an_unknown_model_is_not_found(admin_client: Client) -> None:
    assert admin_client.get("/models/nobody").status_code == 404
    assert admin_client.post("/models/nobody/switch", {"why": "x"}).status_code == 404


def test_settings_are_shown_without_secrets(admin_client: Client, settings: Settings) -> None:
    settings.SETTING_VALUES = {
        "SECRET_KEY": "(set)",
        "DATABASE_URL": "postgres://lens:s3cr3t@db/lens",
        "JURY_DEADLINE_MS": "4321",
    }

    page = admin_client.get("/settings").content.decode()

    assert "4321" in page
    assert "s3cr3t" not in page
    assert "postgres://lens:***@db/lens" in page


def test_viewers_see_what_is_in_force_and_not_every_setting() -> None:
    client = Client()
    user = User.objects.create_user("vera")
    user.groups.add(Group.objects.get(name="Viewer"))
    client.force_login(user)

    page = client.get("/settings").content.decode()

    assert "In force" in page
    assert "DATABASE_URL" not in page


def test_a_model_is_told_era_by_era_and_by_the_hours_in_which_it_failed() -> None:
    for hour, version in ((0, "a"), (1, "a"), (2, "b")):
        at = NOW - timedelta(hours=5 - hour)
        judged(make_signal(), IGNORE, model_version=version, finished_at=at)
    judged(make_signal(), None, outcome="timeout", finished_at=NOW - timedelta(hours=2))

    rows = evaluation.list_answered(model="rules", limit=100, with_prompts=True)
    found = history_of(rows=rows, now=NOW)

    assert [(era.model_version, era.decided, era.changed) for era in found.eras] == [
        ("b", 1, ("version",)),
        ("a", 2, ()),
    ]
    assert (found.hours.asked, found.hours.faults) == (4, {"timeout": 1})
    assert [hour.since for hour, counts in found.hours.table if counts == [1]] == [
        NOW - timedelta(hours=2)
    ]


def test_dear_and_slow_answers_are_drawn_and_listed_alike() -> None:
    for ms, usd in ((900.0, "0.02"), (1_500.0, "0.04"), (4_000.0, "0.01")):
        judged(make_signal(), IGNORE, model="gpt", latency_ms=ms, cost_usd=Decimal(usd))
    judged(make_signal(), IGNORE)
    answers = {name: evaluation.list_answered(model=name, limit=10) for name in ("rules", "gpt")}

    [found] = spreads_of(answers)

    assert (found.model, found.letter, len(found.dots)) == ("gpt", "G", 3)
    assert (found.p50_ms, found.p95_ms) == (1_500, 4_000)
    assert (found.p50_usd, found.p95_usd) == (0.02, 0.04)
    assert json.loads(chart_of_spreads([found]))[0]["letter"] == "G"


def test_live_answers_are_found_behind_demo_ones() -> None:
    judged(make_signal(), IGNORE, finished_at=NOW - timedelta(hours=1))
    for _ in range(2):
        judged(make_signal(origin=Origin.DEMO), IGNORE)

    assert len(evaluation.list_answered(model="rules", limit=2)) == 1
