"""How many signals a web process accepts, by the fast lane and by the declared view alone.

Run it with ``.venv/bin/python -m benchmarks.intake [--json] [--postgres]``. Both ways run on the
same server (daphne) and database in turn, several times; the figure is the ratio of their medians.
Every answer must be a 201. Workers are off: what is measured is acceptance, stored for good.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.desk import ROOT, desk, free_port, until_listening
from launcher.postgres import find_binaries, private_postgres

REPEATS = 3
SECONDS = 4.0
WARM_UP_S = 1.0
CLIENTS = (1, 32)
WAYS = {"declared view": "0", "fast lane": "64"}
UNLIMITED = "100000000"
SETTINGS = {
    "PROVIDER_PRIMARY": "simulated",
    "RATE_LIMIT_PER_MIN": UNLIMITED,
    "RATE_LIMIT_BURST": UNLIMITED,
    "BACKLOG_MAX_SIGNALS": UNLIMITED,
    "BACKLOG_MAX_AGE_S": "86400",
    "DEMO_FEED_SIGNALS": "0",
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--postgres", action="store_true", help="on a private PostgreSQL")
    options = parser.parse_args()
    figures = measure(postgres=options.postgres)
    sys.stdout.write(json.dumps(figures) + "\n" if options.json else table(figures))


def measure(*, postgres: bool) -> dict[str, Any]:
    """Return requests a second and waiting times of both ways, and their ratio."""
    samples: dict[tuple[str, int], list[dict[str, float]]] = {}
    with (
        _database(postgres=postgres) as variables,
        desk(SETTINGS | variables, workers=0) as environment,
    ):
        key = _key(environment)
        for _ in range(REPEATS):
            for way, group in WAYS.items():
                with _web({**environment, "INTAKE_GROUP_MAX": group}) as port:
                    for clients in CLIENTS:
                        told = asyncio.run(_load(port, key, clients=clients))
                        samples.setdefault((way, clients), []).append(told)
    return {
        "database": "PostgreSQL" if postgres else "SQLite",
        "repeats": REPEATS,
        "clients": {str(clients): _summary(samples, clients) for clients in CLIENTS},
    }


def _summary(
    samples: dict[tuple[str, int], list[dict[str, float]]], clients: int
) -> dict[str, Any]:
    ways: dict[str, Any] = {
        way: {
            name: round(median(told[name] for told in samples[way, clients]), 2)
            for name in ("per_s", "p50_ms", "p95_ms")
        }
        | {"all_per_s": [round(told["per_s"]) for told in samples[way, clients]]}
        for way in WAYS
    }
    slow, fast = (float(ways[way]["per_s"]) for way in WAYS)
    return {**ways, "ratio": round(fast / slow, 2)}


@contextmanager
def _database(*, postgres: bool) -> Iterator[dict[str, str]]:
    if not postgres:
        yield {}
        return
    binaries = find_binaries()
    if binaries is None:
        raise SystemExit("no initdb on PATH or in /usr/lib/postgresql/*/bin")
    with tempfile.TemporaryDirectory(prefix="lens-pg-", dir="/tmp") as name, ExitStack() as stack:
        Path(name).chmod(0o755)
        yield {"DATABASE_URL": stack.enter_context(private_postgres(binaries, Path(name)))}


@contextmanager
def _web(environment: dict[str, str]) -> Iterator[int]:
    port = free_port()
    options = ["-b", "127.0.0.1", "-p", str(port), "--access-log", "/dev/null", "-v", "0"]
    program = subprocess.Popen(
        [sys.executable, "-m", "daphne", *options, "lens_site.asgi:application"],
        cwd=ROOT,
        env=environment,
    )
    try:
        until_listening(port)
        yield port
    finally:
        program.kill()
        program.wait(timeout=30)


def _key(environment: dict[str, str]) -> str:
    command = [sys.executable, "manage.py", "create_api_key", "--name", "bench", "--json"]
    made = subprocess.run(
        [*command, "--scope", "signals:write"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        check=True,
    )
    return str(json.loads(made.stdout)["key"])


async def _load(port: int, key: str, *, clients: int) -> dict[str, float]:
    took_ms: list[float] = []
    begin = time.perf_counter() + WARM_UP_S
    end = begin + SECONDS
    await asyncio.gather(*(_client(port, key, begin, end, took_ms) for _ in range(clients)))
    took_ms.sort()
    return {
        "per_s": len(took_ms) / SECONDS,
        "p50_ms": took_ms[len(took_ms) // 2],
        "p95_ms": took_ms[int(len(took_ms) * 0.95)],
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
        f"X-API-Key: {key}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def table(figures: dict[str, Any]) -> str:
    """Return the figures as text."""
    lines = [f"intake on {figures['database']}, medians of {figures['repeats']} runs"]
    for clients, told in figures["clients"].items():
        lines.append(f"{clients} clients")
        lines += [
            f"  {way:<14} {told[way]['per_s']:8.0f}/s   p50 {told[way]['p50_ms']:6.1f} ms"
            f"   p95 {told[way]['p95_ms']:6.1f} ms   runs {told[way]['all_per_s']}"
            for way in WAYS
        ]
        lines.append(f"  ratio {told['ratio']}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
