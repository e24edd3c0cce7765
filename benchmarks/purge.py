"""A million rows purged while signals come in: what intake feels of it, on PostgreSQL.

    .venv/bin/python -m benchmarks.purge [--signals 1000000] [--old 67000] [--stop-s 0]

Of so many signals the old ones are past their time: 15 rows each. Some of the trail is sealed,
which is timed as well, and the rest is taken for sealed. Then intake is measured alone, and beside
``./lens purge`` in its own process, which is stopped after ``--stop-s`` seconds if it is not done.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import quantiles
from typing import Any

from benchmarks import stored
from benchmarks.frame import Figure

ROOT = Path(__file__).resolve().parent.parent
IDLE_S = 20.0
LOOK_S = 0.2
SEAL_LINES = 1_000
SEALS = 20


def figures(*, quick: bool) -> list[Figure]:
    """Return what intake feels of a purge beside it, and how fast rows go."""
    with stored.database():
        stored.fill(5_000 if quick else 300_000, old=500 if quick else 20_000)
        told = measure()
    return [
        Figure(
            target="purge",
            what="intake beside a purge, p95",
            unit="ms",
            samples=[told["intake_beside_p95_ms"]],
            against="intake alone",
            baseline=[told["intake_idle_p95_ms"]],
        ),
        Figure(target="purge", what="rows purged", unit="/s", samples=[told["rows_per_s"]]),
    ]


def main() -> None:
    """Fill, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--signals", type=int, default=1_000_000)
    parser.add_argument("--old", type=int, default=67_000)
    parser.add_argument("--stop-s", type=float, default=0)
    options = parser.parse_args()
    with stored.database():
        rows, took_s = stored.fill(options.signals, old=options.old)
        _say(f"{options.signals:,} signals, {rows:,} rows in all (made in {took_s:.0f} s)")
        _say(json.dumps(measure(stop_s=options.stop_s)))


def measure(*, stop_s: float = 0) -> dict[str, Any]:
    """Return how long intake took alone and beside the purge of what is past its time."""
    sealed, seal_s = _seal()
    idle_ms = intake_while(lambda: time.sleep(IDLE_S))
    began_s = time.monotonic()
    command = [sys.executable, str(ROOT / "manage.py"), "purge", "--json"]
    with subprocess.Popen(command, env=os.environ, stdout=subprocess.PIPE, text=True) as purge:
        beside_ms = intake_while(lambda: _end_of(purge, stop_s=stop_s))
        told = json.loads(purge.stdout.read() if purge.stdout else "{}")
    took_s = time.monotonic() - began_s
    removed = sum(told["removed"].values())
    return {
        "lines_sealed_per_s": round(sealed / seal_s),
        "rows_removed": removed,
        "is_whole": not told["stopped"],
        "kept": told["kept"],
        "took_s": round(took_s, 1),
        "rows_per_s": round(removed / took_s),
        "intake_idle_p95_ms": round(p95(idle_ms), 2),
        "intake_beside_p95_ms": round(p95(beside_ms), 2),
        "ratio": round(p95(beside_ms) / p95(idle_ms), 2),
        "accepted": len(idle_ms) + len(beside_ms),
    }


def _seal() -> tuple[int, float]:
    """Seal some lines, and take the rest for sealed; return how many, and in what time."""
    from pipeline.chaining import seal
    from pipeline.models import AuditEvent, Chain

    count, began_s = 0, time.monotonic()
    for _ in range(SEALS):
        made = seal(now=datetime.now(UTC), limit=SEAL_LINES)
        count += made.count if made else 0
    took_s = time.monotonic() - began_s
    last_id = AuditEvent.objects.latest("id").id
    Chain.objects.update(settled_id=last_id, barrier_id=last_id, barrier=[])
    return count, took_s


def _end_of(purge: subprocess.Popen[str], *, stop_s: float) -> None:
    began_s = time.monotonic()
    while purge.poll() is None:
        if stop_s and time.monotonic() - began_s > stop_s:
            purge.send_signal(signal.SIGINT)
            stop_s = 0
        time.sleep(LOOK_S)


def intake_while(work: Any) -> list[float]:
    """Return how long each acceptance took while ``work`` ran, in milliseconds."""
    from django.db import connection

    took_ms: list[float] = []
    stop = threading.Event()

    def accept() -> None:
        from signals.services import submit_signals
        from tests.factories import make_submission

        while not stop.is_set():
            began_s = time.perf_counter()
            submit_signals(submissions=[make_submission()], now=datetime.now(UTC))
            took_ms.append((time.perf_counter() - began_s) * 1000)
            time.sleep(0.01)
        connection.close()

    sender = threading.Thread(target=accept)
    sender.start()
    try:
        work()
    finally:
        stop.set()
        sender.join()
    return took_ms


def p95(values: list[float]) -> float:
    """Return the 95th percentile."""
    return quantiles(values, n=20)[-1]


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
