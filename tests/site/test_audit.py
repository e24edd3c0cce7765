from __future__ import annotations

import asyncio
import csv
import json
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client
from pytest_django import Settings

from lens_site.management.commands.run_conductor import Conductor
from pipeline import anchors, exporting, services, verifying
from pipeline.chaining import line_hash, seal
from pipeline.models import AuditEvent, Chain

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _outside(settings: Settings, tmp_path: Path) -> None:
    settings.AUDIT_DIR = tmp_path / "audit"


def write(actor: str = "ann", *, at: datetime = NOON, **details: Any) -> AuditEvent:
    services.record(trace=None, verb="SEEN", actor=actor, at=at, **details)
    return AuditEvent.objects.latest("id")


def verify(*options: str) -> tuple[int, str]:
    said = StringIO()
    try:
        call_command("audit", "verify", *options, stdout=said, stderr=said)
    except SystemExit as stopped:
        return int(str(stopped.code)), said.getvalue()
    return 0, said.getvalue()


def test_a_whole_trail_is_told_and_kept_in_mind() -> None:
    write()
    made = seal(now=NOON, limit=10)
    assert made is not None
    anchors.append(kind="anchor", at=NOON, seal=made.number, hash=made.hash)

    code, said = verify()

    assert code == 0
    assert "✓ the trail is whole: 1 lines in 1 seals, 0 purged, 1 anchors hold" in said
    assert made.hash in said
    chain = Chain.objects.get()
    assert (chain.verified_seals, chain.findings) == (1, [])
    assert chain.verified_at is not None


def test_a_broken_trail_is_told_line_by_line_and_ends_in_1() -> None:
    line = write()
    seal(now=NOON, limit=10)
    on = " ON pipeline_auditevent" if connection.vendor == "postgresql" else ""
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TRIGGER audit_event_guard{on}")
    AuditEvent.objects.update(actor="nobody")

    code, said = verify("--json")

    told = json.loads(said)
    assert code == 1
    assert (told["whole"], told["findings_in_all"]) == (False, 1)
    assert told["findings"] == [f"line {line.id} was changed after seal 1"]
    assert Chain.objects.get().findings == told["findings"]


def test_an_anchor_from_the_log_is_held_against_the_chain() -> None:
    write()
    seal(now=NOON, limit=10)

    code, said = verify("--anchor", f"1:{'0' * 64}")

    assert code == 1
    assert "seal 1 is not what was anchored at the command line" in said


def test_without_anchors_it_is_said_what_cannot_be_found() -> None:
    assert "a cut-off end cannot be found" in verify()[1]


def test_a_file_of_anchors_that_does_not_exist_is_refused() -> None:
    code, said = verify("--anchors", "/nowhere/anchors.jsonl")

    assert code == 1
    assert "/nowhere/anchors.jsonl does not exist" in said


def test_the_export_holds_the_asked_time_and_the_hash_of_each_line(tmp_path: Path) -> None:
    write(at=NOON - timedelta(days=1))
    wanted = write("bob", note="ü")
    write(at=NOON + timedelta(days=1))
    target = tmp_path / "trail.jsonl"

    call_command(
        "audit", "export", "--since=2026-01-15", "--until=2026-01-16", "--output", str(target)
    )

    (told,) = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    assert told == {
        "id": wanted.id,
        "at": "2026-01-15T12:00:00Z",
        "verb": "SEEN",
        "actor": "bob",
        "object": "",
        "trace": None,
        "run": 1,
        "request_id": "",
        "details": {"note": "ü"},
        "sha256": line_hash(wanted),
    }


def test_a_file_that_exists_is_not_written_over(tmp_path: Path) -> None:
    target = tmp_path / "trail.csv"
    target.write_text("mine")

    with pytest.raises(SystemExit, match="1"):
        call_command("audit", "export", "--output", str(target), stderr=StringIO())

    assert target.read_text() == "mine"


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_of_the_csv_is_a_formula(sign: str) -> None:
    write(f"{sign}HYPERLINK(1)", note='a "quoted", line\nbreak')

    text = exporting.header("csv") + exporting.written("csv", exporting.list_lines())

    header, row = list(csv.reader(StringIO(text, newline="")))
    found = dict(zip(header, row, strict=True))
    assert tuple(header) == exporting.COLUMNS
    assert found["actor"] == f"'{sign}HYPERLINK(1)"
    assert json.loads(found["details"]) == {"note": 'a "quoted", line\nbreak'}


def test_the_daily_verification_is_due_once_after_its_hour(settings: Settings) -> None:
    settings.AUDIT_VERIFY_AT = "04:30"
    assert not verifying.is_due(now=NOON)  # there is nothing to verify

    write()
    seal(now=NOON, limit=10)
    assert verifying.is_due(now=NOON)
    verifying.note_verification(report=verifying.Report(), now=NOON)
    assert not verifying.is_due(now=NOON + timedelta(hours=16, minutes=29))
    assert verifying.is_due(now=NOON + timedelta(hours=16, minutes=30))
    settings.AUDIT_VERIFY_AT = "never"
    assert not verifying.is_due(now=NOON + timedelta(days=9))


@pytest.mark.usefixtures("_unsealed")
@pytest.mark.django_db(transaction=True)
def test_the_conductor_verifies_daily_and_health_and_metrics_tell(
    client: Client, settings: Settings
) -> None:
    settings.PURGE_SHARE_PCT = 100
    write()
    made = seal(now=NOON, limit=10)
    assert made is not None
    anchors.append(kind="anchor", at=NOON, seal=made.number + 1, hash="f" * 64)

    asyncio.run(verify_as_conductor())

    told = client.get("/ready").json()
    assert "audit" in told["degraded"]
    assert told["checks"]["audit"]["why"] == "the trail is not whole; run ./lens audit verify"
    metrics = client.get("/metrics").content.decode()
    assert "lens_audit_findings 1.0" in metrics
    assert "lens_audit_verified_timestamp" in metrics
    assert not verifying.is_due(now=datetime.now(UTC))


async def verify_as_conductor() -> None:
    conductor = Conductor()
    await conductor._verify()
    await conductor._keeper.close()


def test_a_trail_that_was_not_verified_for_days_is_told(client: Client) -> None:
    report = verifying.Report()
    for days, is_degraded in ((1, False), (3, True)):
        verifying.note_verification(report=report, now=datetime.now(UTC) - timedelta(days=days))

        assert ("audit" in client.get("/ready").json()["degraded"]) is is_degraded
