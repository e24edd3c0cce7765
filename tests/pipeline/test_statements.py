"""Statements by hand store what the ORM would, on every database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from uuid import uuid4

import pytest
from django.db import DatabaseError, transaction

from pipeline import statements
from pipeline.models import AuditEvent, StageRun
from signals.models import Signal

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 1, 15, 12, 0, 0, 123456, tzinfo=UTC)


def a_signal(**changes: object) -> Signal:
    values = {
        "event_id": uuid4(),
        "event_type": "OPEN_SIGNAL",
        "symbol": "BTC",
        "symbol_given": "btc",
        "direction": "long",
        "entry_price": Decimal("42000.5"),
        "size": Decimal("0.00000001"),
        "ts_utc": NOON,
        "source": "a 'quoted' \\ source; -- 100 %s",
        "notes": 'zwölf\n\t"Zeilen"',
        "context": {"deep": [1, 2.5, None, {"é": True}], "text": "a\\u0041"},
        "owner": "o",
        "received_at": NOON,
    }
    return Signal(**values | changes)


def a_run() -> StageRun:
    return StageRun(stage="enrich", subject=uuid4(), trace=uuid4(), attempts_max=3)


def test_a_row_comes_back_as_it_was_stored() -> None:
    given = a_signal(expires_at=NOON + timedelta(seconds=1))

    statements.insert([given])

    stored = Signal.objects.get(event_id=given.event_id)
    names = [field.attname for field in Signal._meta.concrete_fields if field.attname != "id"]
    assert [getattr(stored, name) for name in names] == [getattr(given, name) for name in names]


def test_what_the_database_gives_by_default_is_left_to_it() -> None:
    due = datetime.now(UTC) + timedelta(hours=1)
    now, later = a_run(), a_run()
    later.next_at = due

    statements.insert([now, later, a_run()])

    assert StageRun.objects.count() == 3
    assert StageRun.objects.get(subject=later.subject).next_at == due
    stored = StageRun.objects.get(subject=now.subject)
    assert abs(stored.next_at - datetime.now(UTC)) < timedelta(minutes=1)
    assert stored.created_at is not None


def test_work_that_is_held_from_the_start_is_told_by_its_keys_in_order() -> None:
    rows = [a_run() for _ in range(3)]
    for row in rows:
        row.status, row.token, row.worker = "RUNNING", 1, "w"

    keys = statements.insert_held(rows, into=StageRun, lease_s=5.0)

    assert [StageRun.objects.get(id=key).subject for key in keys] == [row.subject for row in rows]
    for stored in StageRun.objects.all():
        assert stored.lease_until is not None
        assert stored.claimed_at is not None
        assert stored.lease_until - stored.claimed_at == timedelta(seconds=5)
        assert (stored.status, stored.token, stored.worker) == ("RUNNING", 1, "w")


def test_columns_that_a_row_does_not_have_get_the_defaults_of_its_model() -> None:
    subject = uuid4()
    row = SimpleNamespace(stage="jury", subject=subject, trace=subject, attempts_max=2)

    statements.insert([row], into=StageRun)

    stored = StageRun.objects.get(subject=subject)
    assert (stored.status, stored.run, stored.token, stored.lease_until) == ("PENDING", 1, 0, None)
    assert stored.next_at is not None


def test_rows_that_conflict_are_left_out_and_the_stored_ones_told() -> None:
    first, again = a_signal(idempotency_key="k"), a_signal(idempotency_key="k")
    other = a_signal(idempotency_key="l")

    how_many = ("SELECT COUNT(*), %s FROM signals_signal", ["rows"])

    told = statements.insert_missing([first], tell="event_id", then=how_many)
    told_later = statements.insert_missing([again, other], tell="event_id", then=how_many)

    assert told == ({first.event_id}, [(1, "rows")])
    assert told_later == ({other.event_id}, [(2, "rows")])
    assert Signal.objects.count() == 2


def test_rows_of_several_tables_are_stored_by_the_end_of_the_block() -> None:
    run = a_run()

    with statements.together():
        statements.insert([run], ignore_conflicts=True)
        statements.insert([run], ignore_conflicts=True)
        statements.insert([AuditEvent(trace=run.trace, at=NOON, verb="RECEIVED", actor="a;b")])

    assert StageRun.objects.filter(subject=run.subject).count() == 1
    assert AuditEvent.objects.get(trace=run.trace).actor == "a;b"


def test_a_row_that_is_refused_takes_the_whole_block_with_it() -> None:
    wrong = a_signal(size=Decimal(0))

    with (
        pytest.raises(DatabaseError),
        transaction.atomic(),
        statements.together(),
    ):
        statements.insert([a_run()])
        statements.insert([wrong])

    assert not StageRun.objects.exists()
    assert not Signal.objects.exists()
