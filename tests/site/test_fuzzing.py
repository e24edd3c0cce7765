"""Every operation of the OpenAPI document, called with generated input, good and bad."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from django.test import Client
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from access import services as access
from access.types import KeyDraft, Scope

EXAMPLES = int(os.environ.get("LENS_FUZZ_EXAMPLES", "6"))
ANSWERS_AS_DESCRIBED = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
)


def test_posting_to_an_unknown_path_is_answered_like_any_other_request(
    db: None,
) -> None:
    answer = Client(enforce_csrf_checks=True).post("/api/v1/switches/a/b/pause", {})

    assert answer.status_code == 404
    assert answer["Content-Type"] == "application/problem+json"


schema = schemathesis.openapi.from_wsgi("/api/schema", get_wsgi_application()).exclude(
    path="/api/v1/decisions/stream"  # has no end
)


@pytest.fixture
def _one_transaction(db: None) -> Iterator[None]:
    """Keep the connection between requests, as Django's own test client does."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.fixture
def key(_one_transaction: None, redis_url: str, settings: Any) -> str:
    """A key that may do everything, as often as it likes."""
    settings.RATE_LIMIT_PER_MIN = settings.RATE_LIMIT_READS_PER_MIN = 1_000_000
    settings.RATE_LIMIT_BURST = settings.RATE_LIMIT_READS_BURST = 1_000_000
    access.forget_everything()
    draft = KeyDraft(name="fuzzer", scopes=frozenset(Scope))
    return access.issue_key(draft=draft, actor="test", now=datetime.now(UTC))[1]


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)
def test_no_input_makes_a_server_error_or_an_answer_that_is_not_described(
    case: schemathesis.Case[Any], key: str
) -> None:
    case.call_and_validate(headers={"X-API-Key": key}, checks=list(ANSWERS_AS_DESCRIBED))
