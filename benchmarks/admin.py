"""How long the back office's pages take on a thousand signals and on a million, on PostgreSQL.

Rows are those of :mod:`benchmarks.stored`. Every page is asked for once, and then seven times that
are measured: the median and the slowest time, the median of the processor time of this process,
without the database's, and the median against that of the thousand. ``/metrics`` is among them.
Run it with ``.venv/bin/python -m benchmarks.admin [--signals 1000000]``; ``--purge 67000`` then
purges so many of the signals beside intake, as :mod:`benchmarks.purge` does.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

from benchmarks import purge, stored

SMALL = 1_000
LIMIT_MS = 500.0
TIMES = 7


def main() -> int:
    """Measure both sizes and return 1 if a page takes too long."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--signals", type=int, default=1_000_000)
    parser.add_argument("--purge", type=int, default=0, metavar="SIGNALS")
    parser.add_argument("--stop-s", type=float, default=0)
    wanted = parser.parse_args()
    with stored.database():
        worst = _measure(wanted.signals, old=wanted.purge)
        if wanted.purge:
            _say(json.dumps(purge.measure(stop_s=wanted.stop_s)))
    _say(f"\nslowest page {worst:.0f} ms, limit {LIMIT_MS:.0f} ms")
    return 0 if worst <= LIMIT_MS else 1


def _measure(signals: int, *, old: int) -> float:
    before: list[float] = []
    worst = 0.0
    for size in (SMALL, signals):
        rows, took_s = stored.fill(size, old=old if size == signals else 0)
        _say(f"\n{size:,} signals, {rows:,} rows in all (made in {took_s:.0f} s)")
        found = list(_pages(size, before))
        before = [middle for middle, _ in found]
        worst = max(worst, *(slowest for _, slowest in found))
    return worst


def _pages(size: int, before: list[float]) -> Iterator[tuple[float, float]]:
    """Print and yield how long each page takes: its median and its slowest time."""
    from django.contrib.auth.models import Group
    from django.test import Client

    from access.models import User
    from evaluation.models import Evaluation
    from pipeline.models import AuditEvent, DeadLetter
    from signals.models import Signal

    person, _ = User.objects.get_or_create(username="operator", is_staff=True)
    person.groups.add(Group.objects.get(name="Operator"))
    client = Client(headers={"host": "localhost"})
    client.force_login(person, backend="django.contrib.auth.backends.ModelBackend")
    middle = Signal.objects.filter(pk__gte=size // 2).order_by("pk")[0]
    evaluation = Evaluation.objects.filter(signal=middle)[0]
    letter = DeadLetter.objects.order_by("-created_at")[0]
    line = AuditEvent.objects.order_by("-pk")[0]
    found, day = middle.event_id.hex[:8], f"{middle.received_at:%Y-%m-%d}"
    dates = f"received_at_from={day}&received_at_until={day}"
    paths = [
        "",
        "signals/signal/",
        f"signals/signal/?p={min(150, size // 100)}",
        "signals/signal/?status__exact=EXPIRED",
        "signals/signal/?status__exact=CANCELLED",
        "signals/signal/?symbol=ARB&status__exact=DEAD",
        f"signals/signal/?{dates}",
        f"signals/signal/?q=sig_{found}",
        "signals/signal/?q=strategy_3",
        "signals/signal/?q=nothing",
        f"signals/signal/{middle.pk}/change/",
        "enrichment/enrichment/",
        f"enrichment/enrichment/?q={found}",
        "enrichment/enrichment/?profile=full_v1",
        f"enrichment/enrichment/?created_at_until={day}",
        "enrichment/featureprofile/",
        "evaluation/evaluation/",
        "evaluation/evaluation/?end=ABSTAINED.TIMEOUT",
        "evaluation/evaluation/?end=SKIPPED",
        "evaluation/evaluation/?model=rules",
        f"evaluation/evaluation/?{dates}",
        f"evaluation/evaluation/?q=sig_{found}",
        f"evaluation/evaluation/{evaluation.pk}/change/",
        "evaluation/attempt/",
        "evaluation/attempt/?status__exact=TIMEOUT",
        f"evaluation/attempt/?q=sig_{found}",
        "decisions/decision/",
        "decisions/decision/?symbol=ARB",
        f"decisions/decision/?{dates}",
        f"decisions/decision/?q=sig_{found}",
        "pipeline/stagerun/",
        "pipeline/stagerun/?status__exact=FAILED",
        "pipeline/stagerun/?stage=jury",
        f"pipeline/stagerun/?q=sig_{found}",
        f"pipeline/stagerun/?created_at_from={day}&created_at_until={day}",
        "pipeline/deadletter/",
        f"pipeline/deadletter/?q={letter.fingerprint}",
        f"pipeline/deadletter/{letter.pk}/change/",
        f"pipeline/deadletter/groups/{letter.fingerprint}/retry/",
        "pipeline/switch/",
        "pipeline/auditevent/",
        f"pipeline/auditevent/?at_from={day}&at_until={day}",
        f"pipeline/auditevent/?q=sig_{found}",
        f"pipeline/auditevent/{line.pk}/change/",
        "pipeline/purge/",
        "pipeline/heartbeat/",
        "signals/replay/",
        "signals/hold/",
        "evaluation/modelstate/",
        "evaluation/spend/",
        "evaluation/rerun/",
    ]
    for number, path in enumerate([*(f"/admin/{path}" for path in paths), "/metrics", "/ready"]):
        took_ms, slowest, cpu = _timed(client.get, path)
        ratio = f"{took_ms / before[number]:5.2f}x" if before else " " * 6
        _say(f"  {took_ms:7.0f} ms  {slowest:7.0f} ms  {cpu:7.0f} ms  {ratio}  {path}")
        yield took_ms, slowest


def _timed(get: Callable[[str], Any], path: str) -> tuple[float, float, float]:
    walls, cpus = [], []
    get(path)
    for _ in range(TIMES):
        started, began = time.perf_counter(), time.process_time()
        answer = get(path)
        walls.append((time.perf_counter() - started) * 1000)
        cpus.append((time.process_time() - began) * 1000)
        if answer.status_code not in (200, 503):  # /ready, where no program runs
            raise SystemExit(f"{path}: {answer.status_code}")
    return median(walls), max(walls), median(cpus)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
