from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from django.test import Client

from notifications import services
from notifications.models import Delivery, Endpoint
from notifications.notifiers.base import Answer
from tests.notifications.test_services import endpoint, published

pytestmark = pytest.mark.django_db
Members = Callable[[str], Client]
SECRET = re.compile(r"whsec_[A-Za-z0-9+/=]{44}")


def once(page: str) -> str:
    found = re.search(r'name="once" value="([^"]+)"', page)
    return found[1] if found else ""


def made(client: Client, **changes: str) -> str:
    mark = once(client.get("/deliveries").content.decode())
    sent = {"once": mark, "name": "bot", "url": "https://bot.example/x", "judges": "jury"}
    return client.post("/deliveries/new", {**sent, **changes}).content.decode()


def sent(answer: Answer) -> Delivery:
    """Return a delivery that was attempted once."""
    now = datetime.now(UTC)
    published()
    services.gather(now=now)
    [parcel] = services.claim(limit=1, now=now)
    services.settle(parcel=parcel, answer=answer, now=now)
    return Delivery.objects.get()


def test_a_secret_is_shown_once(as_member: Members) -> None:
    admin = as_member("Admin")

    page = made(admin)

    mine = Endpoint.objects.get()
    assert SECRET.findall(page) == [mine.secret]
    assert mine.secret not in admin.get(f"/deliveries/{mine.id}").content.decode()


def test_an_address_that_cannot_be_used_is_told_beside_its_field(as_member: Members) -> None:
    page = made(as_member("Admin"), url="https://10.0.0.1/x")

    assert "is a private address" in page
    assert not Endpoint.objects.exists()


def test_an_attempt_is_told_with_headers_body_and_answer_as_text(as_member: Members) -> None:
    endpoint()
    row = sent(Answer(status=500, text="<b>broken</b>", duration_ms=12.0))

    page = as_member("Operator").get(f"/deliveries/sent/{row.id}").content.decode()

    assert "&lt;b&gt;broken&lt;/b&gt;" in page
    assert f'webhook-id: <bdi class="plain">msg_{row.id.hex}' in page
    assert "decision.published" in page


def test_a_delivery_is_sent_again_and_a_test_is_sent_by_operators(as_member: Members) -> None:
    mine = endpoint()
    row = sent(Answer(status=200))
    operator = as_member("Operator")

    operator.post(f"/deliveries/sent/{row.id}/again")
    page = operator.get(f"/deliveries/{mine.id}").content.decode()
    for _ in range(2):
        operator.post(f"/deliveries/{mine.id}/test", {"once": once(page)})

    row.refresh_from_db()
    assert row.status == "PENDING"
    assert Delivery.objects.filter(kind="test").count() == 1
    assert operator.post(f"/deliveries/{mine.id}/switch", {"to": "off"}).status_code == 403


def test_why_lens_switched_an_endpoint_off_is_said(as_member: Members) -> None:
    mine = endpoint()
    sent(Answer(status=410))

    page = as_member("Operator").get(f"/deliveries/{mine.id}").content.decode()

    assert 'data-testid="off-reason"' in page
    assert "it answered 410" in page


@pytest.mark.parametrize("group", ["Viewer", "Trader"])
def test_others_do_not_see_where_decisions_are_sent(as_member: Members, group: str) -> None:
    client = as_member(group)

    assert client.get("/deliveries").status_code == 403
    assert "/deliveries" not in client.get("/board").content.decode()
