from __future__ import annotations

import time
from collections.abc import Iterator
from threading import Event, Thread
from typing import Any

import pytest
from django.conf import settings
from rq import Queue
from rq.serializers import DefaultSerializer, JSONSerializer

from pipeline import queue

PLANTED: list[str] = []


def plant() -> None:
    PLANTED.append("executed")


def wait_until(condition: Any, *, within_s: float = 5.0) -> bool:
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return False


def rq_queue(name: str, serializer: Any = JSONSerializer) -> Queue:
    return Queue(name, connection=queue.redis_client(), serializer=serializer)


@pytest.fixture
def heard(redis_url: str, request: pytest.FixtureRequest) -> Iterator[Event]:
    """Listen at a queue of the test's own name; a listener stays a moment after its test."""
    rung, stop = Event(), Event()
    arguments = {"queue": queue_name(request), "name": "t", "on_ring": rung.set, "stop": stop}
    Thread(target=queue.listen, kwargs=arguments, daemon=True).start()
    yield rung
    stop.set()


@pytest.fixture(name="name")
def queue_name_fixture(request: pytest.FixtureRequest) -> str:
    return queue_name(request)


def queue_name(request: pytest.FixtureRequest) -> str:
    return f"q-{abs(hash(request.node.nodeid))}"


def test_a_bell_that_already_rings_is_not_rung_again(redis_url: str, name: str) -> None:
    for _ in range(5):
        queue.bell(name)()

    assert rq_queue(name).count == 1


def test_a_listener_hears_the_bell_and_leaves_nothing_behind(heard: Event, name: str) -> None:
    queue.bell(name)()

    assert heard.wait(5)
    assert wait_until(lambda: not queue.redis_client().keys("rq:job:*"))
    assert rq_queue(name).count == 0


@pytest.mark.parametrize("serializer", [JSONSerializer, DefaultSerializer], ids=["json", "pickle"])
def test_nothing_planted_in_the_queue_is_ever_executed(
    heard: Event, name: str, serializer: Any
) -> None:
    PLANTED.clear()

    rq_queue(name, serializer).enqueue(plant)
    rq_queue(name).enqueue("os.system", "exit 1")

    assert heard.wait(5)
    assert wait_until(lambda: rq_queue(name).count == 0)
    assert PLANTED == []


def test_ringing_without_redis_costs_little_and_raises_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    queue.redis_client.cache_clear()
    monkeypatch.setattr(settings, "REDIS_URL", "redis://127.0.0.1:1/0")
    started = time.monotonic()

    for _ in range(100):
        queue.bell("work")()

    assert time.monotonic() - started < 2.0
    assert queue.is_answering() is False
    queue.redis_client.cache_clear()
