"""How long committed work waits for an idle worker, and how much of it one worker does.

The same nothing is done by a worker of Lens (row, lease, token, end, all in the database) and by
RQ's own workers, with a fork for each job and without (``SimpleWorker``).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from benchmarks.desk import ROOT, desk, part
from benchmarks.frame import REPEATS, Figure, share

HOPS, JOBS, FORKS = 60, 3_000, 150
HOP_EVERY_S = 0.03
SETTLES_S = 4.0
WORKERS = {"SimpleWorker": "rq.worker.SimpleWorker", "fork": "rq.worker.Worker"}


def figures(*, quick: bool) -> list[Figure]:
    """Return waiting times and jobs a second, of ours and of RQ's."""
    jobs, forks = (300, 30) if quick else (JOBS, FORKS)
    variables = {"DJANGO_SETTINGS_MODULE": "benchmarks.canned", "BENCH_ERRAND": "1"}
    told: dict[str, list[dict[str, Any]]] = {"Lens": [], "SimpleWorker": [], "fork": []}
    for _ in range(1 if quick else REPEATS):
        with desk(variables, workers=1, conductor=False) as environment:
            time.sleep(SETTLES_S)
            told["Lens"].append(part("benchmarks.queue", environment, "ours", str(jobs)))
        for name, path in WORKERS.items():
            with desk(variables, workers=0, conductor=False) as environment, _rq(environment, path):
                time.sleep(SETTLES_S)
                count = str(forks if name == "fork" else jobs)
                told[name].append(part("benchmarks.queue", environment, "theirs", count))
    hops = {name: [share(each["hops_ms"], 0.95) for each in told[name]] for name in told}
    rates = {name: [each["per_s"] for each in told[name]] for name in told}
    return [
        Figure(
            target="P2", what="commit to claim, p95", unit="ms", samples=hops["Lens"], at_most=10
        ),
        *(
            Figure(
                target="P2",
                what="commit to claim, p95",
                unit="ms",
                samples=hops["Lens"],
                against=f"RQ {name}",
                baseline=hops[name],
            )
            for name in WORKERS
        ),
        Figure(
            target="P2",
            what="jobs done",
            unit="/s",
            samples=rates["Lens"],
            against="RQ SimpleWorker",
            baseline=rates["SimpleWorker"],
            at_least=5,
        ),
        Figure(
            target="P2",
            what="jobs done",
            unit="/s",
            samples=rates["Lens"],
            against="RQ fork",
            baseline=rates["fork"],
        ),
    ]


@contextmanager
def _rq(environment: Mapping[str, str], path: str) -> Iterator[None]:
    command = [sys.executable, "-m", "rq.cli", "worker", "bench", "--url", environment["REDIS_URL"]]
    options = ["--worker-class", path, "--quiet", "--path", str(ROOT)]
    program = subprocess.Popen([*command, *options], cwd=ROOT, env=dict(environment))
    try:
        yield
    finally:
        program.terminate()
        program.wait(timeout=30)


def _ours(jobs: int) -> dict[str, Any]:
    """Open work as intake does, alone and in heaps, and read from its rows when it was taken."""
    import django

    django.setup()
    from uuid import uuid4

    from django.db import transaction

    from pipeline import services
    from pipeline.models import StageRun
    from pipeline.services import Opening

    def opened(count: int) -> tuple[set[Any], float]:
        marks: list[float] = []
        subjects = [uuid4() for _ in range(count)]
        with transaction.atomic():
            transaction.on_commit(lambda: marks.append(time.time()))  # before the bell is rung
            services.open_runs(
                Opening(stage="errand", subject=each, trace=each, attempts_max=3)
                for each in subjects
            )
        return set(subjects), marks[0]

    hops_ms = []
    for _ in range(HOPS):
        subjects, at_s = opened(1)
        time.sleep(HOP_EVERY_S)
        row = StageRun.objects.get(subject__in=subjects)
        while row.claimed_at is None:
            time.sleep(0.01)
            row.refresh_from_db()
        hops_ms.append((row.claimed_at.timestamp() - at_s) * 1000)
    opened(jobs)
    everything = StageRun.objects.filter(stage="errand").order_by("-id")
    while everything.exclude(status="DONE").exists():
        time.sleep(0.05)
    done: list[tuple[Any, Any]] = list(everything[:jobs].values_list("claimed_at", "finished_at"))
    span_s = (max(each[1] for each in done) - min(each[0] for each in done)).total_seconds()
    return {"hops_ms": hops_ms, "per_s": jobs / span_s}


def _theirs(jobs: int) -> dict[str, Any]:
    """Enqueue the same, and read from the jobs when they were begun."""
    import os

    import redis
    from rq import Queue

    from benchmarks.rq_job import do_nothing

    client = redis.Redis.from_url(os.environ["REDIS_URL"])
    queue = Queue("bench", connection=client)

    def finished(job: Any) -> Any:
        while job.get_status(refresh=True) != "finished":
            time.sleep(0.005)
        job.refresh()
        return job

    hops_ms = []
    for _ in range(HOPS):
        at_s = time.time()
        job = finished(queue.enqueue(do_nothing, "x"))
        hops_ms.append((job.started_at.timestamp() - at_s) * 1000)
        time.sleep(HOP_EVERY_S)
    made = [queue.enqueue(do_nothing, str(number)) for number in range(jobs)]
    done = [finished(job) for job in made]
    span_s = max(each.ended_at for each in done) - min(each.started_at for each in done)
    return {"hops_ms": hops_ms, "per_s": jobs / span_s.total_seconds()}


def main() -> None:
    """Run one half inside a desk."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("half", choices=["ours", "theirs"])
    parser.add_argument("jobs", type=int)
    options = parser.parse_args()
    told = (_ours if options.half == "ours" else _theirs)(options.jobs)
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main()
