"""The fast lane of ``POST /api/v1/signals``: what is plainly good, many requests at a time.

Requests that arrive while a transaction is being written share the next one. The lane takes only
what it can accept: a key that was read a moment ago, a well-formed signal, a call that is left.
Whatever else comes, it hands on untouched to the view that is declared, which says what is wrong.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache, lru_cache, partial
from io import BytesIO
from typing import Any, Final, cast
from weakref import WeakKeyDictionary

import orjson
from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.core.handlers.asgi import ASGIRequest
from django.db import DatabaseError, connection, connections
from django.http import HttpRequest
from django.urls import ResolverMatch, resolve

from access import services as access
from access.auth import VERDICT, address_of, key_in, take_calls
from access.budget import Verdict
from access.types import Identity, Scope
from lens_site.errors import chosen_request_id, request_id
from lens_site.middleware import note_request, safe_headers
from pipeline.types import LensError
from signals import services
from signals.api import StrictJson, read_submission, receipt_headers, receipt_json
from signals.parsing import load_json
from signals.services import Answers
from signals.types import Receipt, Submission

PATH: Final = "/api/v1/signals"
HOSTS_REMEMBERED: Final = 100
LOOK_EVERY_S: Final = 0.25
LOOKS_TAKE_AT_MOST: Final = 0.02
"""How often the lane looks at the backlog, and how much of its time that may take."""
JSON_TYPES: Final = frozenset({"application/json", "application/json; charset=utf-8"})

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Waiting:
    """One request that asks for something sound, and where its answer goes."""

    request: HttpRequest
    identity: Identity
    submission: Submission
    answer: asyncio.Future[Receipt | None]


class Lane:
    """Writes what waits, as long as something does; each event loop has a lane of its own.

    One thread writes, with a connection that it keeps, and the next requests are read meanwhile.
    """

    def __init__(self) -> None:
        self._waiting: list[Waiting] = []
        self._writing: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="intake")
        self._room = 0.0
        self._look_at_s = -math.inf

    async def take(self, request: HttpRequest) -> Receipt | None:
        """Return the receipt of a stored signal, or None if the lane does not take it."""
        loop = asyncio.get_running_loop()
        waiting = _admitted(request, answer=loop.create_future(), now=datetime.now(UTC))
        if waiting is None:
            return None
        self._waiting.append(waiting)
        if self._writing is None or self._writing.done():
            self._writing = loop.create_task(self._write_all())
        return await waiting.answer

    async def close(self) -> None:
        """Close the connection and end the thread, once nothing waits."""
        if self._writing is not None:
            await self._writing
        await asyncio.get_running_loop().run_in_executor(self._thread, connections.close_all)
        self._thread.shutdown()

    async def _write_all(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            group = self._waiting[: settings.INTAKE_GROUP_MAX]
            del self._waiting[: len(group)]
            try:
                await loop.run_in_executor(self._thread, self._store, group, loop)
            finally:
                _answer_all(group, [None] * len(group))  # whom nothing was told

    def _store(self, group: Sequence[Waiting], loop: asyncio.AbstractEventLoop) -> None:
        """Store the signals of a group, if there is room for all of them, and answer."""
        now = datetime.now(UTC)
        try:
            if self._has_room(len(group), now=now):
                store(group, now=now, tell=partial(_answer_from_thread, loop))
        except DatabaseError:
            connection.close()

    def _has_room(self, more: int, *, now: datetime) -> bool:
        """Say so by a look at the backlog every so often, and by what was taken since."""
        began_s = time.monotonic()
        if began_s >= self._look_at_s:
            self._room = services.room_left(now=now)
            took_s = time.monotonic() - began_s
            self._look_at_s = began_s + max(LOOK_EVERY_S, took_s / LOOKS_TAKE_AT_MOST)
        self._room -= more
        return self._room >= 0


def store(
    group: Sequence[Waiting], *, now: datetime, tell: Callable[[Sequence[Waiting], Answers], Any]
) -> None:
    """Store the signals of requests that have a call left, in one transaction, and tell them."""
    allowed = [waiting for waiting, verdict in _counted(group) if verdict.allowed]
    services.submit_signals(
        submissions=[waiting.submission for waiting in allowed],
        now=now,
        tell=partial(tell, allowed),
    )


def _answer_from_thread(
    loop: asyncio.AbstractEventLoop, group: Sequence[Waiting], answers: Answers
) -> None:
    loop.call_soon_threadsafe(partial(_answer_all, group, answers))


def _answer_all(group: Sequence[Waiting], answers: Sequence[object]) -> None:
    """Answer who was not answered yet; what is no receipt sends them to the declared view."""
    for waiting, answer in zip(group, answers, strict=True):
        if not waiting.answer.done():  # its client may have left
            waiting.answer.set_result(answer if isinstance(answer, Receipt) else None)


def _counted(group: Sequence[Waiting]) -> Iterator[tuple[Waiting, Verdict]]:
    """Count each call against its owner's limit, once whichever way it goes from here."""
    by_identity: dict[Identity, list[Waiting]] = {}
    for waiting in group:
        by_identity.setdefault(waiting.identity, []).append(waiting)
    for identity, calls in by_identity.items():
        verdicts = take_calls(identity=identity, method="POST", calls=len(calls))
        for waiting, verdict in zip(calls, verdicts, strict=True):
            request = cast("Any", waiting.request)
            request.rate_verdict = request.scope[VERDICT] = verdict
            yield waiting, verdict


def _admitted(
    request: HttpRequest, *, answer: asyncio.Future[Receipt | None], now: datetime
) -> Waiting | None:
    """Return what a request asks to store, if it may ask and what it asks is well-formed."""
    identity = access.recall(plain=key_in(request), address=address_of(request), now=now)
    if identity is None or not identity.allows(Scope.SIGNALS_WRITE):
        return None
    try:
        value = load_json(request.body, max_bytes=StrictJson.max_bytes)
        key = request.META.get("HTTP_IDEMPOTENCY_KEY", request.META.get("HTTP_X_IDEMPOTENCY_KEY"))
        asked = read_submission(value, key=key, owner=identity.owner, now=now)
    except LensError:
        return None
    return Waiting(request, identity, replace(asked, request_id=request_id(request)), answer)


_LANES: WeakKeyDictionary[asyncio.AbstractEventLoop, Lane] = WeakKeyDictionary()


def lane() -> Lane:
    """Return the lane of the running event loop."""
    loop = asyncio.get_running_loop()
    return _LANES.get(loop) or _LANES.setdefault(loop, Lane())


class Intake:
    """Answers what the lane takes as the middleware would; hands the rest to ``programs``."""

    def __init__(self, *, programs: Application) -> None:
        self._programs = programs

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        read: list[dict[str, Any]] = []
        body = await _read_body(receive, read)
        if body is not None and _is_plain(scope):
            started_s = time.perf_counter()
            request = _request(scope, body)
            if request is not None and (receipt := await lane().take(request)) is not None:
                note_request(request, status=201, started_s=started_s)
                await _answer(request, receipt, send)
                return
        await self._programs(scope, _replayed(read, receive), send)


def _request(scope: dict[str, Any], body: bytes) -> HttpRequest | None:
    """Return the request as the middleware would pass it on; None if it would not."""
    request = ASGIRequest(scope, BytesIO(body))
    if not _is_for_us(request.META.get("HTTP_HOST", ""), tuple(settings.ALLOWED_HOSTS)):
        return None
    marked = cast("Any", request)
    marked.request_id = chosen_request_id(request.META.get("HTTP_X_REQUEST_ID", ""))
    marked.resolver_match = _match()
    return request


@lru_cache(maxsize=HOSTS_REMEMBERED)
def _is_for_us(host: str, allowed: tuple[str, ...]) -> bool:
    del allowed  # which Django reads by itself; another list asks anew
    request = HttpRequest()
    request.META["HTTP_HOST"] = host
    try:
        return bool(request.get_host())
    except SuspiciousOperation:
        return False


@cache
def _match() -> ResolverMatch:
    return resolve(PATH)


async def _answer(request: HttpRequest, receipt: Receipt, send: Send) -> None:
    body = orjson.dumps(receipt_json(receipt))
    told = {
        "X-Request-ID": request_id(request),
        "Content-Length": str(len(body)),
        **cast("Any", request).rate_verdict.headers(),
        **receipt_headers(receipt),
    }
    headers = [
        *_same_headers(request.is_secure()),
        *((name.lower().encode("ascii"), text.encode("ascii")) for name, text in told.items()),
    ]
    await send({"type": "http.response.start", "status": 201, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@cache
def _same_headers(is_secure: bool) -> list[tuple[bytes, bytes]]:
    """Return what every receipt says alike."""
    told = {"Content-Type": "application/json", **safe_headers(has_key=True, is_secure=is_secure)}
    return [(name.lower().encode("ascii"), text.encode("ascii")) for name, text in told.items()]


def is_intake(scope: dict[str, Any]) -> bool:
    """Say whether a request may go through the lane, by what it asks for."""
    is_open = settings.INTAKE_GROUP_MAX > 0
    return bool(is_open and scope["path"] == PATH and scope["method"] == "POST")


def _is_plain(scope: dict[str, Any]) -> bool:
    given = [value for name, value in scope["headers"] if name == b"content-type"]
    is_json = len(given) == 1 and given[0].decode("latin-1").lower() in JSON_TYPES
    return is_json and not scope.get("query_string")


async def _read_body(receive: Receive, read: list[dict[str, Any]]) -> bytes | None:
    """Return the body; None if it is too long or its sender has left. ``read`` keeps all of it."""
    length = 0
    while True:
        message = await receive()
        read.append(message)
        length += len(message.get("body", b""))
        if message["type"] != "http.request" or length > StrictJson.max_bytes:
            return None
        if not message.get("more_body"):
            return b"".join(part.get("body", b"") for part in read)


def _replayed(read: list[dict[str, Any]], receive: Receive) -> Receive:
    """Return a ``receive`` that gives what was read once more before it goes on."""
    waiting = iter(read)

    async def again() -> dict[str, Any]:
        message = next(waiting, None)
        return await receive() if message is None else message

    return again
