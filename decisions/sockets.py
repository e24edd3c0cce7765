"""What a WebSocket door asks of the server beneath it: room, sends that begin at once, rounds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import Context
from typing import Any
from weakref import WeakKeyDictionary

Send = Callable[[dict[str, Any]], Awaitable[None]]
Look = Callable[[float], None]


class Valve:
    """Shut while the server's transport has more unsent than it should; a Twisted producer.

    Most are never shut: the event, which takes a kilobyte, is made when one is.
    """

    __slots__ = ("_opening", "shut_since")

    def __init__(self) -> None:
        self.shut_since: float | None = None
        self._opening: asyncio.Event | None = None

    async def opened(self) -> None:
        """Wait until there is room."""
        if self._opening is not None:
            await self._opening.wait()

    def pauseProducing(self) -> None:  # noqa: N802  Twisted's name
        if self._opening is None:
            self._opening = asyncio.Event()
        self.shut_since = asyncio.get_running_loop().time()

    def resumeProducing(self) -> None:  # noqa: N802  Twisted's name
        if self._opening is not None:
            self._opening.set()
        self._opening = self.shut_since = None

    def stopProducing(self) -> None:  # noqa: N802  Twisted's name
        self.resumeProducing()


def valve_of(send: Send) -> Valve:
    """Return a valve that daphne's transport shuts and opens; elsewhere one that stays open.

    Source: daphne's ``Server.create_application`` gives ``partial(handle_reply, protocol)``.
    """
    valve = Valve()
    protocol: Any = next(iter(getattr(send, "args", ())), None)
    if hasattr(protocol, "registerProducer"):
        protocol.unregisterProducer()  # the HTTP channel that the upgrade has left behind
        protocol.registerProducer(valve, True)
    return valve


class Rest:
    """What is left of a coroutine that has begun; await it, in any task, to have it finished."""

    __slots__ = ("_coroutine", "_waits_for")

    def __init__(self, coroutine: Coroutine[Any, Any, None], waits_for: object) -> None:
        self._coroutine = coroutine
        self._waits_for = waits_for

    def __await__(self) -> Generator[Any, Any, None]:
        return self

    def __iter__(self) -> Rest:
        return self

    def __next__(self) -> Any:
        return self.send(None)

    def send(self, value: object) -> Any:
        """Hand over what the coroutine waits for, first what it already waited for."""
        if self._waits_for is not None:
            waits_for, self._waits_for = self._waits_for, None
            return waits_for
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        """Let the coroutine meet an error where it waits."""
        return self._coroutine.throw(*error)

    def close(self) -> None:
        """Give the coroutine up."""
        self._coroutine.close()


def begin(coroutine: Coroutine[Any, Any, None]) -> Rest | None:
    """Run a coroutine as far as it goes without waiting; None when that was to its end.

    Most sends wait for nothing, and a task for each costs more than the send itself.
    """
    try:
        return Rest(coroutine, coroutine.send(None))
    except StopIteration:
        return None


class Rounds:
    """One task that looks at every socket of an event loop now and then."""

    def __init__(self) -> None:
        self._looks: dict[Look, None] = {}
        self._task: asyncio.Task[None] | None = None

    def join(self, look: Look, *, every_s: Callable[[], float]) -> None:
        """Have ``look`` called with the loop's time at every round."""
        self._looks[look] = None
        if self._task is None:
            walking = self._walk(every_s)
            self._task = asyncio.get_running_loop().create_task(walking, context=Context())

    def leave(self, look: Look) -> None:
        """Take no further part; the last to leave ends the rounds."""
        self._looks.pop(look, None)
        if not self._looks and self._task is not None:
            self._task.cancel()
            self._task = None

    async def _walk(self, every_s: Callable[[], float]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(every_s())
            for look in tuple(self._looks):
                loop.call_soon(look, loop.time())  # by itself: an error stops no other look


_rounds: WeakKeyDictionary[asyncio.AbstractEventLoop, Rounds] = WeakKeyDictionary()


def rounds_here() -> Rounds:
    """Return the rounds of this event loop."""
    return _rounds.setdefault(asyncio.get_running_loop(), Rounds())
