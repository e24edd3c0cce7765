"""A private PostgreSQL with as many signals as a measurement wants, gone afterwards.

Each signal has its facts, an evaluation with a call, a decision, a stage run and a line of the
trail: 7 rows. One that is past its time has two evaluations, three decisions, four stage runs and
two lines: 15 rows. One in a hundred is a dead letter. Rows are made by SQL from one template a
table, which our own code wrote. Indexes are built when the rows are there.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.frame import Skipped
from launcher.postgres import find_binaries, private_postgres

Recipe = tuple[Any, dict[str, str], str]

SECONDS_APART = 10
OLD_DAYS = 200
SEQS = 8  # numbers for each signal: more than it has decisions, so that later ones fit in between
AT_ONCE = 2
EVENT = "md5('s' || n.i)::uuid"
SYMBOLS = "(ARRAY['BTC','ETH','SOL','DOGE','XRP','AVAX','LINK','ARB'])[1 + mod({n}, 8)]"
SOURCES = "'strategy_' || mod({n}, 20)"
STATUSES = (
    "CASE WHEN mod({n}, 100) = 7 THEN 'DEAD' WHEN mod({n}, 100) < 10 THEN 'REJECTED'"
    " WHEN mod({n}, 1000) = 11 THEN 'EXPIRED' ELSE 'PUBLISHED' END"
)


@contextmanager
def database() -> Iterator[None]:
    """Give this process, and those it starts, a migrated database of its own.

    :raises Skipped: if PostgreSQL is not installed here.
    """
    binaries = find_binaries()
    if binaries is None:
        raise Skipped("PostgreSQL is not installed here")
    with (
        tempfile.TemporaryDirectory(prefix="lens-bench-") as folder,
        private_postgres(binaries, Path(folder)) as url,
    ):
        os.environ |= {"DATABASE_URL": url, "LOG_LEVEL": "ERROR", "LENS_VAR_DIR": folder}
        os.environ["LENS_DB_STATEMENT_TIMEOUT_MS"] = "0"
        os.environ["DJANGO_SETTINGS_MODULE"] = "lens_site.settings"
        import django

        django.setup()
        from django.core.management import call_command
        from django.db import connections

        call_command("migrate", verbosity=0)
        _roomy(url)
        yield
        connections.close_all()


def _roomy(url: str) -> None:
    """Let the server write in larger strokes: it holds nothing that anybody needs."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        for setting in ("max_wal_size = '8GB'", "synchronous_commit = off"):
            connection.execute(f"ALTER SYSTEM SET {setting}")
        connection.execute("SELECT pg_reload_conf()")


def fill(size: int, *, old: int = 0) -> tuple[int, float]:
    """Make ``size`` signals with what hangs on them; return how many rows, and in what time.

    The first ``old`` of them ended so long ago that a purge takes them.
    """
    started = time.perf_counter()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        rows = sum(pool.map(_made, list(_recipes(size, old))))
    _number_on()
    return rows, time.perf_counter() - started


def _number_on() -> None:
    """Have the publisher give out the numbers after those that are stored."""
    from django.db.models import Max

    from decisions.models import Decision, PublicationHead

    last = Decision.objects.aggregate(last=Max("seq"))["last"] or 0
    PublicationHead.objects.update_or_create(id=1, defaults={"head": last})


def _made(recipe: Recipe) -> int:
    from django.db import connection

    row, changes, numbers = recipe
    table = row._meta.db_table
    own = (
        f"UPDATE pg_index SET indisready = %s, indisvalid = %s WHERE indrelid = '{table}'::regclass"  # noqa: S608
    )
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")  # no look-ups of foreign keys
        cursor.execute("SET maintenance_work_mem = '512MB'")
        cursor.execute(own, [False, False])
        made = _copied(cursor, row, changes, numbers)
        cursor.execute(own, [True, True])
        cursor.execute(f"REINDEX TABLE {table}")
        cursor.execute(f"VACUUM ANALYZE {table}")
    connection.close()
    return made


def _copied(cursor: Any, row: Any, changes: dict[str, str], numbers: str) -> int:
    table = row._meta.db_table
    names = [field.column for field in row._meta.concrete_fields]
    kept = [name for name in names if name in changes or name != row._meta.pk.column]
    values = ", ".join(changes.get(name, f't."{name}"') for name in kept)
    columns = ", ".join(f'"{name}"' for name in kept)
    pk = row._meta.pk.column
    copy = f"INSERT INTO {table} ({columns}) SELECT {values} FROM {table} t, {numbers}"  # noqa: S608
    cursor.execute(f'{copy} WHERE t."{pk}" = %s', [row.pk])
    made: int = cursor.rowcount
    if pk in changes and pk == "id" and isinstance(row.pk, int):
        counter = f"pg_get_serial_sequence('{table}', 'id')"
        cursor.execute(f"SELECT setval({counter}, (SELECT max(id) FROM {table}))")  # noqa: S608
    return made


def _recipes(size: int, old: int) -> Iterator[Recipe]:
    """Yield template, changed columns and counted numbers of every table."""
    from tests.factories import make_signal

    signal = make_signal(source="template")
    first = signal.pk + 1
    n, event = "n.i", EVENT
    span = f"generate_series({first}, {first + size - 1}) AS n(i)"
    at = (
        f"now() - make_interval(secs => ({first + size} - n.i) * {SECONDS_APART},"
        f" days => CASE WHEN n.i < {first + old} THEN {OLD_DAYS} ELSE 0 END)"
    )
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
            "terminal_at": at,
        },
        span,
    )
    yield from _judged(signal, span=span, at=at, old=first + old)
    yield from _decided(signal, span=span, at=at, old=first + old)
    yield from _worked_on(signal, span=span, at=at, old=first + old)


def _some(span: str, *, old: int, choices: str) -> str:
    """Return the numbers with one of the choices each, those below ``old`` with all of them."""
    many = choices.count("(")
    return f"{span} JOIN (VALUES {choices}) AS m(model, k) ON mod(n.i, {many}) = m.k OR n.i < {old}"


def _judged(signal: Any, *, span: str, at: str, old: int) -> Iterator[Recipe]:
    from evaluation.models import Attempt
    from tests.factories import NOON, make_enrichment, make_evaluation

    n, event = "n.i", EVENT
    payload = '{"ta": {"timeframes": {"1h": {"rsi": 51.2}}}, "notes": "lean"}'
    facts = make_enrichment(signal, payload=payload)
    profile = "(ARRAY['trend_follow_v1','full_v1'])[1 + mod(n.i, 2)]"
    yield facts, {"event_id": event, "profile": profile, "created_at": at, "as_of": at}, span
    two = _some(span, old=old, choices="('ensemble', 0), ('rules', 1)")
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


def _decided(signal: Any, *, span: str, at: str, old: int) -> Iterator[Recipe]:
    from tests.factories import NOON, make_decision

    n, event = "n.i", EVENT
    three = _some(span, old=old, choices="('ensemble', 0), ('rules', 1), ('jury', 2)")
    decided = {
        "id": "md5('d' || m.model || n.i)::uuid",
        "signal_id": n,
        "event_id": event,
        "model": "m.model",
        "symbol": SYMBOLS.format(n=n),
        "seq": f"{SEQS} * n.i + m.k",
        "published_at": at,
        "evaluated_at": at,
    }
    yield make_decision(signal, published_at=NOON, model_meta={"status": "SUCCESS"}), decided, three


def _worked_on(signal: Any, *, span: str, at: str, old: int) -> Iterator[Recipe]:
    from pipeline.models import AuditEvent, StageRun
    from tests.factories import NOON, make_letter

    event = EVENT
    run = StageRun.objects.create(
        stage="enrich",
        subject=signal.event_id,
        trace=signal.event_id,
        attempts_max=6,
        status="DONE",  # nobody is to take the template itself up
    )
    stages = "('enrich', 0), ('evaluate', 1), ('evaluated', 2), ('jury', 3)"
    four = _some(span, old=old, choices=stages)
    done = "CASE WHEN mod(n.i, 100) = 7 AND m.model = 'enrich' THEN 'FAILED' ELSE 'DONE' END"
    yield (
        run,
        {
            "stage": "CASE m.model WHEN 'evaluated' THEN 'evaluate' ELSE m.model END",
            "subject": "md5(m.model || n.i)::uuid",
            "trace": event,
            "status": done,
            "created_at": at,
        },
        four,
    )
    line = AuditEvent.objects.create(trace=signal.event_id, at=NOON, verb="RECEIVED", actor="bench")
    yield (
        line,
        {"trace": event, "at": at, "verb": "m.model"},
        _some(span, old=old, choices="('RECEIVED', 0), ('PUBLISHED', 1)"),
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
