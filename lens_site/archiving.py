"""Backups: everything that is stored in one file, and back again.

A backup holds the database, how many rows each table had, the last seal and the anchors. It holds
no secrets: without ``LENS_KEY_PEPPER`` from elsewhere its API keys are void.

After a restore numbers of decisions go on above every number that subscribers may have seen, and
keys that were revoked since the backup are revoked again; both are known from the anchors, which
lie outside the database.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.db import connection, transaction

from access import services as access
from decisions import services as decisions
from decisions.queries import get_head
from lens_site.refusal import Refused
from pipeline import anchors
from pipeline import services as pipeline
from pipeline.models import Seal
from pipeline.queries import list_heartbeats

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
DATABASE: Final = "database"
WITHOUT_ANCHORS: Final = 10_000_000
"""Numbers that are left out when nothing tells which ones subscribers have seen."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore has brought back."""

    manifest: Mapping[str, Any]
    counts: Mapping[str, int]
    head: int
    revoked: int
    set_aside: str


def make_backup(target: Path, *, now: datetime) -> dict[str, Any]:
    """Write everything that is stored into ``target`` and return the manifest.

    :raises Refused: if the file exists, cannot be written, or a program is missing.
    """
    if target.exists():
        raise Refused(f"{target} exists", todo="name another file; backups are not written over")
    with TemporaryDirectory(prefix="lens-backup-") as folder:
        stored = Path(folder) / DATABASE
        counts = _copy_sqlite(stored) if _is_sqlite() else _dump_postgres(stored)
        last = Seal.objects.order_by("-number").values("number", "hash").first()
        manifest = {
            "format": FORMAT,
            "made_at": now.isoformat(),
            "version": settings.VERSION,
            "database": connection.vendor,
            "head": get_head(),
            "seal": last or {"number": 0, "hash": ""},
            "rows": counts,
        }
        (Path(folder) / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        if anchors.path().is_file():
            shutil.copyfile(anchors.path(), Path(folder) / anchors.NAME)
        _pack(Path(folder), target)
    return manifest


def read_manifest(source: Path) -> dict[str, Any]:
    """Return what a backup says of itself.

    :raises Refused: if the file is no backup, or not of this kind of database.
    """
    try:
        with tarfile.open(source) as archive:
            file = archive.extractfile(MANIFEST)
            manifest: dict[str, Any] = json.load(file) if file else {}
    except (OSError, EOFError, KeyError, ValueError, tarfile.TarError) as error:
        raise Refused(f"{source} is no backup", why=str(error)) from error
    if manifest.get("format") != FORMAT:
        raise Refused(f"{source} is no backup that this version reads")
    if manifest["database"] != connection.vendor:
        kinds = f"it holds {manifest['database']}, DATABASE_URL names {connection.vendor}"
        raise Refused(f"{source} is of another kind of database", why=kinds)
    return manifest


def restore(source: Path, *, outside: Path | None, actor: str, now: datetime) -> Restored:
    """Put a backup in the place of what is stored, and go on above what was published.

    :raises Refused: if programs are running, or the backup cannot be read.
    """
    manifest = read_manifest(source)
    _refuse_while_programs_run(now=now)
    past = anchors.read(outside)
    is_known = (outside or anchors.path()).is_file()
    with TemporaryDirectory(prefix="lens-restore-") as folder:
        with tarfile.open(source) as archive:
            archive.extractall(folder, filter="data")
        stored = Path(folder) / DATABASE
        set_aside = _put_sqlite(stored, now=now) if _is_sqlite() else _load_postgres(stored)
        counts = count_rows()
        call_command("migrate", verbosity=0, interactive=False)
        kept = Path(folder) / anchors.NAME
        if not is_known and kept.is_file():
            past = anchors.read(kept)
            anchors.path().parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.copyfile(kept, anchors.path())
    head = max(past.reserved, manifest["head"]) + (0 if is_known else WITHOUT_ANCHORS)
    revoked = _take_up(manifest, past, head=head, actor=actor, now=now)
    return Restored(manifest, counts, head, revoked, set_aside)


def _take_up(
    manifest: Mapping[str, Any], past: anchors.Past, *, head: int, actor: str, now: datetime
) -> int:
    with transaction.atomic():
        decisions.go_on_above(seq=head)
        revoked = access.revoke_again(key_ids=past.revoked, actor=actor, now=now)
        pipeline.record_act(
            actor=actor,
            verb="RESTORED",
            object="database",
            before={"head": manifest["head"], "seal": manifest["seal"]["number"]},
            after={"head": head, "revoked_again": revoked},
            at=now,
            made_at=manifest["made_at"],
        )
    last = Seal.objects.order_by("-number").values_list("number", flat=True).first() or 0
    anchors.append(kind="restored", at=now, seal=last, made_at=manifest["made_at"])
    anchors.append(kind="reserved", at=now, upto=head)
    return revoked


def count_rows() -> dict[str, int]:
    """Return how many rows each of our tables has."""
    with connection.cursor() as cursor:
        there = set(connection.introspection.table_names(cursor))
        counts = {}
        for table in _tables():
            if table in there:
                cursor.execute(f"SELECT count(*) FROM {connection.ops.quote_name(table)}")  # noqa: S608
                counts[table] = int(cursor.fetchone()[0])
    return counts


def _tables() -> list[str]:
    models = apps.get_models(include_auto_created=True)
    return sorted({model._meta.db_table for model in models if model._meta.managed})


def _is_sqlite() -> bool:
    return connection.vendor == "sqlite"


def _refuse_while_programs_run(*, now: datetime) -> None:
    with connection.cursor() as cursor:
        if "pipeline_heartbeat" not in connection.introspection.table_names(cursor):
            return
    alive = [beat.name for beat in list_heartbeats() if now - beat.seen_at < beat.STALE_AFTER]
    if alive:
        raise Refused(
            "programs are running on this database",
            why=", ".join(alive),
            todo="stop them, wait 15 s, then again",
        )


def _pack(folder: Path, target: Path) -> None:
    partial = target.with_name(f"{target.name}.part")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            with tarfile.open(fileobj=file, mode="w:gz", compresslevel=1) as archive:
                for path in sorted(folder.iterdir()):
                    archive.add(path, arcname=path.name)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise Refused(f"{target} cannot be written", why=str(error)) from error


# --- SQLite -----------------------------------------------------------------------------------


def _copy_sqlite(target: Path) -> dict[str, int]:
    """Copy the database while others write to it, and count the copy's rows."""
    source = f"file:{settings.DATABASES['default']['NAME']}?mode=ro"
    with (
        closing(sqlite3.connect(source, uri=True)) as live,
        closing(sqlite3.connect(target)) as copy,
    ):
        live.backup(copy)
        there = {row[0] for row in copy.execute("SELECT name FROM sqlite_master")}
        return {
            table: copy.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0]  # noqa: S608
            for table in _tables()
            if table in there
        }


def _put_sqlite(stored: Path, *, now: datetime) -> str:
    """Set the present database aside and put the copy in its place, in one step each."""
    with closing(sqlite3.connect(stored)) as copy:
        (verdict,) = copy.execute("PRAGMA integrity_check").fetchone()
    if verdict != "ok":
        raise Refused("the copy in the backup is damaged", why=str(verdict))
    place = Path(settings.DATABASES["default"]["NAME"])
    connection.close()
    fresh = place.with_name(f"{place.name}.restoring")
    shutil.copyfile(stored, fresh)
    aside = place.with_name(f"{place.name}.before-{now:%Y%m%dT%H%M%S}")
    for ending in ("", "-wal", "-shm"):
        if place.with_name(place.name + ending).exists():
            place.with_name(place.name + ending).replace(aside.with_name(aside.name + ending))
    fresh.replace(place)
    return str(aside) if aside.exists() else ""


# --- PostgreSQL -------------------------------------------------------------------------------


def _dump_postgres(target: Path) -> dict[str, int]:
    """Dump the database, and count its rows at the same moment."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            cursor.execute("SELECT pg_export_snapshot()")
            (snapshot,) = cursor.fetchone()
        counts = count_rows()
        _run("pg_dump", "--format=custom", f"--snapshot={snapshot}", f"--file={target}")
    return counts


def _load_postgres(stored: Path) -> str:
    """Replace all our tables and functions by those of the dump, in one transaction."""
    script = stored.with_name("restore.sql")
    _run("pg_restore", "--no-owner", "--no-privileges", f"--file={script}", str(stored))
    clearing = stored.with_name("clear.sql")
    clearing.write_text("\n".join(_drops()), encoding="utf-8")
    connection.close()
    options = ("--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--single-transaction")
    _run("psql", *options, f"--file={clearing}", f"--file={script}")
    return ""


def _drops() -> list[str]:
    quote = connection.ops.quote_name
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
        tables = [row[0] for row in cursor.fetchall()]
        cursor.execute(
            "SELECT p.oid::regprocedure::text FROM pg_proc p"
            " WHERE p.pronamespace = current_schema()::regnamespace AND NOT EXISTS"
            " (SELECT 1 FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')"
        )
        functions = [row[0] for row in cursor.fetchall()]
    return [
        *(f"DROP TABLE IF EXISTS {quote(table)} CASCADE;" for table in tables),
        *(f"DROP FUNCTION IF EXISTS {function} CASCADE;" for function in functions),
    ]


def _run(program: str, *options: str) -> None:
    """Run one of PostgreSQL's programs against our database.

    :raises Refused: if it is not installed or fails, with its own words.
    """
    found = shutil.which(program) or _installed(program)
    if found is None:
        raise Refused(
            f"{program} is not on the PATH",
            todo="install PostgreSQL's client programs, as new as the server",
        )
    entry = settings.DATABASES["default"]
    names = {"PGHOST": "HOST", "PGPORT": "PORT", "PGUSER": "USER", "PGPASSWORD": "PASSWORD"}
    given = {name: str(entry[key]) for name, key in names.items() if entry.get(key)}
    name: Sequence[str] = () if program == "pg_restore" else (f"--dbname={entry['NAME']}",)
    done = subprocess.run(  # noqa: S603  a program of PostgreSQL, never a shell
        [found, *options, *name],
        env={**os.environ, **given},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Refused(f"{program} failed", why=done.stderr.strip()[-800:])


def _installed(program: str) -> str | None:
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"))
    return str(found[-1]) if found else None
