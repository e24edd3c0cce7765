"""One trial: signals are sent while things go wrong, then everything is counted."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any

import httpx2

from chaos import audit
from chaos.client import ENDS, Client, Subscriber, Unanswered, make_body
from chaos.databases import Database
from chaos.faults import Faults, ask_vendor, tell_vendor, usual_trouble
from chaos.stack import Stack

SYMBOLS = ("BTC", "ETH", "SOL")
TRIPLES, AGAIN, UNHEARD, CONFLICTS = 0.05, 0.10, 0.05, 0.02
AGAIN_AFTER_S = 2.0
LOOKS_EVERY_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a trial sends, and how much goes wrong meanwhile; a seed makes it repeatable."""

    signals: int
    seed: int
    per_s: float = 15.0
    fault_every_s: tuple[float, float] = (0.5, 2.0)
    faults_least: int = 5
    patience_s: float = 90.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of a trial."""

    database: str
    redis: str
    plan: Plan
    counts: dict[str, int]
    words: list[str]
    faults: dict[str, int]
    ends: dict[str, int]
    accepted: int
    decisions: int
    connections: list[int]
    accept_ms: dict[str, float]
    over_after_s: float
    calls: dict[str, Any]
    took_s: float

    @property
    def passed(self) -> bool:
        """Say whether everything that should be zero is."""
        return not any(self.counts.values())


@dataclass
class Trial:
    """Sends, breaks, waits and counts."""

    stack: Stack
    database: Database
    plan: Plan
    say: Callable[[str], None] = lambda _: None
    findings: audit.Findings = field(default_factory=audit.Findings)

    def __post_init__(self) -> None:
        self._source = f"chaos-{self.plan.seed}"
        self._rng = Random(self.plan.seed)  # noqa: S311  a trial is to be repeatable
        self._faults = Faults(stack=self.stack, database=self.database, rng=Random(self.plan.seed))  # noqa: S311

    async def run(self) -> Report:
        """Return what became of it."""
        began_s = time.monotonic()
        if self.stack.has_vendor:
            await asyncio.to_thread(tell_vendor, self.stack, usual_trouble(self.plan.seed))
        async with AsyncExitStack() as open_things:
            client = await open_things.enter_async_context(knocking(self.stack))
            before = await head_of(client)
            subscribers = [
                await open_things.enter_async_context(
                    listening(address, self.stack.key, after_seq=before)
                )
                for address in (self.stack.address, self.stack.second_address)
            ]
            await self._send_and_break(client)
            calm_s = time.monotonic()
            await self._wait_for_ends(client)
            over_after_s = time.monotonic() - calm_s
            return await self._count(client, subscribers, before, over_after_s, began_s)

    async def _send_and_break(self, client: Client) -> None:
        sending = asyncio.create_task(self._send_all(client))
        while not sending.done() or self._faults.done.total() < self.plan.faults_least:
            await asyncio.sleep(self._faults.rng.uniform(*self.plan.fault_every_s))
            name = await self._faults.strike()
            self.say(f"{len(client.ledger)} accepted; fault {self._faults.done.total()}: {name}")
        await self._faults.let_go()
        await sending

    async def _send_all(self, client: Client) -> None:
        posts: list[asyncio.Task[None]] = []
        for number in range(self.plan.signals):
            body = await make_body(source=self._source, symbol=SYMBOLS[number % len(SYMBOLS)])
            posts.append(asyncio.create_task(self._send(client, f"key-{number}", body)))
            await asyncio.sleep(1 / self.plan.per_s)
        await asyncio.gather(*posts)

    async def _send(self, client: Client, key: str, body: dict[str, Any]) -> None:
        """Send one signal in one of the ways in which clients send them."""
        luck = self._rng.random()
        try:
            if luck < TRIPLES:
                await asyncio.gather(*(client.post(key, body) for _ in range(3)))
                return
            if luck < TRIPLES + UNHEARD:
                await client.post_unheard(key, body)
            await client.post(key, body)
            if luck > 1 - AGAIN:
                await asyncio.sleep(AGAIN_AFTER_S)
                await client.post(key, body)
            elif luck > 1 - AGAIN - CONFLICTS:
                await client.post_conflict(key, body | {"size": "2"})
        except Unanswered as silence:
            self.findings.note("unanswered", 1, str(silence))

    async def _wait_for_ends(self, client: Client) -> None:
        """Wait, but no longer than promised, until no signal and no work is open."""
        statement = audit.IN_ROWS["work left open"][1]
        deadline_s = time.monotonic() + self.plan.patience_s
        while time.monotonic() < deadline_s:
            items = await client.items(source=self._source)
            open_now = sum(item["status"] not in ENDS for item in items)
            left = await asyncio.to_thread(self.database.count, statement, self._source)
            if not open_now and not left:
                return
            self.say(f"{open_now} signals and {left} pieces of work still open")
            await asyncio.sleep(LOOKS_EVERY_S)

    async def _count(
        self,
        client: Client,
        subscribers: list[Subscriber],
        before: int,
        over_after_s: float,
        began_s: float,
    ) -> Report:
        published = await client.decisions(after_seq=before)
        await caught_up(subscribers, published[-1]["seq"] if published else before)
        ends = await audit.look_from_outside(
            self.findings, client, source=self._source, keys=self.plan.signals
        )
        audit.look_at_rows(self.findings, self.database, source=self._source)
        audit.compare_feeds(self.findings, published, subscribers, before=before)
        for words in client.unexpected:
            self.findings.note("unexpected", 1, words)
        took = sorted(client.took_s)
        return Report(
            database=self.database.name,
            redis=str(self.stack.binary),
            plan=self.plan,
            counts=dict(self.findings.counts),
            words=self.findings.words,
            faults=dict(self._faults.done.most_common()),
            ends=dict(Counter(ends.values()).most_common()),
            accepted=len(client.ledger),
            decisions=len(published),
            connections=[each.connections for each in subscribers],
            accept_ms={
                name: round(took[min(len(took) - 1, int(len(took) * share))] * 1000, 1)
                for name, share in (("p50", 0.5), ("p95", 0.95), ("most", 1.0))
                if took
            },
            over_after_s=round(over_after_s, 1),
            calls=await self._calls(),
            took_s=round(time.monotonic() - began_s, 1),
        )

    async def _calls(self) -> dict[str, Any]:
        """Return how many of the vendor's good answers were bought twice.

        An answer to a caller that was killed before it could go out is unheard, and none of them.
        """
        if not self.stack.has_vendor:
            return {}
        calls = (await asyncio.to_thread(ask_vendor, self.stack))["calls"]
        good = [call for call in calls if call["outcome"] == "ok"]
        repeated = len(good) - len({call["prompt_sha256"] for call in good})
        unheard = sum(call["outcome"] == "unheard" for call in calls)
        return {
            "all": len(calls),
            "good": len(good),
            "good_repeated": repeated,
            "unheard": unheard,
        }


@asynccontextmanager
async def knocking(stack: Stack) -> AsyncIterator[Client]:
    """Yield a client that knows both doors of a desk."""
    async with AsyncExitStack() as open_things:
        doors = [
            await open_things.enter_async_context(
                httpx2.AsyncClient(
                    base_url=address, headers={"X-API-Key": stack.key}, timeout=10, trust_env=False
                )
            )
            for address in (stack.address, stack.second_address)
        ]
        yield Client(http=doors[0], second=doors[1])


@asynccontextmanager
async def listening(address: str, key: str, *, after_seq: int) -> AsyncIterator[Subscriber]:
    """Listen in the background for a while."""
    subscriber = Subscriber(address=address, key=key, last_seq=after_seq)
    task = asyncio.create_task(subscriber.listen())
    try:
        yield subscriber
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def head_of(client: Client) -> int:
    """Return the number of the last published decision."""
    ready = await client.get("/ready")
    return int(ready["work"]["head_seq"])


async def caught_up(subscribers: list[Subscriber], seq: int, *, within_s: float = 30.0) -> None:
    """Give subscribers time to hear everything up to a number; what they then lack is missing."""
    with suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            while min(each.last_seq for each in subscribers) < seq:
                await asyncio.sleep(0.1)
