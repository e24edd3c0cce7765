"""From publication to the clients: one decision to a thousand and five thousand sockets.

The same client process listens to Lens on daphne, to Lens on uvicorn, and to a bare ``websockets``
server that broadcasts as many bytes without any database. Figures are over all messages of a run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from statistics import median
from typing import Any

from benchmarks.desk import ROOT, desk, free_port, make_key, rss_mb, until_listening, web
from benchmarks.frame import REPEATS, Figure, Skipped

CLIENTS, MESSAGES, EVERY_S = (1_000, 5_000), 10, 0.7
TARGETS = {"uvicorn": 1.5, "daphne": 3.0}
MEMORY_MOST_KB = 30.0
VARIABLES = {
    "PROVIDER_PRIMARY": "simulated",
    "WS_MAX_CONNECTIONS": "20000",
    "WS_MAX_CONNECTIONS_PER_KEY": "20000",
    "DEMO_FEED_SIGNALS": "0",
}
Told = dict[str, Any]


def figures(*, quick: bool) -> list[Figure]:
    """Return how long it takes to the last client, beside the bare broadcast, and what it costs."""
    found = []
    for clients in (100,) if quick else CLIENTS:
        told: dict[str, list[Told]] = {"bare": [], **{server: [] for server in TARGETS}}
        for _ in range(1 if quick else REPEATS):
            size = 1_200
            for server in TARGETS:
                told[server].append(_lens(server, clients))
                size = told[server][-1]["bytes"]
            told["bare"].append(_bare(clients, size))
        for server, most in TARGETS.items():
            found += _figures_of(server, clients, told[server], told["bare"], most=most)
    return found


def _figures_of(
    server: str, clients: int, ours: list[Told], bare: list[Told], *, most: float
) -> list[Figure]:
    floor = [each["last_ms"] for each in bare]
    name = f"{clients:,} clients on {server}"
    return [
        Figure(
            target="P8",
            what=f"publish to last client, {name}",
            unit="ms",
            samples=[each["last_ms"] for each in ours],
            against="bare broadcast",
            baseline=floor,
            at_most=most,
        ),
        Figure(
            target="P8",
            what=f"clients that missed one, {name}",
            unit="",
            samples=[each["lacking"] for each in ours],
            at_most=0,
        ),
        Figure(
            target="P8",
            what=f"memory a client, {name}",
            unit="kB",
            samples=[each["kb_each"] for each in ours],
            at_most=MEMORY_MOST_KB,
        ),
    ]


def _lens(server: str, clients: int) -> Told:
    with (
        desk(VARIABLES, workers=0, conductor=False) as environment,
        web(environment, server=server) as (port, pid),
    ):
        key = make_key(environment, "decisions:read")
        command = [sys.executable, "-m", "benchmarks.fanout", "publish"]
        publisher = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        with _ended(publisher):
            _next_line(publisher)
            environment["BENCH_KEY"] = key
            return _heard(port, "/ws/decisions", clients, environment, pid, lambda: _one(publisher))


def _bare(clients: int, size: int) -> Told:
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.baselines.broadcast", str(port), str(size)]
    server = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with _ended(server):
        until_listening(port)
        return _heard(port, "/", clients, {}, server.pid, lambda: _one(server))


def _heard(
    port: int,
    path: str,
    clients: int,
    variables: Mapping[str, str],
    pid: int,
    publish: Callable[[], str],
) -> Told:
    """Let everybody connect, publish at a pace, and return how long it took to reach them."""
    before_mb = rss_mb(pid)
    command = [sys.executable, "-m", "benchmarks.sockets", "127.0.0.1", str(port), path]
    listeners = subprocess.Popen(
        [*command, str(clients), str(MESSAGES)],
        cwd=ROOT,
        env={**variables} or None,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with _ended(listeners):
        _next_line(listeners)
        kb_each = (rss_mb(pid) - before_mb) * 1024 / clients
        at_s = []
        for _ in range(MESSAGES):
            time.sleep(EVERY_S)
            at_s.append(float(publish()))
        told = json.loads(_next_line(listeners))
        late = [(last - at) * 1000 for last, at in zip(told["last_s"], at_s, strict=False)]
        return {
            "last_ms": median(late) if late else float("nan"),
            "lacking": told["lacking"],
            "bytes": told["bytes"],
            "kb_each": kb_each,
        }


def _one(program: subprocess.Popen[bytes]) -> str:
    """Have one message sent and return when that was."""
    assert program.stdin is not None
    program.stdin.write(b"\n")
    program.stdin.flush()
    return _next_line(program)


def _next_line(program: subprocess.Popen[bytes]) -> str:
    assert program.stdout is not None
    line = program.stdout.readline().decode()
    if not line:
        raise Skipped(f"{program.args!r} ended early")
    return line


@contextmanager
def _ended(program: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        program.kill()
        program.communicate()


def publish() -> None:
    """Publish a decision for each line that comes in, and print when it was committed."""
    import django

    django.setup()
    import asyncio
    from datetime import UTC, datetime

    from decisions import push, services
    from tests.factories import make_decision, make_signal

    def say(word: object) -> None:
        sys.stdout.write(f"{word}\n")
        sys.stdout.flush()

    signal, loop = make_signal(), asyncio.new_event_loop()
    say("ready")
    for number, _ in enumerate(sys.stdin):
        make_decision(signal, model=f"model-{number}")
        head = services.publish(now=datetime.now(UTC), limit=10)  # one commit, its last act
        committed_s = time.monotonic()
        loop.run_until_complete(push.announce_head(head or 0))
        say(committed_s)


def main() -> None:
    """Publish, inside a desk."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["publish"])
    parser.parse_args()
    publish()


if __name__ == "__main__":
    main()
