"""A pipeline as it is usually wired: commit, enqueue one job for each model, eight forking workers.

Each job asks the vendor through its SDK, commits a row, and publishes it on Redis. The workers
import the SDK before they fork, as RQ's documentation advises.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from typing import Any
from urllib.parse import unquote, urlsplit

from benchmarks.desk import ROOT, desk
from benchmarks.frame import share

WORKERS, PER_S = 8, 2
SETTLES_S, ENOUGH_S = 5.0, 90.0


def textbook(vendors: str, *, latency_ms: float, models: int, seconds: int) -> dict[str, Any]:
    """Return what this adds to the vendor's time at a pace that it can keep."""
    with desk({"BENCH_VENDORS": vendors}, workers=0, conductor=False) as here:
        command = [sys.executable, "-m", "benchmarks.baselines.textbook"]
        programs = [subprocess.Popen([*command], cwd=ROOT, env=here) for _ in range(WORKERS)]
        try:
            time.sleep(SETTLES_S)
            return _measured(here, latency_ms=latency_ms, models=models, seconds=seconds)
        finally:
            for program in programs:
                program.send_signal(signal.SIGKILL)
                program.wait(timeout=30)


def _measured(
    here: dict[str, str], *, latency_ms: float, models: int, seconds: int
) -> dict[str, Any]:
    import redis
    from rq import Queue

    path = unquote(urlsplit(here["DATABASE_URL"]).path)
    with closing(sqlite3.connect(path, isolation_level=None)) as rows:
        rows.execute("PRAGMA journal_mode=WAL")
        rows.execute("CREATE TABLE textbook (model TEXT, answer TEXT, submitted REAL, done REAL)")
        queue = Queue("textbook", connection=redis.Redis.from_url(here["REDIS_URL"]))
        began_s, count = time.perf_counter(), PER_S * seconds
        for number in range(count):
            for model in range(models):
                queue.enqueue(judge, f"m{model}", number, time.time())
            time.sleep(max(0.0, (number + 1) / PER_S - (time.perf_counter() - began_s)))
        end = time.monotonic() + ENOUGH_S
        added: list[float] = []
        while len(added) < count * models and time.monotonic() < end:
            time.sleep(0.2)
            found = rows.execute("SELECT done - submitted FROM textbook").fetchall()
            added = [took_s * 1000 - latency_ms for (took_s,) in found]
    return {
        "decisions": len(added),
        "expected": count * models,
        "added_p50_ms": share(added, 0.5),
        "added_p95_ms": share(added, 0.95),
    }


def judge(model: str, number: int, submitted_s: float) -> None:
    """Ask one model, store what it says, and tell whoever listens."""
    import openai
    import redis

    client = openai.OpenAI(base_url=f"{os.environ['BENCH_VENDORS']}/v1", api_key="none")
    said = client.chat.completions.create(
        model=f"bench-{model}",
        messages=[{"role": "user", "content": f"Signal {number}: follow or ignore? As JSON."}],
    )
    answer = said.choices[0].message.content
    path = unquote(urlsplit(os.environ["DATABASE_URL"]).path)
    with closing(sqlite3.connect(path, timeout=20)) as rows, rows:
        values = (model, answer, submitted_s, time.time())
        rows.execute("INSERT INTO textbook VALUES (?, ?, ?, ?)", values)
    redis.Redis.from_url(os.environ["REDIS_URL"]).publish("textbook", answer or "")


def work() -> None:
    """Be one of the workers."""
    import openai
    import redis
    from rq import Queue, Worker

    del openai  # loaded once, before the forks
    client = redis.Redis.from_url(os.environ["REDIS_URL"])
    Worker([Queue("textbook", connection=client)], connection=client).work(logging_level="WARNING")


if __name__ == "__main__":
    work()
