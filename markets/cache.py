"""Keeping answers while they are fresh, once for all who ask at the same time.

Three layers: what this process holds as ready values, who in this process is already asking, and
what the processes share in Redis. Redis may be away: then each process keeps its own. What lies
in Redis is JSON and plain numbers, so whatever is planted there, nothing of it is executed.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, Protocol, TypeVar
from uuid import uuid4

import numpy as np

from markets.parsing import bars_of
from quant.types import Bars

logger = logging.getLogger(__name__)

T = TypeVar("T")

PREFIX = "lens:market:"
SILENCE_AFTER_FAULT_S = 1.0  # while it is away Redis is not asked again and again
COMMANDS_AT_ONCE = 32  # redis-py gives up beyond 100 connections
TURN_MS = 3_000  # a turn whose holder died is free again after this
POLL_S = 0.02
KEPT_VALUES = 512
KEPT_CUTS = 256
COLUMNS = 6

# KEYS: value. Returns it ('' if there is none) and how many ms it will be kept.
GET = "return {redis.call('GET', KEYS[1]) or '', redis.call('PTTL', KEYS[1])}"
# KEYS: turn; ARGV: token. Gives the turn back only if it is still ours.
END_TURN = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


class RedisClient(Protocol):
    """The little that is needed of an asyncio Redis client."""

    async def execute_command(self, *args: str | int | bytes) -> object:
        """Return what Redis answers."""

    async def aclose(self) -> None:
        """Let go of connections."""


class SharedStore:
    """Redis as a place that all processes see and that may be away at any time."""

    def __init__(
        self,
        *,
        client: RedisClient | None = None,
        faults: tuple[type[Exception], ...] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._faults = faults
        self._clock = clock
        self._silent_until = -math.inf
        self._is_away = False
        self._slots = asyncio.Semaphore(COMMANDS_AT_ONCE)

    async def script(
        self, text: str, *, key: str, args: Sequence[str | int | bytes]
    ) -> object | None:
        """Return what a script answers, or None while Redis is away."""
        return await self._run("EVAL", text, 1, PREFIX + key, *args)

    async def get(self, key: str) -> tuple[bytes, float] | None:
        """Return a value and the seconds it stays fresh, or None."""
        answer = await self.script(GET, key=key, args=())
        if not isinstance(answer, list) or not answer[0] or answer[1] <= 0:
            return None
        return bytes(answer[0]), answer[1] / 1000

    async def put(self, key: str, value: bytes, *, fresh_s: float) -> None:
        """Keep a value while it is fresh."""
        await self._run("SET", PREFIX + key, value, "PX", max(1, int(fresh_s * 1000)))

    async def take_turn(self, key: str, *, token: str) -> bool:
        """Return whether it is now our turn to ask for a value; always while Redis is away."""
        name = f"{PREFIX}{key}:turn"
        answer = await self._run("SET", name, token, "NX", "PX", TURN_MS)
        return bool(answer) or self._is_away or self._client is None

    async def end_turn(self, key: str, *, token: str) -> None:
        """Let the next one ask."""
        await self.script(END_TURN, key=f"{key}:turn", args=(token,))

    async def close(self) -> None:
        """Let go of connections."""
        if self._client is not None:
            await self._client.aclose()

    async def _run(self, *command: str | int | bytes) -> object:
        if self._client is None or self._clock() < self._silent_until:
            return None
        try:
            async with self._slots:
                answer = await self._client.execute_command(*command)
        except self._faults as error:
            self._silent_until = self._clock() + SILENCE_AFTER_FAULT_S
            if not self._is_away:
                logger.warning("market cache goes on inside this process: %s", error)
            self._is_away = True
            return None
        if self._is_away:
            logger.info("market cache is shared again")
        self._is_away = False
        return answer


class SingleFlight:
    """Lets all who want the same thing at the same time wait for one who fetches it.

    The fetch is a task of its own: whoever gives up waiting does not stop it for the others.
    """

    def __init__(self) -> None:
        self._flights: dict[str, asyncio.Task[Any]] = {}

    async def join(self, key: str, fetch: Callable[[], Awaitable[T]]) -> T:
        """Return what ``fetch`` brings, or what one under way for ``key`` will bring."""
        task: asyncio.Task[T] | None = self._flights.get(key)
        if task is None:
            task = asyncio.create_task(_run(fetch))
            self._flights[key] = task
            task.add_done_callback(lambda done: self._land(key, done))
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Stop what is under way."""
        tasks = list(self._flights.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _land(self, key: str, task: asyncio.Task[Any]) -> None:
        self._flights.pop(key, None)
        if not task.cancelled():
            task.exception()  # every waiter may have gone, and then nobody else looks at it


async def _run(fetch: Callable[[], Awaitable[T]]) -> T:
    return await fetch()


class Shelf(Generic[T]):
    """The answers of one kind: ready values of this process, and how they are written down."""

    def __init__(
        self,
        *,
        kind: str,
        fresh_s: float,
        encode: Callable[[T], bytes],
        decode: Callable[[bytes], T],
    ) -> None:
        self.kind = kind
        self.fresh_s = fresh_s
        self.encode = encode
        self._decode = decode
        self._kept: OrderedDict[str, tuple[float, T]] = OrderedDict()

    def get(self, key: str, *, now_s: float) -> T | None:
        """Return a value that is still fresh, or None."""
        kept = self._kept.get(key)
        if kept is None or kept[0] <= now_s:
            return None
        return kept[1]

    def put(self, key: str, value: T, *, fresh_until_s: float) -> None:
        """Keep a value, letting go of the one that came first when there are too many."""
        self._kept[key] = (fresh_until_s, value)
        self._kept.move_to_end(key)
        if len(self._kept) > KEPT_VALUES:
            self._kept.popitem(last=False)

    def decode(self, text: bytes) -> T | None:
        """Return the value that another process wrote down, or None if it is none."""
        try:
            return self._decode(text)
        except (ValueError, TypeError, KeyError, IndexError) as error:
            logger.warning("a shared %s cannot be read and is fetched anew: %s", self.kind, error)
            return None


class SharedCache:
    """Values while they are fresh: from this process, else from another, else fetched once."""

    def __init__(self, *, store: SharedStore, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._flights = SingleFlight()

    async def fresh(
        self,
        shelf: Shelf[T],
        key: str,
        fetch: Callable[[T | None], Awaitable[T]],
        *,
        is_usable: Callable[[T], bool] = lambda _: True,
        flight: str = "",
    ) -> T:
        """Return the value of ``key``; ``fetch`` gets the last value, if any, to build upon.

        ``flight`` tells apart wishes for the same key that one fetch cannot all fulfil.
        """
        kept = shelf.get(key, now_s=self._clock())
        if kept is not None and is_usable(kept):
            return kept
        return await self._flights.join(
            f"{shelf.kind}:{key}:{flight}", lambda: self._renewed(shelf, key, fetch, is_usable)
        )

    async def once(self, key: str, fetch: Callable[[], Awaitable[T]]) -> T:
        """Return what ``fetch`` brings, fetched once for all of this process who wait for it."""
        return await self._flights.join(key, fetch)

    async def close(self) -> None:
        """Stop what is under way and let go of connections."""
        await self._flights.close()
        await self._store.close()

    async def _renewed(
        self,
        shelf: Shelf[T],
        key: str,
        fetch: Callable[[T | None], Awaitable[T]],
        is_usable: Callable[[T], bool],
    ) -> T:
        name, token = f"{shelf.kind}:{key}", uuid4().hex
        wait_until_s = self._clock() + TURN_MS / 1000
        while True:
            shared = await self._from_others(shelf, key, name)
            if shared is not None and is_usable(shared):
                return shared
            if await self._store.take_turn(name, token=token) or self._clock() > wait_until_s:
                break
            await asyncio.sleep(POLL_S)
        try:
            shared = await self._from_others(shelf, key, name)
            if shared is not None and is_usable(shared):
                return shared  # it came between our look and our turn
            value = await fetch(shared or shelf.get(key, now_s=self._clock()))
            shelf.put(key, value, fresh_until_s=self._clock() + shelf.fresh_s)
            await self._store.put(name, shelf.encode(value), fresh_s=shelf.fresh_s)
        finally:
            await self._store.end_turn(name, token=token)
        return value

    async def _from_others(self, shelf: Shelf[T], key: str, name: str) -> T | None:
        found = await self._store.get(name)
        if found is None:
            return None
        text, fresh_s = found
        value = shelf.decode(text)
        if value is not None:
            fresh_until_s = self._clock() + min(fresh_s, shelf.fresh_s)
            shelf.put(key, value, fresh_until_s=fresh_until_s)
        return value


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CandleTail:
    """The newest closed candles of one instrument and timeframe, as they were last fetched.

    ``asked`` is how many were asked for; fewer came if the instrument is younger than that.
    ``end_ms`` is the close that the last fetch wanted to reach; where the venue did not have that
    candle yet, or nobody traded, ``look_again_ms`` says when to ask once more.
    """

    bars: Bars
    asked: int
    end_ms: int
    look_again_ms: int
    source: str

    @property
    def last_close_ms(self) -> int:
        """When the newest candle closed; 0 if there is none."""
        return int(self.bars.close_ms[-1]) if len(self.bars) else 0

    def closed(self, *, count: int, end_ms: int) -> Bars:
        """Return at most ``count`` candles closed by ``end_ms``; the same ones for all who ask."""
        return _closed(self, count, end_ms)

    def reaches_back(self, *, count: int, end_ms: int) -> bool:
        """Return whether ``count`` candles closed by ``end_ms`` are here, or all there are."""
        if self.asked < count:
            return False
        return len(self.bars) < self.asked or len(self.closed(count=count, end_ms=end_ms)) >= count


@lru_cache(maxsize=KEPT_CUTS)
def _closed(tail: CandleTail, count: int, end_ms: int) -> Bars:
    stop = int(np.searchsorted(tail.bars.close_ms, end_ms, side="right"))
    return tail.bars[max(0, stop - count) : stop]


def joined(old: Bars, newer: Bars, *, count: int) -> Bars:
    """Return the last ``count`` of old and newer candles; where they overlap the old ones stay."""
    last_close_ms = int(old.close_ms[-1]) if len(old) else 0
    fresh = newer[int(np.searchsorted(newer.open_ms, last_close_ms)) :]
    together = Bars(
        np.concatenate((old.open_ms, fresh.open_ms)),
        np.concatenate((old.open, fresh.open)),
        np.concatenate((old.high, fresh.high)),
        np.concatenate((old.low, fresh.low)),
        np.concatenate((old.close, fresh.close)),
        np.concatenate((old.volume, fresh.volume)),
        old.timeframe_s,
    )
    return together[max(0, len(together) - count) :]


def tail_text(tail: CandleTail) -> bytes:
    """Return a line of JSON and then the columns of the candles as little-endian doubles.

    Times in milliseconds stay exact: they are far below 2**53.
    """
    bars = tail.bars
    head = {
        "asked": tail.asked,
        "end_ms": tail.end_ms,
        "look_again_ms": tail.look_again_ms,
        "source": tail.source,
        "timeframe_s": bars.timeframe_s,
    }
    columns = np.stack(
        (bars.open_ms.astype("<f8"), bars.open, bars.high, bars.low, bars.close, bars.volume)
    )
    return json.dumps(head).encode() + b"\n" + columns.astype("<f8").tobytes()


def tail_of(text: bytes) -> CandleTail:
    """Return the candles that ``tail_text`` wrote.

    :raises ValueError: if the bytes are something else.
    """
    line, _, rest = text.partition(b"\n")
    head = json.loads(line)
    columns = np.frombuffer(rest, dtype="<f8").reshape(COLUMNS, -1).astype(np.float64)
    if not np.isfinite(columns).all():
        raise ValueError("candles hold numbers that are not finite")
    bars = bars_of(columns[0].astype(np.int64), columns[1:].T, timeframe_s=int(head["timeframe_s"]))
    return CandleTail(
        bars=bars,
        asked=int(head["asked"]),
        end_ms=int(head["end_ms"]),
        look_again_ms=int(head["look_again_ms"]),
        source=str(head["source"]),
    )
