from __future__ import annotations

from datetime import timedelta
from itertools import product

import pytest
from django.db import DatabaseError, transaction
from pytest_django import Settings

from pipeline.models import AuditEvent, DeadLetter, StageRun
from pipeline.services import pause, retry_letter
from pipeline.types import Overloaded
from signals import services
from signals.models import Signal
from signals.types import (
    TRANSITIONS,
    IdempotencyConflict,
    Origin,
    Receipt,
    SignalStatus,
    Submission,
)
from tests.factories import NOON, make_signal, make_submission

pytestmark = pytest.mark.django_db


def submit(*submissions: Submission) -> list[Receipt | IdempotencyConflict]:
    return services.submit_signals(submissions=submissions, now=NOON)


def test_an_accepted_signal_has_its_row_its_trail_and_its_first_work() -> None:
    [receipt] = submit(make_submission())

    assert isinstance(receipt, Receipt)
    signal = Signal.objects.get(event_id=receipt.event_id)
    assert signal.status == SignalStatus.ENQUEUED
    assert AuditEvent.objects.filter(trace=receipt.event_id, verb="RECEIVED").count() == 1
    run = StageRun.objects.get(subject=receipt.event_id)
    assert (run.stage, run.status) == ("enrich", "PENDING")


def test_the_same_key_and_body_give_the_first_answer_again() -> None:
    [first] = submit(make_submission(idempotency_key="k", body_sha256="a"))
    [second] = submit(make_submission(idempotency_key="k", body_sha256="a"))

    assert isinstance(first, Receipt)
    assert isinstance(second, Receipt)
    assert second.event_id == first.event_id
    assert (first.replayed, second.replayed) == (False, True)
    assert Signal.objects.count() == 1
    assert StageRun.objects.count() == 1


def test_the_same_key_with_another_body_is_a_conflict() -> None:
    submit(make_submission(idempotency_key="k", body_sha256="a"))

    [answer] = submit(make_submission(idempotency_key="k", body_sha256="b"))

    assert isinstance(answer, IdempotencyConflict)
    assert Signal.objects.count() == 1


def test_twins_within_one_batch_become_one_signal() -> None:
    twin = make_submission(idempotency_key="k", body_sha256="a")

    first, second = submit(twin, twin)

    assert isinstance(first, Receipt)
    assert isinstance(second, Receipt)
    assert first.event_id == second.event_id
    assert Signal.objects.count() == 1


def test_keys_belong_to_their_owner() -> None:
    submit(make_submission(owner="a", idempotency_key="k", body_sha256="x"))

    [answer] = submit(make_submission(owner="b", idempotency_key="k", body_sha256="y"))

    assert isinstance(answer, Receipt)
    assert Signal.objects.count() == 2


@pytest.mark.parametrize(
    ("age_s", "valid_for_s", "expires_after_s"),
    [(10, None, 290), (10, 60, 50), (400, None, None), (400, 60, -340)],
    ids=["age limit", "own validity", "left to the age gate", "already over"],
)
def test_advice_expires_by_its_own_validity_or_by_the_age_limit(
    age_s: int, valid_for_s: int | None, expires_after_s: int | None
) -> None:
    submit(make_submission(ts_utc=NOON - timedelta(seconds=age_s), valid_for_s=valid_for_s))

    expires_at = Signal.objects.get().expires_at
    expected = None if expires_after_s is None else NOON + timedelta(seconds=expires_after_s)
    assert expires_at == expected


def test_replayed_and_recorded_signals_never_expire(settings: Settings) -> None:
    submit(make_submission(origin=Origin.REPLAY))
    settings.PROVIDER_PRIMARY = "recorded"
    submit(make_submission())

    assert set(Signal.objects.values_list("expires_at", flat=True)) == {None}


def test_a_long_backlog_is_refused_before_anything_is_stored(settings: Settings) -> None:
    settings.BACKLOG_MAX_SIGNALS = 1
    make_signal()
    services.refuse_when_overloaded(now=NOON)
    make_signal()

    with pytest.raises(Overloaded, match="2 signals are unfinished"):
        services.refuse_when_overloaded(now=NOON)


def test_an_old_backlog_is_refused_too() -> None:
    make_signal()

    with pytest.raises(Overloaded, match="the oldest signal has waited 61 s"):
        services.refuse_when_overloaded(now=NOON + timedelta(seconds=61))


def test_while_intake_is_paused_no_backlog_turns_a_signal_away(settings: Settings) -> None:
    settings.BACKLOG_MAX_SIGNALS = 0
    make_signal()
    pause(name="intake", actor="ann", reason="maintenance", now=NOON)

    services.refuse_when_overloaded(now=NOON + timedelta(hours=1))


def test_replays_are_no_backlog() -> None:
    make_signal(origin=Origin.REPLAY)

    services.refuse_when_overloaded(now=NOON + timedelta(hours=1))


@pytest.mark.parametrize(("old", "new"), list(product(SignalStatus, SignalStatus)))
def test_the_database_knows_which_status_may_follow_which(
    old: SignalStatus, new: SignalStatus
) -> None:
    signal = make_signal(status=old)
    allowed = new == old or new in TRANSITIONS[old]

    try:
        with transaction.atomic():
            Signal.objects.filter(id=signal.id).update(status=new)
    except DatabaseError:
        assert not allowed
    else:
        assert allowed


def test_advancing_a_signal_that_stands_elsewhere_changes_nothing() -> None:
    signal = make_signal(status=SignalStatus.REJECTED)

    moved = services.advance(event_id=signal.event_id, to=SignalStatus.ENRICHED, now=NOON)

    assert moved is False
    assert Signal.objects.get().status == SignalStatus.REJECTED


def test_overdue_advice_expires_and_its_work_is_closed() -> None:
    [receipt] = submit(make_submission(ts_utc=NOON))
    assert isinstance(receipt, Receipt)

    expired = services.expire_overdue(now=NOON + timedelta(seconds=301))

    signal = Signal.objects.get()
    assert expired == 1
    assert (signal.status, signal.terminal_at) == ("EXPIRED", NOON + timedelta(seconds=301))
    assert signal.reason["gate"] == "validity"
    assert StageRun.objects.get().status == "SKIPPED"
    assert AuditEvent.objects.filter(verb="EXPIRED").count() == 1


def test_a_dead_signal_is_run_again_once_however_often_it_is_asked_for() -> None:
    signal = make_signal(status=SignalStatus.DEAD)
    letter = DeadLetter.objects.create(
        trace=signal.event_id,
        stage="enrich",
        subject=signal.event_id,
        code="X",
        reason="r",
        fingerprint="f",
        attempts=1,
        created_at=NOON,
    )

    first = retry_letter(letter=letter, actor="ann", now=NOON)
    second = retry_letter(letter=letter, actor="ann", now=NOON)

    signal.refresh_from_db()
    letter.refresh_from_db()
    assert (first, second) == (True, False)
    assert (signal.status, signal.run) == ("ENQUEUED", 2)
    assert (letter.status, letter.retry_count) == ("RETRYING", 1)
    assert StageRun.objects.filter(stage="enrich", run=2).count() == 1


def test_a_retry_that_ends_well_closes_its_letter() -> None:
    signal = make_signal(status=SignalStatus.EVALUATED)
    DeadLetter.objects.create(
        trace=signal.event_id,
        stage="enrich",
        subject=signal.event_id,
        status="RETRYING",
        code="X",
        reason="r",
        fingerprint="f",
        attempts=1,
        created_at=NOON,
    )

    services.mark_published(signals=[signal], now=NOON)

    letter = DeadLetter.objects.get()
    assert (letter.status, letter.resolved_by) == ("RESOLVED", "lens")
