from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import pytest

from pipeline import egress

LOCAL = ("localhost", "127.0.0.1")


@pytest.mark.parametrize(
    "url",
    [
        "https://169.254.169.254/latest",
        "https://10.0.0.7/info",
        "https://192.168.1.1",
        "https://[::1]/x",
        "https://[::ffff:10.0.0.1]/x",
        "https://[64:ff9b::a00:1]/x",
        "https://[2002:0a00:0001::1]/x",
        "https://[fe80::1%25eth0]/x",
        "https://2130706433/",
        "https://0x7f.0.0.1/",
        "https://0177.0.0.1/",
        "https://224.0.0.1/",
        "https://0.0.0.0/",
        "https://100.64.0.1/",
        "http://api.hyperliquid.xyz",
        "https://user:password@api.hyperliquid.xyz",
        "https://api.hyperliquid.xyz/?key=1",
        "ftp://api.hyperliquid.xyz",
        "api.hyperliquid.xyz",
        "https://[",
        "",
    ],
)
def test_an_address_that_could_leak_is_refused_with_a_reason(url: str) -> None:
    assert egress.wrong_with(url, allowed=LOCAL)


@pytest.mark.parametrize(
    "url",
    [
        "https://api.hyperliquid.xyz",
        "https://8.8.8.8/x",
        "http://127.0.0.1:8123",
        "http://localhost",
    ],
)
def test_the_open_internet_and_named_hosts_may_be_reached(url: str) -> None:
    assert egress.wrong_with(url, allowed=LOCAL) == ""


def names(monkeypatch: pytest.MonkeyPatch, **known: list[str]) -> None:
    async def getaddrinfo(self: object, host: str, port: int, **_: Any) -> list[Any]:
        found = known.get(host.replace(".", "_"), [])
        if not found:
            raise OSError("unknown name")
        return [(2, 1, 6, "", (address, port)) for address in found]

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", getaddrinfo)


async def ask(url: str, *, allowed: tuple[str, ...] = LOCAL) -> httpx2.Request:
    """Return the request as it would leave this machine."""
    seen: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(200)

    guard = egress.Pinned(httpx2.MockTransport(answer), allowed=allowed)
    async with httpx2.AsyncClient(transport=guard) as client:
        await client.get(url)
    return seen[0]


async def test_a_connection_goes_to_the_very_address_that_was_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names(monkeypatch, venue_example=["93.184.216.34"])

    sent = await ask("https://venue.example/info")

    assert sent.url.host == "93.184.216.34"
    assert sent.headers["Host"] == "venue.example"
    assert sent.extensions["sni_hostname"] == "venue.example"


@pytest.mark.parametrize(
    "addresses", [["10.0.0.1"], ["93.184.216.34", "127.0.0.1"], ["::1"], ["169.254.169.254"]]
)
async def test_a_name_that_leads_into_our_own_network_is_not_followed(
    monkeypatch: pytest.MonkeyPatch, addresses: list[str]
) -> None:
    names(monkeypatch, venue_example=addresses)

    with pytest.raises(egress.ForbiddenAddress, match=r"venue\.example"):
        await ask("https://venue.example/info")
    with pytest.raises(httpx2.ConnectError, match="not known"):
        await ask("https://nobody.example/info")


async def test_a_name_that_leads_elsewhere_later_is_looked_at_again_or_not_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(request.url.host)
        return httpx2.Response(200)

    kept, forgotten = (
        egress.Pinned(httpx2.MockTransport(answer), allowed=LOCAL, kept_s=kept_s)
        for kept_s in (60.0, 0.0)
    )
    names(monkeypatch, venue_example=["93.184.216.34"])
    for guard in (kept, forgotten):
        await guard.handle_async_request(httpx2.Request("GET", "https://venue.example/"))
    names(monkeypatch, venue_example=["127.0.0.1"])

    await kept.handle_async_request(httpx2.Request("GET", "https://venue.example/"))
    with pytest.raises(egress.ForbiddenAddress):
        await forgotten.handle_async_request(httpx2.Request("GET", "https://venue.example/"))

    assert sent == ["93.184.216.34"] * 3


async def test_an_address_that_does_not_answer_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []

    def refuse(request: httpx2.Request) -> httpx2.Response:
        sent.append(request.url.host)
        raise httpx2.ConnectError("nobody there")

    guard = egress.Pinned(httpx2.MockTransport(refuse), allowed=LOCAL)
    for address in ("93.184.216.34", "93.184.216.35"):
        names(monkeypatch, venue_example=[address])
        with pytest.raises(httpx2.ConnectError):
            await guard.handle_async_request(httpx2.Request("GET", "https://venue.example/"))

    assert sent == ["93.184.216.34", "93.184.216.35"]


async def test_a_host_that_was_named_is_reached_as_it_is() -> None:
    sent = await ask("http://gpu.lan:11434/api", allowed=("gpu.lan",))

    assert sent.url.host == "gpu.lan"
