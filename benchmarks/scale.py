"""Several web and worker processes on one PostgreSQL and one Redis, beside one of each.

The same signals are posted to all web processes in turn, and one subscriber at each hears every
decision. That order and uniqueness hold is part of the measurement: it fails when they do not.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from contextlib import AsyncExitStack, ExitStack
from typing import Any

import httpx2
from websockets.asyncio.client import connect

from benchmarks.burst import MODELS, SENDERS, VARIABLES, make_body
from benchmarks.desk import database, desk, make_key, web
from benchmarks.frame import REPEATS, Figure, Skipped

SIGNALS = 1_500
SIZES = (1, 3)
ENOUGH_S = 180.0


def figures(*, quick: bool) -> list[Figure]:
    """Return how intake and throughput grow with the number of processes."""
    signals = 150 if quick else SIGNALS
    told: dict[int, list[dict[str, float]]] = {size: [] for size in SIZES}
    for _ in range(1 if quick else REPEATS):
        for size in SIZES:
            told[size].append(_measured(size, signals))
    one, many = (told[size] for size in SIZES)
    cores = os.cpu_count() or 1
    return [
        Figure(
            target="scale",
            what=f"{name}, {SIZES[1]} web + {SIZES[1]} workers on {cores} cores",
            unit="/s",
            samples=[each[column] for each in many],
            against="1 web + 1 worker",
            baseline=[each[column] for each in one],
        )
        for name, column in (("accepted", "accepted_per_s"), ("decided", "decided_per_s"))
    ]


def _measured(size: int, signals: int) -> dict[str, float]:
    with (
        database(postgres=True) as variables,
        desk(VARIABLES | variables, workers=size) as environment,
        ExitStack() as webs,
    ):
        ports = [webs.enter_context(web(environment))[0] for _ in range(size)]
        key = make_key(environment, "signals:write", "decisions:read")
        return asyncio.run(_through(ports, key, signals=signals))


async def _through(ports: list[int], key: str, *, signals: int) -> dict[str, float]:
    headers = {"X-API-Key": key}
    async with AsyncExitStack() as open_things:
        doors = [
            await open_things.enter_async_context(
                httpx2.AsyncClient(
                    base_url=f"http://127.0.0.1:{port}",
                    headers=headers,
                    timeout=60,
                    trust_env=False,
                )
            )
            for port in ports
        ]
        sockets = [
            await open_things.enter_async_context(
                connect(
                    f"ws://127.0.0.1:{port}/ws/decisions", additional_headers=headers, proxy=None
                )
            )
            for port in ports
        ]
        for socket in sockets:
            await socket.send(json.dumps({"action": "subscribe"}))
        began_s = time.perf_counter()
        listening = [
            asyncio.create_task(_hear(socket, signals * (MODELS + 1))) for socket in sockets
        ]
        ids = await _post(doors, signals)
        accepted_s = time.perf_counter() - began_s
        async with asyncio.timeout(ENOUGH_S):
            heard = await asyncio.gather(*listening)
        _check(ids, heard)
        decided_s = max(last for _, last in heard) - began_s
    return {"accepted_per_s": signals / accepted_s, "decided_per_s": signals / decided_s}


async def _post(doors: list[httpx2.AsyncClient], signals: int) -> list[str]:
    """Post each signal at one door and, under the same key, at another."""
    lane = asyncio.Semaphore(SENDERS)

    async def post(number: int) -> str:
        async with lane:
            found = set()
            for step in range(2 if number % 10 == 0 else 1):
                door = doors[(number + step) % len(doors)]
                answer = await door.post(
                    "/api/v1/signals",
                    json=make_body("scale") | {"ts_utc": stamps[number]},
                    headers={"Idempotency-Key": f"scale-{number}"},
                )
                found.add(str(answer.raise_for_status().json()["event_id"]))
            if len(found) != 1:
                raise Skipped(f"one key became {len(found)} signals")
            return found.pop()

    stamps = [make_body("scale")["ts_utc"] for _ in range(signals)]
    return list(await asyncio.gather(*(post(number) for number in range(signals))))


async def _hear(socket: Any, expected: int) -> tuple[list[dict[str, Any]], float]:
    heard: list[dict[str, Any]] = []
    while len(heard) < expected:
        message = json.loads(await socket.recv())
        if message["type"] == "decision":
            heard.append(message)
    return heard, time.perf_counter()


def _check(ids: list[str], heard: list[tuple[list[dict[str, Any]], float]]) -> None:
    """Refuse figures of a desk that broke its word.

    :raises Skipped: when order, completeness or uniqueness did not hold.
    """
    rows = [[message["seq"] for message in messages] for messages, _ in heard]
    wanted = list(range(rows[0][0], rows[0][0] + len(rows[0])))
    if any(row != wanted for row in rows):
        raise Skipped("a subscriber heard decisions out of order, twice or not at all")
    said = {(each["decision"]["event_id"], each["decision"]["model"]) for each in heard[0][0]}
    if len(set(ids)) != len(ids) or len(said) != len(ids) * (MODELS + 1):
        raise Skipped("signals or decisions were doubled")
