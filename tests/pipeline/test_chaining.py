from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event

import pytest
from django.db import DatabaseError, connection, transaction
from pytest_django import Settings

from pipeline import anchors, services
from pipeline.chain import GENESIS, unpacked
from pipeline.chaining import Sealer, seal
from pipeline.models import AuditEvent, Chain, Seal

NOON = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
on_postgres = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="one writer at a time: ids are given in commit order"
)


@pytest.fixture(autouse=True)
def outside(settings: Settings, tmp_path: Path) -> Path:
    settings.AUDIT_DIR = tmp_path / "audit"
    return tmp_path / "audit" / anchors.NAME


def write(count: int = 1, verb: str = "SEEN") -> list[int]:
    return [
        AuditEvent.objects.create(verb=verb, actor="test", at=NOON, details={"n": n}).id
        for n in range(count)
    ]


def sealed() -> list[int]:
    return [
        line_id
        for one in Seal.objects.order_by("number")
        for line_id, _ in unpacked(bytes(one.lines))
    ]


@pytest.mark.django_db
def test_every_line_is_sealed_once_and_each_seal_follows_the_last() -> None:
    ids = write(5)

    made = [seal(now=NOON, limit=2) for _ in range(4)]

    assert sealed() == ids
    assert [one.number for one in made if one] == [1, 2, 3]
    assert made[3] is None
    first, second, third = (one for one in made if one)
    assert (first.previous, second.previous, third.previous) == (GENESIS, first.hash, second.hash)


@pytest.mark.django_db
def test_nothing_new_makes_no_seal() -> None:
    assert seal(now=NOON, limit=10) is None
    assert not Seal.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("table", [AuditEvent, Seal])
def test_the_database_refuses_to_remove_what_is_sealed(table: type[AuditEvent | Seal]) -> None:
    write()
    seal(now=NOON, limit=10)

    with pytest.raises(DatabaseError, match="only ever removed by a purge"), transaction.atomic():
        table.objects.all().delete()


@pytest.mark.django_db
def test_the_database_refuses_to_change_a_seal() -> None:
    write()
    seal(now=NOON, limit=10)

    with pytest.raises(DatabaseError, match="never changed"), transaction.atomic():
        Seal.objects.update(hash="0" * 64)


@on_postgres
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_unsealed")
def test_a_line_that_comes_up_late_under_a_low_id_is_sealed_all_the_same() -> None:
    written, may_commit = Event(), Event()

    def write_slowly() -> int:
        try:
            with transaction.atomic():
                line_id = write()[0]
                written.set()
                assert may_commit.wait(10)
            return line_id
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(write_slowly)
        assert written.wait(10)
        later = write(3)
        seal(now=NOON, limit=2)
        seal(now=NOON, limit=2)
        seal(now=NOON, limit=2)
        before = Chain.objects.get().settled_id
        may_commit.set()
        late = slow.result()
    seal(now=NOON, limit=10)
    seal(now=NOON, limit=10)

    assert late < later[0]
    assert before < late
    assert sealed() == [*later, late]
    assert Chain.objects.get().settled_id == later[-1]


@on_postgres
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_unsealed")
def test_parallel_writers_and_sealers_seal_every_line_exactly_once() -> None:
    stop = Event()
    with ThreadPoolExecutor(6) as pool:
        sealers = [pool.submit(seal_until, stop) for _ in range(2)]
        for writer in [pool.submit(write_much) for _ in range(4)]:
            writer.result()
        stop.set()
        for sealer in sealers:
            sealer.result()
    while seal(now=NOON, limit=100):
        pass

    assert sorted(sealed()) == list(AuditEvent.objects.order_by("id").values_list("id", flat=True))
    assert len(sealed()) == 400


def write_much() -> None:
    try:
        for _ in range(25):
            with transaction.atomic(), services.trail():
                for _ in range(4):
                    services.record(trace=None, verb="SEEN", actor="test", at=NOON)
    finally:
        connection.close()


def seal_until(stop: Event) -> None:
    try:
        while not stop.is_set():
            seal(now=NOON, limit=7)
    finally:
        connection.close()


def told(outside: Path) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in outside.read_text().splitlines()]
    return [{name: part for name, part in line.items() if name != "at"} for line in lines]


@pytest.mark.django_db
def test_a_seal_is_anchored_outside_by_lines_by_time_and_at_the_turn_of_the_day(
    settings: Settings, outside: Path
) -> None:
    settings.ANCHOR_EVERY_LINES, settings.ANCHOR_EVERY_S = 3, 300
    sealer = Sealer()

    def step(at: datetime, lines: int) -> None:
        write(lines)
        sealer.step(now=at)

    step(NOON, 1)  # the first of all
    step(NOON + timedelta(seconds=1), 2)  # too few lines, too soon
    step(NOON + timedelta(seconds=2), 1)  # three lines
    step(NOON + timedelta(seconds=3), 1)
    step(NOON + timedelta(seconds=302), 0)  # five minutes, although nothing came in
    step(NOON + timedelta(seconds=900), 0)  # nothing to anchor
    step(NOON + timedelta(hours=12), 1)  # the first of the day

    hashes = dict(Seal.objects.values_list("number", "hash"))
    assert [(each["seal"], each.get("daily", False)) for each in told(outside)] == [
        (1, True),
        (3, False),
        (4, False),
        (5, True),
    ]
    assert all(each["hash"] == hashes[int(str(each["seal"]))] for each in told(outside))


@pytest.mark.django_db
def test_another_process_anchors_what_the_last_one_left_unanchored(outside: Path) -> None:
    write()
    Sealer().step(now=NOON)
    write()
    made = seal(now=NOON, limit=10)  # and dies

    Sealer().step(now=NOON + timedelta(minutes=6))

    assert made is not None
    assert [each["seal"] for each in told(outside)] == [1, made.number]


@pytest.mark.django_db
def test_a_revoked_key_is_written_outside_when_its_line_is_sealed(outside: Path) -> None:
    services.record_act(
        actor="ann", verb="KEY_REVOKED", object="key:abcd1234", at=NOON, key="abcd1234"
    )

    seal(now=NOON, limit=10)

    assert told(outside) == [{"kind": "revoked", "key": "abcd1234"}]
    assert anchors.read().revoked == ("abcd1234",)


@pytest.mark.django_db
def test_an_anchor_that_cannot_be_written_is_told_in_the_log_and_stops_nothing(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no directory")
    settings.AUDIT_DIR = blocked
    write()

    Sealer().step(now=NOON)

    assert Seal.objects.count() == 1
    assert "audit line not written" in caplog.text
    assert Seal.objects.get().hash in caplog.text


def test_numbers_are_reserved_outside_once_for_many(outside: Path) -> None:
    for number in (1, 2, 10_000, 10_002):
        anchors.reserve(upto=number, at=NOON)

    assert [each["upto"] for each in told(outside)] == [10_001, 20_002]
    assert anchors.read().reserved == 20_002


def test_what_a_restore_has_left_behind_is_void(outside: Path) -> None:
    for number in (1, 2, 3):
        anchors.append(kind="anchor", at=NOON, seal=number, hash=f"{number}")
    anchors.append(kind="restored", at=NOON, seal=1)
    anchors.append(kind="anchor", at=NOON, seal=2, hash="another")
    with outside.open("a") as file:
        file.write('{"kind": "anch')

    past = anchors.read()

    assert [(anchor.number, anchor.hash) for anchor in past.anchors] == [(1, "1"), (2, "another")]
    assert (past.void, past.unreadable) == (2, 1)
