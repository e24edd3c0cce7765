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
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from statistics import median
from typing import Final, cast
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
LENGTH: Final = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
MARK: Final = "@"
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
    begin_s = time.perf_counter() + WARM_UP_S
    end_s = begin_s + SECONDS
    loop = asyncio.get_running_loop()
    asking = [Client(key, end_s=end_s) for _ in range(clients)]
    for client in asking:
        await loop.create_connection(partial(_same, client), "127.0.0.1", port)
    await asyncio.gather(*(client.done for client in asking))
    took_ms = [
        took_s * 1000
        for client in asking
        for started_s, took_s in client.answers
        if started_s >= begin_s
    ]
    return {
        "per_s": len(took_ms) / SECONDS,
        "p50_ms": median(took_ms),
        "p95_ms": share(took_ms, 0.95),
    }


def _same(client: Client) -> Client:
    return client


class Client(asyncio.Protocol):
    """Sends one signal after the other on one connection, each when the last was answered.

    It runs on the cores of whom it measures, so it does as little as possible: whichever side
    answers faster would pay more for it.
    """

    def __init__(self, key: str, *, end_s: float) -> None:
        self.answers: list[tuple[float, float]] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._end_s = end_s
        self._name = uuid4().hex
        self._before, self._between, self._after = _parts(key)
        self._heard = b""
        self._started_s = 0.0
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        self._heard += data
        head, end, body = self._heard.partition(b"\r\n\r\n")
        if not end:
            return
        length = LENGTH.search(head)
        if not head.startswith(b"HTTP/1.1 201") or length is None:
            self._end(RuntimeError(f"not accepted: {head.decode()}"))
        elif len(body) >= int(length[1]):
            self.answers.append((self._started_s, time.perf_counter() - self._started_s))
            self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc or ConnectionError("the server hung up"))

    def _send(self) -> None:
        self._heard = b""
        self._started_s = time.perf_counter()
        if self._started_s >= self._end_s:
            self._end(None)
            return
        name = f"{self._name}{len(self.answers):08d}".encode()
        at = datetime.now(UTC).isoformat(timespec="microseconds").encode()
        assert self._transport is not None
        self._transport.write(self._before + name + self._between + at + self._after)

    def _end(self, error: Exception | None) -> None:
        if self.done.done():
            return
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)
        if self._transport is not None:
            self._transport.close()


def _parts(key: str) -> tuple[bytes, bytes, bytes]:
    """Return a request round its idempotency key and its time, both of which keep their length."""
    body = json.dumps(
        {
            "event_type": "OPEN_SIGNAL",
            "symbol": "BTC",
            "signal_direction": "long",
            "entry_price": 42000.5,
            "size": 0.1,
            "liquidation_price": 38000,
            "ts_utc": MARK,
            "source": "bench",
        }
    )
    length = len(body) - len(MARK) + len(datetime.now(UTC).isoformat(timespec="microseconds"))
    head = (
        "POST /api/v1/signals HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"X-API-Key: {key}\r\nContent-Length: {length}\r\nIdempotency-Key: "
    )
    before, after = body.split(MARK)
    return head.encode(), f"\r\n\r\n{before}".encode(), after.encode()
