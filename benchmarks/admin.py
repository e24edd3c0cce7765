"""How long the back office's pages take on a thousand signals and on a million, on PostgreSQL.

Rows are those of :mod:`benchmarks.stored`. Every page is asked for once, and then seven times that
are measured: the median, the slowest time, and the median against that of the thousand.
``/metrics`` is among them. ``figures`` also takes some more signals through the whole house.
Run it with ``.venv/bin/python -m benchmarks.admin [--signals 1000000]``; ``--purge 67000`` then
purges so many of the signals beside intake, as :mod:`benchmarks.purge` does.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

from benchmarks import purge, stored
from benchmarks.frame import Figure, share

SMALL = 1_000
LIMIT_MS = 500.0
TIMES, AT_ONCE = 7, 20
RATIO_MOST, P95_MOST_MS = 1.5, 150
MARKET = {"PROVIDER_PRIMARY": "simulated", "MAX_PRICE_DRIFT_BPS": "1000000"}


def figures(*, quick: bool) -> list[Figure]:
    """Return the slowest page and the cost of one signal, on many rows beside few."""
    os.environ |= MARKET
    many = 3_000 if quick else 1_000_000
    pages: dict[int, list[tuple[str, list[float]]]] = {}
    costs: dict[int, list[float]] = {}
    with stored.database():
        for size in (SMALL, many):
            stored.fill(size)
            pages[size], costs[size] = list(_pages(size)), _cost_of_one()
    small = [share(walls, 0.95) for _, walls in pages[SMALL]]
    large = [share(walls, 0.95) for _, walls in pages[many]]
    places = range(len(large))
    worst = max(places, key=large.__getitem__)
    most = max(places, key=lambda place: large[place] / small[place])
    return [
        Figure(
            target="P10",
            what=f"slowest page of the back office, {many:,} signals ({pages[many][worst][0]})",
            unit="ms",
            samples=[large[worst]],
            at_most=P95_MOST_MS,
        ),
        Figure(
            target="P10",
            what=f"page that grew most ({pages[many][most][0]}), p95",
            unit="ms",
            samples=[large[most]],
            against=f"{SMALL:,} signals",
            baseline=[small[most]],
            at_most=RATIO_MOST,
        ),
        Figure(
            target="P11",
            what=f"one more signal, {many:,} stored",
            unit="ms",
            samples=costs[many],
            against=f"{SMALL:,} stored",
            baseline=costs[SMALL],
            at_most=1.2,
        ),
    ]


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
        found = []
        for number, (path, walls) in enumerate(_pages(size)):
            ratio = f"{median(walls) / before[number]:5.2f}x" if before else " " * 6
            _say(f"  {median(walls):7.0f} ms  {max(walls):7.0f} ms  {ratio}  {path}")
            found.append(median(walls))
            worst = max(worst, *walls)
        before = found
    return worst


def _cost_of_one() -> list[float]:
    """Return what a signal costs from acceptance to its last number, some in a row, each time."""
    from datetime import UTC, datetime

    from signals.services import submit_signals
    from tests.factories import make_submission
    from tests.running import run_everything

    took_ms = []
    for _ in range(TIMES + 1):
        now = datetime.now(UTC)
        submissions = [make_submission(ts_utc=now, owner="cost") for _ in range(AT_ONCE)]
        began_s = time.perf_counter()
        submit_signals(submissions=submissions, now=now)
        run_everything()
        took_ms.append((time.perf_counter() - began_s) * 1000 / AT_ONCE)
    return took_ms[1:]


def _pages(size: int) -> Iterator[tuple[str, list[float]]]:
    """Yield each page with how long it took, each time."""
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
        f"signals/signal/?p={min(39, size // 100)}",
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
    for path in [*(f"/admin/{path}" for path in paths), "/metrics", "/ready"]:
        yield path, _timed(client.get, path)


def _timed(get: Callable[[str], Any], path: str) -> list[float]:
    walls = []
    get(path)
    for _ in range(TIMES):
        started = time.perf_counter()
        answer = get(path)
        walls.append((time.perf_counter() - started) * 1000)
        if answer.status_code not in (200, 503):  # /ready, where no program runs
            raise SystemExit(f"{path}: {answer.status_code}")
    return walls


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
