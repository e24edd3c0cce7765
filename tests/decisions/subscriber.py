"""A subscriber as a client would write it, over the consumer's own protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any, Union

import orjson
from channels.routing import URLRouter
from channels.testing import WebsocketCommunicator
from pydantic import Field, TypeAdapter

from decisions.routing import websocket_urlpatterns
from lens_site.asyncapi import HEARD, Message

Header = tuple[bytes, bytes]
PATIENCE_S = 15.0
"""What is certain to come may take so long on a busy machine."""

DESCRIBED: TypeAdapter[Message] = TypeAdapter(
    Annotated[Union[HEARD], Field(discriminator="type")]  # type: ignore[arg-type]  # noqa: UP007
)
"""Every message that any test hears must be as the AsyncAPI document describes it."""


class Closed(Exception):
    """The server closed the socket."""

    def __init__(self, code: int) -> None:
        super().__init__(f"closed with {code}")
        self.code = code


class Subscriber(WebsocketCommunicator):  # type: ignore[misc]
    """One client of ``/ws/decisions``."""

    def __init__(
        self,
        *,
        key: str | None = None,
        path: str = "/ws/decisions",
        headers: Sequence[Header] = (),
        room: int = 0,
    ) -> None:
        named = [(b"x-api-key", key.encode())] if key else []
        super().__init__(URLRouter(websocket_urlpatterns), path, headers=[*named, *headers])
        self.scope["client"] = ["127.0.0.1", 5000]
        self._output_queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(maxsize=room)

    async def say(self, **message: object) -> None:
        await self.send_input({"type": "websocket.receive", "text": orjson.dumps(message).decode()})

    async def hear(self, *, timeout: float = PATIENCE_S) -> dict[str, Any]:
        output = await self.receive_output(timeout)
        if output["type"] == "websocket.close":
            raise Closed(output["code"])
        message: dict[str, Any] = orjson.loads(output["text"])
        DESCRIBED.validate_python(message)
        return message

    async def subscribe(self, **wanted: object) -> dict[str, Any]:
        await self.say(action="subscribe", **wanted)
        return await self.hear()

    async def seqs(self, count: int) -> list[int]:
        """Return the numbers of the next decisions."""
        return [(await self.hear())["seq"] for _ in range(count)]

    async def hears_nothing(self) -> bool:
        """Say whether nothing comes before the answer to a ping, and nothing right after."""
        await self.say(action="ping")
        answer = await self.hear()
        return answer["type"] == "pong" and bool(await self.receive_nothing(0.1))

    async def closing(self) -> tuple[int, list[dict[str, Any]]]:
        """Return the code the socket is closed with, and what was said until then."""
        said = []
        while True:
            try:
                said.append(await self.hear())
            except Closed as end:
                return end.code, said


@asynccontextmanager
async def dialled(
    key: str | None = None,
    *,
    path: str = "/ws/decisions",
    headers: Sequence[Header] = (),
    room: int = 0,
) -> AsyncIterator[Subscriber]:
    """Open a socket, and hang up at the end."""
    subscriber = Subscriber(key=key, path=path, headers=headers, room=room)
    accepted, _ = await subscriber.connect(timeout=PATIENCE_S)
    assert accepted
    try:
        yield subscriber
    finally:
        await subscriber.disconnect(timeout=PATIENCE_S)


@asynccontextmanager
async def connected(key: str, *, room: int = 0) -> AsyncIterator[Subscriber]:
    """Open a socket that is known to be let in."""
    async with dialled(key, room=room) as subscriber:
        assert (await subscriber.hear())["type"] == "connected"
        yield subscriber
