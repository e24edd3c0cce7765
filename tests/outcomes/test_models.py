from __future__ import annotations

import pytest
from django.db import DatabaseError, IntegrityError, transaction

from outcomes.models import Alert, Question
from tests.factories import NOON
from tests.outcomes.makers import make_question

pytestmark = pytest.mark.django_db


def test_the_database_refuses_to_change_a_fixed_question() -> None:
    question = make_question()

    with pytest.raises(DatabaseError), transaction.atomic():
        Question.objects.filter(id=question.id).update(horizon_s=60)

    question.refresh_from_db()
    assert question.horizon_s == 21_600


def test_a_question_without_levels_can_be_fixed_once() -> None:
    question = make_question(target_price=None, stop_price=None, sha256="")

    Question.objects.filter(id=question.id).update(target_price=102, stop_price=99, sha256="a" * 64)

    with pytest.raises(DatabaseError), transaction.atomic():
        Question.objects.filter(id=question.id).update(target_price=103)


def test_one_decision_has_one_question() -> None:
    question = make_question(model="ensemble", revision=1)

    with pytest.raises(IntegrityError), transaction.atomic():
        make_question(event_id=question.event_id, model="ensemble", revision=1)


def test_one_matter_has_one_open_alert() -> None:
    first = Alert.objects.create(kind="CANARY", subject="gemini", message="x", opened_at=NOON)
    with pytest.raises(IntegrityError), transaction.atomic():
        Alert.objects.create(kind="CANARY", subject="gemini", message="y", opened_at=NOON)

    Alert.objects.filter(id=first.id).update(closed_at=NOON)

    Alert.objects.create(kind="CANARY", subject="gemini", message="z", opened_at=NOON)
    assert Alert.objects.count() == 2
