"""Fixtures of the evaluation room's tests."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest
from pytest_django import Settings

from evaluation import services
from evaluation.evaluators.base import Evaluator
from evaluation.models import ModelCard, Price
from tests.evaluation.talkers import Wire


@pytest.fixture
def wire(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    """Let these evaluators be the models of the house; a talker's tokens have a price."""
    card = ModelCard.objects.create(
        provider="openai", model_id="talker-1", api="chat", structured="json_schema"
    )
    Price.objects.create(
        card=card, valid_from="2020-01-01", input_usd=Decimal(2), output_usd=Decimal(10)
    )

    def make(*evaluators: Evaluator) -> None:
        settings.AI_MODELS = tuple(evaluator.name for evaluator in evaluators)
        settings.EVALUATORS = {evaluator.name: {} for evaluator in evaluators}
        found = {evaluator.name: evaluator for evaluator in evaluators}
        monkeypatch.setattr(services, "evaluators", lambda: found)

    yield make
