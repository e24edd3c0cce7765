"""A desk is broken under load; whatever was accepted comes to one end.

``LENS_CHAOS_N`` sets how many signals it sends; ``./lens chaos`` is the same trial at length.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from chaos.audit import Findings, compare_feeds, look_at_rows, look_from_outside
from chaos.client import Client, Subscriber, make_body
from chaos.databases import Database, database
from chaos.evaluators import DEADLY, HANGING
from chaos.stack import WORKERS, Stack, wait_until
from chaos.trial import Plan, Trial, caught_up, head_of
from launcher.redis_server import bundled_binary, system_binary

SIGNALS = int(os.environ.get("LENS_CHAOS_N", "60"))
SEED = 8750  # its first nine faults are of nine kinds
FAULTS = 9
FAULT_EVERY_S = (0.5, 1.5)
MODELS = ("steady", "fragile", "jury")


@pytest.fixture(scope="module")
def rows() -> Iterator[Database]:
    """Return a database of their own for all trials of this file."""
    with (
        tempfile.TemporaryDirectory(prefix="lens-") as name,
        database(Path(name), server_url=os.environ.get("DATABASE_URL", ""), private=False) as rows,
    ):
        yield rows


@pytest.fixture(scope="module")
def stack(rows: Database) -> Iterator[Stack]:
    """Return a private desk that is ready."""
    binary = system_binary() or bundled_binary(Path(sys.executable))
    if binary is None:
        pytest.skip("no Redis server was found")
    with tempfile.TemporaryDirectory(prefix="lens-") as name:  # short: it holds a socket
        stack = Stack(directory=Path(name), binary=binary, database_url=rows.url)
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


async def test_nothing_is_lost_or_doubled_whatever_breaks(stack: Stack, rows: Database) -> None:
    plan = Plan(signals=SIGNALS, seed=SEED, fault_every_s=FAULT_EVERY_S, faults_least=FAULTS)

    report = await Trial(stack, rows, plan).run()

    assert report.words == []
    assert report.passed
    assert report.accepted == SIGNALS
    assert set(report.ends) <= {"PUBLISHED", "EXPIRED"}
    assert report.decisions > SIGNALS
    assert sum(report.faults.values()) >= FAULTS
    assert len(report.faults) >= 5
    assert sum(report.connections) > len(report.connections)


async def test_the_trial_counts_what_is_lost_doubled_and_missing(
    stack: Stack, client: Client, rows: Database
) -> None:
    event_id = await client.post("counted", await make_body(source="counted"))
    await client.ended([event_id], within_s=30)
    published = [each for each in await client.decisions(after_seq=0) if each["model"] != "jury"]
    deaf = Subscriber(address=stack.address, key=stack.key)
    deaf.received = [{"seq": published[-1]["seq"]}] * 2
    client.ledger["counted"].add("00000000-0000-0000-0000-000000000000")

    findings = Findings()
    await look_from_outside(findings, client, source="counted", keys=0)
    look_at_rows(findings, rows, source="counted")
    compare_feeds(findings, published, [deaf], before=published[0]["seq"] - 2)

    found = dict(findings.counts)
    assert found.pop("missing") >= len(published)
    assert found == {
        "lost": 2,
        "stuck": 0,
        "duplicated": 3,
        "out of order": 0,
        "unanswered": 0,
        "unexpected": 0,
    }


def _doubled(decisions: list[dict[str, Any]]) -> list[Any]:
    seen = Counter((each["event_id"], each["model"], each["revision"]) for each in decisions)
    return [key for key, count in seen.items() if count > 1]


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
    await caught_up([there], decisions[-1]["seq"])
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


def test_a_door_that_asks_to_come_again_is_no_complaint_and_a_gap_is() -> None:
    heard = [
        {"type": "error", "code": "SERVICE_UNAVAILABLE"},
        {"type": "error", "code": "FORBIDDEN"},
        {"type": "gap", "reason": "RESTARTED"},
    ]

    assert Subscriber(address="", key="", faults=heard).complaints == ["FORBIDDEN", "RESTARTED"]
