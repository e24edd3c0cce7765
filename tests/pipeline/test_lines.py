from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pipeline.lines import UNREAD_MAX_BYTES, Lines

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Server:
    """Answers each request of each connection with the bytes given; counts connections."""

    def __init__(self, *answers: bytes, then: Talk | None = None) -> None:
        self.answers = answers or (ANSWER,)
        self.then = then
        self.connections = 0
        self.open = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            for number in range(100):
                await _request(reader)
                writer.write(self.answers[min(number, len(self.answers) - 1)])
                await writer.drain()
                if self.then is not None:
                    await self.then(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            writer.close()


async def _request(reader: asyncio.StreamReader) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
    await reader.readexactly(int(length or b"0"))


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def say_nothing_more(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


@asynccontextmanager
async def serving(
    server: Server,
    *,
    idle_max: int = 4,
    idle_s: float = 60.0,
    tls: ssl.SSLContext | None = None,
    trusted: Path | None = None,
) -> AsyncIterator[tuple[Lines, str]]:
    listening = await asyncio.start_server(server, "127.0.0.1", 0, ssl=tls)
    port = listening.sockets[0].getsockname()[1]
    trust = ssl.create_default_context(cafile=trusted)
    lines = Lines(tls=trust, idle_s=idle_s, idle_max=idle_max)
    async with listening:
        try:
            yield lines, f"{'https' if tls else 'http'}://127.0.0.1:{port}/v1"
        finally:
            await lines.aclose()
            await eventually(lambda: server.open == 0)


async def eventually(holds: Callable[[], bool]) -> None:
    for _ in range(200):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never became true")


async def ask(lines: Lines, url: str, *, read_s: float = 5.0, name: str = "") -> bytes:
    extensions = {"timeout": {"connect": 2.0, "read": read_s}} | (
        {"sni_hostname": name} if name else {}
    )
    request = httpx2.Request("POST", url, json={"a": 1}, extensions=extensions)
    response = await lines.handle_async_request(request)
    try:
        return await response.aread()
    finally:
        await response.aclose()


async def test_calls_that_follow_each_other_share_a_connection() -> None:
    server = Server()
    async with serving(server) as (lines, url):
        answers = [await ask(lines, url) for _ in range(3)]

        assert answers == [b"{}"] * 3
        assert server.connections == 1


async def test_calls_at_once_have_their_own_and_only_so_many_are_kept() -> None:
    server = Server()
    async with serving(server, idle_max=2) as (lines, url):
        await asyncio.gather(*(ask(lines, url) for _ in range(5)))

        await eventually(lambda: server.open == 2)
        await asyncio.gather(*(ask(lines, url) for _ in range(2)))
        assert server.connections == 5


async def test_a_connection_that_ended_or_grew_old_is_not_used_again() -> None:
    hasty = Server(then=hang_up)
    async with serving(hasty) as (lines, url):
        for _ in range(2):
            await ask(lines, url)
            await eventually(lambda: hasty.open == 0)
            await asyncio.sleep(0.05)  # until the news has come
        assert hasty.connections == 2

    patient = Server()
    async with serving(patient, idle_s=0.0) as (lines, url):
        await ask(lines, url)
        await ask(lines, url)
        assert patient.connections == 2


async def test_what_nobody_asked_for_ends_a_connection() -> None:
    """An answer planted before its question would be taken for the answer to it."""
    planted = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad"
    at_once = Server(ANSWER + planted)
    async with serving(at_once) as (lines, url):
        assert [await ask(lines, url), await ask(lines, url)] == [b"{}", b"{}"]
        assert at_once.connections == 2

    async def plant(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.05)
        writer.write(planted)

    later = Server(then=plant)
    async with serving(later) as (lines, url):
        await ask(lines, url)
        await eventually(lambda: later.open == 0)
        assert await ask(lines, url) == b"{}"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n" + ANSWER,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
    ],
)
async def test_every_way_to_end_an_answer_is_understood(answer: bytes) -> None:
    server = Server(answer)
    async with serving(server) as (lines, url):
        assert [await ask(lines, url), await ask(lines, url)] == [b"{}", b"{}"]
        assert server.connections == 1


@pytest.mark.parametrize(
    "head",
    [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nConnection: close\r\n", b"HTTP/1.0 200\r\n"],
)
async def test_an_answer_may_end_with_its_connection(head: bytes) -> None:
    server = Server(head + b"\r\n{}", then=hang_up)
    async with serving(server) as (lines, url):
        assert [await ask(lines, url), await ask(lines, url)] == [b"{}", b"{}"]
        assert server.connections == 2


async def test_a_large_answer_is_read_no_faster_than_it_is_wanted() -> None:
    size = 20 * UNREAD_MAX_BYTES
    server = Server(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
    async with serving(server) as (lines, url):
        assert len(await ask(lines, url)) == size
        assert await ask(lines, url) == b"x" * size


@pytest.mark.parametrize(
    ("answer", "then", "fault"),
    [
        (b"", hang_up, httpx2.RemoteProtocolError),
        (b"", reset, httpx2.TransportError),
        (b"", say_nothing_more, httpx2.ReadTimeout),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", hang_up, httpx2.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", reset, httpx2.TransportError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", say_nothing_more, httpx2.ReadTimeout),
        (b"220 mail.example ESMTP\r\n\r\n", say_nothing_more, httpx2.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000, say_nothing_more, httpx2.RemoteProtocolError),
    ],
)
async def test_an_answer_that_is_none_has_its_name_and_costs_the_connection(
    answer: bytes, then: Talk, fault: type[Exception]
) -> None:
    server = Server(answer, then=then)
    async with serving(server) as (lines, url):
        with pytest.raises(fault):
            await ask(lines, url, read_s=0.2)

        await eventually(lambda: server.open == 0)


async def test_nobody_at_the_place_is_told_as_such() -> None:
    async with serving(Server()) as (lines, url):
        pass

    with pytest.raises(httpx2.ConnectError):
        await ask(lines, url)


async def test_a_call_that_is_given_up_leaves_no_connection() -> None:
    server = Server(b"", then=say_nothing_more)
    async with serving(server) as (lines, url):
        call = asyncio.create_task(ask(lines, url))
        await eventually(lambda: server.open == 1)

        call.cancel()

        await eventually(lambda: server.open == 0)


@pytest.fixture
def certificate(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """Yield a certificate of venue.example and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "venue.example")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("venue.example")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    public, private = tmp_path / "public.pem", tmp_path / "private.pem"
    public.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    yield public, private


async def test_a_server_must_be_certified_for_the_name_that_was_asked_for(
    certificate: tuple[Path, Path],
) -> None:
    public, private = certificate
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(public, private)
    server = Server()
    async with serving(server, tls=tls, trusted=public) as (lines, url):
        answers = [await ask(lines, url, name="venue.example") for _ in range(2)]

        assert answers == [b"{}", b"{}"]
        assert server.connections == 1
        with pytest.raises(httpx2.ConnectError, match=r"other\.example"):
            await ask(lines, url, name="other.example")
