"""The restore drill: backup, loss, restore, on whichever database the suite runs on."""

from __future__ import annotations

import json
import tarfile
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from pytest_django import Settings

from access import services as access
from access.models import ApiKey
from access.types import KeyDraft, Scope
from decisions import services as decisions
from decisions.models import Decision
from decisions.queries import get_head, get_oldest_seq
from lens_site import archiving
from lens_site.refusal import Refused
from pipeline import anchors, services
from pipeline.chaining import Sealer, seal
from pipeline.models import AuditEvent
from pipeline.verifying import Verification
from tests.factories import make_decision, make_signal

NOW = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def outside(settings: Settings, tmp_path: Path) -> Path:
    settings.AUDIT_DIR = tmp_path / "audit"
    settings.ANCHOR_EVERY_S = 0
    return tmp_path / "audit" / anchors.NAME


def publish(count: int) -> int:
    for _ in range(count):
        make_decision(make_signal())
    decisions.publish(now=NOW, limit=100)
    step()
    return get_head()


def step() -> None:
    while seal(now=NOW, limit=100):
        pass
    Sealer().step(now=NOW)


def issue() -> ApiKey:
    draft = KeyDraft(name="alpha", scopes=frozenset({Scope.STREAM}))
    return access.issue_key(draft=draft, actor="ann", now=NOW)[0]


def run(name: str, *options: Any) -> dict[str, Any]:
    said = StringIO()
    call_command(name, *options, "--json", stdout=said)
    told: dict[str, Any] = json.loads(said.getvalue())
    return told


def lose_everything() -> None:
    """Leave the database as a new server would have it: without a single table."""
    with connection.cursor() as cursor:
        tables = connection.introspection.table_names(cursor)
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA foreign_keys = OFF")
        for table in tables:
            cascade = " CASCADE" if connection.vendor == "postgresql" else ""
            cursor.execute(f'DROP TABLE "{table}"{cascade}')
    connection.close()


def lines() -> int:
    return AuditEvent.objects.exclude(verb="RESTORED").count()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_unsealed")
def test_the_restore_drill(tmp_path: Path, outside: Path) -> None:
    stays, goes = issue(), issue()
    backed_up = publish(3)
    target = tmp_path / "desk.backup"
    made = run("backup", target)
    before = (Decision.objects.count(), lines())

    lost = publish(4)  # subscribers have seen these numbers
    access.revoke_key(key=goes, actor="ann", now=NOW)
    step()
    lose_everything()
    done = run("restore", target, "--yes")

    assert done["differing"] == {}
    assert done["rows"] == made["rows"]
    assert (Decision.objects.count(), lines() - 1) == before  # and the second revocation
    assert done["revoked_again"] == 1
    assert ApiKey.objects.get(pk=goes.pk).revoked_at is not None
    assert ApiKey.objects.get(pk=stays.pk).revoked_at is None

    first = publish(1)
    assert backed_up < lost < first
    assert Decision.objects.order_by("seq").values_list("seq", flat=True).last() == first
    assert get_oldest_seq() == first  # whoever resumes from before is told of the gap
    *_, report = Verification(outside=anchors.read()).steps()
    assert report.is_whole, report.findings
    assert report.void_anchors >= 1
    assert AuditEvent.objects.get(verb="RESTORED").details["made_at"] == made["made_at"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_unsealed")
def test_without_anchors_numbers_go_on_far_above(tmp_path: Path, outside: Path) -> None:
    head = publish(2)
    target = tmp_path / "desk.backup"
    archiving.make_backup(target, now=NOW)
    outside.unlink()

    done = archiving.restore(target, outside=None, actor="ann", now=NOW)

    assert done.head >= head + archiving.WITHOUT_ANCHORS
    assert publish(1) > done.head
    assert outside.is_file()


@pytest.mark.django_db
def test_a_backup_holds_no_secret_and_is_private(tmp_path: Path, settings: Settings) -> None:
    if connection.vendor == "postgresql":
        pytest.skip("a dump sees what is committed; the drill looks into one")
    target = tmp_path / "desk.backup"

    archiving.make_backup(target, now=NOW)

    assert target.stat().st_mode & 0o077 == 0
    with tarfile.open(target) as archive:
        assert sorted(archive.getnames()) == ["database", "manifest.json"]
        stored = archive.extractfile("database")
        assert stored is not None
        content = stored.read()
    for secret in (settings.SECRET_KEY, settings.LENS_KEY_PEPPER):
        assert secret.encode() not in content


@pytest.mark.django_db
def test_a_file_that_exists_is_not_written_over(tmp_path: Path) -> None:
    target = tmp_path / "desk.backup"
    target.write_text("mine")

    with pytest.raises(Refused, match="exists"):
        archiving.make_backup(target, now=NOW)

    assert target.read_text() == "mine"


@pytest.mark.django_db
@pytest.mark.parametrize("content", [b"", b"no archive", b"\x1f\x8b broken"])
def test_what_is_no_backup_is_refused(tmp_path: Path, content: bytes) -> None:
    source = tmp_path / "desk.backup"
    source.write_bytes(content)

    with pytest.raises(Refused, match="is no backup"):
        archiving.restore(source, outside=None, actor="ann", now=NOW)


@pytest.mark.django_db
def test_nothing_is_restored_under_running_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services.beat(name="worker-1", kind="worker", started_at=NOW, at=NOW)
    monkeypatch.setattr(
        archiving, "read_manifest", lambda source: {"database": connection.vendor, "head": 0}
    )

    with pytest.raises(Refused, match="programs are running") as refused:
        archiving.restore(tmp_path / "any", outside=None, actor="ann", now=NOW)

    assert "worker-1" in refused.value.why
