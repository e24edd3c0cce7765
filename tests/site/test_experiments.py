"""Experiments, golden signals, alerts: over HTTP, on the page, in the back office, as commands."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from access.models import User
from outcomes.models import Alert, Canary, Experiment, GoldenSignal
from pipeline.models import AuditEvent
from tests.factories import NOON, make_enrichment, make_signal

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("bold_and_shy")]

Api = Callable[..., APIClient]
SCRIPTED = "evaluation.evaluators.scripted.Scripted"
PROVEN = {
    "n": 700,
    "mean_gain": 0.02,
    "low": 0.01,
    "high": 0.03,
    "standing": "BETTER",
    "still_needed": 0,
}


def member(group: str) -> Client:
    user = User.objects.create_user(username=group.lower(), is_staff=True)
    user.groups.add(Group.objects.get(name=group))
    client = Client()
    client.force_login(user)
    return client


def an_experiment(**changes: Any) -> Experiment:
    values: dict[str, Any] = {
        "name": "shyness",
        "kind": "MODEL",
        "champion": "bold",
        "challenger": "shy",
        "share_pct": 20,
        "expected": {"0.03": 460},
        "created_at": NOON,
        "created_by": "ada",
    }
    return Experiment.objects.create(**(values | changes))


def an_alert() -> Alert:
    return Alert.objects.create(kind="CANARY", subject="bold", message="it moved", opened_at=NOON)


def a_drift() -> Canary:
    return Canary.objects.create(
        day=NOON.date(),
        model="bold",
        status="DRIFTED",
        reason="3 of 9 answers turned round",
        rerun_id="00000000-0000-0000-0000-000000000001",
        created_at=NOON,
    )


def test_an_experiment_is_started_and_stopped_by_program(api: Api) -> None:
    client = api("ops", "decisions:read")
    body = {"name": "shyness", "champion": "bold", "challenger": "shy", "share_pct": 50}

    made = client.post("/api/v1/experiments", body, format="json")
    refused = client.post("/api/v1/experiments", body, format="json")
    ended = client.post("/api/v1/experiments/shyness/stop", {"reason": "enough"}, format="json")

    assert (made.status_code, made.json()["evidence"]["n"]) == (201, 0)
    assert made.json()["expected"]["0.03"] > 100
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, "name")
    assert (ended.json()["status"], ended.json()["why"]) == ("STOPPED", "enough")
    assert client.get("/api/v1/experiments/shyness").json()["status"] == "STOPPED"
    assert client.get("/api/v1/experiments/none").status_code == 404


def test_promotion_is_a_step_of_its_own_that_wants_proof(api: Api) -> None:
    an_experiment()
    body = {"reason": "hope"}
    url = "/api/v1/experiments/shyness/promote"

    assert api("ops").post(url, body, format="json").status_code == 403
    refused = api("admin").post(url, body, format="json")

    assert refused.status_code == 400
    assert "not proven better" in refused.json()["detail"]


def test_golden_signals_and_alerts_by_program(api: Api) -> None:
    client = api("ops", "decisions:read")
    signal = make_signal()
    make_enrichment(signal)
    a_drift()
    alert = an_alert()

    made = client.post("/api/v1/golden", {"event_id": str(signal.event_id)}, format="json")
    listed = client.get("/api/v1/golden").json()["items"]
    seen = client.post(
        f"/api/v1/alerts/{alert.id}/acknowledge", {"reason": "looking"}, format="json"
    )
    accepted = client.post("/api/v1/canaries/bold/accept", {"reason": "better"}, format="json")
    dropped = client.delete(f"/api/v1/golden/{signal.event_id}")

    assert made.status_code == 201
    assert [each["event_id"] for each in listed] == [str(signal.event_id)]
    assert seen.json()["why"] == "looking"
    assert accepted.json()["status"] == "ACCEPTED"
    assert (dropped.status_code, client.get("/api/v1/alerts").json()["items"]) == (204, [])
    assert client.get("/api/v1/canaries").json()["items"][0]["status"] == "ACCEPTED"
    assert api("decisions:read").post("/api/v1/golden", {}, format="json").status_code == 403


def test_the_page_shows_what_is_tried_and_lets_operators_act() -> None:
    client = member("Operator")
    signal = make_signal()
    make_enrichment(signal)
    a_drift()
    alert = an_alert()

    started = client.post(
        "/experiments/start",
        {"name": "shyness", "champion": "bold", "challenger": "model:shy", "share_pct": "20"},
    )
    golden = client.post("/experiments/golden/add", {"event_id": str(signal.event_id)})
    seen = client.post(f"/experiments/alerts/{alert.id}/acknowledge", {"why": "looking"})
    page = client.get("/experiments").content.decode()

    assert [each.status_code for each in (started, golden, seen)] == [302, 302, 302]
    assert 'data-testid="experiment-shyness"' in page
    assert "acknowledged by" in page
    assert "3 of 9 answers turned round" in page
    assert str(signal.event_id) in page
    assert 'data-testid="waits"' in page
    accepted = client.post("/experiments/golden/bold/accept", {"why": "better now"})
    dropped = client.post(f"/experiments/golden/{signal.event_id}/drop")
    stopped = client.post("/experiments/shyness/stop", {"why": "enough"})
    assert [each.status_code for each in (accepted, dropped, stopped)] == [302, 302, 302]
    assert not GoldenSignal.objects.exists()
    assert Experiment.objects.get().ended_by == "user:operator"
    assert Alert.objects.get().closed_by == "user:operator"


@pytest.mark.parametrize(
    ("path", "sent", "told"),
    [
        ("/experiments/start", {"name": "x y", "champion": "bold"}, "name must be"),
        ("/experiments/golden/add", {"event_id": "what"}, "no frozen facts"),
        ("/experiments/none/stop", {"why": "x"}, "no experiment"),
        ("/experiments/golden/bold/accept", {"why": "x"}, "has not drifted"),
    ],
)
def test_what_cannot_be_done_is_told_on_the_page(
    path: str, sent: dict[str, str], told: str
) -> None:
    answer = member("Operator").post(path, sent)

    assert answer.status_code in (400, 404)
    assert told in answer.content.decode()


def test_promoting_is_offered_to_admins_once_it_is_proven() -> None:
    an_experiment(evidence=PROVEN)
    operator, admin = member("Operator"), member("Admin")

    assert "/promote" not in operator.get("/experiments").content.decode()
    assert "/promote" in admin.get("/experiments").content.decode()
    assert operator.post("/experiments/shyness/promote", {"why": "x"}).status_code == 403
    assert "not proven better" in (  # the evidence is weighed anew, not taken from the row
        admin.post("/experiments/shyness/promote", {"why": "x"}).content.decode()
    )


def test_viewers_only_look() -> None:
    client = member("Viewer")
    an_experiment()
    an_alert()

    page = client.get("/experiments").content.decode()

    assert "it moved" in page and "<form" not in page.partition('id="alerts"')[2]
    assert client.post("/experiments/shyness/stop", {"why": "x"}).status_code == 403


def test_the_back_office_asks_before_it_acts() -> None:
    client = member("Operator")
    row, alert, _ = an_experiment(evidence=PROVEN), an_alert(), a_drift()
    stop = reverse("admin:experiment_stop", args=[row.pk])

    asked = client.get(stop).content.decode()
    for url in (
        stop,
        reverse("admin:alert_acknowledge", args=[alert.pk]),
        reverse("admin:canary_accept", args=["bold"]),
    ):
        done = client.post(url, {"agreed": "yes", "reason": "seen"})
        assert done.status_code == 302

    assert "Over 700 pairs shy gains +0.0200" in asked
    assert Experiment.objects.get().status == "STOPPED"
    assert Canary.objects.get().status == "ACCEPTED"
    assert Alert.objects.get().acknowledged_by == "operator"
    assert client.get(reverse("admin:experiment_promote", args=[row.pk])).status_code == 403
    verbs = set(AuditEvent.objects.values_list("verb", flat=True))
    assert {"EXPERIMENT_STOPPED", "ALERT_ACKNOWLEDGED", "CANARY_ACCEPTED"} <= verbs


def test_golden_signals_are_chosen_in_the_back_office() -> None:
    client = member("Operator")
    signal = make_signal()
    url = reverse("admin:outcomes_goldensignal_add")

    refused = client.post(url, {"event_id": str(signal.event_id), "note": ""})
    make_enrichment(signal)
    made = client.post(url, {"event_id": str(signal.event_id), "note": "calm"})
    row = GoldenSignal.objects.get()
    listed = reverse("admin:outcomes_goldensignal_changelist")
    dropped = client.post(listed, {"action": "drop", "_selected_action": [row.pk]})

    assert "no frozen facts" in refused.content.decode()
    assert (made.status_code, dropped.status_code) == (302, 302)
    assert not GoldenSignal.objects.exists()


@pytest.mark.parametrize(
    "name",
    ["question", "outcome", "scoreday", "calibrationmap", "weightset", "biasaudit", "alert"],
)
def test_every_table_of_outcomes_is_in_the_back_office(name: str) -> None:
    answer = member("Viewer").get(reverse(f"admin:outcomes_{name}_changelist"))

    assert answer.status_code == 200


def test_commands_say_and_do_the_same() -> None:
    signal = make_signal()
    make_enrichment(signal)
    alert = an_alert()

    def run(*words: str) -> str:
        out = StringIO()
        call_command(*words, stdout=out)
        return out.getvalue()

    started = run("experiments", "start", "shyness", "--champion", "bold", "--challenger", "shy")
    listed = run("experiments", "list")
    stopped = run("experiments", "stop", "shyness", "--why", "enough")
    golden = run("golden", "add", str(signal.event_id))
    seen = run("alerts", "acknowledge", str(alert.id), "--why", "looking")

    assert "What it will take" in started
    assert "shy against bold" in listed
    assert "shyness: stopped" in stopped
    assert str(signal.event_id)[:8] in golden
    assert "looking" in seen
    with pytest.raises(CommandError, match="no experiment"):
        run("experiments", "promote", "shyness", "--why", "hope")
