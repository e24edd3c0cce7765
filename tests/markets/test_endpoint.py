from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from markets.providers.base import BadMarketData, MarketDataUnavailable, RateLimited
from markets.providers.endpoint import MAX_ANSWER_BYTES, MAX_RETRY_AFTER_S, JsonEndpoint
from tests.markets.conftest import Loopback

QUESTION = {"type": "allMids"}
OK = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@pytest.fixture
async def endpoint(loopback: Loopback) -> AsyncIterator[JsonEndpoint]:
    endpoint = JsonEndpoint(url=f"{loopback.url}/info", timeout_s=20.0)
    yield endpoint
    await endpoint.close()


async def test_an_answer_comes_back_as_values(loopback: Loopback, endpoint: JsonEndpoint) -> None:
    loopback.says(OK + 'Content-Length: 11\r\n\r\n{"BTC":"1"}')

    assert await endpoint.post(QUESTION) == {"BTC": "1"}
    assert loopback.requests == [b'{"type":"allMids"}']


async def test_a_closed_endpoint_opens_again(loopback: Loopback, endpoint: JsonEndpoint) -> None:
    loopback.says(OK + "Content-Length: 2\r\n\r\n{}")
    await endpoint.post(QUESTION)

    await endpoint.close()

    assert await endpoint.post(QUESTION) == {}


@pytest.mark.parametrize(
    ("header", "retry_after_s"),
    [
        ("Retry-After: 7\r\n", 7.0),
        ("Retry-After: 99999999\r\n", MAX_RETRY_AFTER_S),
        ("Retry-After: -5\r\n", 0.0),
        ("Retry-After: nan\r\n", None),
        ("Retry-After: soon\r\n", None),
        (
            "Date: Wed, 04 Mar 2026 10:00:00 GMT\r\nRetry-After: Wed, 04 Mar 2026 10:00:30 GMT\r\n",
            30.0,
        ),
        ("", None),
    ],
)
async def test_a_rate_limit_tells_how_long_to_wait(
    loopback: Loopback, endpoint: JsonEndpoint, header: str, retry_after_s: float | None
) -> None:
    loopback.says(f"HTTP/1.1 429 Too Many Requests\r\n{header}Content-Length: 0\r\n\r\n")

    with pytest.raises(RateLimited) as caught:
        await endpoint.post(QUESTION)

    assert caught.value.retry_after_s == retry_after_s


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_fault_of_the_venue_may_be_tried_again(
    loopback: Loopback, endpoint: JsonEndpoint, status: int
) -> None:
    loopback.says(f"HTTP/1.1 {status} Fault\r\nRetry-After: 3\r\nContent-Length: 0\r\n\r\n")

    with pytest.raises(MarketDataUnavailable, match=str(status)) as caught:
        await endpoint.post(QUESTION)

    assert caught.value.retry_after_s == 3.0


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("HTTP/1.1 422 No\r\nContent-Length: 0\r\n\r\n", "refused the request \\(422\\)"),
        (OK + "Content-Length: 0\r\n\r\n", "empty"),
        (OK + "Content-Length: 9\r\n\r\n<html>no!", "not JSON"),
        (OK + 'Content-Length: 5\r\n\r\n{"a":', "not JSON"),
        (OK + 'Content-Length: 9\r\n\r\n{"a":NaN}', "NaN"),
        (OK + "Content-Length: 200000\r\n\r\n" + "[" * 200_000, "not JSON"),
        ("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\n{}", "text/html"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "no type"),
        (OK + "Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope", "unpacked"),
    ],
    ids=["4xx", "empty", "html", "half", "nan", "deep", "type", "no type", "not gzip"],
)
async def test_garbage_is_refused_by_name(
    loopback: Loopback, endpoint: JsonEndpoint, answer: str, message: str
) -> None:
    loopback.says(answer)

    with pytest.raises(BadMarketData, match=message):
        await endpoint.post(QUESTION)


async def test_an_answer_without_end_is_cut_off(loopback: Loopback, endpoint: JsonEndpoint) -> None:
    loopback.says((OK + "\r\n").encode() + b" " * (MAX_ANSWER_BYTES + 1))

    with pytest.raises(BadMarketData, match="larger"):
        await endpoint.post(QUESTION)


@pytest.mark.parametrize(
    "answer",
    ["", "HTTP/1.1 200 OK\r\n", OK + 'Content-Length: 50\r\n\r\n{"a":1', "not http at all\r\n\r\n"],
    ids=["nothing", "half a head", "half a body", "another protocol"],
)
async def test_a_broken_connection_may_be_tried_again(
    loopback: Loopback, endpoint: JsonEndpoint, answer: str
) -> None:
    loopback.says(answer)

    with pytest.raises(MarketDataUnavailable, match="no connection"):
        await endpoint.post(QUESTION)


async def test_nobody_listening_may_be_tried_again(loopback: Loopback) -> None:
    endpoint = JsonEndpoint(url="http://127.0.0.1:1/info", timeout_s=0.3)

    with pytest.raises(MarketDataUnavailable):
        await endpoint.post(QUESTION)

    await endpoint.close()


async def test_a_redirect_to_another_port_is_not_followed(
    loopback: Loopback, endpoint: JsonEndpoint
) -> None:
    elsewhere = Loopback()
    elsewhere.says(OK + "Content-Length: 2\r\n\r\n{}")
    server = await asyncio.start_server(elsewhere.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    target = f"Location: http://127.0.0.1:{port}/info\r\nContent-Length: 0\r\n\r\n"
    loopback.says("HTTP/1.1 307 Temporary Redirect\r\n" + target)

    with pytest.raises(BadMarketData, match="redirects"):
        await endpoint.post(QUESTION)

    server.close()
    assert elsewhere.requests == []


async def test_a_proxy_from_the_environment_is_not_used(
    loopback: Loopback, endpoint: JsonEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    loopback.says(OK + "Content-Length: 2\r\n\r\n{}")

    assert await endpoint.post(QUESTION) == {}


@pytest.mark.parametrize("pause_s", [5.0, 0.02], ids=["silent", "dripping"])
async def test_a_slow_answer_meets_the_deadline(
    loopback: Loopback, endpoint: JsonEndpoint, pause_s: float
) -> None:
    endpoint._timeout_s = 0.3
    stop = asyncio.Event()

    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write((OK + "Content-Length: 5000\r\n\r\n").encode())
        while not stop.is_set():
            writer.write(b" ")
            await writer.drain()
            try:
                await asyncio.wait_for(stop.wait(), pause_s)
            except TimeoutError:
                continue

    loopback.answer = drip
    began = asyncio.get_running_loop().time()

    with pytest.raises(MarketDataUnavailable, match=r"within 0\.3 s"):
        await endpoint.post(QUESTION)

    assert asyncio.get_running_loop().time() - began < 5
    stop.set()
    await asyncio.sleep(0)
