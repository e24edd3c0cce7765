"""A small HTTP/1.1 server for one ASGI app on loopback, with its own loop and thread if wanted.

It exists because faults go below HTTP: an app that raises ``ConnectionDropped`` has its
connection reset, which no ordinary server would do for it.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

HEAD_MAX_BYTES = 64 * 1024
BODY_MAX_BYTES = 8 * 1024 * 1024
BACKLOG = 2048
START_WAIT_S = 10.0
LOOKS = 2  # turns of the loop: one reads from the connection, the next tells
GONE = (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)


class ConnectionDropped(Exception):
    """The app wants the connection reset, in the middle of whatever it was."""


class BadRequest(Exception):
    """What came is no HTTP that this server understands."""


class Server:
    """Serves an app until it is closed; ``port`` 0 takes any free one."""

    def __init__(self, app: App, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self._app = app
        self._host = host
        self.port = port
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Where the server answers."""
        return f"http://{self._host}:{self.port}"

    async def start(self) -> None:
        """Listen.

        :raises OSError: when the port is taken.
        """
        self._server = await asyncio.start_server(
            self._meet, self._host, self.port, limit=HEAD_MAX_BYTES, backlog=BACKLOG
        )
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening and drop every connection."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            while await _Exchange(reader, writer).run(self._app):
                continue
        except ConnectionDropped:
            _reset(writer)
        except (BadRequest, *GONE):
            writer.close()
        except asyncio.CancelledError:
            writer.transport.abort()  # the server closes; the task ends as if it were done
        else:
            writer.close()


class _Exchange:
    """One request and its answer on a connection that may serve more of them."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._body: bytes | None = b""
        self._is_chunked = False

    async def run(self, app: App) -> bool:
        """Serve one request; return whether another may follow."""
        first = await self._reader.read(1)
        if not first:
            return False
        head = first + await self._reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        method, _, target = lines[0].partition(" ")
        headers = dict(_header(line) for line in lines[1:] if line)
        self._body = await self._read_body(headers)
        path, _, query = target.rpartition(" ")[0].partition("?")
        scope: MutableMapping[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
        await app(scope, self._receive, self._send)
        return headers.get("connection", "").lower() != "close"

    async def _read_body(self, headers: dict[str, str]) -> bytes:
        try:
            size = int(headers.get("content-length", "0"))
        except ValueError as error:
            raise BadRequest("the length of the body is no number") from error
        if not 0 <= size <= BODY_MAX_BYTES or "transfer-encoding" in headers:
            raise BadRequest("the body is too long, or comes in chunks")
        return await self._reader.readexactly(size)

    async def _receive(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        while await self._reader.read(1):  # a caller has nothing to say before the answer
            continue
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._notice_who_left()
            self._writer.write(self._head(message))
            return
        body: bytes = message.get("body", b"")
        if self._is_chunked and body:
            body = b"%x\r\n%s\r\n" % (len(body), body)
        if self._is_chunked and not message.get("more_body", False):
            body += b"0\r\n\r\n"
        self._writer.write(body)
        await self._writer.drain()

    async def _notice_who_left(self) -> None:
        """Let the loop read what has come: a caller that was killed has closed the connection.

        :raises ConnectionError: when there is nobody any more to hear the answer.
        """
        for _ in range(LOOKS):
            await asyncio.sleep(0)
        if self._reader.at_eof():
            raise ConnectionError("the caller has left")

    def _head(self, message: Message) -> bytes:
        headers: list[tuple[bytes, bytes]] = list(message.get("headers", []))
        self._is_chunked = not any(name == b"content-length" for name, _ in headers)
        if self._is_chunked:
            headers.append((b"transfer-encoding", b"chunked"))
        status = int(message["status"])
        known = {each.value for each in HTTPStatus}
        phrase = HTTPStatus(status).phrase if status in known else "Status"
        lines = [b"HTTP/1.1 %d %s" % (status, phrase.encode())]
        lines += [b"%s: %s" % header for header in headers]
        return b"\r\n".join(lines) + b"\r\n\r\n"


def _header(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.strip().lower(), value.strip()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection so that the caller sees it reset, not ended."""
    own = writer.get_extra_info("socket")
    own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextmanager
def in_thread(app: App, *, port: int = 0) -> Iterator[Server]:
    """Serve an app on loopback in a thread with a loop of its own, as long as the block runs.

    :raises OSError: when the port is taken.
    """
    server, loop = Server(app, port=port), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="fake-vendors", daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(server.start(), loop).result(START_WAIT_S)
        yield server
    finally:
        with suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(server.close(), loop).result(START_WAIT_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(START_WAIT_S)
        loop.close()
