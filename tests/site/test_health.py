from __future__ import annotations

import os
import signal
import sys
import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client
from pytest_django import Settings

from evaluation.models import ModelState
from lens_site import draining
from pipeline import queue, services
from pipeline.types import SwitchName
from tests.factories import make_signal

pytestmark = pytest.mark.django_db


def beat(kind: str, *, ago_s: float = 0.0) -> None:
    at = datetime.now(UTC) - timedelta(seconds=ago_s)
    services.beat(name=f"{kind}-1", kind=kind, started_at=at, at=at)


@pytest.mark.parametrize("path", ["/health", "/api/v1/health"])
def test_health_answers_as_long_as_the_process_runs(client: Client, path: str) -> None:
    assert client.get(path).json()["status"] == "ok"


@pytest.mark.parametrize("path", ["/ready", "/api/v1/ready"])
def test_a_house_with_all_its_programs_is_ready(client: Client, redis_url: str, path: str) -> None:
    beat("worker")
    beat("conductor")

    response = client.get(path)

    assert response.status_code == 200
    assert {name: check["ok"] for name, check in response.json()["checks"].items()} == {
        "process": True,
        "database": True,
        "migrations": True,
        "redis": True,
        "workers": True,
        "conductor": True,
        "backlog": True,
        "disk": True,
        "clock": True,
        "market": True,
        "models": True,
        "switches": True,
        "audit": True,
    }


def test_a_worker_that_fell_silent_makes_the_house_not_ready(
    client: Client, redis_url: str
) -> None:
    beat("worker", ago_s=60)
    beat("conductor")

    response = client.get("/ready")

    assert response.status_code == 503
    assert response.json()["checks"]["workers"]["why"].startswith("no worker has reported")


def test_without_redis_the_house_is_ready_and_says_what_it_costs(
    client: Client, settings: Settings
) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    queue.redis_client.cache_clear()
    beat("worker")
    beat("conductor")

    body = client.get("/ready").json()

    queue.redis_client.cache_clear()
    assert body["status"] == "ready"
    assert body["checks"]["redis"]["ok"] is False
    assert "still accepted" in body["checks"]["redis"]["why"]


def test_readiness_tells_no_secret(client: Client, settings: Settings) -> None:
    settings.REDIS_URL = "redis://:s3cr3t@127.0.0.1:1/0"
    queue.redis_client.cache_clear()

    text = client.get("/ready").content.decode()

    queue.redis_client.cache_clear()
    assert "s3cr3t" not in text


@pytest.mark.parametrize("path", ["/api/nothing", "/api/v2/signals", "/api/v1/", "/api"])
def test_unknown_paths_of_the_api_are_problem_documents(client: Client, path: str) -> None:
    response = client.get(path)

    assert (response.status_code, response.json()["code"]) == (404, "NOT_FOUND")
    assert response["Content-Type"] == "application/problem+json"


def test_the_request_id_of_a_client_is_kept_if_it_is_plain(client: Client) -> None:
    kept = client.get("/health", headers={"X-Request-ID": "abc-1"})
    replaced = client.get("/health", headers={"X-Request-ID": "a\tb"})

    assert kept["X-Request-ID"] == "abc-1"
    assert len(replaced["X-Request-ID"]) == 32


@pytest.mark.parametrize("path", ["/api/schema", "/api/docs", "/api/redoc"])
def test_the_documentation_is_open_and_asks_nothing_of_other_hosts(
    client: Client, path: str
) -> None:
    response = client.get(path)

    assert response.status_code == 200
    assert "cdn" not in response.content.decode().lower()


def test_the_type_of_a_problem_leads_to_its_explanation(client: Client) -> None:
    problem = client.get("/api/nothing").json()
    path, _, anchor = problem["type"].partition("#")

    page = client.get(path)

    assert page.status_code == 200
    assert anchor in page.content.decode().lower()
    assert client.get("/docs/secret").status_code == 404


def test_what_costs_only_quality_is_told_and_leaves_the_house_ready(
    client: Client, settings: Settings, redis_url: str
) -> None:
    now = datetime.now(UTC)
    beat("worker")
    beat("conductor")
    services.pause(name=SwitchName.PUBLISHING, actor="test", reason="a drill", now=now)
    ModelState.objects.create(name="chatgpt", open_until=now + timedelta(minutes=5))
    waiting = make_signal(received_at=now - timedelta(minutes=10))
    settings.CLOCK_OFFSET_MAX_S = -1

    response = client.get("/ready")

    body = response.json()
    assert response.status_code == 200
    assert body["degraded"] == ["backlog", "clock", "models", "switches"]
    assert body["checks"]["backlog"]["oldest_queued_s"] >= 600
    assert body["checks"]["models"]["why"] == "not asked: chatgpt"
    assert "a drill" in body["checks"]["switches"]["why"]
    assert str(waiting.event_id) not in response.content.decode()


def test_without_room_on_the_disk_the_house_is_not_ready(
    client: Client, settings: Settings, redis_url: str
) -> None:
    beat("worker")
    beat("conductor")
    settings.DISK_FREE_MIN_MB = 10**12

    response = client.get("/ready")

    assert response.status_code == 503
    assert response.json()["checks"]["disk"]["fatal"]


def test_a_web_process_says_that_it_stops_before_it_does(
    client: Client, settings: Settings, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    beat("worker")
    beat("conductor")
    settings.WEB_DRAIN_S = 0.05
    stopped = threading.Event()
    monkeypatch.setattr(draining, "_stopping", threading.Event())
    before = signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    monkeypatch.delitem(sys.modules, "twisted.internet", raising=False)
    try:
        draining.begin_late()
        os.kill(os.getpid(), signal.SIGTERM)

        answer = client.get("/ready")

        assert answer.json()["checks"]["process"]["why"] == "this web process is about to stop"
        assert answer.status_code == 503
        assert client.get("/health").status_code == 200
        assert stopped.wait(5)
    finally:
        signal.signal(signal.SIGTERM, before)
