from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from enrichment import jobs, services
from enrichment.jobs import ENRICH, Lapsed
from enrichment.models import Enrichment, Policy
from enrichment.payload import canonical, sha256_of
from markets.services import BadMarketData, BadRecording, MarketDataUnavailable
from pipeline.models import AuditEvent, DeadLetter, StageRun
from pipeline.stage import Finished
from pipeline.types import Claim, Done, GiveUp, Result, RetryIn
from signals.models import Signal
from signals.services import submit_signals
from tests.enrichment.market import Script
from tests.factories import make_signal, make_submission
from tests.running import run_stage

pytestmark = pytest.mark.django_db


@pytest.fixture
def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def heard(settings: Settings) -> list[dict[str, Any]]:
    """What is announced once a signal has its facts."""
    heard: list[dict[str, Any]] = []
    HEARD.append(heard)
    settings.ROUTES = {
        "signal.submitted": ("enrichment.services.request_enrichment",),
        "signals.enriched": (f"{__name__}.hear",),
        "signal.closed": (),
    }
    return heard


HEARD: list[list[dict[str, Any]]] = []


def hear(**told: Any) -> None:
    HEARD[-1].append(told)


@pytest.fixture
def submit(script: Script, heard: list[dict[str, Any]], now: datetime) -> Callable[..., Signal]:
    """Submits a signal that is seconds old, at the market's price."""
    script.last_close = now

    def submit(**changes: Any) -> Signal:
        values: dict[str, Any] = {
            "ts_utc": now - timedelta(seconds=2),
            "entry_price": Decimal(42_000),
        }
        submit_signals(submissions=[make_submission(**(values | changes))], now=now)
        return Signal.objects.latest("id")

    return submit


def verbs() -> list[str]:
    return list(AuditEvent.objects.order_by("id").values_list("verb", flat=True))


def performed(signal: Signal, *, at: datetime) -> Result:
    work = services.load_work(event_ids=[signal.event_id], now=at)[signal.event_id]
    return asyncio.run(jobs.perform(work))


def test_a_signal_gets_its_facts_and_goes_on(
    submit: Callable[..., Signal], heard: list[dict[str, Any]]
) -> None:
    signal = submit(feature_profile="full_v1")

    run_stage(ENRICH)

    signal.refresh_from_db()
    row = Enrichment.objects.get()
    assert signal.status == "ENRICHED"
    assert (row.event_id, row.run) == (signal.event_id, 1)
    assert (row.profile, row.profile_version, row.policy_version) == ("full_v1", 1, 1)
    assert row.payload_sha256 == sha256_of(row.payload)
    assert row.facts_sha256 == sha256_of(canonical(row.facts))
    assert [each["passed"] for each in row.gates] == [True] * 4
    assert verbs() == ["RECEIVED", "ENQUEUED", "ENRICHED"]
    [told] = heard
    [enriched] = told["enriched"]
    assert (enriched.signal, told["now"]) == (signal, row.created_at)
    assert enriched.signal.status == "ENRICHED"
    assert enriched.enrichment.payload_sha256 == row.payload_sha256
    assert StageRun.objects.get().status == "DONE"


def test_a_refused_signal_ends_with_gate_value_and_limit(
    submit: Callable[..., Signal], heard: list[dict[str, Any]], now: datetime
) -> None:
    signal = submit(ts_utc=now - timedelta(seconds=400))

    run_stage(ENRICH)

    signal.refresh_from_db()
    assert signal.status == "REJECTED"
    assert signal.reason == {"gate": "signal_age", "value": 400.0, "limit": 300, "unit": "s"}
    assert AuditEvent.objects.latest("id").details == signal.reason
    assert verbs() == ["RECEIVED", "ENQUEUED", "REJECTED"]
    assert heard == []


def test_what_was_known_of_a_refused_signal_is_kept(
    submit: Callable[..., Signal], script: Script
) -> None:
    submit(entry_price=Decimal(30_000), liquidation_price=None)

    run_stage(ENRICH)

    row = Enrichment.objects.get()
    assert [each["gate"] for each in row.gates if not each["passed"]] == ["price_drift"]
    assert json.loads(row.payload)["market"]["mid"] == script.mid
    assert DeadLetter.objects.count() == 0


def test_an_unknown_symbol_is_refused_not_retried(submit: Callable[..., Signal]) -> None:
    signal = submit(symbol="NOCOIN")

    run_stage(ENRICH)

    signal.refresh_from_db()
    assert (signal.status, signal.reason["gate"]) == ("REJECTED", "unknown_symbol")
    assert json.loads(Enrichment.objects.get().payload)["market"] == {}


def test_advice_that_lapsed_while_waiting_is_expired_unasked(
    submit: Callable[..., Signal], script: Script, heard: list[dict[str, Any]]
) -> None:
    signal = submit(valid_for_s=1)

    run_stage(ENRICH)

    signal.refresh_from_db()
    assert signal.status == "EXPIRED"
    assert verbs()[-1] == "EXPIRED"
    assert script.asked == []
    assert heard == []
    assert not Enrichment.objects.exists()


def test_a_signal_cancelled_meanwhile_is_left_alone(
    submit: Callable[..., Signal], heard: list[dict[str, Any]], now: datetime
) -> None:
    signal = submit()
    work = services.load_work(event_ids=[signal.event_id], now=now)[signal.event_id]
    result = asyncio.run(jobs.perform(work))
    assert isinstance(result, Done)
    Signal.objects.update(status="CANCELLED")

    run = StageRun.objects.get()
    claim = Claim(
        id=run.id,
        stage=run.stage,
        subject=run.subject,
        trace=run.trace,
        run=1,
        token=0,
        attempts=1,
    )
    jobs.settle([Finished(ENRICH, claim, work, result)], now)

    assert heard == []
    assert not Enrichment.objects.exists()


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (
            MarketDataUnavailable("429", retry_after_s=7.0),
            RetryIn("429", code="MARKET_DATA_UNAVAILABLE", after_s=7.0),
        ),
        (MarketDataUnavailable("500"), RetryIn("500", code="MARKET_DATA_UNAVAILABLE")),
        (BadMarketData("{}\x00\ud800!"), RetryIn("{} !", code="BAD_MARKET_DATA")),
        (BadRecording("line 3"), GiveUp("line 3", code="BAD_RECORDING")),
    ],
)
def test_each_fault_of_the_market_has_its_answer(
    submit: Callable[..., Signal], script: Script, now: datetime, fault: Exception, expected: Result
) -> None:
    script.faults["quote"] = fault

    assert performed(submit(), at=now) == expected


def test_a_broken_policy_is_for_an_operator(submit: Callable[..., Signal], now: datetime) -> None:
    signal = submit()
    Policy.objects.update(definition={"max_leverage": -1})

    result = performed(signal, at=now)

    assert isinstance(result, GiveUp)
    assert result.code == "BAD_POLICY"


def test_a_lapsed_signal_is_told_apart(submit: Callable[..., Signal], now: datetime) -> None:
    assert performed(submit(valid_for_s=1), at=now) == Done(Lapsed())


def test_a_market_that_stays_away_ends_in_a_dead_letter(
    submit: Callable[..., Signal], script: Script, settings: Settings
) -> None:
    script.faults["quote"] = MarketDataUnavailable("no answer", retry_after_s=0.0)
    settings.RETRY_BASE_DELAY_MS = settings.RETRY_MAX_DELAY_MS = 0
    signal = submit()

    for _ in range(ENRICH.attempts_max):
        StageRun.objects.update(next_at=datetime.now(UTC) - timedelta(seconds=1))
        run_stage(ENRICH)

    signal.refresh_from_db()
    letter = DeadLetter.objects.get()
    assert signal.status == "DEAD"
    assert signal.reason == {
        "stage": "enrich",
        "code": "MARKET_DATA_UNAVAILABLE",
        "reason": "no answer",
    }
    assert (letter.code, letter.attempts) == ("MARKET_DATA_UNAVAILABLE", ENRICH.attempts_max)
    assert verbs() == ["RECEIVED", "ENQUEUED", "DEAD"]
    assert StageRun.objects.get().status == "FAILED"


def test_a_market_that_returns_costs_only_time(
    submit: Callable[..., Signal], script: Script
) -> None:
    script.faults["candles.1h"] = MarketDataUnavailable("503", retry_after_s=0.0)
    signal = submit()
    run_stage(ENRICH)
    script.faults.clear()
    StageRun.objects.update(next_at=datetime.now(UTC) - timedelta(seconds=1))

    run_stage(ENRICH)

    signal.refresh_from_db()
    assert signal.status == "ENRICHED"
    assert not DeadLetter.objects.exists()


def test_a_second_run_has_facts_of_its_own(
    submit: Callable[..., Signal], heard: list[dict[str, Any]], now: datetime
) -> None:
    signal = submit()
    run_stage(ENRICH)
    Signal.objects.update(status="DEAD")
    Signal.objects.update(status="ENQUEUED", run=2)
    signal.refresh_from_db()
    services.request_enrichment(signals=[signal], now=now)

    run_stage(ENRICH)

    assert list(Enrichment.objects.order_by("run").values_list("run", flat=True)) == [1, 2]
    assert len(heard) == 2


def test_a_signal_that_is_already_enriched_is_not_taken_again(script: Script) -> None:
    assert jobs.load([make_signal(status="ENRICHED").event_id]) == {}
