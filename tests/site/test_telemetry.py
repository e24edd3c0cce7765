from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import sentry_sdk
from django.conf import settings as configured
from django.core.exceptions import ImproperlyConfigured
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pytest_django import Settings
from sentry_sdk.transport import Transport

from evaluation.evaluators.base import CallFailed
from evaluation.types import AttemptStatus
from lens_site import telemetry
from pipeline import spans
from pipeline.stage import wired_stages
from pipeline.worker import Worker
from signals import services as signals
from signals.types import Receipt
from tests.evaluation.test_llm import Told
from tests.evaluation.vendors import prompted
from tests.factories import make_submission
from tests.site.test_deployment import environment

KEY = "lens_live_needle00_" + "N" * 43 + "zzzzzz"


@pytest.fixture
def exported() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    telemetry.trace_to(SimpleSpanProcessor(exporter))
    yield exporter
    spans.turn_off()


def test_nothing_of_either_is_imported_unless_it_is_asked_for() -> None:
    code = "import django, sys; django.setup(); import lens_site.asgi\n"
    code += "ours = ('sentry_sdk', 'opentelemetry.exporter', 'opentelemetry.sdk.trace')\n"
    code += "print([name for name in sys.modules if name.startswith(ours)])"

    ended = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(),
        cwd=configured.BASE_DIR,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert ended.stdout.strip() == "[]", ended.stderr


async def test_a_call_of_a_model_is_a_span_with_the_usual_names(
    exported: InMemorySpanExporter,
) -> None:
    await Told().evaluate(prompted())

    (span,) = exported.get_finished_spans()
    assert span.name == "chat told-1"
    about = dict(span.attributes or {})
    assert about["gen_ai.operation.name"] == "chat"
    assert about["gen_ai.provider.name"] == "openai"
    assert about["gen_ai.request.model"] == about["gen_ai.response.model"] == "told-1"
    assert about["gen_ai.usage.input_tokens"] == 900
    assert about["gen_ai.usage.output_tokens"] == 120
    assert not [value for value in about.values() if "key-1" in str(value)]


async def test_a_call_that_failed_is_a_span_that_says_so(exported: InMemorySpanExporter) -> None:
    await Told([CallFailed("it went wrong", status=AttemptStatus.AUTH)]).evaluate(prompted())

    (span,) = exported.get_finished_spans()
    assert not span.status.is_ok
    assert [event.name for event in span.events] == ["exception"]


@pytest.mark.django_db(transaction=True)
def test_a_piece_of_work_is_a_span_with_the_signals_id_and_its_market_calls_within(
    exported: InMemorySpanExporter, settings: Settings, redis_url: str
) -> None:
    settings.PROVIDER_PRIMARY, now = "simulated", datetime.now(UTC)
    settings.MAX_PRICE_DRIFT_BPS = 1_000_000  # else the price gate ends it before candles are asked
    (receipt,) = signals.submit_signals(submissions=[make_submission(ts_utc=now)], now=now)
    assert isinstance(receipt, Receipt)

    async def work() -> None:
        worker = Worker(stages=wired_stages(), name="worker-spans")
        running = asyncio.create_task(worker.run())
        async with asyncio.timeout(20):
            while not any(span.name == "stage enrich" for span in exported.get_finished_spans()):
                await asyncio.sleep(0.02)
        worker.stop()
        await running

    asyncio.run(work())

    found = exported.get_finished_spans()
    stage = next(span for span in found if span.name == "stage enrich")
    market = next(span for span in found if span.name == "market simulated")
    assert dict(stage.attributes or {})["lens.event_id"] == str(receipt.event_id)
    assert market.parent is not None
    assert stage.context is not None
    assert market.parent.span_id == stage.context.span_id


def test_an_unforeseen_error_reaches_sentry_without_a_secret(settings: Settings) -> None:
    sent: list[Any] = []

    class Kept(Transport):
        def capture_envelope(self, envelope: Any) -> None:
            sent.append(envelope.get_event())

    settings.SENTRY_DSN = "https://public@sentry.example/1"
    telemetry._start_sentry(transport=Kept, default_integrations=False)
    try:
        raise RuntimeError(f"refused {KEY}")
    except RuntimeError:
        sentry_sdk.capture_exception()
    finally:
        sentry_sdk.get_client().close()
        sentry_sdk.get_global_scope().set_client(None)

    (event,) = sent
    assert event["exception"]["values"][0]["type"] == "RuntimeError"
    assert "N" * 43 not in str(event)


def test_of_a_request_only_method_and_path_are_sent() -> None:
    event = {
        "request": {
            "method": "GET",
            "url": f"http://x/api/v1/signals?api_key={KEY}",
            "headers": {"X-API-Key": KEY},
            "cookies": {"sessionid": "s"},
            "query_string": f"api_key={KEY}",
        },
        "user": {"ip_address": "192.0.2.1"},
    }

    sent = telemetry.scrubbed(event, {})

    assert sent == {"request": {"method": "GET", "url": "http://x/api/v1/signals"}}


@pytest.mark.parametrize(
    ("setting", "module"),
    [
        ("SENTRY_DSN", "sentry_sdk"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "opentelemetry.sdk.trace.export"),
    ],
)
def test_a_missing_package_is_named(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, setting: str, module: str
) -> None:
    setattr(settings, setting, "https://somewhere.example/1")
    monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(ImproperlyConfigured, match=r"requirements-observability\.txt"):
        telemetry.start()
