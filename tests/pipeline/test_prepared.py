from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from django.db import connection
from django.db.models import F, QuerySet
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from pipeline.models import AuditEvent, StageRun
from pipeline.prepared import Given, Prepared, PreparedUpdate
from pipeline.statements import insert

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)

OF_TRACES: Prepared[AuditEvent] = Prepared(
    lambda given: AuditEvent.objects.filter(
        trace__in=given.each(AuditEvent, "trace", name="traces"), verb=given(AuditEvent, "verb")
    ).order_by("id")
)


def lines(count: int, verb: str = "RECEIVED") -> list[AuditEvent]:
    rows = [
        AuditEvent(trace=uuid4(), at=NOON, verb=verb, actor="a 100%s'", details={"n": n})
        for n in range(count)
    ]
    insert(rows)
    return rows


def test_a_query_is_composed_once_and_finds_what_each_values_say() -> None:
    composed: list[Given] = []

    def compose(given: Given) -> QuerySet[AuditEvent]:
        composed.append(given)
        return AuditEvent.objects.filter(trace=given(AuditEvent, "trace"))

    prepared: Prepared[AuditEvent] = Prepared(compose)
    rows = lines(3)

    found = [prepared.rows(trace=row.trace) for row in rows]

    assert [[each.details for each in some] for some in found] == [[{"n": n}] for n in range(3)]
    assert found[0][0].at == NOON
    assert found[0][0].actor == "a 100%s'"
    assert len(composed) == 1


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 8])
def test_of_several_values_there_may_be_any_number(count: int) -> None:
    rows = lines(8)
    lines(1, verb="ENQUEUED")

    found = OF_TRACES.rows(traces=[row.trace for row in rows[:count]], verb="RECEIVED")

    assert [row.details["n"] for row in found] == list(range(count))


def test_without_values_nothing_is_asked() -> None:
    with CaptureQueriesContext(
        connection,
    ) as asked:
        assert OF_TRACES.rows(traces=[], verb="RECEIVED") == []

    assert not asked.captured_queries


def test_other_shapes_of_rows_come_as_the_query_says() -> None:
    rows = lines(2)
    pairs: Prepared[AuditEvent] = Prepared(
        lambda given: AuditEvent.objects.filter(at__gt=given(AuditEvent, "at")).values_list(
            "trace", "verb"
        )
    )
    flat: Prepared[AuditEvent] = Prepared(
        lambda _: AuditEvent.objects.values_list("trace", flat=True)
    )

    assert set(pairs.rows(at=NOON - timedelta(hours=1))) == {(r.trace, "RECEIVED") for r in rows}
    assert pairs.rows(at=NOON) == []
    assert set(flat.rows()) == {row.trace for row in rows}


def run(**columns: object) -> StageRun:
    values = {"stage": "enrich", "subject": uuid4(), "trace": uuid4(), "attempts_max": 3}
    return StageRun(**(values | columns))


def test_an_update_says_how_many_rows_it_changed() -> None:
    rows = [run(next_at=NOON, created_at=NOON) for _ in range(3)]
    insert(rows)
    close = PreparedUpdate(
        lambda given: (
            StageRun.objects.filter(trace__in=given.each(StageRun, "trace", name="traces")),
            {"reason": given(StageRun, "reason"), "token": F("token") + 1, "finished_at": Now()},
        )
    )

    changed = close.run(traces=[rows[0].trace, rows[2].trace], reason="100%s")

    closed = StageRun.objects.filter(reason="100%s", token=1, finished_at__isnull=False)
    assert changed == 2
    assert {row.trace for row in closed} == {rows[0].trace, rows[2].trace}
    assert close.run(traces=[], reason="") == 0
    again = {"traces": [rows[1].trace, uuid4()], "reason": "again"}
    assert close.changed(tell="subject", **again) == {rows[1].subject}
