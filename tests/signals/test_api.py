from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from threading import Barrier, Thread
from typing import Any

import pytest
from django.db import connections
from pytest_django import Settings
from rest_framework.test import APIClient

from pipeline import queue
from signals.models import Signal
from signals.types import SignalStatus
from tests.factories import make_body, make_signal

URL = "/api/v1/signals"
NOBODY = "00000000-0000-4000-8000-000000000000"

Api = Callable[..., APIClient]


def post(client: APIClient, body: Any, **headers: str) -> Any:
    return client.post(URL, body, format="json", headers=headers)


def test_a_signal_is_answered_with_its_id_after_it_is_stored(api: Api) -> None:
    response = post(api("signals:write"), make_body())

    signal = Signal.objects.get()
    assert response.status_code == 201
    assert response.json()["event_id"] == str(signal.event_id)
    assert response.json()["status"] == "ENQUEUED"
    assert response["Location"] == f"/api/v1/signals/{signal.event_id}"
    assert response["X-Request-ID"]


def test_a_refusal_is_a_problem_document_that_names_the_field(api: Api) -> None:
    response = post(api("signals:write"), make_body(liquidation_price=43000))

    problem = response.json()
    assert response.status_code == 400
    assert response["Content-Type"] == "application/problem+json"
    assert problem["code"] == "VALIDATION_ERROR"
    assert problem["errors"] == [
        {
            "field": "liquidation_price",
            "code": "wrong_side",
            "message": "must lie below entry_price for this direction",
        }
    ]
    assert problem["request_id"] == response["X-Request-ID"]
    assert not Signal.objects.exists()


@pytest.mark.parametrize("header", ["Idempotency-Key", "X-Idempotency-Key"])
def test_the_same_key_and_body_are_answered_again(api: Api, header: str) -> None:
    client, body = api("signals:write"), make_body()

    first = post(client, body, **{header: "k-1"})
    second = post(client, dict(reversed(body.items())), **{header: "k-1"})

    assert (first.status_code, second.status_code) == (201, 201)
    assert second.json() == first.json()
    assert "Idempotency-Replayed" not in first
    assert second["Idempotency-Replayed"] == "true"
    assert Signal.objects.count() == 1


def test_the_same_key_with_another_body_is_refused(api: Api) -> None:
    client = api("signals:write")
    post(client, make_body(), **{"Idempotency-Key": "k"})

    response = post(client, make_body(size=9), **{"Idempotency-Key": "k"})

    assert response.status_code == 422
    assert response.json()["code"] == "IDEMPOTENCY_CONFLICT"


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "a b", "schlüssel"])
def test_a_key_that_is_no_key_is_refused(api: Api, key: str) -> None:
    response = post(api("signals:write"), make_body(), **{"Idempotency-Key": key})

    assert response.status_code == 400
    assert response.json()["errors"][0]["field"] == "Idempotency-Key"


@pytest.mark.django_db(transaction=True)
def test_parallel_twins_become_one_signal(api: Api) -> None:
    client, body, answers, barrier = api("signals:write"), make_body(), [], Barrier(4)

    def send() -> None:
        barrier.wait()
        answers.append(post(client, body, **{"Idempotency-Key": "twin"}))
        connections.close_all()

    threads = [Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [answer.status_code for answer in answers] == [201] * 4
    assert len({answer.json()["event_id"] for answer in answers}) == 1
    assert Signal.objects.count() == 1


def test_intake_goes_on_without_redis(
    api: Api, settings: Settings, django_capture_on_commit_callbacks: Any
) -> None:
    client = api("signals:write")
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    queue.redis_client.cache_clear()

    with django_capture_on_commit_callbacks(execute=True):
        response = post(client, make_body())

    assert response.status_code == 201
    assert Signal.objects.get().status == SignalStatus.ENQUEUED
    queue.redis_client.cache_clear()


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        ("{", "application/json", 400, "VALIDATION_ERROR"),
        ("[]", "application/json", 400, "VALIDATION_ERROR"),
        ("", "application/json", 400, "VALIDATION_ERROR"),
        ('{"a": NaN}', "application/json", 400, "VALIDATION_ERROR"),
        ("[" * 30_000, "application/json", 400, "VALIDATION_ERROR"),
        ('{"notes": "' + "x" * 70_000 + '"}', "application/json", 413, "PAYLOAD_TOO_LARGE"),
        ("a=1", "application/x-www-form-urlencoded", 415, "UNSUPPORTED_MEDIA_TYPE"),
        ("<a/>", "text/xml", 415, "UNSUPPORTED_MEDIA_TYPE"),
    ],
    ids=["cut", "list", "empty", "nan", "deep", "large", "form", "xml"],
)
def test_a_body_that_is_no_signal_is_refused_by_kind(
    api: Api, body: str, content_type: str, status: int, code: str
) -> None:
    response = api("signals:write").post(URL, body, content_type=content_type)

    assert (response.status_code, response.json()["code"]) == (status, code)


def test_a_backlog_is_answered_with_a_time_to_come_back(api: Api, settings: Settings) -> None:
    settings.BACKLOG_MAX_SIGNALS = 0
    make_signal(received_at=datetime.now(UTC))

    response = post(api("signals:write"), make_body())

    assert (response.status_code, response.json()["code"]) == (429, "RATE_LIMITED")
    assert int(response["Retry-After"]) >= 1
    assert response.json()["retry_after"] > 0


@pytest.mark.parametrize(
    ("method", "path", "needed"),
    [
        ("post", URL, "signals:write"),
        ("post", f"{URL}/batch", "signals:write"),
        ("post", f"{URL}/validate", "signals:write"),
        ("get", URL, "signals:read"),
        ("get", f"{URL}/{NOBODY}", "signals:read"),
        ("get", f"{URL}/{NOBODY}/status", "signals:read"),
        ("post", f"{URL}/{NOBODY}/cancel", "ops"),
        ("get", "/api/v1/dlq", "ops"),
        ("get", "/api/v1/dlq/groups", "ops"),
        ("post", "/api/v1/dlq/retry", "ops"),
        ("get", "/api/v1/switches", "ops"),
        ("get", f"/api/v1/dlq/{NOBODY}", "ops"),
        ("post", f"/api/v1/dlq/{NOBODY}/retry", "ops"),
        ("post", f"/api/v1/dlq/{NOBODY}/resolve", "ops"),
        ("get", f"/api/v1/evaluations/{NOBODY}", "decisions:read"),
    ],
)
def test_each_path_wants_its_own_scope(api: Api, method: str, path: str, needed: str) -> None:
    others = {"signals:write", "signals:read", "decisions:read", "stream", "ops"} - {needed}

    nobody = getattr(APIClient(), method)(path)
    wrong = getattr(api(*others), method)(path)
    right = getattr(api(needed), method)(path)
    admin = getattr(api("admin"), method)(path)

    assert (nobody.status_code, nobody.json()["code"]) == (401, "UNAUTHORIZED")
    assert (wrong.status_code, wrong.json()["code"]) == (403, "FORBIDDEN")
    assert right.status_code not in (401, 403)
    assert admin.status_code not in (401, 403)


def test_a_batch_is_answered_item_by_item(api: Api) -> None:
    items = [make_body(), make_body(size=-1), make_body(symbol="ETH", liquidation_price=1)]

    response = api("signals:write").post(f"{URL}/batch", {"signals": items}, format="json")

    answer = response.json()
    assert response.status_code == 200
    assert (answer["accepted"], answer["refused"]) == (2, 1)
    assert [result["status"] for result in answer["results"]] == [201, 400, 201]
    assert answer["results"][1]["errors"][0]["field"] == "size"
    assert Signal.objects.count() == 2


def test_a_batch_sent_again_under_its_key_stores_nothing_twice(api: Api) -> None:
    client = api("signals:write")
    body = {"signals": [make_body(), make_body(symbol="ETH")]}

    first = client.post(f"{URL}/batch", body, format="json", headers={"Idempotency-Key": "b"})
    second = client.post(f"{URL}/batch", body, format="json", headers={"Idempotency-Key": "b"})

    ids = [
        [result["event_id"] for result in answer.json()["results"]] for answer in (first, second)
    ]
    assert ids[0] == ids[1]
    assert Signal.objects.count() == 2


@pytest.mark.parametrize("body", [{"signals": []}, {}, {"signals": [{}] * 501}, {"x": [{}]}])
def test_a_batch_has_one_to_five_hundred_items(api: Api, body: Any) -> None:
    response = api("signals:write").post(f"{URL}/batch", body, format="json")

    assert response.status_code == 400
    assert response.json()["errors"][0]["field"] == "signals"


def test_validating_stores_nothing(api: Api) -> None:
    client = api("signals:write")

    good = client.post(f"{URL}/validate", make_body(symbol="btc"), format="json")
    bad = client.post(f"{URL}/validate", make_body(size=0), format="json")

    assert good.json()["valid"] is True
    assert good.json()["signal"]["symbol"] == "BTC"
    assert bad.status_code == 400
    assert not Signal.objects.exists()


def test_the_list_is_filtered_and_paged_newest_first(api: Api) -> None:
    made = [make_signal(symbol="ETH") for _ in range(3)]
    make_signal(symbol="BTC")
    client = api("signals:read")

    query = {"symbol": "eth", "limit": "2"}
    first = client.get(URL, query).json()
    second = client.get(URL, query | {"cursor": first["next_cursor"]}).json()

    ids = [item["event_id"] for item in first["items"] + second["items"]]
    assert ids == [str(signal.event_id) for signal in reversed(made)]
    assert second["next_cursor"] is None


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"},
        {"limit": "101"},
        {"limit": "x"},
        {"since": "garbage"},
        {"since": "2026-01-01T00:00:00"},
        {"status": "LOST"},
        {"cursor": "%%%"},
        {"cursor": "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkw"},
        {"symbol": "\x00"},
        {"colour": "red"},
    ],
    ids=str,
)
def test_a_query_that_makes_no_sense_names_its_parameter(api: Api, query: dict[str, str]) -> None:
    response = api("signals:read").get(URL, query)

    assert response.status_code == 400
    assert response.json()["errors"][0]["field"] == next(iter(query))


def test_the_status_tells_stage_and_time(api: Api) -> None:
    received = datetime.now(UTC) - timedelta(seconds=2)
    signal = make_signal(received_at=received)

    body = api("signals:read").get(f"{URL}/{signal.event_id}/status").json()

    assert (body["status"], body["stage"], body["run"]) == ("ENQUEUED", "enrich", 1)
    assert 2000 <= body["duration_ms"] < 60_000


@pytest.mark.parametrize("path", [f"{NOBODY}", f"{NOBODY}/status", "not-an-id", "x/y/z"])
def test_what_is_not_there_is_a_problem_document(api: Api, path: str) -> None:
    response = api("signals:read").get(f"{URL}/{path}")

    assert (response.status_code, response.json()["code"]) == (404, "NOT_FOUND")
    assert response["Content-Type"] == "application/problem+json"


def test_a_method_that_a_path_does_not_take_is_refused(api: Api) -> None:
    response = api("signals:write", "signals:read").delete(URL)

    assert (response.status_code, response.json()["code"]) == (405, "METHOD_NOT_ALLOWED")


def test_a_key_that_asks_too_often_is_told_when_to_come_back(api: Api, settings: Settings) -> None:
    settings.RATE_LIMIT_PER_MIN, settings.RATE_LIMIT_BURST = 60, 3
    client = api("signals:write")

    answers = [post(client, make_body()) for _ in range(4)]

    assert [answer.status_code for answer in answers] == [201, 201, 201, 429]
    assert int(answers[3]["Retry-After"]) >= 1
    assert "RateLimit-Policy" in answers[0]
    assert Signal.objects.count() == 3
