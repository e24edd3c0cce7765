"""A burst of signals through a whole desk: posted, judged by four models, received.

Everything runs as it does for people: web, two workers, conductor, Redis, everything durable. The
models answer at once, so what is measured is Lens. A WebSocket client outside counts what comes.
"""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime
from typing import Any

import httpx2
from websockets.asyncio.client import connect

from benchmarks.desk import database, desk, make_key, web
from benchmarks.frame import REPEATS, Figure, Skipped, share

SIGNALS = 1_000
SENDERS = 32
ENOUGH_S = 120.0
MODELS = 4  # of benchmarks.canned
UNLIMITED = "100000000"
VARIABLES = {
    "DJANGO_SETTINGS_MODULE": "benchmarks.canned",
    "PROVIDER_PRIMARY": "simulated",
    "MAX_PRICE_DRIFT_BPS": "1000000",
    "RATE_LIMIT_PER_MIN": UNLIMITED,
    "RATE_LIMIT_BURST": UNLIMITED,
    "BACKLOG_MAX_SIGNALS": UNLIMITED,
    "DEMO_FEED_SIGNALS": "0",
    "WS_BUFFER_MESSAGES": "10000",
}


def figures(*, quick: bool) -> list[Figure]:
    """Return how many signals a second come out, on both databases."""
    found = []
    for name, on_postgres in (("PostgreSQL", True), ("SQLite", False)):
        told = [
            _drained(signals=200 if quick else SIGNALS, on_postgres=on_postgres)
            for _ in range(1 if quick else REPEATS)
        ]
        found += [
            Figure(
                target="P7",
                what=f"burst drained, {name}",
                unit="signals/s",
                samples=[each["per_s"] for each in told],
                at_least=200,
            ),
            Figure(
                target="P7",
                what=f"from post to last decision, p95, {name}",
                unit="ms",
                samples=[each["p95_ms"] for each in told],
            ),
        ]
    return found


def _drained(*, signals: int, on_postgres: bool) -> dict[str, float]:
    with (
        database(postgres=on_postgres) as variables,
        desk(VARIABLES | variables, workers=2) as environment,
        web(environment) as (port, _),
    ):
        key = make_key(environment, "signals:write", "decisions:read")
        return asyncio.run(_measured(f"127.0.0.1:{port}", key, signals=signals))


async def _measured(address: str, key: str, *, signals: int) -> dict[str, float]:
    headers = {"X-API-Key": key}
    async with (
        connect(f"ws://{address}/ws/decisions", additional_headers=headers, proxy=None) as socket,
        httpx2.AsyncClient(
            base_url=f"http://{address}", headers=headers, timeout=60, trust_env=False
        ) as http,
    ):
        await socket.send(json.dumps({"action": "subscribe"}))
        await _through(socket, http, source="warm-up", signals=20)
        return await _through(socket, http, source="bench", signals=signals)


async def _through(
    socket: Any, http: httpx2.AsyncClient, *, source: str, signals: int
) -> dict[str, float]:
    sent_s: dict[str, float] = {}
    last_s: dict[str, float] = {}
    began_s = time.perf_counter()
    listening = asyncio.create_task(_hear(socket, last_s, signals * (MODELS + 1)))
    lane = asyncio.Semaphore(SENDERS)

    async def post() -> None:
        async with lane:
            at_s = time.perf_counter()
            answer = await http.post("/api/v1/signals", json=make_body(source))
            sent_s[answer.raise_for_status().json()["event_id"]] = at_s

    await asyncio.gather(*(post() for _ in range(signals)))
    async with asyncio.timeout(ENOUGH_S):
        await listening
    took_ms = [(last_s[each] - at_s) * 1000 for each, at_s in sent_s.items()]
    span_s = max(last_s.values()) - began_s
    return {"per_s": signals / span_s, "p95_ms": share(took_ms, 0.95)}


async def _hear(socket: Any, last_s: dict[str, float], expected: int) -> None:
    while expected:
        message = json.loads(await socket.recv())
        if message["type"] == "goodbye":
            raise Skipped(f"the socket was closed: {message}")
        if message["type"] == "decision":
            last_s[message["decision"]["event_id"]] = time.perf_counter()
            expected -= 1


def make_body(source: str) -> dict[str, Any]:
    """Return a signal at a price that no gate looks at."""
    return {
        "event_type": "OPEN_SIGNAL",
        "symbol": "BTC",
        "signal_direction": "long",
        "entry_price": 65_000,
        "size": 0.1,
        "liquidation_price": 50_000,
        "ts_utc": datetime.now(UTC).isoformat(),
        "source": source,
    }
