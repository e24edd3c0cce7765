"""The chain is tampered with, below the triggers, in every way that an attacker would try."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from pytest_django import Settings

from pipeline import anchors
from pipeline.chain import packed, seal_hash, unpacked
from pipeline.chaining import line_hash, seal
from pipeline.models import AuditEvent, Chain, Seal
from pipeline.verifying import Report, Verification

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _outside(settings: Settings, tmp_path: Path) -> None:
    settings.AUDIT_DIR = tmp_path / "audit"


@pytest.fixture
def ids() -> list[int]:
    """Return nine lines in three seals, the last of which is anchored."""
    found = [write(n) for n in range(9)]
    _, _, anchored = (seal(now=NOON, limit=3) for _ in range(3))
    assert anchored is not None
    anchors.append(kind="anchor", at=NOON, seal=anchored.number, hash=anchored.hash)
    return found


def write(n: int = 0, **changes: Any) -> int:
    values = {"verb": "SEEN", "actor": "test", "at": NOON, "details": {"n": n}} | changes
    return AuditEvent.objects.create(**values).id


def verify() -> Report:
    *_, report = Verification(outside=anchors.read()).steps()
    return report


def sql(statement: str, *values: Any) -> None:
    """Run SQL as an owner of the database could: without the triggers."""
    guards = {
        "audit_event_guard": "pipeline_auditevent",
        "sealed_line_guard": "pipeline_auditevent",
        "seal_change_guard": "pipeline_seal",
        "seal_removal_guard": "pipeline_seal",
    }
    with connection.cursor() as cursor:
        for name, table in guards.items():
            on = f" ON {table}" if connection.vendor == "postgresql" else ""
            cursor.execute(f"DROP TRIGGER IF EXISTS {name}{on}")
        cursor.execute(statement, values)


def test_an_untouched_chain_is_whole(ids: list[int]) -> None:
    report = verify()

    assert report.is_whole, report.findings
    assert (report.lines, report.seals, report.anchors, report.waiting) == (9, 3, 1, 0)
    assert report.head == Seal.objects.get(number=3).hash


def test_a_chain_that_has_not_begun_is_whole() -> None:
    write()

    report = verify()

    assert report.is_whole
    assert (report.lines, report.waiting) == (0, 1)


COLUMNS = {
    "actor": "nobody",
    "verb": "OTHER",
    "at": "2026-01-15 12:00:01",
    "details": '{"n": 99}',
    "object": "key:other",
    "request_id": "other",
    "run": 2,
    "trace": "11111111111111111111111111111111",
}


@pytest.mark.parametrize("column", COLUMNS)
def test_a_changed_column_is_found(ids: list[int], column: str) -> None:
    sql(f"UPDATE pipeline_auditevent SET {column} = %s WHERE id = %s", COLUMNS[column], ids[4])

    report = verify()

    assert report.findings == [f"line {ids[4]} was changed after seal 2"]


@pytest.mark.parametrize("place", [0, 4, 8])
def test_a_removed_line_is_found(ids: list[int], place: int) -> None:
    sql("DELETE FROM pipeline_auditevent WHERE id = %s", ids[place])

    report = verify()

    assert report.findings == [f"line {ids[place]} of seal {place // 3 + 1} is missing"]


def test_swapped_lines_are_found(ids: list[int]) -> None:
    spare = 10**6
    for frm, to in [(ids[1], spare), (ids[2], ids[1]), (spare, ids[2])]:
        sql("UPDATE pipeline_auditevent SET id = %s WHERE id = %s", to, frm)

    report = verify()

    assert report.findings == [
        f"line {ids[1]} was changed after seal 1",
        f"line {ids[2]} was changed after seal 1",
    ]


def test_a_line_that_was_slipped_in_is_found() -> None:
    hole, last = write(), write()
    AuditEvent.objects.filter(id=hole).delete()
    seal(now=NOON, limit=10)

    write(id=hole)

    assert Chain.objects.get().settled_id == last
    assert verify().findings == [f"line {hole} was slipped in: no seal holds it"]


def test_a_seal_that_was_changed_is_found(ids: list[int]) -> None:
    sql("UPDATE pipeline_seal SET sealed_at = %s WHERE number = 2", "2026-01-15 13:00:00")

    assert verify().findings == ["seal 2 was changed"]


def test_a_line_and_its_hash_changed_together_are_found(ids: list[int]) -> None:
    sql("UPDATE pipeline_auditevent SET actor = 'nobody' WHERE id = %s", ids[4])
    forge(2, rest=False)

    assert verify().findings == ["seal 3 does not follow seal 2"]


def test_a_chain_forged_to_its_end_is_found_by_its_anchor(ids: list[int]) -> None:
    sql("UPDATE pipeline_auditevent SET actor = 'nobody' WHERE id = %s", ids[4])
    forge(2, rest=True)

    (finding,) = verify().findings
    assert finding.startswith("seal 3 is not what was anchored at 2026-01-15T12:00")


def test_a_removed_seal_is_found(ids: list[int]) -> None:
    sql("DELETE FROM pipeline_seal WHERE number = 2")

    assert "seals 2 to 2 are missing" in verify().findings


def test_an_end_that_was_cut_off_is_found_by_its_anchor(ids: list[int]) -> None:
    sql("DELETE FROM pipeline_auditevent WHERE id > %s", ids[5])
    sql("DELETE FROM pipeline_seal WHERE number = 3")
    sql("UPDATE pipeline_chain SET settled_id = %s", ids[5])

    (finding,) = verify().findings
    assert finding.startswith("seal 3, anchored at 2026-01-15T12:00")


def test_an_emptied_trail_is_found_by_its_anchor(ids: list[int]) -> None:
    for table in ("auditevent", "seal", "chain"):
        sql(f"DELETE FROM pipeline_{table}")

    assert len(verify().findings) == 1


def test_a_beginning_that_no_purge_has_taken_is_missed(ids: list[int]) -> None:
    sql("DELETE FROM pipeline_auditevent WHERE id <= %s", ids[2])
    sql("DELETE FROM pipeline_seal WHERE number = 1")
    sql("UPDATE pipeline_chain SET trimmed_number = 1")

    assert verify().findings[0] == "seals up to 1 are gone and no purge tells of it"


def test_a_purge_that_only_claims_to_have_been_is_found(ids: list[int]) -> None:
    sql("DELETE FROM pipeline_auditevent WHERE id = %s", ids[0])
    write(id=ids[0], verb="PURGED", details={"lines": [[ids[1], ids[1]]]})
    sql("DELETE FROM pipeline_auditevent WHERE id = %s", ids[1])

    assert verify().findings == [f"line {ids[0]} was changed after seal 1"]


def test_what_comes_in_while_the_chain_is_read_is_no_finding(ids: list[int]) -> None:
    steps = Verification(outside=anchors.read()).steps()
    next(steps)
    write()
    seal(now=NOON, limit=10)

    *_, report = steps

    assert report.is_whole, report.findings


def test_findings_are_counted_beyond_those_that_are_told(ids: list[int]) -> None:
    report = Report()

    for n in range(250):
        report.find(str(n))

    assert (report.findings_in_all, len(report.findings), report.is_whole) == (250, 200, False)


def forge(number: int, *, rest: bool) -> None:
    """Make a seal fit its lines again, and all later seals if asked."""
    previous = Seal.objects.get(number=number - 1).hash
    for one in list(Seal.objects.filter(number__gte=number).order_by("number")):
        stored = AuditEvent.objects.in_bulk([line_id for line_id, _ in unpacked(bytes(one.lines))])
        lines = packed((line_id, line_hash(line)) for line_id, line in sorted(stored.items()))
        made = seal_hash(number=one.number, previous=previous, sealed_at=one.sealed_at, lines=lines)
        sql(
            "UPDATE pipeline_seal SET previous = %s, hash = %s, lines = %s WHERE number = %s",
            previous,
            made,
            lines,
            one.number,
        )
        previous = made
        if not rest:
            return
