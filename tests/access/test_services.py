from __future__ import annotations

import hashlib
import hmac
import logging
from datetime import datetime, timedelta

import pytest
from django.db import DatabaseError
from pytest_django import DjangoAssertNumQueries, Settings

from access import services
from access.models import ApiKey
from access.parsing import new_key_parts, written_key
from access.services import KeyNotRotatable
from access.types import (
    Identity,
    IdentityKind,
    Scope,
    ServiceUnavailable,
    TooManyWrongKeys,
    Unauthorized,
)
from pipeline import queue
from pipeline.models import AuditEvent
from tests.access.conftest import HOME, NOON, MakeKey

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)
ADMIN = "Zq8xW3vK1pLr7TnB5yGdM2cJh9sFa4eU"


def authenticate(plain: str, *, address: str = HOME, now: datetime = NOON) -> Identity:
    return services.authenticate(plain=plain, address=address, now=now)


def test_a_key_opens_the_door_for_its_owner(make_key: MakeKey) -> None:
    key, plain = make_key("signals:write", "stream", rate_per_min=5, burst=7)

    identity = authenticate(plain)

    assert identity == Identity(
        key_id=key.id,
        owner=key.id,
        name="tester",
        scopes=frozenset({Scope.SIGNALS_WRITE, Scope.STREAM}),
        rate_per_min=5,
        burst=7,
    )


def test_the_secret_is_kept_only_as_an_hmac_under_the_pepper(
    make_key: MakeKey, settings: Settings
) -> None:
    settings.LENS_KEY_PEPPER = "p" * 32
    key, plain = make_key()
    secret = plain.rsplit("_", 1)[1][:43]

    assert key.secret_hmac == hmac.new(b"p" * 32, secret.encode(), hashlib.sha256).hexdigest()
    row = ApiKey.objects.filter(pk=key.id).values().get()
    assert secret not in str(row)


def test_the_audit_knows_who_issued_and_not_the_secret(make_key: MakeKey) -> None:
    key, plain = make_key()

    event = AuditEvent.objects.get()

    assert (event.verb, event.actor, event.details["key"]) == ("KEY_ISSUED", "test", key.id)
    assert plain.rsplit("_", 1)[1] not in str(event.details)


def test_a_new_pepper_keeps_old_keys_and_seals_new_ones(
    make_key: MakeKey, settings: Settings
) -> None:
    settings.LENS_KEY_PEPPER = "a" * 32
    _, old = make_key()
    settings.LENS_KEY_PEPPER = f"{'a' * 32},{'b' * 32}"
    key, new = make_key()

    assert key.pepper_version == 2
    assert authenticate(old).name == authenticate(new).name == "tester"


def test_a_pepper_that_was_given_up_takes_its_keys_along(
    make_key: MakeKey, settings: Settings
) -> None:
    settings.LENS_KEY_PEPPER = "a" * 32
    _, old = make_key()
    settings.LENS_KEY_PEPPER = f",{'b' * 32}"

    with pytest.raises(Unauthorized):
        authenticate(old)


def test_a_wrong_secret_and_an_unknown_id_are_refused_alike(make_key: MakeKey) -> None:
    key, _ = make_key()
    other = new_key_parts()
    wrong_secret = written_key(type(other)(id=key.id, secret=other.secret), environment="live")
    unknown_id = written_key(other, environment="live")

    said = []
    for plain in (wrong_secret, unknown_id):
        with pytest.raises(Unauthorized) as refused:
            authenticate(plain)
        said.append((type(refused.value), refused.value.detail))

    assert said[0] == said[1]


def test_an_unknown_id_costs_the_same_hmac(
    make_key: MakeKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed = []
    real = services._sealed

    def counted(secret: str, *, pepper_version: int) -> str:
        sealed.append(pepper_version)
        return real(secret, pepper_version=pepper_version)

    monkeypatch.setattr(services, "_sealed", counted)

    with pytest.raises(Unauthorized):
        authenticate(written_key(new_key_parts(), environment="live"))

    assert sealed == [1]


def test_a_key_damaged_on_its_way_is_refused_without_a_look_up(
    make_key: MakeKey, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    _, plain = make_key()

    with django_assert_num_queries(0), pytest.raises(Unauthorized):
        authenticate(plain[:-1] + ("a" if plain[-1] != "a" else "b"))


def test_a_key_read_lately_is_checked_without_the_database(
    make_key: MakeKey, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    _, plain = make_key()

    with django_assert_num_queries(1):
        for _ in range(10):
            authenticate(plain)


def test_a_key_works_until_the_moment_it_expires(make_key: MakeKey) -> None:
    _, plain = make_key(expires_at=NOON + MINUTE)

    assert authenticate(plain, now=NOON + MINUTE - SECOND).name == "tester"
    with pytest.raises(Unauthorized, match="expired"):
        authenticate(plain, now=NOON + MINUTE)


def test_a_revoked_key_is_refused_at_once_where_it_was_revoked(make_key: MakeKey) -> None:
    key, plain = make_key()
    authenticate(plain)

    services.revoke_key(key=key, actor="test", now=NOON + SECOND)

    with pytest.raises(Unauthorized, match="revoked"):
        authenticate(plain, now=NOON + SECOND)


def test_a_key_revoked_by_another_process_is_refused_within_5_s(make_key: MakeKey) -> None:
    key, plain = make_key()
    authenticate(plain)

    ApiKey.objects.filter(pk=key.pk).update(revoked_at=NOON)

    with pytest.raises(Unauthorized, match="revoked"):
        authenticate(plain, now=NOON + 5 * SECOND)


def test_an_open_socket_learns_of_it_at_once(make_key: MakeKey) -> None:
    key, plain = make_key()
    identity = authenticate(plain)
    assert services.is_still_good(identity=identity, now=NOON)

    ApiKey.objects.filter(pk=key.pk).update(revoked_at=NOON)

    assert not services.is_still_good(identity=identity, now=NOON)


def test_revoking_twice_is_one_act(make_key: MakeKey) -> None:
    key, _ = make_key()

    services.revoke_key(key=key, actor="test", now=NOON)
    again = services.revoke_key(key=key, actor="test", now=NOON + MINUTE)

    assert again.revoked_at == NOON
    assert AuditEvent.objects.filter(verb="KEY_REVOKED").count() == 1


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("2001:db8::7", True),
        ("11.1.2.3", False),
        ("2001:db9::7", False),
        ("", False),
    ],
)
def test_a_key_with_an_address_list_works_only_from_there(
    make_key: MakeKey, address: str, allowed: bool
) -> None:
    _, plain = make_key(addresses=("10.0.0.0/8", "2001:db8::/32"))

    if allowed:
        assert authenticate(plain, address=address).name == "tester"
    else:
        with pytest.raises(Unauthorized, match="address"):
            authenticate(plain, address=address)


def test_rotation_leaves_both_keys_open_for_the_overlap(make_key: MakeKey) -> None:
    key, old = make_key("stream", addresses=("192.0.2.0/24",), rate_per_min=9)

    successor, new = services.rotate_key(key=key, actor="test", now=NOON)

    within, after = NOON + timedelta(hours=23, minutes=59), NOON + timedelta(hours=24)
    for plain in (old, new):
        identity = authenticate(plain, now=within)
        assert (identity.owner, identity.rate_per_min) == (key.id, 9)
        assert identity.scopes == {Scope.STREAM}
    assert successor.rotated_from_id == key.id
    assert authenticate(new, now=after).key_id == successor.id
    with pytest.raises(Unauthorized, match="expired"):
        authenticate(old, now=after)


def test_rotation_without_overlap_ends_the_old_key_at_once(make_key: MakeKey) -> None:
    key, old = make_key()
    authenticate(old)

    services.rotate_key(key=key, actor="test", now=NOON, overlap=timedelta(0))

    with pytest.raises(Unauthorized, match="expired"):
        authenticate(old)


def test_rotation_never_prolongs_the_old_key(make_key: MakeKey) -> None:
    key, old = make_key(expires_at=NOON + MINUTE)

    successor, _ = services.rotate_key(key=key, actor="test", now=NOON + 30 * SECOND)

    assert successor.expires_at == NOON + 90 * SECOND
    with pytest.raises(Unauthorized, match="expired"):
        authenticate(old, now=NOON + MINUTE)


def test_the_owner_survives_many_rotations(make_key: MakeKey) -> None:
    first, _ = make_key()
    second, _ = services.rotate_key(key=first, actor="test", now=NOON)
    _, plain = services.rotate_key(key=second, actor="test", now=NOON)

    assert authenticate(plain).owner == first.id


def test_a_key_has_one_successor(make_key: MakeKey) -> None:
    key, _ = make_key()
    services.rotate_key(key=key, actor="test", now=NOON)

    with pytest.raises(KeyNotRotatable, match="successor"):
        services.rotate_key(key=key, actor="test", now=NOON)


def test_a_dead_key_is_not_rotated(make_key: MakeKey) -> None:
    revoked, _ = make_key()
    expired, _ = make_key(expires_at=NOON)
    services.revoke_key(key=revoked, actor="test", now=NOON)

    for key in (revoked, expired):
        with pytest.raises(KeyNotRotatable):
            services.rotate_key(key=key, actor="test", now=NOON)


def test_the_admin_key_of_the_environment_always_works(settings: Settings) -> None:
    settings.API_KEY_ADMIN = ADMIN

    identity = authenticate(ADMIN)

    assert identity.kind is IdentityKind.ENVIRONMENT
    assert all(identity.allows(scope) for scope in Scope)
    assert services.is_still_good(identity=identity, now=NOON)


@pytest.mark.parametrize("example", ["changeme", "your-api-key", "your-admin-token-here-and-more"])
def test_an_admin_key_from_the_documentation_opens_nothing(
    settings: Settings, example: str
) -> None:
    settings.API_KEY_ADMIN = example

    with pytest.raises(Unauthorized):
        authenticate(example)


def test_an_unset_admin_key_is_not_the_empty_key(settings: Settings) -> None:
    settings.API_KEY_ADMIN = ""

    with pytest.raises(Unauthorized):
        authenticate("")


@pytest.mark.parametrize("text", ["\x00", "\ud800", "lens_" * 1000, "é"])
def test_any_text_is_refused_in_order(settings: Settings, text: str) -> None:
    settings.API_KEY_ADMIN = ADMIN

    with pytest.raises(Unauthorized):
        authenticate(text)


def test_wrong_keys_are_slowed_down_after_ten_a_minute(redis_url: str) -> None:
    for _ in range(10):
        with pytest.raises(Unauthorized):
            authenticate("wrong")

    with pytest.raises(TooManyWrongKeys) as refused:
        authenticate("wrong")

    assert refused.value.wait_s == pytest.approx(6.0)
    with pytest.raises(Unauthorized):
        authenticate("wrong", now=NOON + 6 * SECOND)


def test_wrong_keys_are_slowed_down_without_redis_too(no_redis: None) -> None:
    for _ in range(10):
        with pytest.raises(Unauthorized):
            authenticate("wrong")

    with pytest.raises(TooManyWrongKeys):
        authenticate("wrong")


def test_guesses_at_one_key_are_slowed_down_wherever_they_come_from(
    make_key: MakeKey, redis_url: str
) -> None:
    key, plain = make_key()
    guess = f"lens_live_{key.id}_{'0' * 43}zzzzzz"

    def present(number: int) -> None:
        authenticate(guess, address=f"203.0.{number // 250}.{number % 250}")

    for number in range(100):
        with pytest.raises(Unauthorized):
            present(number)
    with pytest.raises(TooManyWrongKeys) as refused:
        present(100)

    assert 0 < refused.value.wait_s <= 1
    assert authenticate(plain, address="203.0.113.9").key_id == key.id
    with pytest.raises(Unauthorized):
        authenticate(f"lens_live_other000_{'0' * 43}zzzzzz", address="203.0.113.8")


def test_nobody_is_locked_out_by_the_wrong_keys_of_others(
    redis_url: str, make_key: MakeKey
) -> None:
    _, plain = make_key()
    for _ in range(20):
        with pytest.raises((Unauthorized, TooManyWrongKeys)):
            authenticate("wrong")

    assert authenticate(plain).name == "tester"  # the same address
    with pytest.raises(Unauthorized):
        authenticate("wrong", address="198.51.100.1")  # another address has its own count


def test_last_use_is_written_when_asked_to_and_once_a_minute(make_key: MakeKey) -> None:
    key, plain = make_key()

    def used_at() -> datetime | None:
        services.touch_last_used()
        return ApiKey.objects.get(pk=key.pk).last_used_at

    authenticate(plain)
    assert ApiKey.objects.get(pk=key.pk).last_used_at is None
    assert used_at() == NOON
    authenticate(plain, now=NOON + 59 * SECOND)
    assert used_at() == NOON
    authenticate(plain, now=NOON + 60 * SECOND)
    assert used_at() == NOON + MINUTE
    assert ApiKey.objects.get(pk=key.pk).last_used_address == HOME


def test_a_use_that_cannot_be_written_harms_nobody(
    make_key: MakeKey, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _, plain = make_key()
    authenticate(plain)

    def broken(*_: object, **__: object) -> None:
        raise DatabaseError("away")

    monkeypatch.setattr(type(ApiKey.objects.all()), "update", broken)
    with caplog.at_level(logging.WARNING, logger="access.services"):
        services.touch_last_used()

    assert "not written" in caplog.text


def test_a_ticket_works_once(redis_url: str, make_key: MakeKey) -> None:
    _, plain = make_key("stream")
    identity = authenticate(plain)
    ticket = services.issue_ticket(identity=identity, address=HOME, now=NOON)

    assert services.redeem_ticket(ticket=ticket, address=HOME, now=NOON) == identity
    with pytest.raises(Unauthorized, match="ticket"):
        services.redeem_ticket(ticket=ticket, address=HOME, now=NOON)


def test_a_ticket_is_bound_to_its_address(redis_url: str, make_key: MakeKey) -> None:
    identity = authenticate(make_key("stream")[1])
    ticket = services.issue_ticket(identity=identity, address=HOME, now=NOON)

    with pytest.raises(Unauthorized):
        services.redeem_ticket(ticket=ticket, address="198.51.100.1", now=NOON)


def test_a_ticket_lives_30_s(redis_url: str, make_key: MakeKey) -> None:
    identity = authenticate(make_key("stream")[1])
    early, late = (
        services.issue_ticket(identity=identity, address=HOME, now=NOON) for _ in range(2)
    )

    holder = services.redeem_ticket(ticket=early, address=HOME, now=NOON + 29 * SECOND)

    assert holder == identity
    with pytest.raises(Unauthorized):
        services.redeem_ticket(ticket=late, address=HOME, now=NOON + 30 * SECOND)
    assert queue.redis_client().keys(f"{services.TICKET_PREFIX}*") == []


def test_redis_forgets_tickets_by_itself(redis_url: str, make_key: MakeKey) -> None:
    identity = authenticate(make_key("stream")[1])
    services.issue_ticket(identity=identity, address=HOME, now=NOON)

    [name] = queue.redis_client().keys(f"{services.TICKET_PREFIX}*")

    assert 0 < queue.redis_client().pttl(name) <= 30_000


def test_redis_holds_no_ticket_that_could_be_used(redis_url: str, make_key: MakeKey) -> None:
    identity = authenticate(make_key("stream")[1])
    ticket = services.issue_ticket(identity=identity, address=HOME, now=NOON)

    held = [
        (name, queue.redis_client().get(name))
        for name in queue.redis_client().keys(f"{services.TICKET_PREFIX}*")
    ]

    assert len(held) == 1
    assert ticket not in str(held)


@pytest.mark.parametrize("planted", ["env", '{"kind": "environment"}', "\xff"])
def test_a_ticket_planted_in_redis_opens_nothing(redis_url: str, planted: str) -> None:
    name = services._ticket_name("planted")
    queue.redis_client().set(name, planted.encode("latin-1"))

    with pytest.raises(Unauthorized):
        services.redeem_ticket(ticket="planted", address=HOME, now=NOON)


def test_a_note_copied_to_another_ticket_opens_nothing(redis_url: str, make_key: MakeKey) -> None:
    identity = authenticate(make_key("stream")[1])
    ticket = services.issue_ticket(identity=identity, address=HOME, now=NOON)
    note = queue.redis_client().get(services._ticket_name(ticket))
    queue.redis_client().set(services._ticket_name("mine"), note or b"")

    with pytest.raises(Unauthorized):
        services.redeem_ticket(ticket="mine", address=HOME, now=NOON)


def test_a_ticket_of_a_key_revoked_since_opens_nothing(redis_url: str, make_key: MakeKey) -> None:
    key, plain = make_key("stream")
    identity = authenticate(plain)
    ticket = services.issue_ticket(identity=identity, address=HOME, now=NOON)
    services.revoke_key(key=key, actor="test", now=NOON)

    with pytest.raises(Unauthorized, match="revoked"):
        services.redeem_ticket(ticket=ticket, address=HOME, now=NOON)


def test_the_environment_admin_may_have_tickets(redis_url: str, settings: Settings) -> None:
    settings.API_KEY_ADMIN = ADMIN
    identity = authenticate(ADMIN)
    ticket = services.issue_ticket(identity=identity, address=HOME, now=NOON)

    assert services.redeem_ticket(ticket=ticket, address=HOME, now=NOON) == identity


def test_tickets_need_redis_and_say_so(no_redis: None, make_key: MakeKey) -> None:
    identity = authenticate(make_key("stream")[1])

    with pytest.raises(ServiceUnavailable):
        services.issue_ticket(identity=identity, address=HOME, now=NOON)
    with pytest.raises(ServiceUnavailable):
        services.redeem_ticket(ticket="any", address=HOME, now=NOON)
