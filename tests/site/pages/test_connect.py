from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings
from rest_framework.test import APIClient

from access import queries as access_queries
from access import services as access
from markets.services import MarketDataUnavailable
from signals.models import Hook, Signal
from signals.types import Origin, SignalStatus
from tests.factories import make_body, make_decision, make_signal

pytestmark = pytest.mark.django_db
SECRET = re.compile(r"lens_[a-z]+_[0-9a-z]{8}_[0-9A-Za-z]{49}")
HOOK = re.compile(r"http://testserver(/hooks/[A-Za-z0-9_-]{32})")


@pytest.fixture(autouse=True)
def _fresh(redis_url: str) -> Iterator[None]:
    access.forget_everything()
    yield
    access.forget_everything()


def once(client: Client, place: str = "/connect") -> str:
    mark = re.search(r'name="once" value="([^"]+)"', client.get(place).content.decode())
    assert mark is not None
    return mark[1]


def connected(client: Client) -> str:
    """Return the key that the page made."""
    page = client.post("/connect/key", {"once": once(client)}).content.decode()
    found = SECRET.search(page)
    assert found is not None
    return found[0]


def hooked(client: Client, kind: str = "tradingview") -> str:
    """Return the path of the webhook that the page made."""
    sent = {"once": once(client), "kind": kind}
    found = HOOK.search(client.post("/connect/webhook", sent).content.decode())
    assert found is not None
    return found[1]


def send(plain: str, **changes: Any) -> Any:
    return APIClient().post(
        "/api/v1/signals", make_body(**changes), format="json", headers={"X-API-Key": plain}
    )


def first(client: Client, after: int = 0) -> str:
    return client.get(f"/connect/first?after={after}").content.decode()


def test_the_new_key_stands_in_every_snippet_and_not_after_a_reload(admin_client: Client) -> None:
    sent = {"once": once(admin_client)}

    page = admin_client.post("/connect/key", sent).content.decode()
    again = admin_client.post("/connect/key", sent)

    [plain] = set(SECRET.findall(page))
    assert page.count(plain) >= 5
    assert "http://testserver/api/v1/signals" in page
    assert again.status_code == 302
    assert not SECRET.search(admin_client.get("/connect").content.decode())


def test_the_page_waits_and_then_shows_the_signal_of_its_own_key(admin_client: Client) -> None:
    plain = connected(admin_client)
    make_signal(owner="somebody else", symbol="DOGE", received_at=datetime.now(UTC))
    before = first(admin_client)

    send(plain, symbol="ETH", source="mine")

    after = first(admin_client)
    assert "Waiting for your first signal" in before
    assert "DOGE" not in before
    assert 'data-testid="first-signal"' in after
    assert "ETH" in after
    assert "every 1s" in after


def test_the_page_shows_what_was_decided_and_asks_no_more(admin_client: Client) -> None:
    signal = make_signal(status=SignalStatus.PUBLISHED)
    make_decision(signal, model="rules", decision="IGNORE", published_at=datetime.now(UTC))

    page = first(admin_client)

    assert "rules" in page
    assert "IGNORE" in page
    assert f"/signals/{signal.event_id}" in page
    assert "hx-get" not in page


def test_the_page_shows_the_exact_complaint_about_a_call(admin_client: Client) -> None:
    plain = connected(admin_client)

    send(plain, entry_price=-5)

    page = first(admin_client)
    assert "Something came and was no signal" in page
    assert "<code>entry_price</code>" in page


def test_the_page_shows_the_exact_complaint_about_a_message(admin_client: Client) -> None:
    path = hooked(admin_client)

    APIClient().generic("POST", path, '{"ticker": "BTC"}', content_type="text/plain")

    page = first(admin_client)
    assert "<code>entry_price</code>" in page
    assert "is required" in page


def test_a_message_to_the_new_address_turns_the_page_green(admin_client: Client) -> None:
    path = hooked(admin_client, "freqtrade")
    form = "event=entry&trade_id=7&pair=ETH/USDT&direction=Long&price=2310.5&amount=2"

    APIClient().generic("POST", path, form, content_type="application/x-www-form-urlencoded")

    assert "ETH/USDT" in first(admin_client)


def test_demo_and_older_signals_are_not_taken_for_the_first(admin_client: Client) -> None:
    old = make_signal()
    make_signal(origin=Origin.DEMO)

    assert "Waiting" in first(admin_client, after=old.pk)


def test_the_market_tells_its_price_or_why_not(admin_client: Client, settings: Settings) -> None:
    settings.PROVIDER_PRIMARY = "simulated"

    told = admin_client.get("/connect/quote").json()

    assert told["mid"] > 0
    assert told["provider"] == "simulated"


def test_a_market_that_is_away_is_an_answer_and_no_error_in_the_console(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_: str) -> None:
        raise MarketDataUnavailable("no network here")

    monkeypatch.setattr("lens_site.pages.connect.market_named", away)

    answer = admin_client.get("/connect/quote")

    assert answer.status_code == 200
    assert answer.json()["why"] == "no network here"
    assert "mid" not in answer.json()


def test_a_preview_shows_the_signal_and_stores_nothing(admin_client: Client) -> None:
    hooked(admin_client)
    hook = Hook.objects.get()
    typed = {"mapping": json.dumps(hook.mapping), "source": "desk"}
    sample = '{"ticker": "SOLUSDT", "position": "short", "price": "98.5"}'

    good = admin_client.post(f"/webhooks/{hook.id}/preview", typed | {"sample": sample})
    bad = admin_client.post(f"/webhooks/{hook.id}/preview", typed | {"sample": "sell SOL"})
    lost = admin_client.post(
        f"/webhooks/{hook.id}/preview", {"mapping": '{"fields": 7}', "sample": sample}
    )

    assert "SOLUSDT" in good.content.decode()
    assert "This becomes the signal" in good.content.decode()
    assert "This would be refused" in bad.content.decode()
    assert "The mapping cannot be followed" in lost.content.decode()
    assert not Signal.objects.exists()


def test_a_mapping_that_cannot_be_followed_is_not_saved_and_stays_on_the_page(
    admin_client: Client,
) -> None:
    hooked(admin_client)
    hook = Hook.objects.get()
    typed = {"name": "mine", "source": "mine", "addresses": "", "mapping": '{"fields": {"x": 1}}'}

    refused = admin_client.post(f"/webhooks/{hook.id}/change", typed)
    saved = admin_client.post(
        f"/webhooks/{hook.id}/change", typed | {"mapping": json.dumps(hook.mapping)}
    )

    hook.refresh_from_db()
    assert refused.status_code == 400
    assert "{&quot;fields&quot;: {&quot;x&quot;: 1}}" in refused.content.decode()
    assert saved.status_code == 302
    assert hook.name == "mine"


def test_a_refused_message_is_shown_as_text_on_the_webhooks_page(admin_client: Client) -> None:
    path = hooked(admin_client)
    hostile = '{"ticker": "<script>alert(1)</script>", "price": "1\u202e"}'
    APIClient().generic("POST", path, hostile, content_type="text/plain")

    page = admin_client.get(f"/webhooks/{Hook.objects.get().id}").content.decode()

    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "U+202E" in page


def test_a_replaced_address_is_shown_once_and_the_old_one_is_void(admin_client: Client) -> None:
    old = hooked(admin_client)
    hook = Hook.objects.get()
    sent = {"once": once(admin_client, f"/webhooks/{hook.id}")}

    page = admin_client.post(f"/webhooks/{hook.id}/rotate", sent).content.decode()
    again = admin_client.post(f"/webhooks/{hook.id}/rotate", sent)

    fresh = HOOK.search(page)
    assert fresh is not None
    assert fresh[1] != old
    assert again.status_code == 302
    assert APIClient().generic("POST", old, "{}").status_code == 404


def test_trying_a_key_in_the_tester_counts_as_listening(admin_client: Client) -> None:
    connected(admin_client)

    answer = admin_client.post("/connect/listened")

    assert answer.status_code == 204
    assert access_queries.has_listeners()
