from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import reverse

from access.models import User
from evaluation.models import Attempt
from pipeline.models import AuditEvent, DeadLetter, Switch
from pipeline.services import Opening, open_runs, record
from signals.mapping import STARTERS
from signals.models import Signal
from signals.services import create_hook, keep_refusal
from signals.types import HookDraft, HookKind, InvalidSignal
from tests.factories import (
    NOON,
    make_decision,
    make_enrichment,
    make_evaluation,
    make_letter,
    make_signal,
)

pytestmark = pytest.mark.django_db

HOSTILE = '<script>alert("x")</script>'
LISTS = (
    "signals_signal",
    "enrichment_enrichment",
    "evaluation_evaluation",
    "evaluation_attempt",
    "decisions_decision",
    "pipeline_stagerun",
    "pipeline_deadletter",
    "pipeline_auditevent",
)


def member(group: str) -> Client:
    user = User.objects.create_user(username=group.lower(), is_staff=True)
    user.groups.add(Group.objects.get(name=group))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def operator() -> Client:
    return member("Operator")


@pytest.fixture
def signal() -> Signal:
    """A signal that has left a mark in every list, in words of somebody hostile."""
    signal = make_signal(source=HOSTILE, notes=HOSTILE, context={"x": HOSTILE})
    make_enrichment(signal, payload=HOSTILE, facts={"x": HOSTILE})
    evaluation = make_evaluation(signal, reason=HOSTILE)
    Attempt.objects.create(
        evaluation=evaluation,
        number=1,
        status="REFUSAL",
        started_at=NOON,
        latency_ms=1.0,
        prompt=HOSTILE,
        answer=HOSTILE,
    )
    make_decision(signal, invalidation=HOSTILE, reasons=[HOSTILE])
    make_letter(signal, reason=HOSTILE)
    mark = signal.event_id
    open_runs([Opening(stage="enrich", subject=mark, trace=mark, attempts_max=1)])
    record(trace=mark, verb="RECEIVED", actor=HOSTILE, at=NOON)
    return signal


def page(client: Client, name: str, *args: Any, **query: str) -> str:
    answer = client.get(reverse(f"admin:{name}", args=args), query)
    assert answer.status_code == 200, (name, answer.status_code)
    return answer.content.decode()


def test_the_index_is_grouped_by_what_people_come_to_do() -> None:
    html = page(member("Admin"), "index")

    places = [
        html.index(f">{task}</a>") for task in ("Trading", "Evaluation", "Access", "Operations")
    ]
    assert places == sorted(places)
    assert ">Dead letters</a>" in html


@pytest.mark.parametrize("name", LISTS)
def test_lists_are_found_by_the_beginning_of_the_signals_id_and_show_hostile_text_as_text(
    operator: Client, signal: Signal, name: str
) -> None:
    make_letter(make_signal(event_id=UUID("ffffffff-0000-4000-8000-000000000000")))

    found = page(operator, f"{name}_changelist", q=f"sig_{signal.event_id.hex[:6]}")
    missed = page(operator, f"{name}_changelist", q="sig_00000000")

    assert "1 result" in found.replace("1 results", "") or "\n1 " in found
    assert "\n0 " in missed
    assert HOSTILE not in found


@pytest.mark.parametrize("name", LISTS)
def test_every_row_leads_to_all_others_of_its_signal_and_nobody_can_write(
    operator: Client, signal: Signal, name: str
) -> None:
    listed = operator.get(reverse(f"admin:{name}_changelist"))
    row = listed.context["cl"].result_list[0]

    html = page(operator, f"{name}_change", row.pk)
    posted = operator.post(reverse(f"admin:{name}_change", args=[row.pk]), {})

    assert HOSTILE not in html
    assert f'href="/signals/{signal.event_id}"' in html
    for words in ("Signal", "Facts", "Evaluations", "Attempts", "Decisions", "Stage runs"):
        assert f">{words}" in html
    assert posted.status_code == 403
    assert operator.get(reverse(f"admin:{name}_add")).status_code == 403
    assert operator.post(reverse(f"admin:{name}_delete", args=[row.pk])).status_code == 403


def test_filters_narrow_by_symbol_state_and_days(operator: Client) -> None:
    make_signal(symbol="BTC")
    make_signal(symbol="ETH", status="DEAD")

    def count(**query: str) -> int:
        answer = operator.get(reverse("admin:signals_signal_changelist"), query)
        assert answer.status_code == 200
        return len(answer.context["cl"].result_list)

    assert count() == 2
    assert count(symbol="ETH") == 1
    assert count(status__exact="DEAD", symbol="BTC") == 0
    assert count(received_at_from="2026-01-15", received_at_until="2026-01-15") == 2
    assert count(received_at_from="2026-01-16") == 0
    assert count(received_at_until="2026-01-14") == 0


def test_days_of_what_hangs_on_a_signal_are_the_signals(operator: Client, signal: Signal) -> None:
    for name in ("evaluation_evaluation", "decisions_decision"):
        url = reverse(f"admin:{name}_changelist")
        on = operator.get(url, {"received_at_from": "2026-01-15"}).context["cl"]
        after = operator.get(url, {"received_at_from": "2026-01-16"}).context["cl"]
        assert (len(on.result_list), len(after.result_list)) == (1, 0)


def test_no_list_counts_more_than_it_pages_through(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.browsing.COUNT_MAX", 2)
    for _ in range(3):
        make_signal()

    html = page(operator, "signals_signal_changelist")

    assert "more than 2 signals" in html
    assert "_facets" not in html


def test_a_viewer_sees_lists_and_is_offered_nothing(signal: Signal) -> None:
    viewer = member("Viewer")
    letter = DeadLetter.objects.get()

    assert "Cancel" not in page(viewer, "signals_signal_change", signal.pk)
    assert "Retry…" not in page(viewer, "pipeline_deadletter_changelist")
    for url in (
        reverse("admin:signal_cancel", args=[signal.pk]),
        reverse("admin:letter_retry", args=[letter.pk]),
        reverse("admin:letters_resolve", args=[letter.fingerprint]),
        reverse("admin:switch_throw", args=["intake"]),
        reverse("admin:model_switch", args=["*"]),
        reverse("admin:key_issue"),
    ):
        assert viewer.get(url).status_code == 403
        assert viewer.post(url, {"agreed": "yes", "reason": "x"}).status_code == 403


def test_a_signal_is_cancelled_with_a_reason(operator: Client) -> None:
    signal = make_signal()
    url = reverse("admin:signal_cancel", args=[signal.pk])

    asked = operator.post(url, {"agreed": "yes", "reason": ""})
    done = operator.post(url, {"agreed": "yes", "reason": "sent by mistake"})

    assert asked.status_code == 200 and "1 of 1 are under way" in asked.content.decode()
    assert done.status_code == 302
    signal.refresh_from_db()
    assert signal.status == "CANCELLED"


def test_many_signals_are_cancelled_after_a_page_that_counts_them(operator: Client) -> None:
    rows = [make_signal(), make_signal(status="PUBLISHED")]
    url = reverse("admin:signals_signal_changelist")
    body = {"action": "cancel", "_selected_action": [row.pk for row in rows]}

    asked = operator.post(url, body).content.decode()
    operator.post(url, body | {"agreed": "yes", "reason": "a bad batch"})

    assert "1 of 2 are under way" in asked
    assert set(Signal.objects.values_list("status", flat=True)) == {"CANCELLED", "PUBLISHED"}


def test_a_group_of_dead_letters_is_previewed_and_retried_once(operator: Client) -> None:
    letter = make_letter(make_signal(status="DEAD", expires_at=NOON))
    make_letter()
    url = reverse("admin:letters_retry", args=[letter.fingerprint])
    listed = page(operator, "pipeline_deadletter_changelist")

    asked = operator.get(url).content.decode()
    operator.post(url, {"agreed": "yes", "reason": "the venue is back"})
    again = operator.post(url, {"agreed": "yes"}, follow=True)

    assert url in listed
    assert "2 are open" in asked and "1 of them are stale" in asked
    assert set(DeadLetter.objects.values_list("status", "retry_count")) == {("RETRYING", 1)}
    assert "None of them was open any more." in again.content.decode()


def test_dead_letters_are_resolved_with_a_note(operator: Client) -> None:
    letter = make_letter()
    url = reverse("admin:pipeline_deadletter_changelist")
    body = {"action": "resolve", "_selected_action": [str(letter.pk)], "agreed": "yes"}

    without = operator.post(url, body | {"reason": ""})
    operator.post(url, body | {"reason": "advice is stale"})

    letter.refresh_from_db()
    assert without.status_code == 200
    assert (letter.status, letter.note) == ("RESOLVED", "advice is stale")


def test_a_paused_switch_is_a_banner_on_every_page_until_it_is_resumed(operator: Client) -> None:
    url = reverse("admin:switch_throw", args=["intake"])
    operator.post(url, {"agreed": "yes", "reason": "the venue is down"})

    paused = page(operator, "signals_signal_changelist")
    operator.post(url, {"agreed": "yes", "reason": "it is up"})
    resumed = page(operator, "signals_signal_changelist")

    assert "intake is paused" in paused and "the venue is down" in paused
    assert "is paused" not in resumed
    assert not Switch.objects.get().is_paused


def test_the_queue_is_shown_as_the_database_knows_it(operator: Client, signal: Signal) -> None:
    del signal

    html = page(operator, "pipeline_stagerun_changelist")

    assert "Due and waiting, by stage" in html
    assert "<td>enrich</td><td>1</td>" in html
    assert operator.get("/django-rq/").status_code == 404


def test_all_language_models_are_switched_off_with_a_reason(operator: Client) -> None:
    url = reverse("admin:model_switch", args=["*"])

    operator.post(url, {"agreed": "yes", "reason": "the budget is gone"})

    assert "the budget is gone" in page(operator, "evaluation_modelstate_changelist")
    assert AuditEvent.objects.filter(verb="MODEL_SWITCHED", actor="operator").exists()


def test_only_superusers_make_superusers(operator: Client) -> None:
    admin = member("Admin")
    chief = User.objects.create_superuser(username="chief")
    someone = User.objects.create_user(username="someone")
    url = reverse("admin:access_user_change", args=[someone.pk])
    group = Group.objects.get(name="Trader")
    body = {
        "username": "someone",
        "is_active": "on",
        "is_superuser": "on",
        "groups": [group.pk],
    }

    admin.post(url, body)

    someone.refresh_from_db()
    assert (someone.is_superuser, list(someone.groups.all())) == (False, [group])
    line = AuditEvent.objects.get(verb="CHANGED", object=f"user:{someone.pk}")
    assert line.details["after"]["groups"] == ["Trader"]
    assert admin.post(reverse("admin:access_user_change", args=[chief.pk]), body).status_code == 403


def test_no_page_carries_a_script_or_a_style_of_its_own(operator: Client, signal: Signal) -> None:
    pages: list[Callable[[], str]] = [
        lambda: page(operator, "index"),
        lambda: page(operator, "signals_signal_changelist"),
        lambda: page(operator, "signals_signal_change", signal.pk),
        lambda: page(operator, "pipeline_switch_changelist"),
        lambda: page(operator, "signal_cancel", signal.pk),
    ]
    for each in pages:
        html = each()
        assert "<style" not in html and " style=" not in html
        assert "<script>" not in html and "onclick" not in html


def test_webhooks_are_seen_and_switched_but_their_addresses_stay_secret(operator: Client) -> None:
    draft = HookDraft(
        name=HOSTILE[:40],
        kind=HookKind.GENERIC,
        source="elsewhere",
        mapping=STARTERS[HookKind.GENERIC],
    )
    hook, slug = create_hook(draft=draft, actor="tester", now=NOON)
    keep_refusal(
        hook=hook,
        error=InvalidSignal(HOSTILE),
        body=HOSTILE.encode(),
        content_type="text/plain",
        address="127.0.0.1",
        now=NOON,
    )
    chief = member("Admin")

    listed = chief.get(reverse("admin:signals_hook_changelist")).content.decode()
    one = chief.get(reverse("admin:signals_hook_change", args=[hook.pk])).content.decode()
    refused = chief.get(reverse("admin:signals_hookrefusal_changelist")).content.decode()
    chosen = {"action": "switch_off", "_selected_action": [str(hook.pk)]}
    chief.post(reverse("admin:signals_hook_changelist"), chosen)
    hook.refresh_from_db()

    for page in (listed, one, refused):
        assert HOSTILE not in page
        assert slug not in page
        assert hook.slug_sha256 not in page
    assert f"/webhooks/{hook.pk}" in listed
    assert not hook.is_active
    assert AuditEvent.objects.filter(verb="HOOK_SWITCHED_OFF", actor="user:admin").exists()
