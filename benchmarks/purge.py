"""Rows purged while signals come in: what intake feels of it.

    DATABASE_URL=postgres://... python -m benchmarks.purge --signals 60000

Fills a migrated, empty database with signals that ended long ago, measures intake alone, then
intake beside the purge, and prints both and their ratio. It needs its own database: it deletes.
"""

from __future__ import annotations

import argparse
import json
import os
import threading
import time
from datetime import UTC, datetime, timedelta
from statistics import quantiles
from typing import Any

import django

BATCH = 500
VERBS = (
    *("RECEIVED", "ENQUEUED", "ENRICHED", "MODEL_DONE", "MODEL_DONE"),
    *("EVALUATED", "PUBLISHED", "SEEN", "SEEN"),
)


def main() -> None:
    """Fill, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--signals", type=int, default=1_000)
    parser.add_argument("--idle-s", type=float, default=10)
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lens_site.settings")
    django.setup()
    print(json.dumps(measure(signals=options.signals, idle_s=options.idle_s)))  # noqa: T201


def measure(*, signals: int, idle_s: float) -> dict[str, Any]:
    """Return how long intake took alone and beside the purge."""
    from pipeline import retention

    now = datetime.now(UTC)
    for start in range(0, signals, BATCH):
        fill(min(BATCH, signals - start), at=now - timedelta(days=200))
    idle_ms = intake_while(lambda: time.sleep(idle_s))
    purge = retention.start(actor="benchmark", now=now)
    removed = 0
    began_s = time.monotonic()

    def purge_all() -> None:
        nonlocal removed
        while True:
            step_s = time.monotonic()
            tally = retention.step(purge_id=purge.id, now=datetime.now(UTC))
            removed += tally.removed.total()
            if tally.is_done:
                return
            time.sleep(retention.rest_s(time.monotonic() - step_s))

    beside_ms = intake_while(purge_all)
    took_s = time.monotonic() - began_s
    return {
        "rows_removed": removed,
        "took_s": round(took_s, 1),
        "rows_per_s": round(removed / took_s),
        "intake_idle_p95_ms": round(p95(idle_ms), 2),
        "intake_beside_p95_ms": round(p95(beside_ms), 2),
        "ratio": round(p95(beside_ms) / p95(idle_ms), 2),
        "accepted": len(idle_ms) + len(beside_ms),
    }


def fill(count: int, *, at: datetime) -> None:
    """Store signals that ended, each with the rows that a judged one has."""
    from evaluation.models import Attempt, Evaluation
    from pipeline.models import AuditEvent, StageRun
    from signals.models import Signal
    from tests.factories import make_signal

    example = make_signal(received_at=at)
    shape = {
        field.attname: getattr(example, field.attname)
        for field in Signal._meta.concrete_fields
        if field.attname not in ("id", "event_id")
    }
    rows = Signal.objects.bulk_create(
        [Signal(**(shape | {"status": "PUBLISHED", "terminal_at": at})) for _ in range(count - 1)]
    )
    Signal.objects.filter(id=example.id).delete()
    judged = Evaluation.objects.bulk_create(
        [
            Evaluation(signal=row, run=1, model=model, created_at=at, status="DECIDED")
            for row in rows
            for model in ("ensemble", "rules")
        ]
    )
    Attempt.objects.bulk_create(
        [
            Attempt(evaluation=each, number=1, status="OK", started_at=at, latency_ms=1.0)
            for each in judged
        ]
    )
    StageRun.objects.bulk_create(
        [
            StageRun(
                stage=stage,
                subject=row.event_id,
                trace=row.event_id,
                status="DONE",
                attempts_max=1,
            )
            for row in rows
            for stage in ("enrich", "evaluate", "jury")
        ]
    )
    AuditEvent.objects.bulk_create(
        [
            AuditEvent(trace=row.event_id, verb=verb, actor="lens", at=at, details={"n": 1})
            for row in rows
            for verb in VERBS
        ]
    )


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


if __name__ == "__main__":
    main()
