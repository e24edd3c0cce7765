from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from rest_framework.test import APIClient

from access.services import issue_key
from access.types import KeyDraft, Scope
from enrichment.payload import canonical, sha256_of
from tests.factories import make_enrichment, make_signal

pytestmark = pytest.mark.django_db


def client_with(*scopes: Scope) -> APIClient:
    draft = KeyDraft(name="reader", scopes=frozenset(scopes))
    _, plain = issue_key(draft=draft, actor="tester", now=datetime.now(UTC))
    return APIClient(headers={"X-API-Key": plain})


def stored(**changes: Any) -> str:
    signal = make_signal()
    text = canonical({"market": {"mid": 42_010.5}})
    make_enrichment(signal, payload=text, payload_sha256=sha256_of(text), **changes)
    return f"/api/v1/signals/{signal.event_id}/enrichment"


def test_a_reader_gets_the_frozen_facts() -> None:
    path = stored(
        gates=[{"gate": "signal_age", "value": 1.0, "limit": 300, "unit": "s", "passed": True}]
    )

    answer = client_with(Scope.SIGNALS_READ).get(path)

    body = answer.json()
    assert answer.status_code == 200
    assert body["payload"] == {"market": {"mid": 42_010.5}}
    assert sha256_of(canonical(body["payload"])) == body["payload_sha256"]
    assert body["gates"][0]["limit"] == 300
    assert body["as_of"] == "2026-01-15T12:00:00.000Z"
    assert (body["profile"], body["profile_version"], body["policy_version"]) == (
        "trend_follow_v1",
        1,
        1,
    )
    assert body["market"] == "REAL"


def test_a_market_that_does_not_exist_is_labelled() -> None:
    answer = client_with(Scope.SIGNALS_READ).get(stored(simulated=True, provider="simulated"))

    assert answer.json()["market"] == "SIMULATED"


def test_a_signal_without_facts_is_not_found() -> None:
    client = client_with(Scope.SIGNALS_READ)
    waiting = make_signal().event_id

    answers = [client.get(f"/api/v1/signals/{each}/enrichment") for each in (waiting, uuid4())]

    assert [answer.status_code for answer in answers] == [404, 404]
    assert answers[0]["Content-Type"] == "application/problem+json"
    assert answers[0].json()["code"] == "NOT_FOUND"


def test_a_key_without_the_scope_is_turned_away() -> None:
    answer = client_with(Scope.STREAM).get(stored())

    assert answer.status_code == 403


def test_nobody_reads_without_a_key() -> None:
    assert APIClient().get(stored()).status_code == 401


def test_the_door_is_documented_with_an_example() -> None:
    schema = json.loads(
        APIClient().get("/api/schema", headers={"Accept": "application/json"}).content
    )

    operation = schema["paths"]["/api/v1/signals/{event_id}/enrichment"]["get"]
    content = operation["responses"]["200"]["content"]["application/json"]
    example = next(iter(content["examples"].values()))["value"]
    answer = schema["components"]["schemas"]["EnrichmentAnswer"]
    assert set(example) == set(answer["properties"])
