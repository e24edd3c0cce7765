from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from enrichment import services
from enrichment.types import Facts
from signals.models import Signal
from tests.enrichment.market import Script
from tests.factories import NOON

Gather = Callable[..., Facts]


@pytest.fixture(autouse=True)
def _fresh_rules() -> Iterator[None]:
    services.forget_rules()
    yield
    services.forget_rules()


@pytest.fixture
def script(settings: Settings) -> Script:
    """The market of live signals: what it will say, to be changed by the test."""
    script = Script()
    settings.PROVIDERS = {
        **settings.PROVIDERS,
        "scripted": {
            "BACKEND": "tests.enrichment.market.Scripted",
            "OPTIONS": {"script": script},
        },
        "scripted_past": {
            "BACKEND": "tests.enrichment.market.ScriptedPast",
            "OPTIONS": {"script": script},
        },
    }
    settings.PROVIDER_PRIMARY = "scripted"
    settings.AI_MODELS = ("ensemble", "rules")
    return script


@pytest.fixture
def gather(script: Script) -> Gather:
    """Gathers the facts around a stored signal."""

    def gather(signal: Signal, *, now: datetime = NOON) -> Facts:
        work = services.load_work(event_ids=[signal.event_id], now=now)[signal.event_id]
        return asyncio.run(services.gather_facts(work=work, now=now))

    return gather


def payload_of(facts: Facts) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(facts.payload)
    return read
