"""The fast lane of ``POST /api/v1/signals``: what is plainly good, many requests at a time.

Requests that arrive while a transaction is being written share the next one. The lane takes only
what it can accept: a key that was read a moment ago, a well-formed signal, a call that is left.
Whatever else comes, it hands on untouched to the view that is declared, which says what is wrong.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from io import BytesIO
from typing import Any, Final, cast
from weakref import WeakKeyDictionary

import orjson
from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.core.handlers.asgi import ASGIRequest
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse
from django.urls import ResolverMatch, resolve
from django.utils.module_loading import import_string

from access import services as access
from access.auth import VERDICT, address_of, take_call
from access.parsing import presented_key
from access.types import Identity, Scope
from lens_site.errors import request_id
from pipeline.types import LensError, Overloaded
from signals import services
from signals.api import StrictJson, read_submission, receipt_headers, receipt_json
from signals.parsing import load_json
from signals.types import Receipt, Submission

PATH: Final = "/api/v1/signals"
JSON_TYPES: Final = frozenset({"application/json", "application/json; charset=utf-8"})

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]


class NotPlain(Exception):
    """The lane does not take this request; the declared view will answer it."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """One request in the lane and where its answer goes; None sends it to the declared view."""

    request: HttpRequest
    answer: asyncio.Future[Receipt | None]


class Lane:
    """Writes what waits, as long as something does; each event loop has a lane of its own."""

    def __init__(self) -> None:
        self._waiting: list[Waiting] = []
        self._writing: asyncio.Task[None] | None = None

    async def take(self, request: HttpRequest) -> Receipt | None:
        """Return the receipt of a stored signal, or None if the lane does not take it."""
        waiting = Waiting(request, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._writing is None or self._writing.done():
            # Outside the request's context, in which asgiref would give it a thread of its own.
            self._writing = asyncio.create_task(self._write_all(), context=Context())
        return await waiting.answer

    async def _write_all(self) -> None:
        write = sync_to_async(store, thread_sensitive=True)
        while self._waiting:
            group = self._waiting[: settings.INTAKE_GROUP_MAX]
            del self._waiting[: len(group)]
            answers: Sequence[Receipt | None] = [None] * len(group)
            try:
                answers = await write([waiting.request for waiting in group])
            finally:
                for waiting, answer in zip(group, answers, strict=True):
                    if not waiting.answer.done():  # its client may have left
                        waiting.answer.set_result(answer)


def store(requests: Sequence[HttpRequest]) -> list[Receipt | None]:
    """Store the signals of many requests in one transaction; None where one cannot be taken."""
    now = datetime.now(UTC)
    answers: list[Receipt | None] = [None] * len(requests)
    admitted = {
        index: submission
        for index, request in enumerate(requests)
        if (submission := _admitted(request, now=now)) is not None
    }
    if not admitted:
        return answers
    try:
        services.refuse_when_overloaded(now=now)
        told = services.submit_signals(submissions=list(admitted.values()), now=now)
    except Overloaded:
        return answers
    except DatabaseError:
        connection.close()
        return answers
    for index, answer in zip(admitted, told, strict=True):
        answers[index] = answer if isinstance(answer, Receipt) else None
    return answers


def _admitted(request: HttpRequest, *, now: datetime) -> Submission | None:
    """Return what a request asks to store, if it may, is well-formed and has a call left."""
    identity = _identity(request, now=now)
    if identity is None:
        return None
    try:
        value = load_json(request.body, max_bytes=StrictJson.max_bytes)
        asked = read_submission(value, headers=request.headers, owner=identity.owner, now=now)
    except LensError:
        return None
    counted = cast("Any", request)
    counted.rate_verdict = take_call(identity=identity, method="POST")
    counted.scope[VERDICT] = counted.rate_verdict
    if not counted.rate_verdict.allowed:
        return None
    return replace(asked, request_id=request_id(request))


def _identity(request: HttpRequest, *, now: datetime) -> Identity | None:
    plain = presented_key(
        api_key=request.META.get("HTTP_X_API_KEY", ""),
        authorization=request.META.get("HTTP_AUTHORIZATION", ""),
    )
    identity = access.recall(plain=plain, address=address_of(request), now=now)
    return identity if identity is not None and identity.allows(Scope.SIGNALS_WRITE) else None


_LANES: WeakKeyDictionary[asyncio.AbstractEventLoop, Lane] = WeakKeyDictionary()


async def _accept(request: HttpRequest) -> HttpResponse:
    request.resolver_match = _match()
    receipt = await _LANES.setdefault(asyncio.get_running_loop(), Lane()).take(request)
    if receipt is None:
        raise NotPlain
    return HttpResponse(
        orjson.dumps(receipt_json(receipt)),
        status=201,
        content_type="application/json",
        headers=receipt_headers(receipt),
    )


@cache
def _match() -> ResolverMatch:
    return resolve(PATH)


class Intake:
    """Answers what the lane takes, within the same middleware; hands the rest to ``programs``."""

    def __init__(self, *, programs: Application) -> None:
        self._programs = programs
        chain: Any = _accept
        for path in reversed(settings.PROGRAM_MIDDLEWARE):
            chain = import_string(path)(chain)
        self._chain = chain

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        read: list[dict[str, Any]] = []
        body = await _read_body(receive, read)
        if body is not None and _is_plain(scope):
            try:
                response = await self._chain(ASGIRequest(scope, BytesIO(body)))
            except (NotPlain, SuspiciousOperation):
                pass
            else:
                await _answer(response, send)
                return
        await self._programs(scope, _replayed(read, receive), send)


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


async def _answer(response: HttpResponse, send: Send) -> None:
    headers = [
        (name.lower().encode("latin-1"), value.encode("latin-1"))
        for name, value in response.items()
    ]
    start = {"type": "http.response.start", "status": response.status_code, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": response.content})
