"""The fast lane of intake, through the web process's own application."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from django.db import OperationalError, connections
from pytest_django import Settings

from access import services as access
from access.types import KeyDraft, Scope
from lens_site import intake
from lens_site.asgi import http
from pipeline.models import AuditEvent, StageRun
from signals.models import Signal

pytestmark = pytest.mark.django_db(transaction=True)


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: dict[str, Any]


def a_body(**changes: Any) -> dict[str, Any]:
    body = {
        "event_type": "OPEN_SIGNAL",
        "symbol": "BTC",
        "signal_direction": "long",
        "entry_price": 42000.5,
        "size": "0.1",
        "liquidation_price": 38000,
        "ts_utc": datetime.now(UTC).isoformat(),
        "source": "lane",
    }
    return body | changes


def content_of(body: Any) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def asking(
    body: Any, *, key: str, headers: Mapping[str, str] | None = None
) -> ApplicationCommunicator:
    given = {"host": "localhost", "content-type": "application/json", "x-api-key": key}
    given |= {"content-length": str(len(content_of(body)))}
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": "/api/v1/signals",
        "query_string": b"",
        "headers": [
            (name.encode(), value.encode()) for name, value in {**given, **(headers or {})}.items()
        ],
        "client": ("127.0.0.1", 1),
    }
    return ApplicationCommunicator(http, scope)  # type: ignore[no-untyped-call]


async def post(body: Any, *, key: str, headers: Mapping[str, str] | None = None) -> Answer:
    asked: Any = asking(body, key=key, headers=headers)
    await asked.send_input({"type": "http.request", "body": content_of(body)})
    start = await asked.receive_output(10)
    told = (await asked.receive_output(10))["body"]
    await asked.wait()
    names = {name.decode().lower(): value.decode() for name, value in start["headers"]}
    return Answer(start["status"], names, json.loads(told))


@dataclass
class Seen:
    """What went through the lane: how large its groups were, and which requests it took."""

    groups: list[int]
    taken: list[bool]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    store, take, seen = intake.store, intake.Lane.take, Seen([], [])

    def spied_store(group: Any, **options: Any) -> None:
        seen.groups.append(len(group))
        store(group, **options)

    async def spied_take(lane: intake.Lane, request: Any) -> Any:
        receipt = await take(lane, request)
        seen.taken.append(receipt is not None)
        return receipt

    monkeypatch.setattr(intake, "store", spied_store)
    monkeypatch.setattr(intake.Lane, "take", spied_take)
    return seen


async def a_key(*scopes: Scope, burst: int = 1000, is_known: bool = True) -> str:
    """Issue a key; one that is known has been read by this process a moment ago."""

    def issue() -> str:
        access.forget_everything()
        draft = KeyDraft(name="lane", scopes=frozenset(scopes), rate_per_min=1, burst=burst)
        _, plain = access.issue_key(draft=draft, actor="test", now=datetime.now(UTC))
        if is_known:
            access.authenticate(plain=plain, address="127.0.0.1", now=datetime.now(UTC))
        return plain

    return await sync_to_async(issue)()


@pytest.fixture(autouse=True)
async def _closed(redis_url: str) -> AsyncIterator[None]:
    """Limits are counted in Redis; threads that hold a connection let go of it."""
    await sync_to_async(connections.close_all)()
    yield
    await intake.lane().close()


async def test_the_lane_answers_as_the_declared_view_does(seen: Seen) -> None:
    key = await a_key(Scope.SIGNALS_WRITE, is_known=False)

    slow = await post(a_body(), key=key)
    fast = await post(a_body(), key=key)

    assert seen.taken == [False, True]
    assert slow.status == fast.status == 201
    assert set(fast.body) == set(slow.body)
    only_slow = set(slow.headers) - set(fast.headers)
    assert only_slow <= {"allow", "vary"}
    assert set(fast.headers) <= set(slow.headers)
    assert fast.headers["location"] == f"/api/v1/signals/{fast.body['event_id']}"


async def test_requests_that_come_together_share_a_transaction(seen: Seen) -> None:
    key = await a_key(Scope.SIGNALS_WRITE)

    answers = await asyncio.gather(*(post(a_body(), key=key) for _ in range(20)))

    assert {answer.status for answer in answers} == {201}
    assert await Signal.objects.acount() == 20
    assert await StageRun.objects.filter(stage="enrich").acount() == 20
    assert len(seen.groups) < 20
    assert sum(seen.groups) == sum(seen.taken) == 20


async def test_one_bad_request_is_told_why_and_stops_no_other() -> None:
    key = await a_key(Scope.SIGNALS_WRITE)
    reader = await a_key(Scope.SIGNALS_READ)
    await sync_to_async(access.authenticate)(plain=key, address="127.0.0.1", now=datetime.now(UTC))

    good, wrong, broken, long, stranger, unentitled = await asyncio.gather(
        post(a_body(), key=key),
        post(a_body(entry_price=-1), key=key),
        post(b"{", key=key),
        post(a_body(notes="x" * 70_000), key=key),
        post(a_body(), key=key[:-1] + "?"),
        post(a_body(), key=reader),
    )

    statuses = [each.status for each in (good, wrong, broken, long, stranger, unentitled)]
    assert statuses == [201, 400, 400, 413, 401, 403]
    assert wrong.body["errors"][0]["field"] == "entry_price"
    assert wrong.headers["content-type"] == "application/problem+json"
    assert await Signal.objects.acount() == 1


async def test_twins_under_one_key_become_one_signal_and_another_body_a_conflict() -> None:
    key = await a_key(Scope.SIGNALS_WRITE)
    body, name = a_body(), {"idempotency-key": "once"}

    twins = await asyncio.gather(*(post(body, key=key, headers=name) for _ in range(6)))
    conflict = await post(a_body(size="9"), key=key, headers=name)

    assert len({twin.body["event_id"] for twin in twins}) == 1
    assert sum("idempotency-replayed" in twin.headers for twin in twins) == 5
    assert (conflict.status, conflict.body["code"]) == (422, "IDEMPOTENCY_CONFLICT")
    assert await Signal.objects.acount() == 1


async def test_each_call_is_counted_once_whichever_way_it_goes() -> None:
    key = await a_key(Scope.SIGNALS_WRITE, burst=4)
    name = {"idempotency-key": "once"}

    first = await post(a_body(), key=key, headers=name)
    conflict = await post(a_body(size="9"), key=key, headers=name)
    wrong = await post(a_body(size="0"), key=key)
    last = await post(a_body(), key=key)
    refused = await post(a_body(), key=key)

    left = [each.headers["ratelimit"].split(";")[1] for each in (first, conflict, wrong, last)]
    assert left == ["r=3", "r=2", "r=1", "r=0"]
    assert refused.status == 429
    assert int(refused.headers["retry-after"]) > 0


async def test_the_lane_takes_no_more_than_there_is_room_for(
    seen: Seen, settings: Settings
) -> None:
    settings.BACKLOG_MAX_SIGNALS = 3
    key = await a_key(Scope.SIGNALS_WRITE)

    first = await post(a_body(), key=key)
    rest = await asyncio.gather(*(post(a_body(), key=key) for _ in range(8)))

    assert first.status == 201
    assert {answer.status for answer in rest} <= {201, 429}
    assert seen.taken == [True] + [False] * 8


async def test_of_calls_that_come_together_no_more_pass_than_are_left() -> None:
    key = await a_key(Scope.SIGNALS_WRITE, burst=5)

    answers = await asyncio.gather(*(post(a_body(), key=key) for _ in range(8)))

    statuses = [answer.status for answer in answers]
    left = {answer.headers["ratelimit"].split(";")[1] for answer in answers}
    assert (statuses.count(201), statuses.count(429)) == (5, 3)
    assert left == {f"r={number}" for number in range(5)}
    assert await Signal.objects.acount() == 5


async def test_every_signal_keeps_the_id_of_its_own_request() -> None:
    key = await a_key(Scope.SIGNALS_WRITE)
    names = [f"request-{number}" for number in range(8)]

    answers = await asyncio.gather(
        *(post(a_body(), key=key, headers={"x-request-id": name}) for name in names)
    )

    for name, answer in zip(names, answers, strict=True):
        lines = AuditEvent.objects.filter(trace=answer.body["event_id"])
        assert answer.headers["x-request-id"] == name
        assert {line.request_id async for line in lines} == {name}


async def test_a_sender_who_leaves_stops_nobody() -> None:
    key = await a_key(Scope.SIGNALS_WRITE)
    body = a_body()
    gone: Any = asking(body, key=key)
    await gone.send_input({"type": "http.request", "body": content_of(body)})
    await asyncio.sleep(0)
    gone.stop(exceptions=False)

    answers = await asyncio.gather(*(post(a_body(), key=key) for _ in range(3)))

    assert {answer.status for answer in answers} == {201}


async def test_a_database_that_is_away_is_told_as_the_declared_view_tells_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def away(**_: object) -> None:
        raise OperationalError("no route")

    key = await a_key(Scope.SIGNALS_WRITE)
    monkeypatch.setattr("signals.services.submit_signals", away)

    answer = await post(a_body(), key=key)

    assert (answer.status, answer.body["code"]) == (503, "SERVICE_UNAVAILABLE")
