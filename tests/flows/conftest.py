from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_django import Settings

from enrichment import services as enrichment
from evaluation import services as evaluation
from tests.enrichment.market import Script


@pytest.fixture
def script(settings: Settings) -> Iterator[Script]:
    """The market of live signals, to be changed by the test; judged by scripted models."""
    script = Script()
    settings.PROVIDERS = {
        **settings.PROVIDERS,
        "scripted": {"BACKEND": "tests.enrichment.market.Scripted", "OPTIONS": {"script": script}},
    }
    settings.PROVIDER_PRIMARY = "scripted"
    settings.AI_MODELS = ("bold", "shy")
    settings.EVALUATORS = {
        "bold": {"BACKEND": "evaluation.evaluators.scripted.Scripted", "OPTIONS": {}},
        "shy": {
            "BACKEND": "evaluation.evaluators.scripted.Scripted",
            "OPTIONS": {"follow": False, "confidence": 0.6},
        },
    }
    evaluation.evaluators.cache_clear()
    enrichment.forget_rules()
    yield script
    evaluation.evaluators.cache_clear()
    enrichment.forget_rules()
