from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from pytest_django import Settings
from rest_framework.test import APIClient

from access import services
from access.models import ApiKey
from access.types import KeyDraft, Scope
from pipeline import queue

NOON = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
HOME = "192.0.2.10"

MakeKey = Callable[..., tuple[ApiKey, str]]


@pytest.fixture
def no_redis(settings: Settings) -> Iterator[None]:
    """Point at a Redis that is not there."""
    settings.REDIS_URL = "unix:///nonexistent/redis.sock"
    queue.redis_client.cache_clear()
    yield
    queue.redis_client.cache_clear()


@pytest.fixture(autouse=True)
def _own_counts(request: pytest.FixtureRequest) -> Iterator[None]:
    """Count nothing that another test did; without ``redis_url`` a test has no Redis."""
    if "redis_url" in request.fixturenames:
        queue.redis_client.cache_clear()
    else:
        request.getfixturevalue("no_redis")
    services.forget_everything()
    yield
    services.forget_everything()


@pytest.fixture
def make_key(db: None) -> MakeKey:
    """Return a maker of keys: ``make_key("signals:read", name=...)`` gives row and plain text."""

    def make(*scopes: str, now: datetime = NOON, **changes: object) -> tuple[ApiKey, str]:
        wanted = frozenset(Scope(scope) for scope in scopes or ("signals:read",))
        draft = replace(KeyDraft(name="tester", scopes=wanted), **changes)  # type: ignore[arg-type]
        return services.issue_key(draft=draft, actor="test", now=now)

    return make


@pytest.fixture
def client_with(make_key: MakeKey) -> Callable[..., APIClient]:
    """Return a maker of HTTP clients that carry a fresh key with the named scopes."""

    def make(*scopes: str, **changes: object) -> APIClient:
        _, plain = make_key(*scopes, **changes)
        return APIClient(headers={"X-API-Key": plain})

    return make
