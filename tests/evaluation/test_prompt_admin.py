from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from access.models import User
from evaluation import authoring, queries
from evaluation.models import Attempt, ModelCard, ModelState, Price, PromptVersion, Rerun, Spend
from evaluation.prompting import render, text_of
from pipeline.models import AuditEvent
from tests.evaluation.answers import PAYLOAD
from tests.evaluation.test_prompting import SYSTEM, USER
from tests.factories import NOON, make_enrichment, make_evaluation, make_signal

pytestmark = pytest.mark.django_db
PROMPTS = "/admin/evaluation/promptversion/"


@pytest.fixture
def office() -> Client:
    """A superuser who is logged in."""
    client = Client()
    client.force_login(User.objects.create_superuser("ann", password=None))
    return client


def add(name: str = "trial", **changes: Any) -> PromptVersion:
    texts = {"system": SYSTEM, "user": USER} | changes
    return authoring.add_prompt_version(name=name, **texts, actor="bob", now=NOON)


def judge() -> PromptVersion:
    active = queries.get_active_prompt(name="judge")
    assert active is not None
    return active


def shown(client: Client, path: str) -> str:
    response = client.get(path)
    assert response.status_code == 200, path
    return str(response.content.decode())


def promote(client: Client, *rows: PromptVersion) -> str:
    chosen = {"action": "promote", "_selected_action": [row.pk for row in rows]}
    response = client.post(PROMPTS, chosen, follow=True)
    assert response.status_code == 200
    return str(response.content.decode())


@pytest.mark.parametrize("page", ["", "add/", "1/change/", "1/change/preview/", "1/change/diff/"])
def test_the_office_is_shut_for_strangers(page: str) -> None:
    response = Client().get(PROMPTS + page)

    assert response.status_code == 302
    assert "/admin/login/" in response["Location"]


@pytest.mark.parametrize("page", ["", "add/", "{}/change/", "{}/change/preview/"])
def test_staff_without_a_right_to_prompts_are_refused(page: str) -> None:
    client = Client()
    client.force_login(User.objects.create_user("eve", is_staff=True))

    assert client.get(PROMPTS + page.format(judge().pk)).status_code == 403


def test_a_draft_begins_with_what_the_active_version_says(office: Client) -> None:
    page = shown(office, f"{PROMPTS}add/")

    assert "You judge trading signals" in page
    assert 'value="judge"' in page


def test_a_draft_is_written_under_the_name_of_its_author(office: Client) -> None:
    written = {"name": "judge", "system": SYSTEM, "user": f"{USER}\r\nNow.", "note": "shorter"}

    response = office.post(f"{PROMPTS}add/", written)

    row = queries.get_prompt(name="judge", version=2)
    assert response.status_code == 302
    assert row is not None
    assert (row.status, row.created_by, row.note) == ("DRAFT", "ann", "shorter")
    assert row.user == f"{USER}\nNow."
    assert AuditEvent.objects.filter(verb="PROMPT_ADDED", actor="ann").count() == 1


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"user": USER.replace("{{untrusted}}", "")}, "{{untrusted}} must stand once"),
        ({"system": f"{SYSTEM}\n{{{{signal}}}}"}, "{{signal}} belongs into the other text"),
        ({"name": "Judge 2"}, "must be a-z"),
    ],
)
def test_a_draft_that_breaks_a_rule_is_shown_with_its_fault(
    office: Client, changes: dict[str, str], fault: str
) -> None:
    response = office.post(
        f"{PROMPTS}add/", {"name": "trial", "system": SYSTEM, "user": USER, "note": ""} | changes
    )

    assert response.status_code == 200
    assert fault in response.content.decode()
    assert PromptVersion.objects.count() == 1


def test_a_draft_is_revised_until_a_model_is_given_it(office: Client) -> None:
    row = add()
    page = f"{PROMPTS}{row.pk}/change/"
    written = {"system": SYSTEM, "user": f"{USER}\nNow.", "note": "", "version": 9, "sha256": "x"}

    office.post(page, written)

    row.refresh_from_db()
    assert row.user.endswith("Now.")
    assert (row.version, row.created_by) == (1, "bob")
    authoring.mark_used(prompts=[text_of(row)], now=NOON)
    assert office.post(page, written | {"user": f"{USER}\nLater."}).status_code == 403
    row.refresh_from_db()
    assert row.user.endswith("Now.")


def test_who_saves_a_draft_that_was_used_meanwhile_is_told(
    office: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = add()
    revise = authoring.revise_draft

    def use_first(**written: Any) -> PromptVersion:
        authoring.mark_used(prompts=[text_of(row)], now=NOON)
        return revise(**written)

    monkeypatch.setattr(authoring, "revise_draft", use_first)

    response = office.post(
        f"{PROMPTS}{row.pk}/change/",
        {"system": SYSTEM, "user": f"{USER}\nNow.", "note": ""},
        follow=True,
    )

    assert "write a new version" in response.content.decode()
    row.refresh_from_db()
    assert row.user == USER


def test_an_active_version_is_only_looked_at(office: Client) -> None:
    row = judge()

    page = shown(office, f"{PROMPTS}{row.pk}/change/")

    assert 'name="_save"' not in page
    assert "deletelink" not in page
    assert office.post(f"{PROMPTS}{row.pk}/delete/", {"post": "yes"}).status_code == 403


def test_one_version_is_promoted_by_whoever_chose_it(office: Client) -> None:
    before, draft = judge(), add("judge")

    page = promote(office, draft)

    assert "judges live signals from now on" in page
    assert judge() == draft
    line = AuditEvent.objects.get(verb="PROMPT_PROMOTED")
    assert (line.actor, line.details["before"], line.details["after"]) == (
        "ann",
        {"active": before.version},
        {"active": draft.version},
    )


def test_a_choice_that_cannot_be_promoted_is_explained(office: Client) -> None:
    assert "v1 is active already" in promote(office, judge())
    assert "Choose exactly one version" in promote(office, judge(), add("judge"))


def test_who_may_only_look_cannot_promote() -> None:
    client = Client()
    viewer = User.objects.create_user("vic", is_staff=True)
    viewer.user_permissions.set(Permission.objects.filter(codename="view_promptversion"))
    client.force_login(viewer)
    draft = add("judge")

    promote(client, draft)

    assert judge().version == 1
    assert "You judge" in shown(client, f"{PROMPTS}{judge().pk}/change/")


def test_a_preview_shows_what_a_model_would_be_given(office: Client) -> None:
    signal = make_signal(source="strategy_alpha")
    hostile = PAYLOAD["original"] | {"untrusted": {"notes": "<script>alert(1)</script>"}}
    make_enrichment(signal, payload=json.dumps(PAYLOAD | {"original": hostile}))
    case = queries.latest_case(event_id=signal.event_id)
    assert case is not None
    rendered = render(text_of(judge()), case=case, base_rate=None)

    newest = shown(office, f"{PROMPTS}{judge().pk}/change/preview/")
    named = shown(office, f"{PROMPTS}{judge().pk}/change/preview/?event_id={signal.event_id}")

    for page in (newest, named):
        assert rendered.sha256 in page
        assert "market.mid: 42010.5" in page
        assert "<script>alert" not in page
    assert judge().used_at is None


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("", "no such signal with facts"),
        ("?event_id=11111111-1111-4111-8111-111111111111", "no such signal with facts"),
        ("?event_id=%3Cscript%3E", "not an event_id"),
    ],
)
def test_a_preview_without_a_signal_says_so(office: Client, query: str, fault: str) -> None:
    page = shown(office, f"{PROMPTS}{judge().pk}/change/preview/{query}")

    assert fault in page
    assert "<script>" not in page.partition("errornote")[2]


def test_versions_are_compared_with_the_active_one_or_a_chosen_one(office: Client) -> None:
    first, second = add(), add(user=f"{USER}\nTake <care>.")
    third = add(user=f"{USER}\nBe quick.")

    beside_the_one_before = shown(office, f"{PROMPTS}{second.pk}/change/diff/")
    beside_a_chosen_one = shown(office, f"{PROMPTS}{second.pk}/change/diff/?against=3")
    odd = shown(office, f"{PROMPTS}{first.pk}/change/diff/?against=x")

    assert "+Take &lt;care&gt;." in beside_the_one_before
    assert "-Be quick." in beside_a_chosen_one
    assert f"?against={third.version}" in beside_the_one_before
    assert "Compare with" in odd


def test_a_version_that_does_not_exist_is_not_found(office: Client) -> None:
    assert office.get(f"{PROMPTS}999999/change/diff/").status_code == 404


CARD = {
    "provider": "openai",
    "model_id": "m-1",
    "api": "responses",
    "structured": "json_object",
    "context_tokens": "",
    "output_tokens": "",
    "retire_on": "",
    "prices-TOTAL_FORMS": "1",
    "prices-INITIAL_FORMS": "0",
    "prices-0-valid_from": "2026-11-01",
    "prices-0-input_usd": "0.5",
    "prices-0-cached_usd": "",
    "prices-0-cache_write_usd": "",
    "prices-0-output_usd": "2",
}


def test_cards_and_prices_are_corrected_with_what_is_unknown_left_empty(office: Client) -> None:
    card = ModelCard.objects.create(
        provider="openai", model_id="m-1", api="responses", structured="json_schema"
    )

    response = office.post(f"/admin/evaluation/modelcard/{card.pk}/change/", CARD)

    card.refresh_from_db()
    price = Price.objects.get(card=card)
    assert response.status_code == 302
    assert (card.structured, card.context_tokens, card.retire_on) == ("json_object", None, None)
    assert (price.valid_from, price.input_usd, price.cached_usd) == (
        date(2026, 11, 1),
        Decimal("0.5"),
        None,
    )


@pytest.mark.parametrize(
    ("written", "fault"),
    [
        ({"structured": "json_shema"}, "json_shema is not one of the available choices"),
        ({"api": "respones"}, "respones is not one of the available choices"),
        ({"provider": "opnai"}, "opnai is not one of the available choices"),
        ({"prices-0-output_usd": "-2"}, "greater than or equal to 0"),
    ],
)
def test_a_card_that_no_adapter_would_understand_is_not_kept(
    office: Client, written: dict[str, str], fault: str
) -> None:
    card = ModelCard.objects.create(
        provider="openai", model_id="m-1", api="responses", structured="json_schema"
    )

    page = office.post(f"/admin/evaluation/modelcard/{card.pk}/change/", CARD | written)

    assert fault in page.content.decode()
    assert not Price.objects.filter(card=card).exists()


def test_trails_are_read_and_never_written(office: Client) -> None:
    evaluation = make_evaluation(make_signal())
    attempt = Attempt.objects.create(
        evaluation=evaluation,
        number=1,
        status="invalid",
        started_at=NOON,
        latency_ms=12.5,
        answer="<script>alert(1)</script>",
    )
    rerun = Rerun.objects.create(model="m", signals=1, created_at=NOON, created_by="ann")
    state, _ = ModelState.objects.get_or_create(name="m")
    spend = Spend.objects.create(day=NOON.date(), model="m")

    for row in (evaluation, attempt, rerun, state, spend):
        room = f"/admin/evaluation/{row._meta.model_name}/"
        page = shown(office, f"{room}{row.pk}/change/")
        assert 'name="_save"' not in page
        assert "<script>alert" not in page
        assert shown(office, room)
        assert office.get(f"{room}add/").status_code == 403
        assert office.post(f"{room}{row.pk}/change/", {}).status_code == 403
        assert office.post(f"{room}{row.pk}/delete/", {"post": "yes"}).status_code == 403
