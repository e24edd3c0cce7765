"""The Python client, against the real application and against a scripted socket."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest
from django.core.wsgi import get_wsgi_application
from lens_client import (
    Abstention,
    Decision,
    Gap,
    KeyRefused,
    Lens,
    Message,
    Receipt,
    Refused,
    Signal,
    SignalEnd,
    Unreachable,
)
from websockets.sync.server import ServerConnection, serve

from access import services as access
from access.types import KeyDraft, Scope
from lens_site import asyncapi
from tests.running import run_everything

Play = Callable[[ServerConnection, dict[str, Any]], None]


def a_signal(**changes: Any) -> Signal:
    known: dict[str, Any] = {
        "event_type": "OPEN_SIGNAL",
        "symbol": "BTC",
        "signal_direction": "long",
        "entry_price": "42000.5",
        "size": 0.1,
        "liquidation_price": "38000",
        "source": "client",
    }
    return Signal(**known | changes)


def a_key(*scopes: Scope) -> str:
    access.forget_everything()
    draft = KeyDraft(name="client", scopes=frozenset(scopes))
    return access.issue_key(draft=draft, actor="test", now=datetime.now(UTC))[1]


@pytest.fixture
def lens(transactional_db: None, redis_url: str) -> Iterator[Lens]:
    """A client of the real application, without a server between them."""
    key = a_key(Scope.SIGNALS_WRITE, Scope.SIGNALS_READ, Scope.DECISIONS_READ)
    transport = httpx2.WSGITransport(app=get_wsgi_application())
    with Lens("http://localhost", api_key=key, transport=transport, sleep=no_sleep) as client:
        yield client


def no_sleep(seconds: float) -> None:
    del seconds


def test_a_signal_is_posted_and_its_end_read_back(lens: Lens) -> None:
    receipt = lens.submit(a_signal(ts_utc="2026-01-15T10:30:00Z"))
    before = lens.status(receipt.event_id)
    run_everything()

    ended = lens.wait(receipt.event_id)

    assert before["status"] == "ENQUEUED"
    assert ended["entry_price"] == "42000.5"
    assert ended["status"] == "REJECTED"  # it came too late
    assert ended["timeline"][0]["status"] == "RECEIVED"


def test_posting_again_under_the_same_key_makes_no_second_signal(lens: Lens) -> None:
    signal = a_signal()

    first = lens.submit(signal, idempotency_key="once")
    second = lens.submit(signal, idempotency_key="once")

    assert (second.event_id, second.replayed) == (first.event_id, True)


def test_a_refusal_names_every_wrong_field(lens: Lens) -> None:
    with pytest.raises(Refused) as caught:
        lens.submit(a_signal(entry_price="-1", liquidation_price="99"))

    assert (caught.value.status, caught.value.code) == (400, "VALIDATION_ERROR")
    assert "entry_price" in {fault.field for fault in caught.value.errors}
    assert "entry_price" in str(caught.value)


def test_a_batch_is_answered_item_by_item(lens: Lens) -> None:
    good, bad = lens.submit_many([a_signal(), a_signal(symbol="?")])

    assert isinstance(good, Receipt)
    assert isinstance(bad, Refused)
    assert bad.errors[0].field == "symbol"


def test_validating_stores_nothing(lens: Lens) -> None:
    read = lens.validate(a_signal(symbol="btc"))

    assert read["symbol"] == "BTC"
    assert list(lens.decisions(symbol=["BTC", "ETH"])) == []


def test_a_wrong_key_is_told_apart(transactional_db: None, redis_url: str) -> None:
    transport = httpx2.WSGITransport(app=get_wsgi_application())
    with (
        Lens("http://localhost", api_key="lens_live_nonsense", transport=transport) as client,
        pytest.raises(KeyRefused),
    ):
        client.submit(a_signal())


def test_passing_failures_are_tried_again_after_the_wait_that_was_told() -> None:
    answers = [
        httpx2.Response(429, headers={"Retry-After": "7"}),
        httpx2.Response(503),
        httpx2.Response(201, json={"event_id": "e", "received_at": "t"}),
    ]
    keys: list[str] = []
    waits: list[float] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        keys.append(request.headers["Idempotency-Key"])
        return answers.pop(0)

    transport = httpx2.MockTransport(answer)
    with Lens("http://desk", api_key="k", transport=transport, sleep=waits.append) as client:
        receipt = client.submit(a_signal())

    assert receipt == Receipt("e", "t")
    assert len(set(keys)) == 1
    assert waits[0] == 7
    assert 0.25 <= waits[1] <= 1


def test_a_desk_that_never_answers_is_unreachable_in_the_end() -> None:
    tried = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        tried.append(request)
        raise httpx2.ConnectError("refused")

    transport = httpx2.MockTransport(answer)
    with (
        Lens("http://desk", api_key="k", attempts=3, transport=transport, sleep=no_sleep) as client,
        pytest.raises(Unreachable, match="refused"),
    ):
        client.status("e")
    assert len(tried) == 3


def test_a_url_without_a_scheme_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="http://"):
        Lens("localhost:8000", api_key="k")


@contextmanager
def scripted_socket(*plays: Play) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Serve one play for each connection; yield the URL and the subscriptions that were heard."""
    waiting, heard = list(plays), []

    def handle(connection: ServerConnection) -> None:
        subscription = json.loads(connection.recv())
        asyncapi.Subscribe.model_validate(subscription)
        heard.append(subscription)
        waiting.pop(0)(connection, subscription)

    with serve(handle, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.socket.getsockname()[1]}", heard
        finally:
            server.shutdown()
            thread.join()


def tell(connection: ServerConnection, *messages: dict[str, Any]) -> None:
    for message in messages:
        connection.send(json.dumps(message))


def subscribed(last_seq: int) -> dict[str, Any]:
    return {"type": "subscribed", "filters": {}, "types": ["decision"], "last_seq": last_seq}


def decision(seq: int) -> dict[str, Any]:
    told = {"seq": seq, "event_id": "e", "symbol": "BTC", "event_type": "OPEN_SIGNAL"}
    told |= {"model": "jury", "decision": "IGNORE", "confidence": 0.5}
    return {"type": "decision", **told, "decision": told}


def test_listening_resumes_behind_the_last_decision_after_any_break() -> None:
    def first(connection: ServerConnection, _: object) -> None:
        tell(connection, subscribed(40), {"type": "ping"}, decision(41), decision(42))
        connection.socket.close()  # torn, without a goodbye

    def second(connection: ServerConnection, _: object) -> None:
        tell(connection, subscribed(43), decision(43), {"type": "goodbye", "code": "RESTARTING"})

    def third(connection: ServerConnection, _: object) -> None:
        tell(connection, subscribed(44), decision(44))
        connection.close(1012)

    def last(connection: ServerConnection, _: object) -> None:
        connection.close(4401, "the key was revoked")

    heard: list[Message] = []
    with scripted_socket(first, second, third, last) as (url, subscriptions):
        client = Lens(url, api_key="k", sleep=no_sleep)
        with pytest.raises(KeyRefused, match="revoked"):
            heard.extend(client.listen(model="jury"))
        client.close()

    assert [message.seq for message in heard if isinstance(message, Decision)] == [41, 42, 43, 44]
    assert [asked.get("after_seq") for asked in subscriptions] == [None, 42, 43, 44]
    assert {json.dumps(asked["filters"]) for asked in subscriptions} == {'{"model": "jury"}'}


def test_a_break_before_the_first_decision_loses_nothing_either() -> None:
    def first(connection: ServerConnection, _: object) -> None:
        tell(connection, subscribed(7))
        connection.close(1012)

    def last(connection: ServerConnection, _: object) -> None:
        connection.close(4403)

    with scripted_socket(first, last) as (url, subscriptions):
        client = Lens(url, api_key="k", sleep=no_sleep)
        with pytest.raises(KeyRefused):
            list(client.listen())
        client.close()

    assert [asked.get("after_seq") for asked in subscriptions] == [None, 7]


def test_gaps_abstentions_and_ends_are_told_apart_and_a_gap_moves_the_place() -> None:
    notice = {"event_id": "e", "symbol": "BTC", "model": "claude", "status": "ABSTAINED"}

    def first(connection: ServerConnection, _: object) -> None:
        gap = {"type": "gap", "from": 3, "to": 9, "reason": "PURGED", "rest_url": "/"}
        tell(connection, subscribed(9), gap, {"type": "abstention", **notice})
        tell(connection, {"type": "signal_status", **notice, "status": "PUBLISHED"})
        connection.close(1012)

    def last(connection: ServerConnection, _: object) -> None:
        connection.close(4401)

    heard: list[Message] = []
    with scripted_socket(first, last) as (url, subscriptions):
        client = Lens(url, api_key="k", sleep=no_sleep)
        with pytest.raises(KeyRefused):
            heard.extend(client.listen(after_seq=2, types=["decision", "abstention"]))
        client.close()

    assert [type(message) for message in heard] == [Gap, Abstention, SignalEnd]
    assert [asked["after_seq"] for asked in subscriptions] == [2, 9]


def test_a_wrong_filter_is_refused_and_not_asked_for_ever() -> None:
    def refuse(connection: ServerConnection, _: object) -> None:
        fault = {"field": "model", "code": "unknown", "message": "nobody is named so"}
        told = {"type": "error", "code": "INVALID_FILTER", "message": "no", "errors": [fault]}
        tell(connection, told)

    with scripted_socket(refuse) as (url, _):
        client = Lens(url, api_key="k", sleep=no_sleep)
        with pytest.raises(Refused, match="nobody is named so"):
            list(client.listen(model="nobody"))
        client.close()
