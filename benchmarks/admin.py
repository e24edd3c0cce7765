"""How long the back office's pages take on a thousand signals and on a million, on PostgreSQL.

Rows are made by SQL in a private server that is gone afterwards: for each signal its facts, two
evaluations with a call each, three decisions, four stage runs and two lines of the trail; one in a
hundred is a dead letter. Every page is asked for once, and then five times that are measured: the
median and the slowest time, and the median of the processor time of this process, without the
database's. Run it with ``.venv/bin/python -m benchmarks.admin [--signals 1000000]``.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from launcher.postgres import find_binaries, private_postgres

SMALL = 1_000
LIMIT_MS = 500.0
TIMES = 5
SECONDS_APART = 10
EVENT = "md5('s' || n.i)::uuid"
SYMBOLS = "(ARRAY['BTC','ETH','SOL','DOGE','XRP','AVAX','LINK','ARB'])[1 + mod({n}, 8)]"
SOURCES = "'strategy_' || mod({n}, 20)"
STATUSES = (
    "CASE WHEN mod({n}, 100) = 7 THEN 'DEAD' WHEN mod({n}, 100) < 10 THEN 'REJECTED'"
    " WHEN mod({n}, 1000) = 11 THEN 'EXPIRED' ELSE 'PUBLISHED' END"
)


def main() -> int:
    """Measure both sizes and return 1 if a page takes too long."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--signals", type=int, default=1_000_000)
    wanted = parser.parse_args()
    binaries = find_binaries()
    if binaries is None:
        _say("PostgreSQL is not installed here")
        return 2
    with (
        tempfile.TemporaryDirectory(prefix="lens-bench-") as folder,
        private_postgres(binaries, Path(folder)) as url,
    ):
        os.environ |= {"DATABASE_URL": url, "LOG_LEVEL": "ERROR", "LENS_VAR_DIR": folder}
        os.environ["LENS_DB_STATEMENT_TIMEOUT_MS"] = "0"
        os.environ["DJANGO_SETTINGS_MODULE"] = "lens_site.settings"
        return _measure(wanted.signals)


def _measure(signals: int) -> int:
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    worst = 0.0
    for size in sorted({SMALL, signals}):
        started = time.perf_counter()
        rows = _fill(size)
        took_s = time.perf_counter() - started
        _say(f"\n{size:,} signals, {rows:,} rows in all (made in {took_s:.0f} s)")
        worst = max(worst, _pages(size))
    _say(f"\nslowest page {worst:.0f} ms, limit {LIMIT_MS:.0f} ms")
    return 0 if worst <= LIMIT_MS else 1


def _fill(size: int) -> int:
    """Make rows up to ``size`` signals, each a copy of a template with its own marks."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")  # no look-ups of foreign keys
        rows = sum(_copied(cursor, *each) for each in _recipes(size))
        cursor.execute("SET session_replication_role = DEFAULT")
        cursor.execute("ANALYZE")
    return rows


def _copied(cursor: Any, row: Any, changes: dict[str, str], numbers: str) -> int:
    table = row._meta.db_table
    names = [field.column for field in row._meta.concrete_fields]
    kept = [name for name in names if name in changes or name != row._meta.pk.column]
    values = ", ".join(changes.get(name, f't."{name}"') for name in kept)
    columns = ", ".join(f'"{name}"' for name in kept)
    pk = row._meta.pk.column
    copy = f"INSERT INTO {table} ({columns}) SELECT {values} FROM {table} t, {numbers}"  # noqa: S608
    cursor.execute(f'{copy} WHERE t."{pk}" = %s', [row.pk])
    made = int(cursor.rowcount)
    if pk in changes and pk == "id" and isinstance(row.pk, int):
        counter = f"pg_get_serial_sequence('{table}', 'id')"
        cursor.execute(f"SELECT setval({counter}, (SELECT max(id) FROM {table}))")  # noqa: S608
    return made


def _recipes(size: int) -> Iterator[tuple[Any, dict[str, str], str]]:
    """Yield template, changed columns and counted numbers of every table."""
    from tests.factories import make_signal

    signal = make_signal(source="template", notes="note " * 10)
    first = signal.pk + 1
    n, event = "n.i", EVENT
    span = f"generate_series({first}, {first + size - 1}) AS n(i)"
    at = f"now() - make_interval(secs => ({first + size} - n.i) * {SECONDS_APART})"
    yield (
        signal,
        {
            "id": n,
            "event_id": event,
            "symbol": SYMBOLS.format(n=n),
            "source": SOURCES.format(n=n),
            "status": STATUSES.format(n=n),
            "received_at": at,
            "ts_utc": at,
        },
        span,
    )
    yield from _what_hangs_on(signal, span=span, at=at)


def _what_hangs_on(signal: Any, *, span: str, at: str) -> Iterator[tuple[Any, dict[str, str], str]]:
    from evaluation.models import Attempt
    from pipeline.models import AuditEvent, StageRun
    from tests.factories import (
        NOON,
        make_decision,
        make_enrichment,
        make_evaluation,
        make_letter,
    )

    n, event = "n.i", EVENT
    payload = '{"ta": {"timeframes": {"1h": {"rsi": 51.2}}}, "notes": "' + "x" * 900 + '"}'
    facts = make_enrichment(signal, payload=payload, facts={"bars": list(range(60))})
    profile = "(ARRAY['trend_follow_v1','full_v1'])[1 + mod(n.i, 2)]"
    yield facts, {"event_id": event, "profile": profile, "created_at": at, "as_of": at}, span
    two = f"{span}, (VALUES ('ensemble'), ('rules')) AS m(model)"
    evaluation = make_evaluation(signal, status="DECIDED", outcome="OK", finished_at=NOON)
    judged = "md5('e' || m.model || n.i)::uuid"
    fails = "mod(n.i, 500) = 3"
    yield (
        evaluation,
        {
            "id": judged,
            "signal_id": n,
            "model": "m.model",
            "status": f"CASE WHEN {fails} THEN 'ABSTAINED' ELSE 'DECIDED' END",
            "outcome": f"CASE WHEN {fails} THEN 'TIMEOUT' ELSE 'OK' END",
            "created_at": at,
            "finished_at": at,
        },
        two,
    )
    attempt = Attempt.objects.create(
        evaluation=evaluation, number=1, status="OK", started_at=NOON, latency_ms=1.0
    )
    state = f"CASE WHEN {fails} THEN 'TIMEOUT' ELSE 'OK' END"
    yield attempt, {"evaluation_id": judged, "status": state, "started_at": at}, two
    three = f"{span}, (VALUES ('ensemble', 0), ('rules', 1), ('jury', 2)) AS m(model, k)"
    decided = {
        "id": "md5('d' || m.model || n.i)::uuid",
        "signal_id": n,
        "event_id": event,
        "model": "m.model",
        "symbol": SYMBOLS.format(n=n),
        "seq": "10 + 3 * n.i + m.k",
        "published_at": at,
        "evaluated_at": at,
    }
    yield make_decision(signal, published_at=NOON), decided, three
    run = StageRun.objects.create(
        stage="enrich", subject=signal.event_id, trace=signal.event_id, attempts_max=6
    )
    four = f"{span}, (VALUES ('enrich'), ('evaluate'), ('evaluated'), ('jury')) AS m(stage)"
    done = "CASE WHEN mod(n.i, 100) = 7 AND m.stage = 'enrich' THEN 'FAILED' ELSE 'DONE' END"
    yield (
        run,
        {
            "stage": "CASE m.stage WHEN 'evaluated' THEN 'evaluate' ELSE m.stage END",
            "subject": "md5(m.stage || n.i)::uuid",
            "trace": event,
            "status": done,
            "created_at": at,
        },
        four,
    )
    line = AuditEvent.objects.create(trace=signal.event_id, at=NOON, verb="RECEIVED", actor="bench")
    yield (
        line,
        {"trace": event, "at": at, "verb": "m.verb"},
        f"{span}, (VALUES ('RECEIVED'), ('PUBLISHED')) AS m(verb)",
    )
    yield (
        make_letter(signal),
        {
            "id": "md5('l' || n.i)::uuid",
            "trace": event,
            "subject": event,
            "created_at": at,
            "fingerprint": "lpad(to_hex(mod(n.i, 12)), 16, '0')",
        },
        f"{span} JOIN (VALUES (7)) AS hundredth(k) ON mod(n.i, 100) = hundredth.k",
    )


def _pages(size: int) -> float:
    """Print how long each page takes and return the slowest."""
    from django.contrib.auth.models import Group
    from django.test import Client

    from access.models import User
    from evaluation.models import Evaluation
    from pipeline.models import DeadLetter
    from signals.models import Signal

    person, _ = User.objects.get_or_create(username="operator", is_staff=True)
    person.groups.add(Group.objects.get(name="Operator"))
    client = Client(headers={"host": "localhost"})
    client.force_login(person, backend="django.contrib.auth.backends.ModelBackend")
    middle = Signal.objects.filter(pk__gte=size // 2).order_by("pk")[0]
    evaluation = Evaluation.objects.filter(signal=middle)[0]
    letter = DeadLetter.objects.order_by("-created_at")[0]
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
    ]
    return max(_timed(client.get, f"/admin/{path}") for path in paths)


def _timed(get: Callable[[str], Any], path: str) -> float:
    walls, cpus = [], []
    get(path)
    for _ in range(TIMES):
        started, began = time.perf_counter(), time.process_time()
        answer = get(path)
        walls.append((time.perf_counter() - started) * 1000)
        cpus.append((time.process_time() - began) * 1000)
        if answer.status_code != 200:
            raise SystemExit(f"{path}: {answer.status_code}")
    _say(f"  {median(walls):7.0f} ms  {max(walls):7.0f} ms  {median(cpus):7.0f} ms  {path}")
    return max(walls)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
