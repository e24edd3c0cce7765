"""One signal through the whole house, over its public doors."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pytest_django import Settings
from rest_framework.test import APIClient

from decisions.models import Decision
from evaluation import services as evaluation
from evaluation.models import Evaluation
from markets.services import BadMarketData, MarketDataUnavailable
from pipeline import services as pipeline
from pipeline.models import AuditEvent, DeadLetter, StageRun
from pipeline.types import SwitchName
from signals.models import Signal
from tests.enrichment.market import Script
from tests.factories import make_body
from tests.running import make_everything_due, run_everything

Api = Callable[..., APIClient]
ALL = ("signals:write", "signals:read", "decisions:read", "ops")


@pytest.fixture
def client(api: Api, script: Script) -> APIClient:
    return api(*ALL)


def submit(client: APIClient, **changes: Any) -> str:
    response = client.post("/api/v1/signals", make_body(**changes), format="json")
    assert response.status_code == 201, response.json()
    event_id: str = response.json()["event_id"]
    return event_id


def look_at(client: APIClient, event_id: str) -> dict[str, Any]:
    signal: dict[str, Any] = client.get(f"/api/v1/signals/{event_id}").json()
    return signal


def verbs(signal: dict[str, Any]) -> list[str]:
    return [entry["status"] for entry in signal["timeline"]]


def test_a_posted_signal_becomes_numbered_decisions_of_every_model_and_the_jury(
    client: APIClient,
) -> None:
    event_id = submit(client)

    run_everything()

    signal = look_at(client, event_id)
    assert signal["status"] == "PUBLISHED"
    assert {row["model"]: row["decision"] for row in signal["decisions"]} == {
        "bold": "FOLLOW_ENTER",
        "shy": "IGNORE",
        "jury": "IGNORE",
    }
    assert sorted(row["seq"] for row in signal["decisions"]) == [1, 2, 3]
    assert verbs(signal) == [
        "RECEIVED",
        "ENQUEUED",
        "ENRICHED",
        "MODEL_DONE",
        "MODEL_DONE",
        "EVALUATED",
        "PUBLISHED",
    ]
    offsets = [entry["offset_ms"] for entry in signal["timeline"]]
    assert offsets == sorted(offsets)


def test_every_line_of_a_trail_tells_the_request_that_brought_the_signal(
    client: APIClient,
) -> None:
    now = datetime.now(UTC)
    pipeline.pause(name=SwitchName.PUBLISHING, actor="test", reason="a drill", now=now)
    posted = client.post(
        "/api/v1/signals", make_body(), format="json", headers={"X-Request-ID": "walk-7"}
    )
    event_id = posted.json()["event_id"]
    run_everything()
    pipeline.resume(name=SwitchName.PUBLISHING, actor="test", reason="over", now=now)

    run_everything()

    told = AuditEvent.objects.filter(trace=event_id).values_list("verb", "request_id")
    assert "PUBLISHED" in {verb for verb, _ in told}
    assert {request_id for _, request_id in told} == {"walk-7"}


def test_what_was_judged_can_be_read_back_from_every_side(client: APIClient) -> None:
    event_id = submit(client)
    run_everything()

    facts = client.get(f"/api/v1/signals/{event_id}/enrichment").json()
    listed = client.get("/api/v1/decisions", {"after_seq": "0"}).json()["items"]
    one = client.get(f"/api/v1/decisions/{listed[0]['id']}").json()
    judged = look_at(client, event_id)["evaluations"][0]
    detail = client.get(f"/api/v1/evaluations/{judged['id']}").json()

    assert len(facts["payload_sha256"]) == 64
    assert [row["seq"] for row in listed] == [1, 2, 3]
    assert one == listed[0]
    assert detail["attempts"][0]["status"] == "ok"


@pytest.mark.parametrize(
    ("changes", "gate"),
    [
        ({"ts_utc": (datetime.now(UTC) - timedelta(hours=2)).isoformat()}, "signal_age"),
        ({"entry_price": 50_000.0}, "price_drift"),
        ({"symbol": "NOPE"}, "unknown_symbol"),
        ({"feature_profile": "no_such_profile"}, "feature_profile"),
    ],
)
def test_a_gate_that_refuses_leaves_its_value_and_limit(
    client: APIClient, changes: dict[str, Any], gate: str
) -> None:
    event_id = submit(client, **changes)

    run_everything()

    signal = look_at(client, event_id)
    assert (signal["status"], signal["reason"]["gate"]) == ("REJECTED", gate)
    assert {"value", "limit"} <= set(signal["reason"])
    assert verbs(signal)[-1] == "REJECTED"
    assert not Decision.objects.exists()


def test_a_signal_whose_validity_passed_while_it_waited_expires(client: APIClient) -> None:
    event_id = submit(client)
    Signal.objects.update(expires_at=datetime.now(UTC) - timedelta(seconds=1))

    run_everything()

    signal = look_at(client, event_id)
    assert (signal["status"], signal["reason"]["gate"]) == ("EXPIRED", "validity")


@pytest.mark.parametrize(
    "fault",
    [MarketDataUnavailable("HTTP 500"), BadMarketData("price is 'NaN'")],
    ids=["away", "garbage"],
)
def test_a_market_that_fails_for_a_moment_costs_time_and_nothing_else(
    client: APIClient, script: Script, fault: Exception
) -> None:
    event_id = submit(client)
    script.faults["quote"] = fault
    run_everything()
    assert look_at(client, event_id)["status"] == "ENQUEUED"

    script.faults.clear()
    make_everything_due()
    run_everything()

    assert look_at(client, event_id)["status"] == "PUBLISHED"
    assert not DeadLetter.objects.exists()


def test_a_market_that_stays_away_ends_in_a_dead_letter_that_can_be_retried(
    client: APIClient, script: Script
) -> None:
    event_id = submit(client)
    script.faults["quote"] = MarketDataUnavailable("HTTP 500 from the venue")
    run_everything()
    while make_everything_due():
        run_everything()

    signal = look_at(client, event_id)
    [letter] = client.get("/api/v1/dlq", {"status": "OPEN"}).json()["items"]
    assert signal["status"] == "DEAD"
    assert (letter["event_id"], letter["stage"]) == (event_id, "enrich")
    assert letter["code"] == "MARKET_DATA_UNAVAILABLE"
    assert "HTTP 500 from the venue" in letter["reason"]
    assert letter["attempts"] == 6

    script.faults.clear()
    answer = client.post(f"/api/v1/dlq/{letter['id']}/retry").json()
    run_everything()

    assert (answer["status"], answer["retry_count"]) == ("RETRYING", 1)
    again = look_at(client, event_id)
    assert (again["status"], again["run"]) == ("PUBLISHED", 2)
    assert "RETRIED" in verbs(again)
    assert client.get(f"/api/v1/dlq/{letter['id']}").json()["status"] == "RESOLVED"


def test_a_retry_that_fails_again_opens_the_same_letter(
    client: APIClient, script: Script, settings: Settings
) -> None:
    submit(client)
    script.faults["quote"] = MarketDataUnavailable("HTTP 500")
    for _ in range(2):
        run_everything()
        while make_everything_due():
            run_everything()
        [letter] = client.get("/api/v1/dlq", {"status": "OPEN"}).json()["items"]
        client.post(f"/api/v1/dlq/{letter['id']}/retry")

    assert DeadLetter.objects.count() == 1
    assert DeadLetter.objects.get().retry_count == 2


def test_a_dead_letter_can_be_closed_with_a_note(client: APIClient, script: Script) -> None:
    submit(client)
    script.faults["quote"] = MarketDataUnavailable("HTTP 500")
    run_everything()
    while make_everything_due():
        run_everything()
    [letter] = client.get("/api/v1/dlq").json()["items"]
    url = f"/api/v1/dlq/{letter['id']}/resolve"

    without = client.post(url, {}, format="json")
    closed = client.post(url, {"note": "venue was down"}, format="json").json()

    assert without.status_code == 400
    assert (closed["status"], closed["note"]) == ("RESOLVED", "venue was down")
    assert closed["resolved_by"] == "tester"


def test_a_worker_that_dies_in_the_middle_leaves_no_double_decision(client: APIClient) -> None:
    event_id = submit(client)
    run_everything(publish=False)
    StageRun.objects.filter(stage="evaluate").update(status="PENDING", finished_at=None)

    run_everything()

    assert look_at(client, event_id)["status"] == "PUBLISHED"
    assert Decision.objects.count() == 3


def test_when_no_model_answers_the_signal_is_dead_and_nothing_is_published(
    client: APIClient, settings: Settings
) -> None:
    settings.EVALUATE_RETRY_MS = 1
    for plug in settings.EVALUATORS.values():
        plug["OPTIONS"] = {"faults": ["timeout"] * 99}
    evaluation.evaluators.cache_clear()
    event_id = submit(client)

    run_everything()

    signal = look_at(client, event_id)
    assert (signal["status"], signal["reason"]["code"]) == ("DEAD", "NO_VERDICT")
    assert signal["decisions"] == []
    assert {row["status"] for row in signal["evaluations"]} == {"ABSTAINED"}
    assert Evaluation.objects.filter(verdict__isnull=False).count() == 0


def test_simulated_prices_are_labelled_wherever_they_show(
    client: APIClient, settings: Settings
) -> None:
    settings.PROVIDER_PRIMARY = "simulated"
    settings.MAX_PRICE_DRIFT_BPS = 1_000_000
    event_id = submit(client)

    run_everything()

    signal = look_at(client, event_id)
    assert signal["enrichment"]["market"] == "SIMULATED"
    assert {row["market"] for row in signal["decisions"]} == {"SIMULATED"}
    assert client.get(f"/api/v1/signals/{event_id}/enrichment").json()["market"] == "SIMULATED"
