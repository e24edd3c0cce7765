"""How many signals a web process accepts, beside a plain FastAPI endpoint that does the same.

All run on the same database in turn, several times; figures are ratios of medians. Every answer
must be a 201, and every request brings an idempotency key of its own. Workers and conductor are
off: what is measured is acceptance, stored for good. The plain endpoint is
``benchmarks/baselines/fastapi_app.py``: key, shared limit, idempotency, a durable row with its
trail, and queued work, with FastAPI, asynchronous SQLAlchemy and uvicorn, in an environment of its
own. Both run on uvicorn with its standard extra.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from statistics import median
from uuid import uuid4

from benchmarks.baselines.environment import fastapi_python, with_uvicorn_extras
from benchmarks.desk import database, desk, free_port, make_key, running, until_listening, web
from benchmarks.frame import REPEATS, Figure, Skipped, share

SECONDS = 4.0
WARM_UP_S = 1.0
CLIENTS = (1, 32)
LANE, DECLARED = "64", "0"
UNLIMITED = "100000000"
SETTINGS = {
    "PROVIDER_PRIMARY": "simulated",
    "RATE_LIMIT_PER_MIN": UNLIMITED,
    "RATE_LIMIT_BURST": UNLIMITED,
    "BACKLOG_MAX_SIGNALS": UNLIMITED,
    "BACKLOG_MAX_AGE_S": "86400",
    "DEMO_FEED_SIGNALS": "0",
}
PLAIN = "plain FastAPI"
Told = dict[tuple[str, int], list[dict[str, float]]]


def figures(*, quick: bool) -> list[Figure]:
    """Return what is accepted a second, and how long one waits, beside the baselines."""
    python, told = fastapi_python(), {}
    for on_postgres in (True, False):
        told[on_postgres] = _measured(
            on_postgres, python if on_postgres else None, repeats=1 if quick else REPEATS
        )
    found = [
        *_beside(told[True], "daphne", PLAIN, least=4),
        *_beside(told[True], "uvicorn", PLAIN, least=8, most_ms=15),
        *_beside(told[True], "daphne", "declared view"),
        *_beside(told[False], "daphne", "declared view", on="SQLite"),
    ]
    if python is None:
        raise Skipped("the plain FastAPI endpoint cannot be installed here", found)
    return found


def _beside(
    told: Told,
    ours: str,
    theirs: str,
    *,
    least: float | None = None,
    most_ms: float | None = None,
    on: str = "PostgreSQL",
) -> list[Figure]:
    """Return the figures of one way beside another, where both were measured."""
    if (theirs, 32) not in told:
        return []

    def column(way: str, clients: int, name: str) -> list[float]:
        return [each[name] for each in told[way, clients]]

    found = [
        Figure(
            target="P1",
            what=f"accepted, 32 clients, {ours}, {on}",
            unit="/s",
            samples=column(ours, 32, "per_s"),
            against=theirs,
            baseline=column(theirs, 32, "per_s"),
            at_least=least,
        ),
        Figure(
            target="P1",
            what=f"one client, p95, {ours}, {on}",
            unit="ms",
            samples=column(ours, 1, "p95_ms"),
            against=theirs,
            baseline=column(theirs, 1, "p95_ms"),
            at_most=None if least is None else 0.5,
        ),
    ]
    waits = column(ours, 32, "p95_ms")
    what = f"32 clients, p95, {ours}, {on}"
    found.append(Figure(target="P1", what=what, unit="ms", samples=waits, at_most=most_ms))
    return found


def _measured(on_postgres: bool, python: str | None, *, repeats: int) -> Told:
    told: Told = {}
    with (
        database(postgres=on_postgres) as variables,
        desk(SETTINGS | variables, workers=0, conductor=False) as environment,
    ):
        key = make_key(environment, "signals:write")
        for _ in range(repeats):
            for way in ("daphne", "uvicorn", "declared view", *([PLAIN] if python else [])):
                with _door(way, environment, key, python) as port:
                    for clients in CLIENTS:
                        found = asyncio.run(_load(port, key, clients=clients))
                        told.setdefault((way, clients), []).append(found)
    return told


@contextmanager
def _door(way: str, environment: Mapping[str, str], key: str, python: str | None) -> Iterator[int]:
    """Run one way of accepting signals and yield its port."""
    if way == PLAIN and python is not None:
        port = free_port()
        variables = {**environment, "BENCH_KEY": key}
        command = [python, "-m", "uvicorn", "--port", str(port), "--no-access-log"]
        with running([*command, "benchmarks.baselines.fastapi_app:app"], variables):
            until_listening(port)
            yield port
        return
    group = DECLARED if way == "declared view" else LANE
    server = "uvicorn" if way == "uvicorn" else "daphne"
    variables = {**environment, "INTAKE_GROUP_MAX": group}
    if server == "uvicorn":
        variables = with_uvicorn_extras(variables)
    with web(variables, server=server) as (port, _):
        yield port


async def _load(port: int, key: str, *, clients: int) -> dict[str, float]:
    took_ms: list[float] = []
    begin = time.perf_counter() + WARM_UP_S
    end = begin + SECONDS
    await asyncio.gather(*(_client(port, key, begin, end, took_ms) for _ in range(clients)))
    return {
        "per_s": len(took_ms) / SECONDS,
        "p50_ms": median(took_ms),
        "p95_ms": share(took_ms, 0.95),
    }


async def _client(port: int, key: str, begin: float, end: float, took_ms: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while (started := time.perf_counter()) < end:
        writer.write(_request(key))
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 201"):
            raise SystemExit(f"not accepted: {head.decode()}")
        length = next(
            int(line.split(b":")[1])
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-length")
        )
        await reader.readexactly(length)
        if started >= begin:
            took_ms.append((time.perf_counter() - started) * 1000)
    writer.close()


def _request(key: str) -> bytes:
    body = json.dumps(
        {
            "event_type": "OPEN_SIGNAL",
            "symbol": "BTC",
            "signal_direction": "long",
            "entry_price": 42000.5,
            "size": 0.1,
            "liquidation_price": 38000,
            "ts_utc": datetime.now(UTC).isoformat(),
            "source": "bench",
        }
    ).encode()
    head = (
        "POST /api/v1/signals HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"X-API-Key: {key}\r\nIdempotency-Key: {uuid4()}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
