from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.conf import settings as configured
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families

from access import services as access
from access.types import KeyDraft, Scope
from evaluation.models import Attempt, Evaluation, ModelState, Spend
from lens_site import metering
from lens_site.metrics import CATALOGUE, Kind
from pipeline import services as pipeline
from pipeline.metrics import BUCKETS, LOCAL
from pipeline.models import AuditEvent, Meter, StageRun
from pipeline.types import GiveUp, SwitchName
from signals import services as signals
from signals.models import Signal
from signals.types import Origin
from tests.factories import make_signal, make_submission
from tests.running import run_everything

pytestmark = pytest.mark.django_db
ROOT = configured.BASE_DIR
LATER = timedelta(minutes=10)


def scrape(client: Client, **headers: Any) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    text = client.get("/metrics", **headers).content.decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def make_key(scope: Scope) -> str:
    draft = KeyDraft(name="scraper", scopes=frozenset({scope}))
    return access.issue_key(draft=draft, actor="test", now=datetime.now(UTC))[1]


def value(samples: dict[Any, float], name: str, **labels: str) -> float | None:
    return samples.get((name, frozenset(labels.items())))


def count_everything(now: datetime) -> None:
    for _ in range(20):
        if not metering.count_on(now=now):
            return
    raise AssertionError("counting does not come to an end")


def test_a_signal_that_went_through_is_counted_at_every_station(
    client: Client, settings: Any, redis_url: str
) -> None:
    settings.PROVIDER_PRIMARY = "simulated"
    now = datetime.now(UTC)
    signals.submit_signals(
        submissions=[make_submission(ts_utc=now, entry_price=Decimal(65000))], now=now
    )
    run_everything()
    status = Signal.objects.get().status.lower()

    count_everything(now + LATER)
    seen = scrape(client)

    assert value(seen, "lens_signals_received_total", origin="live", event_type="OPEN_SIGNAL") == 1
    assert value(seen, "lens_signals_enqueued_total", origin="live") == 1
    assert value(seen, "lens_signals_finished_total", origin="live", status=status) == 1
    assert value(seen, "lens_metrics_behind", table="trail") == 0


def test_counting_twice_counts_once_and_only_what_has_settled(client: Client) -> None:
    now = datetime.now(UTC)
    signals.submit_signals(submissions=[make_submission()], now=now)

    metering.count_on(now=now)
    early = scrape(client)
    count_everything(now + LATER)
    count_everything(now + LATER)
    late = scrape(client)

    name, labels = "lens_signals_received_total", {"origin": "live", "event_type": "OPEN_SIGNAL"}
    assert value(early, name, **labels) is None
    assert (value(early, "lens_metrics_behind", table="trail") or 0) >= 2
    assert value(late, name, **labels) == 1


def test_a_line_of_a_clock_that_runs_ahead_holds_up_no_other(client: Client) -> None:
    now = datetime.now(UTC)
    signals.submit_signals(submissions=[make_submission()], now=now + timedelta(hours=1))
    signals.submit_signals(submissions=[make_submission()], now=now - timedelta(hours=1))

    count_everything(now)

    name = "lens_signals_received_total"
    assert value(scrape(client), name, origin="live", event_type="OPEN_SIGNAL") == 2


def test_what_was_counted_stays_when_its_rows_are_gone(client: Client) -> None:
    now = datetime.now(UTC)
    signal = make_signal()
    AuditEvent.objects.create(
        trace=signal.event_id, verb="RECEIVED", actor="x", at=now - timedelta(hours=1), details={}
    )
    count_everything(now)
    Signal.objects.all().delete()

    count_everything(now)

    name = "lens_signals_received_total"
    assert value(scrape(client), name, origin="live", event_type="OPEN_SIGNAL") == 1


def test_durations_fall_into_the_bucket_that_they_belong_to(client: Client) -> None:
    now = datetime.now(UTC)
    signal = make_signal(received_at=now - timedelta(hours=1))
    for verb, details in (
        ("ENRICHED", {"profile": "trend_follow_v1 v1", "duration_ms": 1500, "flags": {"gap": 2}}),
        ("MODEL_DONE", {"model": "rules", "status": "timeout", "latency_ms": 2500.0}),
        ("PUBLISHED", {}),
    ):
        AuditEvent.objects.create(
            trace=signal.event_id,
            verb=verb,
            actor="x",
            at=signal.received_at + timedelta(seconds=4),
            details=details,
        )

    count_everything(now)
    seen = scrape(client)

    took = "lens_enrichment_duration_seconds"
    assert value(seen, f"{took}_bucket", profile="trend_follow_v1", le="1.0") == 0
    assert value(seen, f"{took}_bucket", profile="trend_follow_v1", le="2.0") == 1
    assert value(seen, f"{took}_sum", profile="trend_follow_v1") == 1.5
    assert value(seen, "lens_enrichment_flags_total", kind="gap") == 2
    assert value(seen, "lens_model_errors_total", model="rules", error_type="timeout") == 1
    assert value(seen, "lens_end_to_end_duration_seconds_bucket", le="3.0") == 0
    assert value(seen, "lens_end_to_end_duration_seconds_bucket", le="5.0") == 1
    assert value(seen, "lens_end_to_end_duration_seconds_count") == 1


def test_calls_of_models_are_counted_with_their_tokens_and_cost(client: Client) -> None:
    now = datetime.now(UTC)
    evaluation = Evaluation.objects.create(
        signal=make_signal(), run=1, model="chatgpt", created_at=now
    )
    Attempt.objects.create(
        evaluation=evaluation,
        number=1,
        status="ok",
        started_at=now - timedelta(hours=1),
        latency_ms=900,
        tokens_in=1000,
        tokens_out=50,
        cost_usd=Decimal("0.25"),
    )

    count_everything(now)
    seen = scrape(client)

    assert value(seen, "lens_model_calls_total", model="chatgpt", status="ok") == 1
    assert value(seen, "lens_model_tokens_total", model="chatgpt", direction="input") == 1000
    assert value(seen, "lens_model_cost_usd_total", model="chatgpt") == 0.25


def test_a_dead_letter_is_counted_when_it_is_filed(client: Client) -> None:
    now = datetime.now(UTC)
    signal = make_signal()
    run = StageRun(stage="enrich", subject=signal.event_id, trace=signal.event_id, attempts=1)

    pipeline.bury(run=run, result=GiveUp("gone", code="EXHAUSTED"), at=now)
    pipeline.bury(run=run, result=GiveUp("gone", code="EXHAUSTED"), at=now)
    seen = scrape(client)

    assert value(seen, "lens_dlq_entries_total", stage="enrich", code="EXHAUSTED") == 2
    assert value(seen, "lens_dlq_open", stage="enrich") == 1


def test_gauges_tell_how_things_are_now(client: Client, redis_url: str) -> None:
    now = datetime.now(UTC)
    signals.submit_signals(submissions=[make_submission()], now=now - timedelta(seconds=30))
    pipeline.beat(name="worker-1", kind="worker", started_at=now, at=now)
    pipeline.pause(name=SwitchName.INTAKE, actor="test", reason="a drill", now=now)
    ModelState.objects.create(name="chatgpt", is_enabled=False, open_until=now + LATER)
    Spend.objects.create(day=now.date(), model="*", spent_usd=2, reserved_usd=1)

    seen = scrape(client)

    assert value(seen, "lens_queue_depth", queue="enrich") == 1
    assert value(seen, "lens_pending_enrichment") == 1
    assert value(seen, "lens_signals_unfinished") == 1
    assert (value(seen, "lens_signals_oldest_seconds") or 0) >= 30
    assert value(seen, "lens_programs_alive", worker_type="worker") == 1
    assert value(seen, "lens_programs_alive", worker_type="conductor") == 0
    assert value(seen, "lens_switch_paused", switch="intake") == 1
    assert value(seen, "lens_model_enabled", model="chatgpt") == 0
    assert value(seen, "lens_model_breaker_open", model="chatgpt") == 1
    assert value(seen, "lens_model_spent_usd_today", model="*") == 3
    assert value(seen, "lens_redis_up") == 1
    assert (value(seen, "lens_disk_free_bytes") or 0) > 0


def test_every_metric_that_is_told_is_described_with_its_labels(
    client: Client, redis_url: str
) -> None:
    text = client.get("/api/v1/metrics").content.decode()
    told = list(text_string_to_metric_families(text))

    for family in told:
        name = family.name if family.name in CATALOGUE else f"{family.name}_total"
        assert CATALOGUE[name].text == family.documentation
        for sample in family.samples:
            if not sample.name.endswith("_created"):
                assert set(sample.labels) - {"le"} == set(CATALOGUE[name].labels), sample


def test_the_catalogue_names_what_is_kept_in_rows_and_in_memory() -> None:
    in_memory = {
        family.name if family.type != "counter" else f"{family.name}_total"
        for family in LOCAL.collect()
    }

    assert in_memory <= CATALOGUE.keys()
    assert BUCKETS.keys() | {name for name in in_memory if name.endswith("_seconds")} == {
        name for name, described in CATALOGUE.items() if described.kind is Kind.HISTOGRAM
    }
    for name, described in CATALOGUE.items():
        assert name.endswith("_total") == (described.kind is Kind.COUNTER), name
        assert not {"symbol", "source", "event_id", "address"} & set(described.labels)


def test_a_scrape_asks_the_database_the_same_whatever_is_stored(
    client: Client, redis_url: str, django_assert_max_num_queries: Any
) -> None:
    now = datetime.now(UTC)
    scrape(client)
    with django_assert_max_num_queries(25):
        scrape(client)

    signals.submit_signals(submissions=[make_submission() for _ in range(50)], now=now)

    with django_assert_max_num_queries(25):
        scrape(client)


def test_a_local_scraper_needs_nothing_and_a_foreign_one_token_or_key(
    client: Client, settings: Any, redis_url: str
) -> None:
    foreign = {"REMOTE_ADDR": "192.0.2.1"}
    ops, reader = make_key(Scope.OPS), make_key(Scope.SIGNALS_READ)

    def status(**given: Any) -> int:
        return client.get("/metrics", **given).status_code

    assert status() == 200
    assert status(headers={"X-Forwarded-For": "192.0.2.1"}) == 401
    assert status(**foreign) == 401
    assert status(**foreign, headers={"X-API-Key": ops}) == 200
    assert status(**foreign, headers={"X-API-Key": reader}) == 403
    settings.METRICS_TOKEN = "a-token-of-the-scraper"
    assert status() == 401
    assert status(headers={"Authorization": "Bearer a-token-of-the-scraper"}, **foreign) == 200
    assert status(headers={"Authorization": "Bearer another"}, **foreign) == 401
    assert client.post("/metrics").status_code == 404


def test_replays_are_told_apart_and_have_no_end_to_end_time(client: Client) -> None:
    now = datetime.now(UTC)
    signal = make_signal(origin=Origin.REPLAY, received_at=now - timedelta(hours=1))
    AuditEvent.objects.create(
        trace=signal.event_id, verb="PUBLISHED", actor="x", at=now - timedelta(minutes=5)
    )

    count_everything(now)

    seen = scrape(client)
    assert value(seen, "lens_signals_published_total", origin="replay") == 1
    assert value(seen, "lens_end_to_end_duration_seconds_count") is None
    assert not Meter.objects.filter(labels__regex=re.escape(str(signal.event_id))).exists()
