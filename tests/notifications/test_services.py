"""Deliveries are gathered without a gap, made at least once, and given up in order."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import pytest
from django.db import connection
from pytest_django import Settings

from decisions.models import Decision
from decisions.types import JURY
from notifications import services
from notifications.models import Delivery, DeliveryAttempt, Endpoint
from notifications.notifiers.base import Answer
from notifications.types import DeliveryStatus, EndpointDraft
from pipeline.models import AuditEvent
from pipeline.types import InvalidRequest
from signals.models import Mute
from tests.factories import NOON, make_decision, make_signal

pytestmark = pytest.mark.django_db
NUMBERS = count(1_000)
TAKEN, BUSY = Answer(status=204), Answer(status=503, text="busy")


def endpoint(**wish: Any) -> Endpoint:
    draft = EndpointDraft(**({"name": "bot", "url": "https://bot.example/hook"} | wish))
    return services.create_endpoint(draft=draft, actor="user:ann", now=NOON)[0]


def published(**changes: Any) -> Decision:
    """Return a decision of the jury that has just been given its number."""
    symbol, source = changes.pop("symbol", "BTC"), changes.pop("source", "alpha")
    origin = changes.get("origin", "LIVE")
    signal = make_signal(symbol=symbol, source=source, origin=origin)
    given = {"model": JURY, "seq": next(NUMBERS), "published_at": NOON} | changes
    return make_decision(signal, symbol=symbol, source=source, **given)


def attempt(answer: Answer, *, at: datetime) -> int:
    """Make every attempt that is due, each with the same end; return how many there were."""
    parcels = services.claim(limit=50, now=at)
    for parcel in parcels:
        services.settle(parcel=parcel, answer=answer, now=at)
    return len(parcels)


def test_what_is_published_is_gathered_once_and_in_full() -> None:
    published()
    mine = endpoint()
    later = [published() for _ in range(3)]

    found = [services.gather(now=NOON), services.gather(now=NOON)]

    mine.refresh_from_db()
    assert found == [3, 0]
    assert mine.after_seq == later[-1].seq
    body = json.loads(Delivery.objects.get(decision=later[0]).body)
    assert body["type"] == "decision.published"
    assert body["data"]["id"] == str(later[0].id)


def test_a_death_while_gathering_loses_and_doubles_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mine, made = endpoint(), published()
    place = mine.after_seq

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr("notifications.services._body_of", die)
        with pytest.raises(KeyboardInterrupt):
            services.gather(now=NOON)
    mine.refresh_from_db()
    untouched = (mine.after_seq, Delivery.objects.count())
    services.gather(now=NOON)

    assert untouched == (place, 0)
    assert Delivery.objects.get().decision == made


@pytest.mark.parametrize(
    ("wish", "changes"),
    [
        ({}, {"origin": "DEMO"}),
        ({}, {"model": "rules"}),
        ({"only_follow": True}, {"decision": "IGNORE"}),
        ({}, {"symbol": "DOGE"}),
        ({}, {"source": "noisy"}),
    ],
)
def test_what_nobody_wants_is_not_sent(wish: dict[str, Any], changes: dict[str, Any]) -> None:
    for kind, value in (("SYMBOL", "DOGE"), ("SOURCE", "noisy")):
        Mute.objects.create(kind=kind, value=value, muted_by="user:ann", muted_at=NOON)
    mine = endpoint(**wish)
    unwanted = published(**changes)

    assert services.gather(now=NOON) == 0
    mine.refresh_from_db()
    assert mine.after_seq == unwanted.seq


def test_what_one_person_has_muted_is_sent_all_the_same() -> None:
    Mute.objects.create(
        kind="SYMBOL", value="BTC", person="ann", muted_by="user:ann", muted_at=NOON
    )
    endpoint()
    published(symbol="BTC")

    assert services.gather(now=NOON) == 1


def test_a_delivery_is_made_and_told() -> None:
    endpoint()
    published()
    services.gather(now=NOON)

    done = [attempt(TAKEN, at=NOON), attempt(TAKEN, at=NOON)]

    told = DeliveryAttempt.objects.get()
    row = Delivery.objects.get()
    assert done == [1, 0]
    assert row.status == DeliveryStatus.DELIVERED
    assert (told.number, told.status) == (1, 204)
    assert told.headers["webhook-id"] == f"msg_{row.id.hex}"


def test_attempts_wait_longer_and_longer_and_are_given_up(settings: Settings) -> None:
    settings.DELIVERY_RETRY_S = (5, 300)
    endpoint()
    published()
    services.gather(now=NOON)

    made = [attempt(BUSY, at=NOON + timedelta(seconds=at)) for at in (0, 4, 5, 304, 305, 9_999)]

    row = Delivery.objects.get()
    assert made == [1, 0, 1, 0, 1, 0]
    assert (row.status, row.attempts) == (DeliveryStatus.FAILED, 3)
    assert Endpoint.objects.get().given_up_in_row == 1


def test_what_a_dead_program_had_taken_up_is_sent_again_under_the_same_id() -> None:
    endpoint()
    published()
    services.gather(now=NOON)
    [first] = services.claim(limit=5, now=NOON)

    at_once = services.claim(limit=5, now=NOON + timedelta(seconds=5))
    [again] = services.claim(limit=5, now=NOON + timedelta(minutes=5))

    assert at_once == []
    assert again.message_id == first.message_id


def test_no_endpoint_takes_more_than_its_share(settings: Settings) -> None:
    settings.DELIVERY_PER_ENDPOINT = 2
    slow = endpoint(name="slow")
    for _ in range(5):
        published()
    services.gather(now=NOON)
    endpoint(name="other")
    published()
    services.gather(now=NOON)

    first = services.claim(limit=50, now=NOON)
    then = services.claim(limit=50, now=NOON, busy={slow.id: 2})

    assert [each.delivery.endpoint.name for each in first].count("slow") == 2
    assert len(first) == 3
    assert then == []


def test_an_endpoint_that_takes_nothing_goes_off_and_says_why(settings: Settings) -> None:
    settings.DELIVERY_RETRY_S, settings.DELIVERY_OFF_AFTER = (), 2
    mine = endpoint()
    for _ in range(2):
        published()
    services.gather(now=NOON)

    attempt(Answer(error="bot.example is not known"), at=NOON)

    mine.refresh_from_db()
    assert not mine.is_active
    assert mine.off_reason == (
        "2 deliveries in a row could not be made; the last one because bot.example is not known"
    )
    line = AuditEvent.objects.get(verb="ENDPOINT_OFF")
    assert (line.actor, line.details["after"]["why"]) == ("lens", mine.off_reason)


def test_one_that_is_taken_forgives_those_before(settings: Settings) -> None:
    settings.DELIVERY_RETRY_S = ()
    mine = endpoint()
    for answer in (BUSY, TAKEN):
        published()
        services.gather(now=NOON)
        attempt(answer, at=NOON)

    mine.refresh_from_db()
    assert (mine.is_active, mine.given_up_in_row) == (True, 0)


def test_a_receiver_that_is_gone_is_left_alone_at_once() -> None:
    mine = endpoint()
    published()
    services.gather(now=NOON)

    attempt(Answer(status=410), at=NOON)

    mine.refresh_from_db()
    assert not mine.is_active
    assert Delivery.objects.get().status == DeliveryStatus.FAILED


def test_what_was_published_while_it_was_off_is_not_sent_later() -> None:
    mine = endpoint()
    services.switch_endpoint(endpoint=mine, is_active=False, actor="user:ann", now=NOON)
    published()
    services.gather(now=NOON)

    services.switch_endpoint(endpoint=mine, is_active=True, actor="user:ann", now=NOON)

    assert services.gather(now=NOON) == 0


def test_a_delivery_is_sent_again_on_demand_and_a_test_though_it_is_off() -> None:
    mine = endpoint()
    published()
    services.gather(now=NOON)
    attempt(TAKEN, at=NOON)
    row = Delivery.objects.get()

    done = [services.resend(delivery=row, actor="user:ann", now=NOON) for _ in range(2)]
    again = attempt(TAKEN, at=NOON)
    services.switch_endpoint(endpoint=mine, is_active=False, actor="user:ann", now=NOON)
    services.send_test(endpoint=mine, actor="user:ann", now=NOON)

    assert done == [True, False]
    assert again == 1
    assert attempt(TAKEN, at=NOON) == 1


def test_the_secret_before_signs_on_for_a_day() -> None:
    mine = endpoint()
    services.rotate_secret(endpoint=mine, actor="user:ann", now=NOON)
    services.send_test(endpoint=mine, actor="user:ann", now=NOON)

    [now] = services.claim(limit=1, now=NOON)
    [later] = services.claim(limit=1, now=NOON + timedelta(hours=25))

    assert now.headers["webhook-signature"].count("v1,") == 2
    assert later.headers["webhook-signature"].count("v1,") == 1


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("http://bot.example/x", "must be https"),
        ("https://169.254.169.254/latest", "is a private address"),
        ("https://2130706433/", "is a private address"),
        ("https://ann:secret@bot.example/", "must hold no user name"),
        ("ftp://bot.example/", "must begin with"),
    ],
)
def test_an_address_that_lens_may_not_send_to_is_refused(url: str, fault: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        endpoint(url=url)

    [found] = refused.value.errors
    assert found.field == "url"
    assert fault in found.message


def test_secrets_and_paths_stand_nowhere_in_the_clear() -> None:
    draft = EndpointDraft(name="bot", url="https://bot.example/path-that-is-a-secret")
    _, secret = services.create_endpoint(draft=draft, actor="user:ann", now=NOON)

    [line] = AuditEvent.objects.filter(verb="ENDPOINT_MADE")
    with connection.cursor() as cursor:
        cursor.execute("SELECT secret FROM notifications_endpoint")
        [[stored]] = cursor.fetchall()
    assert secret.startswith("whsec_")
    assert secret not in stored
    assert "path-that" not in json.dumps(line.details)
