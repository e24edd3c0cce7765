"""Where Lens may send what it sends: addresses of the open internet, and hosts that were named.

A name that was harmless when the settings were read may lead to an address of our own network
later. So a name is resolved once for each connection, every address of it is looked at, and the
connection goes to the very address that was looked at.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Collection
from functools import cache
from ipaddress import IPv6Address, ip_address
from urllib.parse import urlsplit

import httpx2

from pipeline.lines import Lines

LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
NAT64 = "64:ff9b::"
KEPT_S = 60.0
IDLE_S = 60.0


@cache
def tls() -> ssl.SSLContext:
    """Return the one TLS context of this process.

    Reading the certificates takes a tenth of a second, and each client would do so for itself, at
    its first call and in everybody's way.
    """
    context = httpx2.create_ssl_context(trust_env=False)
    context.set_alpn_protocols(["http/1.1"])
    return context


def open_transport(*, allowed: Collection[str], idle_max: int) -> Pinned:
    """Return one event loop's connections to the open internet and to the hosts in ``allowed``.

    Up to ``idle_max`` of them to one place are kept for later calls.
    """
    return Pinned(Lines(tls=tls(), idle_s=IDLE_S, idle_max=idle_max), allowed=allowed)


class ForbiddenAddress(httpx2.ConnectError):
    """A host whose address lies in a network of our own."""


def wrong_with(url: str, *, allowed: Collection[str]) -> str:
    """Return what is wrong with an address that Lens shall send to, or "" if nothing is.

    Hosts in ``allowed`` may be reached over plain http and lie anywhere.
    """
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".")
    except ValueError:
        return "is no address"
    if parts.scheme not in ("http", "https") or not host:
        return "must begin with https:// or http:// and name a host"
    if parts.username or parts.password or parts.query or parts.fragment:
        return "must hold no user name, password, query or fragment"
    return "" if host in allowed else _wrong_abroad(parts.scheme, host)


def _wrong_abroad(scheme: str, host: str) -> str:
    if scheme == "http":
        return f"must be https, for LOCAL_MODEL_HOSTS does not name {host}"
    if _is_written_oddly(host) or not is_open(host):
        return "is a private address that LOCAL_MODEL_HOSTS does not name"
    return ""


def is_open(address: str) -> bool:
    """Say whether an address belongs to the open internet; a name is nothing of ours yet."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address != "localhost"
    if isinstance(found, IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo or (None, None))[1]
        if str(found).startswith(NAT64):
            return False
        if inner is not None:
            return inner.is_global
    return found.is_global and not found.is_multicast


def _is_written_oddly(host: str) -> bool:
    """Say whether a host is an address in clothes that resolvers understand: 2130706433, 0x7f.1."""
    try:
        ip_address(host)
    except ValueError:
        return all(part.isdigit() or part.startswith("0x") for part in host.lower().split("."))
    return False


class Pinned(httpx2.AsyncBaseTransport):
    """A transport that looks at every address before it connects, and connects to that address.

    An address that was looked at is kept for a while, so that connections to it are used again: a
    name that leads elsewhere meanwhile changes nothing, for it is not asked.
    """

    def __init__(
        self,
        inner: httpx2.AsyncBaseTransport,
        *,
        allowed: Collection[str] = LOCAL_HOSTS,
        kept_s: float = KEPT_S,
    ) -> None:
        self._inner = inner
        self._allowed = frozenset(allowed)
        self._kept_s = kept_s
        self._known: dict[str, tuple[str, float]] = {}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        host = request.url.host
        if host not in self._allowed:
            address = await self._address_of(host, request.url.port or 443)
            request.url = request.url.copy_with(host=address)
            request.extensions = {**request.extensions, "sni_hostname": host}
        try:
            return await self._inner.handle_async_request(request)
        except (httpx2.ConnectError, httpx2.ConnectTimeout):
            self._known.pop(host, None)
            raise

    async def _address_of(self, host: str, port: int) -> str:
        address, until = self._known.get(host, ("", 0.0))
        if time.monotonic() >= until:
            address = await _looked_at(host, port)
            self._known[host] = (address, time.monotonic() + self._kept_s)
        return address

    async def aclose(self) -> None:
        await self._inner.aclose()


async def _looked_at(host: str, port: int) -> str:
    """Return an address of ``host``.

    :raises ForbiddenAddress: if any of its addresses is none of the open internet.
    :raises httpx2.ConnectError: if it has none.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise httpx2.ConnectError(f"{host} is not known: {error}") from error
    addresses = [str(entry[4][0]) for entry in found]
    shut = [address for address in addresses if not is_open(address)]
    if shut or not addresses:
        raise ForbiddenAddress(f"{host} leads into a network that LOCAL_MODEL_HOSTS does not name")
    return addresses[0]
