from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from pytest_django import Settings
from rest_framework.test import APIClient

from access import services as access
from pipeline.models import AuditEvent
from signals import queries, services
from signals.mapping import STARTERS
from signals.models import Hook, HookRefusal, Signal
from signals.types import HookDraft, HookKind, UnusableMapping
from tests.factories import make_signal

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _fresh_limits(redis_url: str) -> Iterator[None]:
    access.forget_everything()
    yield
    access.forget_everything()


def make_hook(kind: HookKind = HookKind.TRADINGVIEW, **changes: Any) -> tuple[Hook, str]:
    draft = HookDraft(
        **{"name": "alerts", "kind": kind, "source": "alerts", "mapping": STARTERS[kind]} | changes
    )
    return services.create_hook(draft=draft, actor="test", now=datetime.now(UTC))


def alert(**changes: Any) -> str:
    body = {"ticker": "BTCUSDT", "position": "long", "price": "42000", "contracts": "1"}
    return json.dumps(body | {"time": datetime.now(UTC).isoformat()} | changes)


def post(
    slug: str, body: str, content_type: str = "text/plain; charset=utf-8", **extra: Any
) -> Any:
    return APIClient().generic("POST", f"/hooks/{slug}", body, content_type=content_type, **extra)


def test_a_message_in_plain_text_becomes_a_signal_of_the_webhook() -> None:
    hook, slug = make_hook()

    response = post(slug, alert())

    signal = Signal.objects.get()
    hook.refresh_from_db()
    assert response.status_code == 201
    assert response.json()["event_id"] == str(signal.event_id)
    assert (signal.owner, signal.source, signal.symbol) == (hook.owner, "alerts", "BTCUSDT")
    assert hook.last_used_at is not None
    assert AuditEvent.objects.filter(trace=signal.event_id, verb="RECEIVED").exists()


def test_a_form_of_freqtrade_is_taken_and_its_resend_is_the_same_signal() -> None:
    _, slug = make_hook(HookKind.FREQTRADE)
    form = "event=entry&trade_id=7&pair=ETH/USDT&direction=Long&price=2310.5&amount=2"
    kind = "application/x-www-form-urlencoded"

    first, again = post(slug, form, kind), post(slug, form, kind)
    other = post(slug, form.replace("2310.5", "2311"), kind)

    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json()["event_id"] == first.json()["event_id"]
    assert again.json()["replayed"] is True
    assert other.status_code == 422
    assert Signal.objects.count() == 1


def test_a_refused_message_is_kept_with_its_complaint_and_without_its_secrets() -> None:
    hook, slug = make_hook()

    response = post(slug, alert(price="-1", passphrase="s3cr3t"))

    [kept] = queries.list_refusals(hook=hook)
    assert response.status_code == 400
    assert response["Content-Type"] == "application/problem+json"
    assert not Signal.objects.exists()
    assert kept.code == "VALIDATION_ERROR"
    assert [fault["field"] for fault in kept.faults] == ["entry_price"]
    assert "BTCUSDT" in kept.body
    assert "s3cr3t" not in kept.body
    assert kept.address == "127.0.0.1"


def test_only_so_many_refused_messages_are_kept(settings: Settings) -> None:
    settings.HOOK_REFUSALS_KEPT, settings.HOOK_REFUSAL_BODY_BYTES = 3, 8
    hook, slug = make_hook()
    other, other_slug = make_hook()
    post(other_slug, "first of another")

    for number in range(5):
        post(slug, f"no. {number} is not JSON")

    kept = queries.list_refusals(hook=hook)
    assert [row.body for row in kept] == ["no. 4 is", "no. 3 is", "no. 2 is"]
    assert HookRefusal.objects.filter(hook=other).count() == 1


def test_a_body_over_the_limit_is_refused(settings: Settings) -> None:
    settings.HOOK_BODY_MAX_BYTES = 100
    _, slug = make_hook()

    assert post(slug, alert(comment="x" * 200)).status_code == 413


def test_an_unknown_slug_opens_nothing_and_guessing_is_slowed_down() -> None:
    make_hook()

    answers = [post("no-such-slug", alert()).status_code for _ in range(11)]

    assert answers == [404] * 10 + [429]
    assert not HookRefusal.objects.exists()


def test_a_webhook_that_is_switched_off_refuses_and_tells_why() -> None:
    hook, slug = make_hook()
    services.switch_hook(hook=hook, is_active=False, actor="test", now=datetime.now(UTC))

    response = post(slug, alert())

    assert response.status_code == 403
    assert "switched off" in response.json()["detail"]
    assert not Signal.objects.exists()


def test_a_webhook_with_addresses_takes_messages_only_from_there() -> None:
    _, slug = make_hook(addresses=("10.1.0.0/16",))

    assert post(slug, alert(), REMOTE_ADDR="10.1.2.3").status_code == 201
    assert post(slug, alert(), REMOTE_ADDR="10.2.2.3").status_code == 403


def test_a_webhook_has_its_own_share_of_the_limit(settings: Settings) -> None:
    settings.RATE_LIMIT_PER_MIN, settings.RATE_LIMIT_BURST = 1, 2
    _, slug = make_hook()
    _, other_slug = make_hook()

    answers = [post(slug, alert(comment=str(number))) for number in range(3)]

    assert [answer.status_code for answer in answers] == [201, 201, 429]
    assert int(answers[-1]["Retry-After"]) > 0
    assert post(other_slug, alert()).status_code == 201


def test_the_backlog_refuses_without_keeping_the_message(settings: Settings) -> None:
    settings.BACKLOG_MAX_SIGNALS = 0
    hook, slug = make_hook()
    make_signal(received_at=datetime.now(UTC))

    response = post(slug, alert())

    assert response.status_code == 429
    assert not queries.list_refusals(hook=hook)


def test_the_slug_is_kept_only_as_a_digest_and_a_new_one_replaces_it() -> None:
    hook, slug = make_hook()

    fresh = services.rotate_hook(hook=hook, actor="test", now=datetime.now(UTC))

    stored = json.dumps(list(Hook.objects.values()), default=str)
    assert slug not in stored
    assert fresh not in stored
    assert post(slug, alert()).status_code == 404
    assert post(fresh, alert()).status_code == 201


def test_a_changed_mapping_counts_from_the_next_message_on() -> None:
    hook, slug = make_hook()
    fields = {**STARTERS[HookKind.TRADINGVIEW]["fields"], "size": {"value": "3"}}
    draft = HookDraft(
        name="mine", kind=HookKind.TRADINGVIEW, source="mine", mapping={"fields": fields}
    )

    services.change_hook(hook=hook, draft=draft, actor="test", now=datetime.now(UTC))
    post(slug, alert())

    signal = Signal.objects.get()
    assert (signal.size, signal.source) == (3, "mine")


def test_a_mapping_that_cannot_be_followed_makes_no_webhook() -> None:
    with pytest.raises(UnusableMapping):
        make_hook(mapping={"fields": {"symbol": {"fro": "x"}}})

    assert not Hook.objects.exists()


def test_every_change_of_a_webhook_is_in_the_trail() -> None:
    hook, _ = make_hook()

    services.rotate_hook(hook=hook, actor="anna", now=datetime.now(UTC))
    services.switch_hook(hook=hook, is_active=False, actor="anna", now=datetime.now(UTC))

    lines = AuditEvent.objects.filter(actor__in=("test", "anna")).values_list("verb", flat=True)
    assert list(lines) == ["HOOK_CREATED", "HOOK_ROTATED", "HOOK_SWITCHED_OFF"]
