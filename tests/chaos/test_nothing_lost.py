"""Programs are killed and Redis is emptied under load; whatever was accepted comes to one end.

``LENS_CHAOS_N`` sets how many signals the big trial sends.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

from launcher.redis_server import bundled_binary, system_binary
from tests.chaos.client import Client, Subscriber, make_body
from tests.chaos.evaluators import DEADLY, HANGING
from tests.chaos.stack import WORKERS, Stack, wait_until

SIGNALS = int(os.environ.get("LENS_CHAOS_N", "60"))
PER_S = 15.0
FAULT_EVERY_S = 0.8
MODELS = ("steady", "fragile", "jury")


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Return a private desk that is ready."""
    binary = system_binary() or bundled_binary(Path(sys.executable))
    if binary is None:
        pytest.skip("no Redis server was found")
    with tempfile.TemporaryDirectory(prefix="lens-") as name:  # short: it holds a socket
        stack = Stack(directory=Path(name), binary=binary)
        try:
            stack.start()
            yield stack
        finally:
            stack.stop()


@pytest.fixture
async def client(stack: Stack, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Client]:
    """Return a client with the desk's key; its single requests are not worth a log line."""
    caplog.set_level(logging.WARNING, logger="httpx2")
    async with httpx2.AsyncClient(
        base_url=stack.address, headers={"X-API-Key": stack.key}, timeout=10, trust_env=False
    ) as http:
        yield Client(http=http)


@asynccontextmanager
async def listening(stack: Stack, *, after_seq: int) -> AsyncIterator[Subscriber]:
    """Listen in the background for a while."""
    subscriber = Subscriber(address=stack.address, key=stack.key, last_seq=after_seq)
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


async def send_some(client: Client, *, prefix: str, count: int) -> None:
    """Send signals one after another at ``PER_S``; some keys again later, some three at once."""
    tasks: list[asyncio.Task[str]] = []
    for number in range(count):
        key = f"{prefix}-{number}"
        body = await make_body(source=prefix)
        for _ in range(3 if number % 10 == 0 else 1):
            tasks.append(asyncio.create_task(client.post(key, body)))
        if number % 7 == 0:
            tasks.append(asyncio.create_task(_again(client, key, body)))
        await asyncio.sleep(1 / PER_S)
    await asyncio.gather(*tasks)


async def _again(client: Client, key: str, body: dict[str, Any]) -> str:
    await asyncio.sleep(2.0)
    return await client.post(key, body)


async def break_things(stack: Stack) -> Counter[str]:
    """Break one thing after another, for as long as sending should take.

    On a machine so busy that it takes longer, the same work could be hit three times, which is
    another promise's matter.
    """
    done: Counter[str] = Counter()
    names = (WORKERS[0], "redis emptied", "conductor", "web", WORKERS[1])
    for _ in range(math.ceil(SIGNALS / PER_S / (FAULT_EVERY_S * len(names)))):
        for name in names:
            await asyncio.sleep(FAULT_EVERY_S)
            if name == "redis emptied":
                await asyncio.to_thread(stack.empty_redis)
            else:
                await asyncio.to_thread(stack.kill, name)
            done[name] += 1
    return done


async def test_nothing_is_lost_or_doubled_while_everything_is_killed_in_turn(
    stack: Stack, client: Client
) -> None:
    before = await head_of(client)
    prefix = f"chaos-{time.time_ns()}"

    async with listening(stack, after_seq=before) as subscriber:
        sending = asyncio.create_task(send_some(client, prefix=prefix, count=SIGNALS))
        faults = await break_things(stack)
        await sending
        event_ids = {event_id for ids in client.ledger.values() for event_id in ids}
        ends = await client.ended(event_ids, within_s=60)
        decisions = await client.decisions(after_seq=before)
        await _caught_up(subscriber, decisions[-1]["seq"])

    assert min(faults.values()) >= 1
    assert [key for key, ids in client.ledger.items() if len(ids) != 1] == []
    assert len(event_ids) == SIGNALS
    assert sorted(await client.listed(source=prefix)) == sorted(event_ids)
    assert Counter(ends.values()) == {"PUBLISHED": SIGNALS}
    assert _doubled(decisions) == []
    assert _incomplete(decisions, event_ids) == {}
    heard = [message["seq"] for message in subscriber.received]
    assert heard == list(range(before + 1, before + 1 + len(decisions)))
    assert heard == [decision["seq"] for decision in decisions]
    assert [m["decision"]["id"] for m in subscriber.received] == [d["id"] for d in decisions]
    assert subscriber.connections >= 2
    assert subscriber.faults == []


async def _caught_up(subscriber: Subscriber, seq: int) -> None:
    async with asyncio.timeout(20):
        while subscriber.last_seq < seq:
            await asyncio.sleep(0.1)


def _doubled(decisions: list[dict[str, Any]]) -> list[Any]:
    seen = Counter((each["event_id"], each["model"], each["revision"]) for each in decisions)
    return [key for key, count in seen.items() if count > 1]


def _incomplete(decisions: list[dict[str, Any]], event_ids: set[str]) -> dict[str, list[str]]:
    """Return the signals on which somebody has not decided, with those who have."""
    said: dict[str, set[str]] = {event_id: set() for event_id in event_ids}
    for each in decisions:
        said[each["event_id"]].add(each["model"])
    return {event_id: sorted(who) for event_id, who in said.items() if who != set(MODELS)}


async def test_two_web_processes_and_two_workers_are_one_desk(stack: Stack, client: Client) -> None:
    before = await head_of(client)
    second = httpx2.AsyncClient(
        base_url=stack.second_address, headers=client.http.headers, timeout=10, trust_env=False
    )
    there = Subscriber(address=stack.second_address, key=stack.key, last_seq=before)
    listening_there = asyncio.create_task(there.listen())
    bodies = [await make_body(source="scale") for _ in range(20)]

    async with second:
        elsewhere = Client(http=second, ledger=client.ledger)
        posts = [
            door.post(f"scale-{number}", body)
            for number, body in enumerate(bodies)
            for door in (client, elsewhere)
        ]
        event_ids = set(await asyncio.gather(*posts))
        ends = await elsewhere.ended(event_ids, within_s=30)
    decisions = await client.decisions(after_seq=before)
    await _caught_up(there, decisions[-1]["seq"])
    listening_there.cancel()

    assert len(event_ids) == len(bodies)
    assert Counter(ends.values()) == {"PUBLISHED": len(bodies)}
    assert _doubled(decisions) == []
    assert [message["seq"] for message in there.received] == [each["seq"] for each in decisions]
    # The beats of the workers that were killed before fade within seconds.
    await asyncio.to_thread(
        wait_until, lambda: stack.workers_seen() == 2, within_s=30, what="two workers are seen"
    )


async def test_signals_are_accepted_and_judged_while_redis_is_away(
    stack: Stack, client: Client
) -> None:
    bodies = {f"away-{time.time_ns()}-{n}": await make_body(source="away") for n in range(10)}
    stack.stop_redis()

    try:
        event_ids = [await client.post(key, body) for key, body in bodies.items()]
        ends = await client.ended(event_ids, within_s=30)
    finally:
        stack.start_redis()
    after = await client.post("back", await make_body(source="away"))
    ends |= await client.ended([after], within_s=30)

    assert Counter(ends.values()) == {"PUBLISHED": 11}
    assert client.slowest_s < 3.0


async def test_the_work_of_a_killed_worker_is_taken_over_within_fifteen_seconds(
    stack: Stack, client: Client
) -> None:
    note = stack.directory / HANGING
    event_id = await client.post("hanging", await make_body(source="hanging", symbol=HANGING))
    await asyncio.to_thread(wait_until, note.exists, within_s=20, what="a worker hangs")

    killed_s = time.monotonic()
    name = stack.kill_process(int(note.read_text()))
    ends = await client.ended([event_id], within_s=30)
    took_s = time.monotonic() - killed_s

    assert name in WORKERS
    assert ends == {event_id: "PUBLISHED"}
    assert took_s < 15.0


async def test_what_kills_its_worker_three_times_is_put_aside_and_the_rest_goes_on(
    stack: Stack, client: Client
) -> None:
    beside = [await make_body(source="beside") for _ in range(5)]
    deadly = await client.post("deadly", await make_body(source="deadly", symbol=DEADLY))
    others = [await client.post(f"beside-{n}", body) for n, body in enumerate(beside)]

    ends = await client.ended([deadly, *others], within_s=100)
    answers = [await client.get(f"/signals/{each}") for each in (deadly, *others)]

    letters = (await client.get("/dlq", limit=100))["items"]
    assert [(each["event_id"], each["stage"]) for each in letters if each["code"] == "POISON"] == [
        (deadly, "evaluate")
    ]
    assert len((stack.directory / DEADLY).read_text().split()) == 3
    assert set(ends.values()) == {"PUBLISHED"}
    decided = [{each["model"] for each in answer["decisions"]} for answer in answers]
    assert decided == [{"steady", "jury"}, *[set(MODELS)] * 5]
