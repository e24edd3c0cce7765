from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from pytest_django import Settings

from access import services as access
from access.types import KeyDraft, Scope
from decisions import consumers, services
from decisions.models import Decision
from tests.factories import NOON, make_decision, make_signal

Publish = Callable[..., Any]
SIGNAL_FIELDS = {"symbol", "event_type", "source", "origin"}


@pytest.fixture(autouse=True)
def _own_house(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Look often, ring no bell but those of the test, remember no key of another test."""
    settings.WS_POLL_S = 0.02
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    settings.AI_MODELS = ("ensemble", "rules")
    monkeypatch.setattr(consumers.DecisionsConsumer, "tick_s", 0.02)
    access.forget_everything()
    consumers._checks.clear()
    yield
    access.forget_everything()


def publish_one(**changes: object) -> Decision:
    """Return a decision that was published just now, on a signal of its own."""
    of_signal = {name: changes.pop(name) for name in SIGNAL_FIELDS & set(changes)}
    decision = make_decision(make_signal(**of_signal), **changes)
    services.publish(now=NOON + timedelta(seconds=2), limit=1000)
    decision.refresh_from_db()
    return decision


@pytest.fixture
def publish(db: None) -> Publish:
    """Return an awaitable that publishes one decision."""
    return sync_to_async(publish_one)


@pytest.fixture
def make_key(db: None) -> Callable[..., str]:
    """Return a maker of keys, as their plain text."""

    def make(*scopes: str) -> str:
        wanted = frozenset(Scope(scope) for scope in scopes)
        draft = KeyDraft(name="subscriber", scopes=wanted)
        _, plain = access.issue_key(draft=draft, actor="test", now=datetime.now(UTC))
        return plain

    return make


@pytest.fixture
def key(make_key: Callable[..., str]) -> str:
    """Return a key that may hear the stream."""
    return make_key("stream")
