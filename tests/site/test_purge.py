from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.db import models
from pytest_django import Settings

from decisions import services as decisions
from decisions.models import Decision
from decisions.queries import get_oldest_seq
from enrichment.models import Enrichment
from evaluation.models import Attempt, Evaluation, Rerun
from lens_site.checks import check_retention
from outcomes import services as outcomes
from pipeline import anchors, retention, services
from pipeline.chaining import seal
from pipeline.models import AuditEvent, Chain, DeadLetter, Purge, Seal, StageRun
from pipeline.types import Batch, InvalidRequest
from pipeline.verifying import Verification
from signals import services as signals
from signals.models import Hold, Replay, Signal, SpentKey
from signals.types import IdempotencyConflict, Origin, Receipt, SignalStatus
from tests.factories import (
    make_decision,
    make_enrichment,
    make_evaluation,
    make_signal,
    make_submission,
)

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 7, 15, 12, 0, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=181)
TABLES = (Signal, Enrichment, Evaluation, Attempt, Decision, StageRun, DeadLetter)


@pytest.fixture(autouse=True)
def _outside(settings: Settings, tmp_path: Path) -> None:
    settings.AUDIT_DIR = tmp_path / "audit"
    settings.PURGE_BATCH = 2
    settings.PURGE_SHARE_PCT = 100


def ended(at: datetime = LONG_AGO, **changes: Any) -> Signal:
    """Return a signal that ended, with a row in every table that tells of it."""
    values = {"status": SignalStatus.ENRICHED, "received_at": at} | changes
    signal = make_signal(**values)
    make_enrichment(signal)
    evaluation = make_evaluation(signal)
    Attempt.objects.create(
        evaluation=evaluation, number=1, status="OK", started_at=at, latency_ms=1.0
    )
    make_decision(signal)
    StageRun.objects.create(
        stage="enrich",
        subject=signal.event_id,
        trace=signal.event_id,
        status="DONE",
        attempts_max=1,
    )
    letter(signal, status="RESOLVED")
    services.record(trace=signal.event_id, verb="RECEIVED", actor="tester", at=at)
    decisions.publish(now=at, limit=100)
    Signal.objects.filter(id=signal.id).update(status=SignalStatus.EVALUATED)
    Signal.objects.filter(id=signal.id).update(status=SignalStatus.PUBLISHED, terminal_at=at)
    return signal


def letter(signal: Signal, *, status: str) -> DeadLetter:
    return DeadLetter.objects.create(
        trace=signal.event_id,
        stage="enrich",
        subject=uuid4(),
        status=status,
        code="TIMEOUT",
        reason="",
        fingerprint="",
        attempts=1,
        created_at=signal.received_at,
    )


def purge(now: datetime = NOW) -> Purge:
    running = retention.start(actor="test", now=now)
    while not retention.step(purge_id=running.id, now=now).is_done:
        pass
    running.refresh_from_db()
    return running


def left(table: type[models.Model] = Signal) -> int:
    return table._default_manager.count()


def assert_whole() -> None:
    while seal(now=NOW, limit=1_000):
        pass
    *_, report = Verification(outside=anchors.read()).steps()
    assert report.is_whole, report.findings


def test_what_ended_long_ago_goes_with_all_that_hangs_on_it() -> None:
    for _ in range(5):
        ended()
    kept = ended(NOW)

    done = purge()

    assert [left(table) for table in TABLES] == [1] * len(TABLES)
    assert Signal.objects.get() == kept
    assert not AuditEvent.objects.filter(trace__isnull=False).exclude(trace=kept.event_id).exists()
    assert done.status == "DONE"
    assert done.removed == {
        "signals_signal": 5,
        "enrichment_enrichment": 5,
        "evaluation_evaluation": 5,
        "evaluation_attempt": 5,
        "decisions_decision": 5,
        "pipeline_stagerun": 5,
        "pipeline_deadletter": 5,
        "pipeline_auditevent": 5,
    }
    assert_whole()


def test_every_table_that_tells_of_signals_is_purged() -> None:
    """A new table with a signal's id has to be named in PURGES, or to say that it outlives it."""
    outliving = {"signals_spentkey", "signals_hold", "evaluation_rerun"}
    named = {"event_id", "trace", "signal"}
    batch = Batch((1,), (uuid4(),))
    purged = {rows.model._meta.db_table for rows in retention._rows_of(batch)}
    purged |= {"evaluation_attempt"}

    from django.apps import apps

    telling = {
        model._meta.db_table
        for model in apps.get_models()
        if named & {field.name for field in model._meta.concrete_fields}
        and model._meta.app_label != "outcomes"  # scores outlive the signals they are of
    }
    assert telling - outliving <= purged


@pytest.mark.parametrize(
    ("age", "is_kept"),
    [
        (timedelta(days=179, hours=23, minutes=59, seconds=59), True),
        (timedelta(days=180), True),
        (timedelta(days=180, seconds=1), False),
    ],
)
@pytest.mark.parametrize(
    "now",
    [
        NOW,
        datetime(2028, 2, 29, 0, 0, tzinfo=UTC),  # a leap day
        datetime(2028, 8, 27, 0, 0, tzinfo=UTC),  # 180 days after one
        datetime(2026, 3, 29, 1, 30, tzinfo=UTC),  # clocks change in Europe, not in UTC
    ],
)
def test_the_boundary_is_the_second(now: datetime, age: timedelta, is_kept: bool) -> None:
    ended(now - age)

    purge(now)

    assert left() == int(is_kept)


def test_the_time_that_counts_is_the_end_not_what_a_sender_wrote() -> None:
    ended(NOW, ts_utc=datetime(2001, 1, 1, tzinfo=UTC), received_at=LONG_AGO)

    purge()

    assert left() == 1


def never_ended() -> None:
    make_signal(received_at=LONG_AGO, status=SignalStatus.ENRICHED)


def open_letter() -> None:
    letter(ended(), status="OPEN")


def letter_being_retried() -> None:
    letter(ended(), status="RETRYING")


def unfinished_work() -> None:
    signal = ended()
    StageRun.objects.create(
        stage="jury", subject=uuid4(), trace=signal.event_id, attempts_max=1, status="PENDING"
    )


def rerun_under_way() -> None:
    signal = ended()
    rerun = Rerun.objects.create(model="rules", signals=1, created_at=NOW, created_by="ann")
    make_evaluation(signal, rerun=rerun, model="rules")


def golden() -> None:
    outcomes.add_golden(event_id=ended().event_id, note="a crash", actor="ann", now=NOW)


def held_by_its_id() -> None:
    hold(event_id=ended().event_id)


def held_by_its_source() -> None:
    hold(source=ended().source)


def held_by_its_symbol() -> None:
    hold(symbol=ended().symbol)


def held_by_its_time() -> None:
    hold(since=ended().received_at, until=NOW)


def hold(**named: Any) -> Hold:
    return signals.place_hold(hold=Hold(reason="lawsuit", **named), actor="ann", now=NOW)


@pytest.mark.parametrize(
    "make",
    [
        never_ended,
        open_letter,
        letter_being_retried,
        unfinished_work,
        rerun_under_way,
        golden,
        held_by_its_id,
        held_by_its_source,
        held_by_its_symbol,
        held_by_its_time,
    ],
)
def test_what_is_held_or_in_hand_stays_and_the_rest_goes(make: Callable[[], None]) -> None:
    make()
    ended(source="another", symbol="ETH", received_at=LONG_AGO - timedelta(days=1))

    purge()

    assert left() == 1
    assert not Signal.objects.filter(source="another").exists()


@pytest.mark.parametrize(
    "named",
    [
        {"source": "another"},
        {"symbol": "ETH"},
        {"since": LONG_AGO + timedelta(seconds=1)},
        {"until": LONG_AGO},
        {"source": "strategy_alpha", "symbol": "ETH"},  # all that is named has to be met
    ],
)
def test_a_hold_on_something_else_holds_nothing(named: dict[str, Any]) -> None:
    ended()
    hold(**named)

    purge()

    assert left() == 0


def test_a_lifted_hold_lets_go_and_both_acts_are_told() -> None:
    one = hold(source=ended().source)
    purge()
    assert left() == 1

    signals.lift_hold(hold=one, actor="bob", reason="settled", now=NOW)
    signals.lift_hold(hold=one, actor="bob", reason="again", now=NOW)
    done = purge(NOW + timedelta(days=1))

    assert left() == 0
    assert done.kept == {}
    acts = AuditEvent.objects.filter(object=f"hold:{one.pk}").values_list("verb", "actor")
    assert list(acts.order_by("id")) == [("HOLD_PLACED", "ann"), ("HOLD_LIFTED", "bob")]


@pytest.mark.parametrize(
    "named",
    [{}, {"source": "x", "reason": " "}, {"since": NOW, "until": NOW}],
)
def test_a_hold_on_nothing_or_without_a_reason_is_refused(named: dict[str, Any]) -> None:
    values = {"reason": "lawsuit"} | named

    with pytest.raises(InvalidRequest):
        signals.place_hold(hold=Hold(**values), actor="ann", now=NOW)

    assert not Hold.objects.exists()


def test_a_purge_that_was_killed_between_batches_is_taken_up_and_leaves_no_orphan() -> None:
    for _ in range(5):
        ended()
    first = retention.start(actor="test", now=NOW)
    retention.step(purge_id=first.id, now=NOW)  # and dies

    assert {left(table) for table in TABLES} == {3}
    again = retention.start(actor="other", now=NOW + timedelta(hours=1))
    done = purge(NOW + timedelta(hours=1))

    assert again.id == first.id == done.id
    assert {left(table) for table in TABLES} == {0}
    assert done.removed["signals_signal"] == 5
    assert_whole()


def test_a_purge_that_dies_within_a_batch_has_done_nothing_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for _ in range(3):
        ended()
    while seal(now=NOW, limit=1_000):
        pass
    before = [left(table) for table in (*TABLES, AuditEvent)]
    running = retention.start(actor="test", now=NOW)

    def die(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(services, "record_purged", die)
    with pytest.raises(KeyboardInterrupt):
        retention.step(purge_id=running.id, now=NOW)

    assert [left(table) for table in (*TABLES, AuditEvent)] == before
    assert Chain.objects.get().removing_upto == 0


def test_a_second_run_removes_nothing_more() -> None:
    ended()
    purge()

    again = purge()

    assert again.removed == {}


def test_a_rehearsal_counts_what_goes_and_touches_nothing() -> None:
    for _ in range(3):
        ended()
    hold(event_id=ended().event_id)
    while seal(now=NOW, limit=1_000):
        pass

    *_, told = retention.rehearse(now=NOW)

    assert left() == 4
    assert told.kept == {"legal hold": 1}
    assert {name: count for name, count in told.removed.items() if count} == purge().removed


def test_a_first_look_at_what_would_go_is_one_batch_however_much_there_is() -> None:
    for _ in range(3):
        ended()
    while seal(now=NOW, limit=1_000):
        pass

    first = next(retention.rehearse(now=NOW, at_once=2))
    assert (first.signals, first.is_done) == (2, False)
    whole = next(retention.rehearse(now=NOW, at_once=4))
    assert (whole.signals, whole.is_done) == (3, True)


def test_a_key_outlives_its_signal_by_a_day() -> None:
    first = submit("k1", body="a")
    reject(first)
    purge()
    assert left() == 0

    same, other = submit("k1", body="a"), submit("k1", body="b")

    assert isinstance(same, Receipt)
    assert isinstance(first, Receipt)
    assert (same.event_id, same.replayed) == (first.event_id, True)
    assert isinstance(other, IdempotencyConflict)
    assert left() == 0
    assert not AuditEvent.objects.filter(verb="RECEIVED").exists()


def test_a_key_is_free_again_after_that_day() -> None:
    reject(submit("k1", body="a"))
    purge()
    purge(NOW + timedelta(days=1))

    again = submit("k1", body="b")

    assert isinstance(again, Receipt)
    assert not again.replayed
    assert not SpentKey.objects.exists()


def reject(receipt: Receipt | IdempotencyConflict) -> None:
    assert isinstance(receipt, Receipt)
    signals.advance(event_id=receipt.event_id, to=SignalStatus.REJECTED, now=LONG_AGO)


def submit(key: str, *, body: str) -> Receipt | IdempotencyConflict:
    made = make_submission(idempotency_key=key, body_sha256=body, size=Decimal(1))
    (answer,) = signals.submit_signals(submissions=[made], now=NOW)
    return answer


def test_replays_and_reruns_go_when_nothing_of_them_is_left() -> None:
    values = {"candles_sha256": "", "symbol": "BTC", "every_s": 60, "created_at": LONG_AGO}
    replay = Replay.objects.create(candles_path="old", **values)
    Replay.objects.create(candles_path="young", **(values | {"created_at": NOW}))
    signal = ended(origin=Origin.REPLAY, replay=replay)
    rerun = Rerun.objects.create(model="rules", signals=1, created_at=LONG_AGO, created_by="ann")
    judged = make_evaluation(signal, rerun=rerun, model="rules", status="DECIDED")
    services.record(trace=judged.id, verb="REEVALUATION_REQUESTED", actor="ann", at=LONG_AGO)
    services.record(trace=rerun.id, verb="RERUN_STARTED", actor="ann", at=LONG_AGO)

    purge()

    assert [replay.candles_path for replay in Replay.objects.all()] == ["young"]
    assert not Rerun.objects.exists()
    assert not AuditEvent.objects.filter(trace__isnull=False).exists()
    assert_whole()


def test_the_feed_knows_from_where_on_it_is_complete() -> None:
    ended(), ended()
    held = ended()
    hold(event_id=held.event_id)
    ended()
    kept = ended(NOW)

    purge()

    numbers = dict(Decision.objects.values_list("signal_id", "seq"))
    assert numbers == {held.id: 3, kept.id: 5}
    assert get_oldest_seq() == 5


def test_after_two_years_the_chain_itself_is_cut_off_and_still_verifies(
    settings: Settings,
) -> None:
    settings.SEAL_BATCH = 4
    old = NOW - timedelta(days=731)
    for _ in range(3):
        ended(old)
    services.record_act(actor="ann", verb="OLD", object="x:1", at=old)
    while seal(now=old, limit=4):
        pass
    services.record_act(actor="ann", verb="YOUNG", object="x:1", at=NOW)
    before = left(Seal)

    purge()

    assert not AuditEvent.objects.filter(verb="OLD").exists()
    assert AuditEvent.objects.filter(verb="YOUNG").exists()
    assert Chain.objects.get().trimmed_number == before
    assert not Seal.objects.filter(number__lte=before).exists()
    assert_whole()


def test_a_held_line_keeps_its_part_of_the_chain() -> None:
    old = NOW - timedelta(days=731)
    hold(event_id=ended(old).event_id)
    while seal(now=old, limit=4):
        pass

    purge()

    assert Chain.objects.get().trimmed_number == 0
    assert AuditEvent.objects.filter(verb="RECEIVED").exists()
    assert_whole()


def test_the_daily_purge_is_due_once_after_its_hour(settings: Settings) -> None:
    settings.PURGE_AT = "03:30"
    day = datetime(2026, 7, 15, tzinfo=UTC)
    assert not retention.is_due(now=day.replace(hour=12))  # nothing is past its time

    ended()
    assert retention.is_due(now=day.replace(hour=12))
    purge(day.replace(hour=12))
    assert not retention.is_due(now=day.replace(hour=13))
    assert not retention.is_due(now=day + timedelta(days=1, hours=3, minutes=29))
    assert retention.is_due(now=day + timedelta(days=1, hours=3, minutes=30))
    settings.PURGE_AT = "never"
    assert not retention.is_due(now=day + timedelta(days=5))


def test_the_command_tells_by_table_what_it_did() -> None:
    ended(datetime.now(UTC) - timedelta(days=181))
    while seal(now=NOW, limit=1_000):
        pass

    dry, done = StringIO(), StringIO()
    call_command("purge", "--dry-run", "--json", stdout=dry)
    call_command("purge", "--json", stdout=done)

    rehearsed, removed = json.loads(dry.getvalue()), json.loads(done.getvalue())
    assert rehearsed["removed"] == removed["removed"]
    assert removed["removed"]["signals_signal"] == 1
    assert (rehearsed["dry_run"], removed["dry_run"]) == (True, False)


def test_the_command_tells_people_what_was_kept() -> None:
    hold(event_id=ended(datetime.now(UTC) - timedelta(days=181)).event_id)

    said = StringIO()
    call_command("purge", stdout=said)

    assert "1 signals kept: legal hold" in said.getvalue()
    assert left() == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PURGE_AT", "25:00"),
        ("PURGE_AT", "soon"),
        ("AUDIT_VERIFY_AT", "4:30"),
        ("PURGE_SHARE_PCT", 0),
        ("RETENTION_DAYS", 0),
    ],
)
def test_a_retention_that_cannot_be_kept_is_refused(
    settings: Settings, name: str, value: object
) -> None:
    assert check_retention() == []

    setattr(settings, name, value)

    (found,) = check_retention()
    assert name in found.msg
