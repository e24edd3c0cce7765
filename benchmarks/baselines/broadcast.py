"""The least that a fan-out can be: one process that broadcasts prepared bytes with ``websockets``.

``python -m benchmarks.baselines.broadcast PORT BYTES``: each line on its standard input sends one
message of so many bytes to everybody, and it prints the monotonic time at which it began.
"""

from __future__ import annotations

import asyncio
import sys
import time

from websockets.asyncio.server import ServerConnection, broadcast, serve

EVERYBODY: set[ServerConnection] = set()


async def receive(connection: ServerConnection) -> None:
    """Greet, answer the subscription, and stay until the other side leaves."""
    await connection.recv()
    EVERYBODY.add(connection)
    await connection.send('{"type":"subscribed"}')
    await connection.wait_closed()
    EVERYBODY.discard(connection)


async def main(port: int, size: int) -> None:
    """Serve until the input ends."""
    head = '{"type":"decision","filler":"'
    message = head + "x" * (size - len(head) - 2) + '"}'
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with serve(receive, "127.0.0.1", port, compression=None, ping_interval=None):
        while await lines.readline():
            at_s = time.monotonic()
            broadcast(EVERYBODY, message)
            sys.stdout.write(f"{at_s}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
