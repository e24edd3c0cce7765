"""The sentences that hold for every language model the house can ask."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from django.utils.module_loading import import_string

from evaluation.evaluators.llm import LLM
from evaluation.evaluators.vendor_policy import PROVIDERS
from evaluation.types import ACTIONS, REASONS, AttemptStatus
from lens_site import wiring
from tests.evaluation.vendors import KEY, KINDS, model, prompted
from tests.fake_vendors import Vendors, running


@pytest.fixture(scope="module")
def server() -> Iterator[Vendors]:
    with running() as vendors:
        yield vendors


@pytest.fixture
def vendors(server: Vendors) -> Vendors:
    server.reset()
    return server


def made(vendors: Vendors, name: str, **changes: Any) -> LLM:
    return model(name, base_url=vendors.url(KINDS[name].vendor), **changes)


def test_every_vendor_that_lens_speaks_to_is_held_to_the_contract() -> None:
    assert {kind.make.provider for kind in KINDS.values()} == set(PROVIDERS)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("side", ["long", "short"])
@pytest.mark.parametrize("event_type", list(ACTIONS))
async def test_a_verdict_keeps_to_the_vocabulary_and_the_bounds(
    vendors: Vendors, name: str, side: str, event_type: str
) -> None:
    asked = made(vendors, name)

    opinion = await asked.evaluate(prompted(event_type=event_type, side=side))
    await asked.close()

    verdict = opinion.verdict
    if verdict is None:  # a stop on the wrong side is refused, as it should be
        assert opinion.status is AttemptStatus.INVALID
        return
    assert verdict.action in ACTIONS[event_type]
    assert 0.0 <= verdict.confidence <= 1.0
    assert 0.0 <= verdict.size_pct <= 100.0
    assert verdict.reasons
    assert set(verdict.reasons) <= set(REASONS)


@pytest.mark.parametrize("name", KINDS)
async def test_the_same_case_gets_the_same_verdict_from_the_same_vendor(
    vendors: Vendors, name: str
) -> None:
    asked = made(vendors, name)

    first, second = [await asked.evaluate(prompted()) for _ in range(2)]
    await asked.close()

    assert first.verdict == second.verdict


@pytest.mark.parametrize("name", KINDS)
async def test_calls_of_one_model_wait_beside_one_another(vendors: Vendors, name: str) -> None:
    asked = made(vendors, name)
    await asked.evaluate(prompted())  # the vendor's SDK is loaded now
    vendors.script(latency={"ms": 500})
    started = time.monotonic()

    opinions = await asyncio.gather(*(asked.evaluate(prompted()) for _ in range(40)))
    took_s = time.monotonic() - started
    await asked.close()

    assert all(opinion.status is AttemptStatus.OK for opinion in opinions)
    assert took_s < 40 * 0.5 / 4


@pytest.mark.parametrize("name", KINDS)
async def test_no_redirect_carries_a_key_or_a_prompt_elsewhere(name: str) -> None:
    asked_for: list[str] = []

    def hear(request: httpx2.Request) -> httpx2.Response:
        asked_for.append(request.url.host)
        return httpx2.Response(307, headers={"location": "https://elsewhere.example/"})

    asked = model(name, base_url="http://127.0.0.1:9", transport=httpx2.MockTransport(hear))
    opinion = await asked.evaluate(prompted())
    await asked.close()

    assert set(asked_for) == {"127.0.0.1"}
    assert opinion.status is AttemptStatus.BAD_REQUEST
    assert "redirects" in opinion.reason


@pytest.mark.parametrize("name", KINDS)
async def test_nothing_is_taken_from_the_environment(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = {
        "HTTP_PROXY": "http://127.0.0.1:1",
        "ALL_PROXY": "http://127.0.0.1:1",
        "OPENAI_API_KEY": "planted",
        "OPENAI_BASE_URL": "http://planted.example",
        "OPENAI_ORG_ID": "planted",
        "OPENAI_PROJECT_ID": "planted",
        "GOOGLE_API_KEY": "planted",
        "GOOGLE_GENAI_USE_VERTEXAI": "true",
        "GOOGLE_GENAI_API_VERSION": "planted",
        "GOOGLE_GEMINI_BASE_URL": "http://planted.example",
        "ANTHROPIC_API_KEY": "planted",
        "OLLAMA_HOST": "http://planted.example",
    }
    for variable, value in planted.items():
        monkeypatch.setenv(variable, value)
    requests: list[httpx2.Request] = []

    def hear(request: httpx2.Request) -> httpx2.Response:
        requests.append(request)
        return httpx2.Response(400, json={})

    asked = model(name, base_url="http://127.0.0.1:9", transport=httpx2.MockTransport(hear))
    await asked.evaluate(prompted())
    await asked.close()

    [request] = requests
    told = f"{request.url} {list(request.headers.items())} {request.content!r}"
    assert request.url.host == "127.0.0.1"
    assert KEY in told
    assert "planted" not in told


def test_every_backend_of_the_fuse_box_is_a_language_model_of_its_provider() -> None:
    for provider, backends in wiring.BACKENDS.items():
        for api, path in backends.items():
            backend = import_string(path)

            assert issubclass(backend, LLM), path
            assert backend.provider == provider, f"{provider} by {api or 'its best'} is {path}"
