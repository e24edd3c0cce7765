"""What may go wrong in a trial: one fault after another, drawn from a seed."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final
from urllib.request import ProxyHandler, Request, build_opener

from chaos.databases import Database
from chaos.stack import WEBS, WORKERS, Stack

PAUSED_S: Final = (1.0, 12.0)  # a lease lasts 8 s: some wake up after their work was taken over
WEB_PAUSED_S: Final = (1.0, 4.0)
REDIS_AWAY_S: Final = (0.5, 6.0)
MANNERS: Final[Sequence[dict[str, Any]]] = (
    {"kind": "429", "retry_after": 1},
    *({"kind": kind} for kind in ("500", "html", "half_json", "reset", "cut", "hang")),
    *({"kind": kind} for kind in ("truncated", "wrong_types", "empty")),
)
ALWAYS_WRONG: Final = 0.12
"""The share of calls that a vendor gets wrong at any time, beside the faults that are drawn."""


@dataclass
class Faults:
    """Strikes a stack and its database, and lets go of what it holds at the end."""

    stack: Stack
    database: Database
    rng: Random
    done: Counter[str] = field(default_factory=Counter)
    _deck: list[Callable[[], Awaitable[str]]] = field(default_factory=list)
    _lasting: set[asyncio.Task[None]] = field(default_factory=set)
    _redis_is_away: bool = False

    def mix(self) -> list[tuple[int, Callable[[], Awaitable[str]]]]:
        """Return what can go wrong, with how many of a whole deck each makes up."""
        usual = [
            (5, self._kill(WORKERS)),
            (4, self._kill(WEBS)),
            (3, self._kill(("conductor",))),
            (2, self._restart((*WEBS, *WORKERS, "conductor"))),
            (2, self._pause(WORKERS, PAUSED_S)),
            (1, self._pause(("conductor",), PAUSED_S)),
            (1, self._pause(WEBS, WEB_PAUSED_S)),
            (3, self._empty_redis),
            (2, self._stop_redis),
            (2, self._double_bells),
            (2, self._disturb_database),
        ]
        return usual + ([(3, self._spoil_vendor)] if self.stack.has_vendor else [])

    async def strike(self) -> str:
        """Let the next thing of a shuffled deck go wrong and return what it was.

        What cannot be done now, because its victim is down already, is left out this time.
        """
        while True:
            if not self._deck:
                self._deck = [kind for count, kind in self.mix() for _ in range(count)]
                self.rng.shuffle(self._deck)
            name = await self._deck.pop()()
            if name:
                self.done[name] += 1
                return name
            await asyncio.sleep(0.02)

    async def let_go(self) -> None:
        """Wait until nothing is frozen or away any more."""
        await asyncio.gather(*self._lasting)

    def _kill(self, names: Sequence[str]) -> Callable[[], Awaitable[str]]:
        async def kill() -> str:
            name = self._victim(names)
            if name:
                await asyncio.to_thread(self.stack.kill, name)
            return f"{_kind(name)} killed" if name else ""

        return kill

    def _restart(self, names: Sequence[str]) -> Callable[[], Awaitable[str]]:
        async def restart() -> str:
            name = self._victim(names)
            if name:
                await asyncio.to_thread(self.stack.ask_to_stop, name)
            return f"{_kind(name)} restarted" if name else ""

        return restart

    def _pause(
        self, names: Sequence[str], for_s: tuple[float, float]
    ) -> Callable[[], Awaitable[str]]:
        async def pause() -> str:
            name, long_s = self._victim(names), self.rng.uniform(*for_s)
            if not name:
                return ""
            process = await asyncio.to_thread(self.stack.pause, name)

            async def wake() -> None:
                await asyncio.sleep(long_s)
                await asyncio.to_thread(self.stack.resume, name, process)

            self._begin(wake())
            return f"{_kind(name)} frozen"

        return pause

    def _victim(self, names: Sequence[str]) -> str:
        steady = [name for name in names if self.stack.is_steady(name)]
        return self.rng.choice(steady) if steady else ""

    async def _empty_redis(self) -> str:
        if self._redis_is_away:
            return ""
        await asyncio.to_thread(self.stack.empty_redis)
        return "Redis emptied"

    async def _stop_redis(self) -> str:
        if self._redis_is_away:
            return ""
        self._redis_is_away = True
        await asyncio.to_thread(self.stack.stop_redis)
        long_s = self.rng.uniform(*REDIS_AWAY_S)

        async def start() -> None:
            await asyncio.sleep(long_s)
            await asyncio.to_thread(self.stack.start_redis)
            self._redis_is_away = False

        self._begin(start())
        return "Redis killed"

    async def _double_bells(self) -> str:
        if self._redis_is_away:
            return ""
        await asyncio.to_thread(self.stack.double_bells)
        return "jobs doubled"

    async def _disturb_database(self) -> str:
        hard = self.rng.random() < 0.5
        return await asyncio.to_thread(self.database.disturb, hard=hard)

    async def _spoil_vendor(self) -> str:
        manner = self.rng.choice(MANNERS)
        rule = {"faults": [{**manner, "times": self.rng.randint(1, 10)}]}
        await asyncio.to_thread(tell_vendor, self.stack, rule)
        return "vendor failing"

    def _begin(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._lasting.add(task)
        task.add_done_callback(self._lasting.discard)


def _kind(name: str) -> str:
    return next((kind for kind in ("worker", "web") if kind in name), name)


def usual_trouble(seed: int) -> dict[str, Any]:
    """Return the rule by which the vendor gets a share of all calls wrong."""
    return {"faults": list(MANNERS), "rate": ALWAYS_WRONG, "seed": seed}


def tell_vendor(stack: Stack, rule: dict[str, Any]) -> None:
    """Let calls of the scripted vendor go wrong."""
    _vendor(stack, "_script", json.dumps(rule).encode())


def ask_vendor(stack: Stack) -> dict[str, Any]:
    """Return the vendor's own ledger of all calls."""
    return _vendor(stack, "_ledger", None)


def _vendor(stack: Stack, path: str, body: bytes | None) -> dict[str, Any]:
    request = Request(f"http://127.0.0.1:{stack.vendor_port}/{path}", data=body)
    with build_opener(ProxyHandler({})).open(request, timeout=20) as answer:
        told: dict[str, Any] = json.load(answer)
        return told
