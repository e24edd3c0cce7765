"""What goes out, to whom it may go, and what is made of answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from asgiref.sync import async_to_sync, sync_to_async

from notifications.courier import Courier
from notifications.models import Delivery, DeliveryAttempt
from notifications.notifiers.base import Answer
from notifications.notifiers.webhook import ANSWER_MAX_BYTES, Webhooks
from notifications.services import gather
from notifications.signing import signature
from tests.factories import NOON
from tests.notifications.test_services import endpoint, published

Handler = Callable[[httpx2.Request], Any]


class Inline:
    """Runs what is asked of the database in the thread of the test."""

    async def run(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return await sync_to_async(work)(*args, **kwargs)


def webhooks(handler: Handler, **settings: Any) -> Webhooks:
    given: dict[str, Any] = {"timeout_s": 2.0, "allowed": {"bot.example"}, **settings}
    return Webhooks(transport=httpx2.MockTransport(handler), **given)


def sent_to(url: str, handler: Handler, **settings: Any) -> Answer:
    async def send() -> Answer:
        client = webhooks(handler, **settings)
        try:
            return await client.send(url=url, body="{}", headers={"webhook-id": "msg_1"})
        finally:
            await client.close()

    return asyncio.run(send())


@pytest.mark.django_db
def test_a_published_decision_reaches_its_receiver_signed() -> None:
    mine = endpoint()
    published()
    heard: list[httpx2.Request] = []

    def take(request: httpx2.Request) -> httpx2.Response:
        heard.append(request)
        return httpx2.Response(202, text="thanks")

    async def work() -> int:
        courier = Courier(database=Inline(), webhooks=webhooks(take))
        made = await courier.look(now=NOON)
        await courier.finish()
        await courier.close()
        return made

    made = async_to_sync(work)()

    [request] = heard
    told = DeliveryAttempt.objects.get()
    assert made == 1
    assert (told.status, told.answer) == (202, "thanks")
    assert request.headers["webhook-signature"] == signature(
        secret=mine.secret,
        message_id=request.headers["webhook-id"],
        at=NOON,
        body=request.content.decode(),
    )
    assert gather(now=NOON) == 0


@pytest.mark.django_db
def test_a_receiver_that_hangs_keeps_nobody_waiting_and_is_left_at_the_end() -> None:
    endpoint(name="a", url="https://slow.example/")
    endpoint(name="b")
    published()
    heard = asyncio.Event()

    async def take(request: httpx2.Request) -> httpx2.Response:
        if request.url.host == "slow.example":
            await asyncio.sleep(60)
        heard.set()
        return httpx2.Response(200)

    async def work() -> None:
        allowed = {"bot.example", "slow.example"}
        client = webhooks(take, allowed=allowed, timeout_s=30.0)
        courier = Courier(database=Inline(), webhooks=client)
        await courier.look(now=NOON)
        async with asyncio.timeout(5):
            await heard.wait()
            await courier.close()

    async_to_sync(work)()

    assert DeliveryAttempt.objects.filter(delivery__endpoint__name="a").count() == 0
    assert Delivery.objects.get(endpoint__name="a").status == "PENDING"


def test_an_address_of_our_own_network_is_not_reached() -> None:
    def take(_: httpx2.Request) -> httpx2.Response:
        raise AssertionError("it was reached")

    answer = sent_to("https://127.0.0.1/x", take)

    assert answer.status is None
    assert "leads into a network" in answer.error


def test_redirects_are_not_followed_and_long_answers_are_cut() -> None:
    moved = sent_to(
        "https://bot.example/x",
        lambda _: httpx2.Response(302, headers={"location": "https://localhost/"}),
    )
    long = sent_to("https://bot.example/x", lambda _: httpx2.Response(500, text="x" * 90_000))

    assert (moved.status, moved.is_taken) == (302, False)
    assert len(long.text) == ANSWER_MAX_BYTES


def test_a_receiver_that_does_not_answer_is_told_as_that() -> None:
    async def hang(_: httpx2.Request) -> httpx2.Response:
        await asyncio.sleep(5)
        return httpx2.Response(200)

    def refuse(_: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("connection refused")

    slow = sent_to("https://bot.example/x", hang, timeout_s=0.05)
    away = sent_to("https://bot.example/x", refuse)

    assert slow.error == "no answer within 0.05 s"
    assert away.error == "connection refused"
