from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from pytest_django import Settings

from decisions import services
from decisions.ledger import FIELDS, decision_hash
from decisions.models import Decision
from pipeline import anchors
from pipeline.chaining import seal
from pipeline.models import AuditEvent
from pipeline.verifying import Report, Verification
from signals.types import Origin, SignalStatus
from tests.factories import make_decision, make_signal

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
NOT_HASHED = {"signal", "withheld"}  # told beside the hash; empty once published


@pytest.fixture(autouse=True)
def _outside(settings: Settings, tmp_path: Path) -> None:
    settings.AUDIT_DIR = tmp_path / "audit"


def publish(*decisions: Decision) -> list[Decision]:
    services.publish(now=NOON, limit=100)
    return [Decision.objects.get(id=decision.id) for decision in decisions]


def verify() -> Report:
    while seal(now=NOON, limit=100):
        pass
    *_, report = Verification(outside=anchors.read()).steps()
    return report


def tamper(statement: str, *values: Any) -> None:
    with connection.cursor() as cursor:
        on = " ON decisions_decision" if connection.vendor == "postgresql" else ""
        cursor.execute(f"DROP TRIGGER published_decision_guard{on}")
        cursor.execute(statement, values)


def test_everything_that_a_decision_says_is_in_its_hash() -> None:
    columns = {field.name for field in Decision._meta.concrete_fields}

    assert set(FIELDS) == columns - NOT_HASHED


def test_what_is_published_enters_the_trail_in_the_same_transaction() -> None:
    signal = make_signal(status=SignalStatus.ENRICHED)
    first, second = publish(make_decision(signal), make_decision(signal, model="rules"))

    (line,) = AuditEvent.objects.filter(verb="LEDGER")
    assert line.details["fields"] == list(FIELDS)
    assert sorted(line.details["decisions"]) == sorted(
        [[one.id.hex, signal.id, decision_hash(one)] for one in (first, second)]
    )


def test_replayed_decisions_are_in_the_ledger_and_withheld_ones_are_not() -> None:
    replayed = make_decision(make_signal(origin=Origin.REPLAY))
    make_decision(expires_at=datetime(2026, 1, 15, 11, 0, tzinfo=UTC))

    publish(replayed)

    (line,) = AuditEvent.objects.filter(verb="LEDGER")
    assert [entry[0] for entry in line.details["decisions"]] == [replayed.id.hex]


def test_nothing_published_leaves_no_line() -> None:
    publish()

    assert not AuditEvent.objects.exists()


def test_stored_decisions_are_what_they_were_when_they_were_published() -> None:
    publish(
        make_decision(
            confidence=0.1 + 0.2,
            size_pct=15.0,
            entry_plan={"type": "limit", "offset_bps": -5.0},
            risk_plan={"stop_method": "atr", "atr_multiple": 1e16, "tiny": 1e-7},
            jury={"votes": {"ensemble": 1}, "share": 0.0},
        )
    )

    report = verify()

    assert report.is_whole, report.findings


CHANGES = {
    "decision": "IGNORE",
    "confidence": 0.99,
    "confidence_raw": 0.99,
    "size_pct": 99.0,
    "seq": 77,
    "published_at": "2026-01-15 11:00:00",
    "reasons": '["other"]',
    "model_meta": "{}",
    "model": "rules",
}


@pytest.mark.parametrize("column", CHANGES)
def test_a_decision_that_was_changed_afterwards_is_found(column: str) -> None:
    (decision,) = publish(make_decision())

    tamper(f"UPDATE decisions_decision SET {column} = %s", CHANGES[column])

    assert verify().findings == [f"decision {decision.id} was changed after its publication"]


def test_a_decision_that_was_removed_is_found() -> None:
    (decision,) = publish(make_decision())

    tamper("DELETE FROM decisions_decision")

    assert verify().findings == [f"decision {decision.id} is missing"]


def test_numbers_are_reserved_outside_before_they_are_given() -> None:
    publish(make_decision())

    assert anchors.read().reserved > Decision.objects.get().seq  # type: ignore[operator]
