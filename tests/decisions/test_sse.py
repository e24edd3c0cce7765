from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from asgiref.sync import sync_to_async
from channels.testing import ApplicationCommunicator
from django.core.handlers.asgi import ASGIHandler
from django.db import OperationalError
from pytest_django import Settings

from access import services as access
from access.models import ApiKey
from decisions import api, feed, queries
from decisions.feed import SEATS
from tests.decisions.conftest import Publish

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls("decisions.urls")]


class Stream:
    """One request for the stream, over the protocol that servers speak."""

    status = 0
    headers: dict[str, str]

    def __init__(self, key: str | None, *, query: str = "", headers: dict[str, str]) -> None:
        given = {"X-API-Key": key, **headers} if key else headers
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": "/decisions/stream",
            "raw_path": b"/decisions/stream",
            "query_string": query.lstrip("?").encode(),
            "headers": [
                (b"host", b"localhost"),
                *((name.lower().encode(), value.encode()) for name, value in given.items()),
            ],
            "client": ["127.0.0.1", 5000],
            "server": ["localhost", 80],
        }
        self._server = ApplicationCommunicator(ASGIHandler(), scope)
        self._text = ""
        self.has_ended = False

    async def open(self) -> None:
        await self._server.send_input({"type": "http.request", "body": b""})
        start = await self._server.receive_output(timeout=3)
        self.status = start["status"]
        self.headers = {name.decode(): value.decode() for name, value in start["headers"]}

    async def hang_up(self) -> None:
        if not self._server.future.done():
            await self._server.send_input({"type": "http.disconnect"})
        await self._server.wait(timeout=3)

    async def body(self) -> dict[str, Any]:
        while not self.has_ended:
            await self._read()
        answer: dict[str, Any] = orjson.loads(self._text)
        return answer

    async def block(self) -> dict[str, str]:
        while "\n\n" not in self._text:
            assert not self.has_ended
            await self._read()
        text, _, self._text = self._text.partition("\n\n")
        fields = (line.partition(":") for line in text.splitlines())
        return {name: value.strip() for name, _, value in fields}

    async def event(self) -> tuple[int, dict[str, Any]]:
        while "data" not in (block := await self.block()):
            continue
        return int(block["id"]), orjson.loads(block["data"])

    async def ends(self) -> bool:
        while not self.has_ended:
            await self._read()
        return True

    async def _read(self) -> None:
        part = await self._server.receive_output(timeout=3)
        self._text += part.get("body", b"").decode()
        self.has_ended = not part.get("more_body", False)


@asynccontextmanager
async def ask(key: str | None, *, query: str = "", **headers: str) -> AsyncIterator[Stream]:
    """Open a stream, or be refused, and hang up at the end."""
    stream = Stream(key, query=query, headers=headers)
    await stream.open()
    try:
        yield stream
    finally:
        await stream.hang_up()


async def test_the_stream_is_a_stream_of_events_that_nobody_may_keep(key: str) -> None:
    async with ask(key) as stream:
        assert stream.status == 200
        assert stream.headers["Content-Type"] == "text/event-stream"
        assert stream.headers["Cache-Control"] == "no-cache"
        assert stream.headers["X-Accel-Buffering"] == "no"


async def test_the_stream_says_what_the_socket_says(key: str, publish: Publish) -> None:
    async with ask(key) as stream:
        assert await stream.block() == {"retry": "1000"}
        await is_listening()
        decision = await publish()
        number, message = await stream.event()

    assert number == message["seq"] == decision.seq == 1
    assert (message["type"], message["decision"]["id"]) == ("decision", str(decision.id))


async def is_listening() -> None:
    """Wait until a stream has begun to listen."""
    async with asyncio.timeout(3):
        while not SEATS._taken:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("?after_seq=1", {}),
        ("", {"Last-Event-ID": "1"}),
        ("?after_seq=0", {"Last-Event-ID": "1"}),
    ],
)
async def test_a_stream_resumes_after_the_last_event(
    key: str, publish: Publish, query: str, headers: dict[str, str]
) -> None:
    for _ in range(3):
        await publish()

    async with ask(key, query=query, **headers) as stream:
        assert [(await stream.event())[0] for _ in range(2)] == [2, 3]


async def test_a_stream_is_filtered_by_its_query(key: str, publish: Publish) -> None:
    await publish(symbol="BTC")
    await publish(symbol="ETH", confidence=0.2)
    await publish(symbol="SOL", origin="DEMO")
    wanted = await publish(symbol="SOL")

    query = "?symbol=eth,sol&min_confidence=0.5&after_seq=0"
    async with ask(key, query=query) as stream:
        number, _ = await stream.event()

    assert number == wanted.seq


async def test_a_gap_is_an_event_with_a_place_of_its_own(
    key: str, publish: Publish, settings: Settings
) -> None:
    settings.WS_REPLAY_MAX = 1
    for _ in range(3):
        await publish()

    async with ask(key, query="?after_seq=0") as stream:
        number, message = await stream.event()

    assert (number, message["type"], message["to"]) == (2, "gap", 2)


async def test_a_silent_stream_beats_and_moves_the_readers_place(
    key: str, publish: Publish, settings: Settings
) -> None:
    settings.WS_HEARTBEAT_S = 0.05

    async with ask(key, query="?symbol=ETH") as stream:
        await stream.block()
        first = await stream.block()
        await publish(symbol="BTC")
        block = first
        async with asyncio.timeout(3):
            while block["id"] != "1":
                block = await stream.block()

    assert first == {"": "0", "id": "0"}
    assert "data" not in block


@pytest.mark.parametrize(
    ("scope", "status", "code"),
    [("signals:write", 403, "FORBIDDEN"), (None, 401, "UNAUTHORIZED")],
)
async def test_who_may_not_listen_gets_a_problem_document(
    make_key: Callable[..., str], scope: str | None, status: int, code: str
) -> None:
    key = await sync_to_async(make_key)(scope) if scope else None

    async with ask(key, Accept="text/event-stream") as stream:
        assert stream.status == status
        assert stream.headers["Content-Type"] == "application/problem+json"
        assert (await stream.body())["code"] == code


@pytest.mark.parametrize("scope", ["stream", "decisions:read"])
async def test_each_reading_scope_opens_the_stream(
    make_key: Callable[..., str], scope: str
) -> None:
    async with ask(await sync_to_async(make_key)(scope), Accept="text/event-stream") as stream:
        assert stream.status == 200


@pytest.mark.parametrize(
    ("query", "headers", "named"),
    [
        ("?after_seq=x", {}, "after_seq"),
        ("?after_seq=-1", {}, "after_seq"),
        ("", {"Last-Event-ID": "1.5"}, "Last-Event-ID"),
        ("?model=oracle", {}, "model"),
        ("?origin=REPLAY", {}, "origin"),
        ("?min_confidence=nan", {}, "min_confidence"),
        ("?colour=red", {}, "colour"),
    ],
)
async def test_a_wrong_query_is_refused_by_name(
    key: str, query: str, headers: dict[str, str], named: str
) -> None:
    async with ask(key, query=query, **headers) as stream:
        body = await stream.body()

    assert (stream.status, body["code"]) == (400, "VALIDATION_ERROR")
    assert [fault["field"] for fault in body["errors"]] == [named]


async def test_a_full_server_answers_429(key: str, settings: Settings) -> None:
    settings.WS_MAX_CONNECTIONS_PER_KEY = 1

    async with ask(key):
        await is_listening()
        async with ask(key) as second:
            body = await second.body()

    assert (second.status, body["code"]) == (429, "RATE_LIMITED")
    assert second.headers["Retry-After"] == "5"


async def test_a_reader_that_hangs_up_gives_its_seat_back(key: str) -> None:
    async with ask(key):
        await is_listening()

    assert SEATS._taken == 0


async def test_a_stream_ends_when_its_key_is_revoked(
    key: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.WS_HEARTBEAT_S = 0.05
    monkeypatch.setattr(api, "RECHECK_S", 0.05)

    @sync_to_async
    def revoke() -> None:
        row = ApiKey.objects.get(id=key.split("_")[2])
        access.revoke_key(key=row, actor="test", now=datetime.now(UTC))

    async with ask(key) as stream:
        await stream.block()
        assert (await stream.block())["id"] == "0"
        await revoke()

        assert await stream.ends()


async def test_a_stream_ends_after_so_many_bytes_and_is_resumed(
    key: str, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "STREAM_BYTES_MAX", 1500)
    for _ in range(3):
        await publish()

    async with ask(key, query="?after_seq=0") as stream:
        numbers = [(await stream.event())[0] for _ in range(2)]
        assert await stream.ends()
    async with ask(key, **{"Last-Event-ID": str(numbers[-1])}) as stream:
        numbers.append((await stream.event())[0])

    assert numbers == [1, 2, 3]


async def test_a_feed_that_cannot_start_ends_the_stream_with_a_word(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> int:
        raise OperationalError("no database")

    monkeypatch.setattr(queries, "get_head", away)
    monkeypatch.setattr(feed, "START_S", 0.05)

    async with ask(key) as stream:
        await stream.block()
        assert await stream.block() == {"": "the feed is away, resume in a moment"}
        assert await stream.ends()
