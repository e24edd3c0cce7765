from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from django.test import Client
from pytest_django import Settings

from evaluation import services
from lens_site import wiring
from pipeline.models import AuditEvent
from tests.fake_vendors import Vendors

pytestmark = pytest.mark.django_db


@pytest.fixture
def chatgpt(settings: Settings, fake_vendors: Vendors) -> Iterator[Vendors]:
    """Have one language model asked, at a vendor of ours."""
    given = {"API_KEY": "k", "BASE_URL": fake_vendors.url("openai")}
    settings.AI_MODELS = ("chatgpt",)
    settings.EVALUATORS = wiring.evaluators(
        names=["chatgpt"],
        ensemble={},
        rules={},
        language={"chatgpt": wiring.MODEL_SETTINGS | given},
        deadline_ms=10_000,
    )
    services.evaluators.cache_clear()
    yield fake_vendors
    services.evaluators.cache_clear()


def test_a_model_is_tried_out_once_after_its_cost_was_told(
    chatgpt: Vendors, admin_client: Client
) -> None:
    told = admin_client.get("/models/chatgpt/ping").content.decode()
    before = len(chatgpt.ledger()["calls"])
    once = re.search(r'name="once" value="([^"]+)"', told)
    assert once is not None

    for _ in range(2):
        admin_client.post("/models/chatgpt/ping", {"once": once[1]})

    page = admin_client.get("/models/chatgpt").content.decode()
    line = AuditEvent.objects.get(verb="PROBED")
    assert "4 requests" in told
    assert "at most" in told
    assert before == 0
    assert len(chatgpt.ledger()["calls"]) == line.details["after"]["calls"] == 3
    assert (line.actor, line.object) == ("user:admin", "model:chatgpt")
    assert "answers in the form that is asked for" in page


def test_a_model_that_may_not_be_called_is_not_tried_out(
    chatgpt: Vendors, admin_client: Client, settings: Settings
) -> None:
    settings.LLM_RECORDING = "replay"

    answer = admin_client.get("/models/chatgpt/ping")

    assert answer.status_code == 400
    assert "no vendor is called" in answer.content.decode()
    assert admin_client.get("/models/nobody/ping").status_code == 404
