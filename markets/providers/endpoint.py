"""JSON over HTTP with a venue that may be slow, lying or hostile."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import NoReturn

import httpx2

from markets.providers.base import BadMarketData, MarketDataUnavailable, RateLimited
from pipeline import egress

MAX_ANSWER_BYTES = 5 * 1024 * 1024
CONNECT_TIMEOUT_S = 5.0  # Source: hyperliquid-api.md section 2
MAX_IDLE_CONNECTIONS = 20
MAX_RETRY_AFTER_S = 600.0  # a venue that asks for more is asked again after this


class JsonEndpoint:
    """Posts JSON to one URL and gives back the JSON it answers, or says what went wrong.

    The whole exchange has one deadline, so that a venue dripping bytes cannot hold the caller.
    It never leads into a network of our own, redirects are refused, and neither proxies nor
    credentials are taken from the environment.
    """

    def __init__(
        self,
        *,
        url: str,
        timeout_s: float,
        local_hosts: Collection[str] = egress.LOCAL_HOSTS,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._url = url
        self._local_hosts = local_hosts
        self._timeout_s = timeout_s
        self._transport = transport
        self._client: httpx2.AsyncClient | None = None

    async def post(self, body: Mapping[str, object]) -> object:
        """Return what the venue answers to ``body``.

        :raises RateLimited: on status 429.
        :raises MarketDataUnavailable: on time-out, network fault or status 5xx.
        :raises BadMarketData: on a redirect, another status, or an answer that is not JSON.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                response, content = await self._exchange(body)
        except (TimeoutError, httpx2.TimeoutException) as error:
            late = f"no complete answer within {self._timeout_s:g} s"
            raise MarketDataUnavailable(late) from error
        except httpx2.DecodingError as error:
            raise BadMarketData(f"the answer cannot be unpacked: {error}") from error
        except httpx2.RequestError as error:
            fault = f"{type(error).__name__}: {error}".rstrip(": ")
            raise MarketDataUnavailable(f"no connection: {fault}") from error
        _check_status(response)
        return _parsed(response, content)

    async def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _exchange(self, body: Mapping[str, object]) -> tuple[httpx2.Response, bytes]:
        content = bytearray()
        async with self._connected().stream("POST", self._url, json=body) as response:
            if response.status_code == HTTPStatus.OK:
                async for chunk in response.aiter_bytes():
                    content += chunk
                    if len(content) > MAX_ANSWER_BYTES:
                        raise BadMarketData(f"the answer is larger than {MAX_ANSWER_BYTES} bytes")
        return response, bytes(content)

    def _connected(self) -> httpx2.AsyncClient:
        if self._client is None:
            self._client = httpx2.AsyncClient(
                timeout=httpx2.Timeout(
                    self._timeout_s, connect=min(CONNECT_TIMEOUT_S, self._timeout_s)
                ),
                headers={"Accept": "application/json"},
                follow_redirects=False,
                trust_env=False,
                transport=self._transport
                or egress.open_transport(allowed=self._local_hosts, idle_max=MAX_IDLE_CONNECTIONS),
            )
        return self._client


def _check_status(response: httpx2.Response) -> None:
    status = response.status_code
    if status == HTTPStatus.OK:
        return
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        raise RateLimited("asked too often (429)", retry_after_s=_retry_after_s(response))
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise MarketDataUnavailable(
            f"the venue answered {status}", retry_after_s=_retry_after_s(response)
        )
    if response.is_redirect:
        raise BadMarketData(f"the venue redirects ({status}), which is not followed")
    raise BadMarketData(f"the venue refused the request ({status})")


def _retry_after_s(response: httpx2.Response) -> float | None:
    """Return the wait that the venue asks for, given in seconds or as a date, or None."""
    text = response.headers.get("Retry-After", "").strip()
    if not text:
        return None
    seconds = _number(text)
    if seconds is None:
        until, now = _date(text), _date(response.headers.get("Date", ""))
        seconds = (until - now).total_seconds() if until and now else None
    return None if seconds is None else min(max(seconds, 0.0), MAX_RETRY_AFTER_S)


def _number(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) else None


def _date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _parsed(response: httpx2.Response, content: bytes) -> object:
    kind = response.headers.get("Content-Type", "").split(";")[0].strip().lower()
    if kind != "application/json":
        raise BadMarketData(f"the answer is {kind or 'of no type'}, not application/json")
    if not content:
        raise BadMarketData("the answer is empty")
    try:
        return json.loads(content, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BadMarketData(f"the answer is not JSON: {error}") from error


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")
