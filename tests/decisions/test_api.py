from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from pytest_django import DjangoAssertNumQueries
from rest_framework.test import APIClient

from decisions.models import Decision
from decisions.serializers import DecisionAnswer, decision_json, decision_message
from tests.decisions.conftest import publish_one
from tests.factories import NOON, make_decision, make_signal

pytestmark = [pytest.mark.django_db, pytest.mark.urls("decisions.urls")]


@pytest.fixture
def client(make_key: Callable[..., str]) -> APIClient:
    return APIClient(headers={"X-API-Key": make_key("decisions:read")})


def page(client: APIClient, **query: str | int) -> dict[str, Any]:
    response = client.get("/decisions", query)
    assert response.status_code == 200, response.json()
    body: dict[str, Any] = response.json()
    return body


def seqs(client: APIClient, **query: str | int) -> list[int | None]:
    return [item["seq"] for item in page(client, **query)["items"]]


# --- one decision -----------------------------------------------------------------------------


def test_a_decision_is_shown_as_the_contract_says(client: APIClient) -> None:
    row = publish_one(
        symbol="ETH",
        entry_plan={"type": "limit", "offset_bps": -5},
        risk_plan={"stop_method": "atr", "atr_multiple": 2.0},
        size_pct=15,
        policy_adjustments=[{"field": "size_pct", "rule": "r", "asked": 40, "allowed": 15}],
        model_meta={"model_name": "ensemble", "latency_ms": 12.5},
    )

    body = client.get(f"/decisions/{row.id}").json()

    assert body == {
        "id": str(row.id),
        "seq": 1,
        "event_id": str(row.event_id),
        "symbol": "ETH",
        "event_type": "OPEN_SIGNAL",
        "source": "strategy_alpha",
        "origin": "LIVE",
        "market": None,
        "model": "ensemble",
        "revision": 1,
        "decision": "FOLLOW_ENTER",
        "confidence": 0.75,
        "confidence_raw": 0.75,
        "calibration": None,
        "entry_plan": {"type": "limit", "offset_bps": -5},
        "risk_plan": {"stop_method": "atr", "atr_multiple": 2.0},
        "size_pct": 15,
        "reasons": ["bullish_trend"],
        "invalidation": None,
        "expires_at": None,
        "policy_adjustments": [{"field": "size_pct", "rule": "r", "asked": 40, "allowed": 15}],
        "model_meta": {"model_name": "ensemble", "latency_ms": 12.5},
        "jury": None,
        "economics": None,
        "evaluated_at": "2026-01-15T12:00:01Z",
        "published_at": "2026-01-15T12:00:02Z",
    }


def test_a_simulated_market_and_a_jury_show(client: APIClient) -> None:
    row = publish_one(model="jury", revision=2, simulated=True, jury={"agreement": 0.5})

    body = client.get(f"/decisions/{row.id}").json()

    assert (body["market"], body["revision"]) == ("SIMULATED", 2)
    assert body["jury"] == {"agreement": 0.5}


def test_what_is_documented_is_what_is_shown() -> None:
    meta = {
        "model_name": "ensemble",
        "model_version": "1",
        "latency_ms": 1.0,
        "status": "SUCCESS",
        "tokens_used": None,
        "cost_usd": "0.0041",
        "prompt_version": None,
        "prompt_hash": None,
    }
    shown = decision_json(publish_one(model_meta=meta))

    documented = DecisionAnswer.model_validate(shown)

    assert list(shown) == list(DecisionAnswer.model_fields)
    assert documented.model_meta.cost_usd == "0.0041"


def test_the_message_on_the_wire_holds_the_same_decision() -> None:
    row = publish_one()

    assert orjson.loads(decision_message(row))["decision"] == decision_json(row)


@pytest.mark.parametrize("changes", [{}, {"withheld": "EXPIRED"}])
def test_what_is_not_published_is_not_shown(client: APIClient, changes: dict[str, Any]) -> None:
    row = make_decision(**changes)

    response = client.get(f"/decisions/{row.id}")

    assert response.status_code == 404
    assert response.json()["code"] == "NOT_FOUND"
    assert seqs(client) == []


def test_an_unknown_decision_is_not_found(client: APIClient) -> None:
    assert client.get(f"/decisions/{uuid4()}").status_code == 404


# --- the list ---------------------------------------------------------------------------------


def test_the_newest_come_first(client: APIClient) -> None:
    for _ in range(3):
        publish_one()

    assert seqs(client) == [3, 2, 1]


def test_after_a_number_the_list_runs_upwards(client: APIClient) -> None:
    for _ in range(4):
        publish_one()

    assert seqs(client, after_seq=1) == [2, 3, 4]
    assert seqs(client, after_seq=4) == []


@pytest.mark.parametrize(
    ("query", "expected"),
    [({}, [7, 6, 5, 4, 3, 2, 1]), ({"after_seq": 2}, [3, 4, 5, 6, 7])],
)
def test_pages_follow_one_another_without_gap_or_double(
    client: APIClient, query: dict[str, int], expected: list[int]
) -> None:
    for _ in range(7):
        publish_one()

    found: list[int | None] = []
    cursor: dict[str, str] = {}
    while True:
        body = page(client, limit=3, **query, **cursor)
        found += [item["seq"] for item in body["items"]]
        publish_one(origin="DEMO")  # what comes meanwhile moves nothing
        if body["next_cursor"] is None:
            break
        cursor = {"cursor": body["next_cursor"]}

    assert found == expected


def test_replays_are_read_back_by_time_with_a_stable_order(client: APIClient) -> None:
    rows = [publish_one(origin="REPLAY") for _ in range(5)]
    live = publish_one()
    assert {row.seq for row in rows} == {None}

    found: list[str] = []
    cursor: dict[str, str] = {}
    for _ in range(3):
        body = page(client, origin="REPLAY,LIVE", limit=2, **cursor)
        found += [item["id"] for item in body["items"]]
        cursor = {"cursor": body["next_cursor"]} if body["next_cursor"] else {}

    assert not cursor
    assert sorted(found) == sorted(str(row.id) for row in [*rows, live])


def test_demo_and_replay_are_left_out_unless_asked_for(client: APIClient) -> None:
    publish_one(origin="DEMO")
    publish_one(origin="REPLAY")
    live = publish_one()

    assert seqs(client) == [live.seq]
    assert seqs(client, origin="DEMO") == [1]
    assert seqs(client, origin="REPLAY") == [None]


@pytest.mark.parametrize(
    ("query", "unwanted", "wanted"),
    [
        ({"model": "rules,jury"}, {"model": "ensemble"}, {"model": "rules"}),
        ({"symbol": "eth"}, {"symbol": "BTC"}, {"symbol": "ETH"}),
        ({"event_type": "CLOSE_SIGNAL"}, {}, {"event_type": "CLOSE_SIGNAL"}),
        ({"decision": "IGNORE"}, {"decision": "FOLLOW_ENTER"}, {"decision": "IGNORE"}),
        ({"source": "mine"}, {"source": "other"}, {"source": "mine"}),
        ({"min_confidence": "0.6"}, {"confidence": 0.59}, {"confidence": 0.6}),
    ],
)
def test_the_list_is_filtered(
    client: APIClient, query: dict[str, str], unwanted: dict[str, Any], wanted: dict[str, Any]
) -> None:
    publish_one(**unwanted)
    expected = publish_one(**wanted)

    assert seqs(client, **query) == [expected.seq]


def test_the_list_is_cut_by_time(client: APIClient) -> None:
    for number in range(3):
        Decision.objects.filter(id=make_decision(make_signal()).id).update(
            seq=number + 1, published_at=NOON + timedelta(minutes=number)
        )

    assert seqs(client, since="2026-01-15T12:01:00Z") == [3, 2]
    assert seqs(client, until="2026-01-15T12:01:00Z") == [1]
    assert seqs(client, since="2026-01-15T13:01:00+01:00", until="2026-01-15T12:02:00Z") == [2]


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "101"}, "limit"),
        ({"limit": "ten"}, "limit"),
        ({"after_seq": "-1"}, "after_seq"),
        ({"after_seq": "9" * 30}, "after_seq"),
        ({"cursor": "%%%"}, "cursor"),
        ({"cursor": "ZGZvbw"}, "cursor"),
        ({"cursor": "dTE"}, "cursor"),
        ({"cursor": "ZA"}, "cursor"),
        ({"since": "yesterday"}, "since"),
        ({"until": "2026-01-15T12:00:00"}, "until"),
        ({"min_confidence": "2"}, "min_confidence"),
        ({"min_confidence": "inf"}, "min_confidence"),
        ({"model": "oracle"}, "model"),
        ({"symbol": ""}, "symbol"),
        ({"symbol": "BTC,"}, "symbol"),
        ({"symbol": "BTC;DROP"}, "symbol"),
        ({"decision": "BUY"}, "decision"),
        ({"event_type": "OPEN"}, "event_type"),
        ({"origin": "PAST"}, "origin"),
        ({"source": "a\x00b"}, "source"),
        ({"colour": "red"}, "colour"),
        ({"origin": "REPLAY", "after_seq": "1"}, "after_seq"),
    ],
)
def test_a_wrong_query_is_refused_by_name(
    client: APIClient, query: dict[str, str], named: str
) -> None:
    response = client.get("/decisions", query)

    assert response.status_code == 400
    assert response.json()["code"] == "VALIDATION_ERROR"
    assert [fault["field"] for fault in response.json()["errors"]] == [named]


def test_a_cursor_from_another_order_is_refused(client: APIClient) -> None:
    for _ in range(3):
        publish_one()
    cursor = page(client, limit=1)["next_cursor"]

    response = client.get("/decisions", {"after_seq": "0", "cursor": cursor})

    assert response.status_code == 400


@pytest.mark.parametrize("path", ["/decisions", f"/decisions/{UUID(int=7)}"])
def test_reading_needs_its_scope(make_key: Callable[..., str], path: str) -> None:
    stranger = APIClient().get(path)
    writer = APIClient(headers={"X-API-Key": make_key("signals:write")}).get(path)

    assert (stranger.status_code, writer.status_code) == (401, 403)


def test_a_page_costs_one_question_to_the_decisions(
    client: APIClient, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for _ in range(5):
        publish_one()
    page(client)

    with django_assert_max_num_queries(1):
        page(client)
