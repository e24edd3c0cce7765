"""Planted secrets are looked for wherever Lens writes: logs, rows, answers, metrics."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from django.apps import apps
from django.core import serializers
from django.test import Client
from pytest_django import Settings

from pipeline import services as pipeline
from pipeline.logs import Context, JsonLines, MaskSecrets, TextLines
from pipeline.models import AuditEvent
from pipeline.types import Done
from signals import services as signals
from signals.types import Receipt
from tests.factories import make_submission
from tests.running import run_everything

pytestmark = pytest.mark.django_db

ADMIN = "needle-admin-Zq81-0123456789-abcdefgh"
PEPPER = "needle-pepper-Xw72-0123456789-abcdefgh"
VENDOR = "AIzaNeedleVendorKey0123456789abcdef"
DSN_PASSWORD = "needle-dsn-Pw63"
SCRAPER = "needle-scraper-Tk54-0123456789"
WRONG = "lens_live_needle00_NeedleSecret000000000000000000000000000000000zzzzzz"
BEARER = "needle-bearer-Br45"
QUERY = "needle-query-Qr36"
NEEDLES = (ADMIN, PEPPER, VENDOR, DSN_PASSWORD, SCRAPER, WRONG[20:], BEARER, QUERY)


@pytest.fixture
def haystack(settings: Settings) -> Iterator[io.StringIO]:
    """Return everything that is logged, as JSON and as text, down to DEBUG."""
    settings.API_KEY_ADMIN, settings.LENS_KEY_PEPPER = ADMIN, PEPPER
    settings.METRICS_TOKEN, settings.ACCESS_LOG, settings.TRAIL_LOG = SCRAPER, True, True
    settings.SECRET_VALUES = [ADMIN, PEPPER, VENDOR, DSN_PASSWORD, SCRAPER]
    stream, root = io.StringIO(), logging.getLogger()
    handlers = [logging.StreamHandler(stream), logging.StreamHandler(stream)]
    for handler, formatter in zip(handlers, (JsonLines(), TextLines("%(message)s")), strict=True):
        handler.setFormatter(formatter)
        handler.addFilter(MaskSecrets())
        handler.addFilter(Context())
        root.addHandler(handler)
    before, root.level = root.level, logging.DEBUG
    yield stream
    root.setLevel(before)
    for handler in handlers:
        root.removeHandler(handler)


def ask_with_every_secret(client: Client) -> list[str]:
    """Send each secret where people put them, and return what was answered."""
    asked = [
        client.get("/api/v1/signals", headers={"X-API-Key": WRONG}),
        client.get("/api/v1/signals", headers={"Authorization": f"Bearer {BEARER}"}),
        client.get(f"/api/v1/signals?api_key={QUERY}"),
        client.get("/api/v1/keys", headers={"X-API-Key": ADMIN}),
        client.get("/metrics", headers={"Authorization": f"Bearer {SCRAPER}"}),
        client.get("/metrics", headers={"X-API-Key": WRONG}),
        client.get("/ready"),
        client.post("/api/v1/signals", f'{{"api_key": "{QUERY}"', "application/json"),
    ]
    return [answer.content.decode() for answer in asked]


def rows() -> str:
    models = [model for model in apps.get_models() if model._meta.managed]
    return "".join(serializers.serialize("json", model._base_manager.all()) for model in models)


def test_no_planted_secret_is_found_anywhere(
    client: Client, haystack: io.StringIO, settings: Settings, monkeypatch: Any, redis_url: str
) -> None:
    async def fail(**_: object) -> Done:
        dsn = f"postgres://lens:{DSN_PASSWORD}@db:5432/lens"
        raise RuntimeError(f"{dsn} refused, key={VENDOR}, pepper {PEPPER}")

    class BrokenClock:
        @staticmethod
        def now(zone: object) -> datetime:
            raise RuntimeError(f"https://vendor.example/?key={VENDOR} {zone}")

    client.raise_request_exception = False
    settings.RETRY_MAX = 1
    monkeypatch.setattr("enrichment.services.gather_facts", fail)

    signals.submit_signals(submissions=[make_submission()], now=datetime.now(UTC))
    run_everything()
    answers = ask_with_every_secret(client)
    monkeypatch.setattr("lens_site.health.datetime", BrokenClock)
    answers.append(client.get("/api/v1/health").content.decode())

    written = haystack.getvalue() + rows() + "".join(answers)
    assert "refused, key=" in written
    assert "Traceback" in haystack.getvalue()
    assert [needle for needle in NEEDLES if needle in written] == []


def test_a_signal_can_be_followed_through_the_log_by_its_id(
    haystack: io.StringIO,
    settings: Settings,
    redis_url: str,
    django_capture_on_commit_callbacks: Any,
) -> None:
    settings.PROVIDER_PRIMARY = "simulated"
    with django_capture_on_commit_callbacks(execute=True):
        (receipt,) = signals.submit_signals(submissions=[make_submission()], now=datetime.now(UTC))
    assert isinstance(receipt, Receipt)
    with django_capture_on_commit_callbacks(execute=True):
        run_everything()

    lines = [json.loads(text) for text in haystack.getvalue().splitlines() if text[:1] == "{"]
    told = [
        line["message"]
        for line in lines
        if line["logger"] == "lens.trail" and line.get("event_id") == str(receipt.event_id)
    ]
    kept = AuditEvent.objects.filter(trace=receipt.event_id).order_by("id")
    assert told == list(kept.values_list("verb", flat=True))


def test_a_line_tells_the_request_that_it_was_written_for(
    client: Client, haystack: io.StringIO
) -> None:
    client.get("/api/v1/nothing?api_key=x", headers={"X-Request-ID": "walk-7"})

    lines = [json.loads(text) for text in haystack.getvalue().splitlines() if text[:1] == "{"]
    access = next(line for line in lines if line["logger"] == "lens.access")
    assert access["request_id"] == "walk-7"
    assert (access["method"], access["path"], access["status"]) == ("GET", "/api/v1/nothing", 404)
    assert {line["request_id"] for line in lines if "request_id" in line} == {"walk-7"}


def test_nothing_is_logged_of_what_was_rolled_back(
    haystack: io.StringIO, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks() as waiting:
        pipeline.record(trace=None, verb="PAUSED", actor="test", at=datetime.now(UTC))

    assert "PAUSED" not in haystack.getvalue()
    assert len(waiting) == 1
