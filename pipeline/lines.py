"""HTTP/1.1 over connections that are kept: a call takes the one used last, or opens its own.

The pool that comes with the HTTP library looks at every open connection whenever a call begins or
ends, so each of two hundred calls that wait at once pays for the other hundred and ninety-nine.
Here the event loop tells a connection when its server hangs up, so nobody need look.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from typing import NamedTuple

import h11
import httpx2

HEAD_MAX_BYTES = 100_000
UNREAD_MAX_BYTES = 262_144  # beyond it a server waits until somebody has read
NEXT_ADDRESS_AFTER_S = 0.25
PORTS = {"http": 80, "https": 443}


class Place(NamedTuple):
    """Where a connection leads, and for which name its server must be certified."""

    scheme: str
    host: str
    port: int
    name: str

    @classmethod
    def of(cls, request: httpx2.Request) -> Place:
        """Return where a request goes; what it names itself it says as httpx2's own do."""
        url = request.url
        name = request.extensions.get("sni_hostname", url.host)
        return cls(url.scheme, url.host, url.port or PORTS[url.scheme], name)


class Lines(httpx2.AsyncBaseTransport):
    """A transport of one event loop; to each place up to ``idle_max`` connections are kept.

    Its faults have the names that httpx2 gives them. There is no bound on the connections in use:
    that is on whoever makes the calls.
    """

    def __init__(self, *, tls: ssl.SSLContext, idle_s: float, idle_max: int) -> None:
        self._tls = tls
        self._idle_s = idle_s
        self._idle_max = idle_max
        self._idle: dict[Place, list[Line]] = {}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        place, timeouts = Place.of(request), request.extensions.get("timeout", {})
        content = await request.aread()
        line = self._kept(place) or await self._opened(place, timeouts.get("connect"))
        head: h11.Response | None = None
        try:
            head = await line.ask(request, content, read_s=timeouts.get("read"))
        finally:
            if head is None:
                line.hang_up()
        body = _Body(line, home=self, place=place)
        return httpx2.Response(head.status_code, headers=head.headers.raw_items(), stream=body)

    async def aclose(self) -> None:
        for line in [line for lines in self._idle.values() for line in lines]:
            line.hang_up()
        self._idle.clear()
        await asyncio.sleep(0)  # the event loop closes the sockets in its next round

    def take_back(self, line: Line, place: Place) -> None:
        """Keep a connection for the next call if its answer was read to the end."""
        idle = self._idle.setdefault(place, [])
        if len(idle) < self._idle_max and line.is_ready_again():
            line.idle_since = asyncio.get_running_loop().time()
            idle.append(line)
        else:
            line.hang_up()

    def _kept(self, place: Place) -> Line | None:
        idle, now = self._idle.get(place, []), asyncio.get_running_loop().time()
        while idle:
            line = idle.pop()
            if not line.has_ended and now - line.idle_since < self._idle_s:
                return line
            line.hang_up()
        return None

    async def _opened(self, place: Place, timeout_s: float | None) -> Line:
        is_secure = place.scheme == "https"
        try:
            async with asyncio.timeout(timeout_s):
                _, line = await asyncio.get_running_loop().create_connection(
                    Line,
                    place.host,
                    place.port,
                    ssl=self._tls if is_secure else None,
                    server_hostname=place.name if is_secure else None,
                    happy_eyeballs_delay=NEXT_ADDRESS_AFTER_S,
                )
        except TimeoutError as error:
            raise httpx2.ConnectTimeout(f"no connection to {place.name}") from error
        except OSError as error:
            raise httpx2.ConnectError(str(error)) from error
        return line


class Line(asyncio.Protocol):
    """One connection, on which one request and its answer follow the other."""

    def __init__(self) -> None:
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_MAX_BYTES)
        self._wire: asyncio.Transport | None = None
        self._news: asyncio.Future[None] | None = None
        self._read_s: float | None = None
        self._unread = 0
        self._fault: Exception | None = None
        self.has_ended = False
        self.idle_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._wire = transport

    def data_received(self, data: bytes) -> None:
        if self._http.our_state is h11.IDLE:
            self.hang_up()  # nobody has asked
            return
        self._http.receive_data(data)
        self._unread += len(data)
        if self._wire is not None and self._unread > UNREAD_MAX_BYTES:
            self._wire.pause_reading()
        self._tell()

    def eof_received(self) -> None:
        self.has_ended = True
        self._tell()

    def connection_lost(self, exc: Exception | None) -> None:
        self.has_ended, self._fault = True, exc
        self._tell()

    async def ask(
        self, request: httpx2.Request, content: bytes, *, read_s: float | None
    ) -> h11.Response:
        """Send a request and return the head of its answer.

        :raises httpx2.TransportError: if there is none, each time ``read_s`` at most without news.
        """
        self._read_s = read_s
        self._send(request, content)
        while not isinstance(event := await self.next_event(), h11.Response):
            if not isinstance(event, h11.InformationalResponse):
                raise httpx2.RemoteProtocolError("the server gave no answer")
        return event

    def _send(self, request: httpx2.Request, content: bytes) -> None:
        head = h11.Request(
            method=request.method, target=request.url.raw_path, headers=request.headers.raw
        )
        parts = [head, *([h11.Data(data=content)] if content else []), h11.EndOfMessage()]
        if self._wire is not None:
            self._wire.write(b"".join(self._http.send(part) or b"" for part in parts))

    async def next_event(self) -> object:
        """Return what comes next of the answer.

        :raises httpx2.TransportError: if that is nothing that HTTP knows, or nothing in time.
        """
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                raise httpx2.RemoteProtocolError(str(error)) from error
            if event is not h11.NEED_DATA:
                return event
            if self.has_ended:
                self._take_end()
            else:
                await self._hear()

    def _take_end(self) -> None:
        """Let the end of the connection be the end of the answer, if it can be."""
        if self._fault is not None:
            raise httpx2.ReadError(str(self._fault)) from self._fault
        if self._http.their_state is h11.SEND_RESPONSE:
            raise httpx2.RemoteProtocolError("Server disconnected without sending a response.")
        self._http.receive_data(b"")

    async def _hear(self) -> None:
        if self._wire is not None and self._unread > UNREAD_MAX_BYTES:
            self._wire.resume_reading()
        self._unread = 0
        self._news = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(self._read_s):
                await self._news
        except TimeoutError as error:
            raise httpx2.ReadTimeout(f"nothing more within {self._read_s:g} s") from error

    def _tell(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    def is_ready_again(self) -> bool:
        """Say whether the answer was read to its end, and if so be ready for the next call."""
        is_done = self._http.our_state is h11.DONE and self._http.their_state is h11.DONE
        if self.has_ended or not is_done or self._http.trailing_data[0]:
            return False
        self._http.start_next_cycle()
        return True

    def hang_up(self) -> None:
        """Close at once; whatever is under way is lost."""
        self.has_ended = True
        if self._wire is not None:
            self._wire.abort()


class _Body(httpx2.AsyncByteStream):
    """The body of an answer; when it is closed its connection goes home."""

    def __init__(self, line: Line, *, home: Lines, place: Place) -> None:
        self._line: Line | None = line
        self._home = home
        self._place = place

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while self._line is not None:
            event = await self._line.next_event()
            if not isinstance(event, h11.Data):
                return
            yield bytes(event.data)

    async def aclose(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            self._home.take_back(line, self._place)
