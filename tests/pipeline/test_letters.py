from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from pytest_django import Settings

from pipeline import queries, services
from pipeline.models import AuditEvent, DeadLetter, StageRun
from pipeline.types import InvalidRequest
from tests.factories import NOON, make_evaluation, make_letter, make_signal

pytestmark = pytest.mark.django_db

VENDOR = {"vendor": {"PROVIDER": "openai"}, "rules": {}}
LATER = NOON + timedelta(hours=1)


@pytest.fixture(autouse=True)
def _one_vendor_beside_a_calculator(settings: Settings) -> None:
    settings.EVALUATORS = VENDOR


def test_letters_are_grouped_by_what_they_died_of_whatever_their_numbers() -> None:
    make_letter(reason="HTTP 500 after 1.2 s")
    make_letter(reason="HTTP 500 after 3.4 s", created_at=LATER)
    make_letter(code="BAD_MARKET_DATA", reason="price is NaN")
    make_letter(status="RESOLVED")

    groups = queries.group_letters()

    assert [(each.code, each.count) for each in groups] == [
        ("MARKET_DATA_UNAVAILABLE", 2),
        ("BAD_MARKET_DATA", 1),
    ]
    assert (groups[0].first_at, groups[0].last_at) == (NOON, LATER)
    assert groups[0].reason == "HTTP 500 after 3.4 s"


def test_a_group_is_still_happening_while_its_latest_letter_is_fresh() -> None:
    make_letter()

    [group] = queries.group_letters()

    assert group.is_still_happening(now=NOON + timedelta(minutes=9))
    assert not group.is_still_happening(now=NOON + timedelta(minutes=11))


def test_a_preview_tells_what_is_stale_and_what_it_costs_and_changes_nothing() -> None:
    for cost in ("0.02", "0.04"):
        make_evaluation(make_signal(), model="vendor", cost_usd=Decimal(cost), finished_at=NOON)
    make_letter(make_signal(status="DEAD", expires_at=NOON))
    make_letter()
    make_letter(status="RESOLVED")

    told = services.preview_retry(letters=DeadLetter.objects.all(), now=LATER)

    assert (told.letters, told.not_open, told.stale, told.left) == (2, 1, 1, 0)
    assert (told.cost.usd, told.cost.unpriced) == (Decimal("0.03"), ())
    assert DeadLetter.objects.filter(status="OPEN").count() == 2


def test_the_cost_of_one_models_work_is_its_own_and_unknown_is_said_so() -> None:
    dead = make_evaluation(make_signal(), model="vendor", status="ABSTAINED")
    make_letter(dead.signal, stage="evaluate", subject=dead.id)

    told = services.preview_retry(letters=DeadLetter.objects.all(), now=LATER)

    assert (told.cost.usd, told.cost.unpriced) == (Decimal(0), ("vendor",))


def test_a_group_is_retried_once_however_often_it_is_asked_for() -> None:
    letters = [make_letter() for _ in range(3)]
    group = DeadLetter.objects.filter(fingerprint=letters[0].fingerprint)

    first = services.retry_letters(letters=group, actor="ann", now=LATER, reason="venue is back")
    second = services.retry_letters(letters=group, actor="ann", now=LATER)

    assert (first, second) == (3, 0)
    assert StageRun.objects.filter(stage="enrich", run=2).count() == 3
    line = AuditEvent.objects.filter(verb="RETRIED").first()
    assert line is not None and line.details["reason"] == "venue is back"


def test_what_one_call_cannot_take_up_is_told_and_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "RETRY_AT_ONCE", 2)
    for age in range(3):
        make_letter(created_at=NOON - timedelta(minutes=age))

    told = services.preview_retry(letters=DeadLetter.objects.all(), now=LATER)
    done = services.retry_letters(letters=DeadLetter.objects.all(), actor="ann", now=LATER)

    assert (told.letters, told.left, done) == (2, 1, 2)
    assert DeadLetter.objects.get(status="OPEN").created_at == NOON


def test_letters_are_resolved_with_a_note_that_the_trail_keeps() -> None:
    make_letter()
    make_letter(status="RESOLVED", note="old")

    closed = services.resolve_letters(
        letters=DeadLetter.objects.all(), actor="ann", note="advice is stale", at=LATER
    )

    assert closed == 1
    assert set(DeadLetter.objects.values_list("note", flat=True)) == {"advice is stale", "old"}
    assert AuditEvent.objects.get(verb="RESOLVED").details["after"]["note"] == "advice is stale"


def test_letters_are_not_resolved_in_silence() -> None:
    make_letter()

    with pytest.raises(InvalidRequest, match="must say why"):
        services.resolve_letters(letters=DeadLetter.objects.all(), actor="ann", note=" ", at=LATER)

    assert DeadLetter.objects.get().status == "OPEN"
