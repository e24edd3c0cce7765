"""HTTP with a vendor that may be slow, lying or hostile; every fault of it gets its name here.

The guard sits beneath the vendors' SDKs too, so what an SDK would make of an answer that is no
answer never counts: it is refused before the SDK sees it, in the same words for every vendor.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Generic, NoReturn, TypeVar

import httpx2

from evaluation.evaluators.base import CallFailed
from evaluation.types import AttemptStatus
from pipeline import egress

T = TypeVar("T")

ANSWER_MAX_BYTES = 1_000_000
KEPT_MAX_CHARS = 64_000
TOLD_MAX_CHARS = 300
CONNECT_TIMEOUT_S = 5.0
MAX_IDLE_CONNECTIONS = 256
REQUEST_IDS = ("x-request-id", "request-id", "x-goog-request-id")

STATUSES: Mapping[int, AttemptStatus] = {
    401: AttemptStatus.AUTH,
    402: AttemptStatus.QUOTA,
    403: AttemptStatus.AUTH,
    408: AttemptStatus.TIMEOUT,
    429: AttemptStatus.RATE_LIMITED,
}
"""What the HTTP statuses below 500 mean where it is not a bad request."""

CODES: Mapping[str, AttemptStatus] = {
    "insufficient_quota": AttemptStatus.QUOTA,
    "billing_hard_limit_reached": AttemptStatus.QUOTA,
    "billing_not_active": AttemptStatus.QUOTA,
    "billing_error": AttemptStatus.QUOTA,
    "exceeded_current_quota_error": AttemptStatus.QUOTA,  # Moonshot, with 429
    "insufficient_balance": AttemptStatus.QUOTA,
    "arrearage": AttemptStatus.QUOTA,  # Qwen, with 400
    "api_key_invalid": AttemptStatus.AUTH,  # Gemini, with 400
    "invalid_api_key": AttemptStatus.AUTH,
    "rate_limit_exceeded": AttemptStatus.RATE_LIMITED,
    "server_error": AttemptStatus.OVERLOADED,
}
"""What vendors' own words say more exactly than the HTTP status they come with."""

QUOTA_CODES = (HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS)
QUOTA_WORDS = ("credit balance is too low", "plan and billing", "quota exhausted")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A vendor's answer as it came, read without trust: what is not there is None or empty."""

    body: Mapping[str, Any]
    text: str
    request_id: str = ""

    @classmethod
    def of(cls, response: httpx2.Response) -> Reply:
        """Return the reply in a response that the guard let through."""
        return cls.from_text(response.text, headers=response.headers)

    @classmethod
    def from_text(cls, text: str, *, headers: Mapping[str, str]) -> Reply:
        """Return the reply of that body and these headers.

        :raises CallFailed: if it is not one JSON object.
        """
        return cls(body=_object(text), text=text[:KEPT_MAX_CHARS], request_id=_request_id(headers))

    def at(self, *path: str | int) -> Any:
        """Return what stands at the path, or None."""
        value: Any = self.body
        for step in path:
            if isinstance(step, int):
                inside = isinstance(value, list) and step < len(value)
                value = value[step] if inside else None
            else:
                value = value.get(step) if isinstance(value, dict) else None
        return value

    def word(self, *path: str | int) -> str:
        """Return the text at the path, or an empty one."""
        value = self.at(*path)
        return value if isinstance(value, str) else ""

    def count(self, *path: str | int) -> int | None:
        """Return the whole number at the path, or None; whether it is sane is not judged here."""
        value = self.at(*path)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def each(self, *path: str | int) -> Iterator[Mapping[str, Any]]:
        """Yield the objects of the list at the path."""
        value = self.at(*path)
        for item in value if isinstance(value, list) else ():
            if isinstance(item, dict):
                yield item


class PerLoop(Generic[T]):
    """One thing per running event loop, made at first use: async clients belong to one loop."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: dict[asyncio.AbstractEventLoop, T] = {}

    def get(self) -> T:
        """Return this loop's own; what closed loops had is forgotten."""
        loop = asyncio.get_running_loop()
        if loop not in self._made:
            self._made = {each: made for each, made in self._made.items() if not each.is_closed()}
            self._made[loop] = self._make()
        return self._made[loop]

    def take(self) -> T | None:
        """Return this loop's own, if there is one, and forget it."""
        return self._made.pop(asyncio.get_running_loop(), None)


def open_client(
    *,
    timeout_s: float,
    local_hosts: Collection[str] = egress.LOCAL_HOSTS,
    transport: httpx2.AsyncBaseTransport | None = None,
) -> httpx2.AsyncClient:
    """Return a guarded client that follows no redirect and takes nothing from the environment.

    It leads into a network of our own only to hosts that ``local_hosts`` names.
    """
    inner = transport or egress.open_transport(allowed=local_hosts, idle_max=MAX_IDLE_CONNECTIONS)
    return httpx2.AsyncClient(
        transport=Guard(inner),
        timeout=httpx2.Timeout(timeout_s, connect=min(CONNECT_TIMEOUT_S, timeout_s)),
        follow_redirects=False,
        trust_env=False,
    )


class Guard(httpx2.AsyncBaseTransport):
    """Lets through nothing but complete JSON objects of bearable size, with status 2xx.

    :raises CallFailed: for everything else that can come of a request.
    """

    def __init__(self, inner: httpx2.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        request.headers["Accept-Encoding"] = "identity"
        try:
            answer = await self._inner.handle_async_request(request)
            content = await _content(answer)
        except egress.ForbiddenAddress as error:
            raise CallFailed(_named(error), status=AttemptStatus.BAD_REQUEST) from error
        except httpx2.TimeoutException as error:
            raise CallFailed(_named(error), status=AttemptStatus.TIMEOUT) from error
        except httpx2.DecodingError as error:
            raise CallFailed(_named(error), status=AttemptStatus.BAD_BODY) from error
        except httpx2.HTTPError as error:
            raise CallFailed(_named(error), status=AttemptStatus.NETWORK) from error
        _check(answer, content)
        kept = ("content-type", *REQUEST_IDS)
        headers = {name: answer.headers[name] for name in kept if name in answer.headers}
        return httpx2.Response(answer.status_code, headers=headers, content=content)

    async def aclose(self) -> None:
        await self._inner.aclose()


async def post_json(
    client: httpx2.AsyncClient,
    url: str,
    *,
    body: Mapping[str, Any],
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """Return what a vendor without an SDK answers to ``body``.

    :raises CallFailed: if it is no complete JSON object with status 2xx.
    """
    try:
        response = await client.post(url, json=body, headers=headers)
    except (httpx2.InvalidURL, httpx2.HTTPError) as error:
        raise CallFailed(_named(error), status=AttemptStatus.BAD_REQUEST) from error
    return Reply.of(response)


def failure_behind(error: BaseException) -> CallFailed:
    """Return the guard's failure that an SDK has wrapped in an error of its own."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, CallFailed):
            return cause
        cause = cause.__cause__ or cause.__context__
    return CallFailed(_named(error), status=AttemptStatus.BAD_REQUEST)


def status_of(code: int, reply: Reply | None = None) -> AttemptStatus:
    """Return how a call ended that was answered with an error of that HTTP status.

    What the vendor says of it in its own codes is more exact: it tells an empty account from
    haste, and a wrong key from a wrong request.
    """
    if code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return AttemptStatus.OVERLOADED
    told = next((CODES[word] for word in _codes(reply) if word in CODES), None)
    if told is None and code in QUOTA_CODES and reply is not None and _is_quota(reply):
        told = AttemptStatus.QUOTA
    return told or STATUSES.get(code, AttemptStatus.BAD_REQUEST)


def _codes(reply: Reply | None) -> Iterator[str]:
    if reply is None:
        return
    for name in ("code", "type", "status"):
        yield reply.word("error", name).lower()
    yield reply.word("code").lower()
    for detail in reply.each("error", "details"):
        yield str(detail.get("reason", "")).lower()


def _is_quota(reply: Reply) -> bool:
    """Return whether a refusal means money or the day's allowance, by what only its words say.

    Gemini asks everybody who comes too fast to check the billing, but tells those to wait.
    """
    details = json.dumps(list(reply.each("error", "details"))).lower()
    if "perday" in details:
        return True
    return "retrydelay" not in details and any(word in _said(reply).lower() for word in QUOTA_WORDS)


async def _content(response: httpx2.Response) -> bytes:
    content = bytearray()
    try:
        async for chunk in response.aiter_bytes():
            content += chunk
            if len(content) > ANSWER_MAX_BYTES:
                raise CallFailed(
                    f"the answer is larger than {ANSWER_MAX_BYTES} bytes",
                    status=AttemptStatus.BAD_BODY,
                )
    finally:
        await response.aclose()
    return bytes(content)


def _check(response: httpx2.Response, content: bytes) -> None:
    text = content.decode(errors="replace")
    code = response.status_code
    if response.is_success:
        _object(text)
        return
    if response.has_redirect_location:
        reason = f"the vendor redirects ({code}), which is not followed"
        raise CallFailed(reason, status=AttemptStatus.BAD_REQUEST)
    told = _told(text)
    raise CallFailed(
        f"the vendor answered {code}: {_said(told) if told else ''}".rstrip(": "),
        status=status_of(code, told),
        retry_after_s=_retry_after_s(response.headers, told),
        request_id=_request_id(response.headers),
        answer=text[:KEPT_MAX_CHARS],
    )


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        reason = f"the answer is not JSON: {error}" if text.strip() else "the answer is empty"
        raise CallFailed(
            reason, status=AttemptStatus.BAD_BODY, answer=text[:KEPT_MAX_CHARS]
        ) from error
    if not isinstance(value, dict):
        raise CallFailed(
            "the answer is no JSON object",
            status=AttemptStatus.BAD_BODY,
            answer=text[:KEPT_MAX_CHARS],
        )
    return value


def _request_id(headers: Mapping[str, str]) -> str:
    return next((headers[name] for name in REQUEST_IDS if headers.get(name)), "")


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _told(text: str) -> Reply | None:
    try:
        return Reply.from_text(text, headers={})
    except CallFailed:
        return None


def _said(reply: Reply) -> str:
    """Return the vendor's own sentence about its refusal, wherever it put it."""
    said = reply.word("error", "message") or reply.word("error") or reply.word("message")
    return said[:TOLD_MAX_CHARS]


def _retry_after_s(headers: httpx2.Headers, told: Reply | None) -> float | None:
    """Return the wait that the vendor asks for, in its headers or, as Gemini does, its details."""
    milliseconds = _number(headers.get("retry-after-ms", ""))
    given = headers.get("retry-after", "").strip()
    seconds = _number(given) if given else _told_delay_s(told)
    if milliseconds is not None:
        seconds = milliseconds / 1000
    elif given and seconds is None:
        until, now = _date(given), _date(headers.get("date", "")) or datetime.now(UTC)
        seconds = (until - now).total_seconds() if until else None
    return None if seconds is None else max(seconds, 0.0)


def _told_delay_s(told: Reply | None) -> float | None:
    details = told.each("error", "details") if told else ()
    delays = (detail.get("retryDelay") for detail in details)
    return next((_number(d.removesuffix("s")) for d in delays if isinstance(d, str)), None)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:TOLD_MAX_CHARS].rstrip(": ")
