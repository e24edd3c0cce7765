"""Eight vendors' models on one signal, through the real SDKs against scripted vendors."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db.models import Sum
from pytest_django import Settings
from rest_framework.test import APIClient

from decisions.models import Decision
from enrichment.jobs import ENRICH
from evaluation import services as evaluation
from evaluation.fake_vendors.wires.known import MODELS
from evaluation.jobs import EVALUATE
from evaluation.models import Attempt, Evaluation, ModelCard, ModelState, Price, Spend
from evaluation.types import ALL_MODELS
from lens_site import wiring
from pipeline.worker import Worker
from tests.enrichment.market import Script
from tests.factories import make_body
from tests.fake_vendors import Vendors
from tests.running import run_everything, run_stage

Api = Callable[..., APIClient]
NAMES = {
    "chatgpt": "openai",
    "gemini": "gemini",
    "claude": "claude",
    "deepseek": "deepseek",
    "openrouter": "openrouter",
    "qwen": "qwen",
    "kimi": "moonshot",
    "local": "ollama",
}
QUICK_MS = 8_000
PATIENT_MS = 60_000  # nothing waits for it, unless the machine is busy with something else


@pytest.fixture
def vendors(
    db: None, script: Script, settings: Settings, fake_vendors: Vendors
) -> Iterator[Vendors]:
    """Let eight vendors' models and one by numbers be the models of the house."""
    del db, script
    settings.EVALUATE_DEADLINE_MS = PATIENT_MS
    wire(settings, fake_vendors, deadline_ms=PATIENT_MS)
    evaluation.warm_up()  # as a worker does before its first work
    for provider in NAMES.values():
        card, _ = ModelCard.objects.get_or_create(
            provider=provider,
            model_id=MODELS[provider],
            defaults={"api": "chat", "structured": "json_schema"},
        )
        card.prices.all().delete()
        Price.objects.create(
            card=card, valid_from="2020-01-01", input_usd=Decimal(2), output_usd=Decimal(10)
        )
    yield fake_vendors
    evaluation.evaluators.cache_clear()


def wire(settings: Settings, fake_vendors: Vendors, *, deadline_ms: int) -> None:
    """Put the eight models and one by numbers into the house."""
    given = {
        name: wiring.MODEL_SETTINGS
        | {
            "API_KEY": "key-of-nobody",
            "MODEL_ID": MODELS[provider],
            "BASE_URL": fake_vendors.url(provider),
        }
        for name, provider in NAMES.items()
    }
    settings.AI_MODELS = (*NAMES, "bold")
    settings.EVALUATORS = {
        **wiring.evaluators(
            names=list(NAMES),
            ensemble={},
            rules={},
            language=given,
            deadline_ms=deadline_ms,
            local_hosts=settings.LOCAL_MODEL_HOSTS,
        ),
        "bold": settings.EVALUATORS["bold"],
    }
    evaluation.evaluators.cache_clear()


@pytest.fixture
def client(api: Api) -> APIClient:
    return api("signals:write", "signals:read", "decisions:read")


def submit(client: APIClient, **changes: Any) -> str:
    response = client.post("/api/v1/signals", make_body(**changes), format="json")
    assert response.status_code == 201, response.json()
    event_id: str = response.json()["event_id"]
    return event_id


def outcomes() -> dict[str, str]:
    return dict(Evaluation.objects.values_list("model", "outcome"))


def bill(vendors: Vendors) -> Decimal:
    """Return what the vendors' own ledger comes to at the prices of the cards."""
    calls = vendors.ledger()["calls"]
    return sum(
        (
            (Decimal(2) * (call["tokens_in"] or 0) + Decimal(10) * (call["tokens_out"] or 0))
            / 1_000_000
            for call in calls
        ),
        Decimal(0),
    )


def test_eight_models_judge_one_signal_and_every_cent_is_known(
    vendors: Vendors, client: APIClient
) -> None:
    event_id = submit(client)

    run_everything()

    assert outcomes() == dict.fromkeys([*NAMES, "bold"], "ok")
    decisions = Decision.objects.filter(event_id=event_id)
    assert set(decisions.values_list("model", flat=True)) == {*NAMES, "bold", "jury"}
    meta = decisions.get(model="claude").model_meta
    assert meta["prompt_version"] == "judge v1"
    assert len(meta["prompt_hash"]) == 64
    assert meta["tokens_used"] > 0
    assert meta["calibration"] is None
    assert "COST_UNKNOWN" not in meta["flags"]
    paid = Attempt.objects.aggregate(paid=Sum("cost_usd"))["paid"]
    assert paid == bill(vendors) > 0
    together = Spend.objects.get(model=ALL_MODELS)
    assert (together.reserved_usd, together.spent_usd, together.calls) == (Decimal(0), paid, 8)
    tally = decisions.get(model="jury").jury
    assert tally is not None
    assert 0.0 <= tally["disagreement"] <= 0.5
    assert tally["quorum"]["voted"] == 9


def test_models_that_read_the_same_facts_are_given_the_same_prompt(
    vendors: Vendors, client: APIClient
) -> None:
    submit(client)

    run_everything()

    language = Attempt.objects.exclude(prompt_sha256="")
    assert language.count() == 8
    assert len(set(language.values_list("prompt_sha256", flat=True))) == 1
    assert not Attempt.objects.get(evaluation__model="bold").prompt


def test_a_failing_vendor_is_an_abstention_and_delays_nobody(
    vendors: Vendors, client: APIClient, settings: Settings
) -> None:
    wire(settings, vendors, deadline_ms=QUICK_MS)
    vendors.script("hang", match={"vendor": "claude"})
    vendors.script("500", match={"vendor": "openai"})
    vendors.script("401", match={"vendor": "gemini"})
    vendors.script("refusal", match={"vendor": "qwen"})
    event_id = submit(client)

    run_everything()

    found = outcomes()
    assert found["claude"] == "timeout"
    hung = Attempt.objects.get(evaluation__model="claude")
    others = Attempt.objects.exclude(evaluation__model="claude").values_list(
        "started_at", flat=True
    )
    assert max(others) < hung.started_at + timedelta(milliseconds=hung.latency_ms)
    assert found["chatgpt"] == "overloaded"
    assert found["gemini"] == "auth"
    assert found["qwen"] == "refused"
    assert Counter(found.values())["ok"] == 5
    failed = Decision.objects.filter(
        event_id=event_id, model__in=["claude", "chatgpt", "gemini", "qwen"]
    )
    assert not failed.exists()
    jury = Decision.objects.get(event_id=event_id, model="jury").jury
    assert jury is not None
    assert jury["abstained"] == ["chatgpt", "claude", "gemini", "qwen"]
    assert sum(jury["counts"].values()) == 5
    assert ModelState.objects.get(name="gemini").open_until is not None
    assert ModelState.objects.get(name="chatgpt").faults_in_row == 1
    assert Attempt.objects.filter(evaluation__model="chatgpt").count() == 2


def test_faulty_answers_are_mended_once_or_abstained_from_and_all_are_paid_for(
    vendors: Vendors, client: APIClient
) -> None:
    vendors.script({"kind": "wrong_types", "times": 1}, match={"vendor": "deepseek"})
    vendors.script("out_of_range", match={"vendor": "moonshot"})
    vendors.script({"kind": "429", "retry_after": 0, "times": 1}, match={"vendor": "openrouter"})
    submit(client)

    run_everything()

    found = outcomes()
    assert (found["deepseek"], found["openrouter"], found["kimi"]) == ("ok", "ok", "invalid")
    statuses = Attempt.objects.filter(evaluation__model="deepseek").order_by("number")
    assert list(statuses.values_list("status", flat=True)) == ["invalid", "ok"]
    assert Attempt.objects.aggregate(paid=Sum("cost_usd"))["paid"] == bill(vendors)


def test_a_model_that_is_switched_off_or_too_dear_is_not_called_at_all(
    vendors: Vendors, client: APIClient, settings: Settings
) -> None:
    settings.LLM_BUDGET_USD_PER_DAY = Decimal("0.000001")
    submit(client)

    run_everything()

    found = outcomes()
    assert {found[name] for name in NAMES} == {"over_budget"}
    assert found["bold"] == "ok"
    assert vendors.ledger()["calls"] == []
    assert not Attempt.objects.exclude(evaluation__model="bold").exists()


@pytest.mark.django_db(transaction=True)
def test_two_hundred_calls_wait_at_once_in_one_worker(
    vendors: Vendors, client: APIClient, settings: Settings
) -> None:
    settings.LLM_BUDGET_USD_PER_DAY = None
    vendors.answer_only_crowds_of(200)
    for number in range(25):
        submit(client, source=f"source_{number}")
    run_stage(ENRICH)
    worker = Worker(stages=[replace(EVALUATE, deadline_s=PATIENT_MS / 1000)], name="w")

    asyncio.run(until_done(worker, count=225))

    answered = Evaluation.objects.exclude(model="bold").filter(outcome="ok", status="DECIDED")
    assert answered.count() == 200
    assert vendors.app.waiting == 200


async def until_done(worker: Worker, *, count: int) -> None:
    """Let a worker work until so many evaluations are done with."""
    running = asyncio.create_task(worker.run())
    done = Evaluation.objects.exclude(status="PENDING")
    async with asyncio.timeout(PATIENT_MS / 1000):
        while await done.acount() < count:
            await asyncio.sleep(0.05)
    worker.stop()
    await running
