"""Many WebSocket clients in one process that do nothing but note when what came.

Run inside a benchmark: ``python -m benchmarks.sockets HOST PORT PATH COUNT MESSAGES``. It prints a
line when all have subscribed, and at the end when each message had reached how many, in monotonic
time, which all programs of a machine share.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import sys
import time
from collections.abc import Sequence

from benchmarks.frame import share

MASK = b"\x01\x02\x03\x04"
CONNECTING_AT_ONCE = 50
ENOUGH_S = 120.0


class Listener(asyncio.Protocol):
    """One client: shakes hands, subscribes, and counts whole frames that hold a decision."""

    def __init__(self, hello: bytes, words: bytes, wanted: int) -> None:
        self._hello, self._words, self._wanted = hello, words, wanted
        self._left = b""
        self._is_open = False
        self.at_s: list[float] = []
        self.bytes = 0
        self.has_subscribed = asyncio.get_running_loop().create_future()
        self.has_all = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        transport.write(self._hello)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        now_s = time.monotonic()
        self._left += data
        if not self._is_open:
            head, end, rest = self._left.partition(b"\r\n\r\n")
            if not end:
                return
            if b" 101 " not in head:
                self._give_up(ConnectionError(head.decode(errors="replace")))
                return
            self._is_open, self._left = True, rest
            self.transport.write(_frame(self._words))  # type: ignore[attr-defined]
        while self._left and (whole := _whole_frame(self._left)):
            text, self._left = whole
            self._note(text, now_s)

    def _note(self, text: bytes, now_s: float) -> None:
        if b'"decision"' in text[:40]:
            self.at_s.append(now_s)
            self.bytes = max(self.bytes, len(text))
            if len(self.at_s) == self._wanted and not self.has_all.done():
                self.has_all.set_result(None)
        elif b'"subscribed"' in text[:60] and not self.has_subscribed.done():
            self.has_subscribed.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._give_up(exc or ConnectionError("closed by the server"))

    def _give_up(self, why: Exception) -> None:
        for future in (self.has_subscribed, self.has_all):
            if not future.done():
                future.set_exception(why)


def _frame(text: bytes) -> bytes:
    assert len(text) < 126
    masked = bytes(each ^ MASK[place % 4] for place, each in enumerate(text))
    return bytes((0x81, 0x80 | len(text))) + MASK + masked


def _whole_frame(data: bytes) -> tuple[bytes, bytes] | None:
    """Return the first frame's content and what follows it; None while it is not all here."""
    if len(data) < 2:
        return None
    size, begin = data[1] & 0x7F, 2
    if size == 126:
        size, begin = int.from_bytes(data[2:4]), 4
    elif size == 127:
        size, begin = int.from_bytes(data[2:10]), 10
    if len(data) < begin + size:
        return None
    return data[begin : begin + size], data[begin + size :]


def _hello(host: str, port: int, path: str) -> bytes:
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {host}:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
        "Sec-WebSocket-Version: 13",
        f"X-API-Key: {os.environ.get('BENCH_KEY', '')}",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def listen(host: str, port: int, path: str, *, count: int, messages: int) -> None:
    """Connect all, say so, and tell at the end when each message was there."""
    loop, lane = asyncio.get_running_loop(), asyncio.Semaphore(CONNECTING_AT_ONCE)
    words = json.dumps({"action": "subscribe"}).encode()

    async def connected() -> Listener:
        async with lane:
            listener = Listener(_hello(host, port, path), words, messages)
            await loop.create_connection(lambda: listener, host, port)
            await listener.has_subscribed
            return listener

    listeners = await asyncio.gather(*(connected() for _ in range(count)))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.wait([each.has_all for each in listeners], timeout=ENOUGH_S)
    told = summed([each.at_s for each in listeners], messages)
    told["bytes"] = max(each.bytes for each in listeners)
    sys.stdout.write(json.dumps(told) + "\n")


def summed(told: Sequence[Sequence[float]], messages: int) -> dict[str, object]:
    """Return how many clients lack something, and when each message was where."""
    whole = [each for each in told if len(each) == messages]
    arrived = [[each[place] for each in whole] for place in range(messages)]
    return {
        "lacking": len(told) - len(whole),
        "p95_s": [share(each, 0.95) for each in arrived],
        "last_s": [max(each) for each in arrived if each],
    }


def main() -> None:
    """Listen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("path")
    parser.add_argument("count", type=int)
    parser.add_argument("messages", type=int)
    told = parser.parse_args()
    asyncio.run(listen(told.host, told.port, told.path, count=told.count, messages=told.messages))


if __name__ == "__main__":
    main()
