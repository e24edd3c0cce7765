from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import Client

from access import services
from access.models import ApiKey, User
from access.types import KeyDraft, Scope

pytestmark = pytest.mark.django_db
SECRET = re.compile(r"lens_[a-z]+_[0-9a-z]{8}_[0-9A-Za-z]{49}")


@pytest.fixture(autouse=True)
def _fresh(redis_url: str) -> Iterator[None]:
    services.forget_everything()
    yield
    services.forget_everything()


def make_key(name: str = "robot") -> tuple[ApiKey, str]:
    draft = KeyDraft(name=name, scopes=frozenset({Scope.SIGNALS_READ}))
    return services.issue_key(draft=draft, actor="test", now=datetime.now(UTC))


def form(client: Client, **typed: Any) -> dict[str, Any]:
    """Return what the form of the page would send, with its mark."""
    page = client.get("/keys").content.decode()
    mark = re.search(r'name="once" value="([^"]+)"', page)
    assert mark is not None
    return {"once": mark[1], "name": "robot", "scopes": ["signals:write"], **typed}


def member(group: str) -> Client:
    user = User.objects.create_user(group.lower())
    user.groups.add(Group.objects.get(name=group))
    client = Client()
    client.force_login(user)
    return client


def test_a_new_key_is_shown_in_one_answer_that_nobody_keeps(admin_client: Client) -> None:
    response = admin_client.post("/keys/new", form(admin_client))

    plain = SECRET.search(response.content.decode())
    assert plain is not None
    assert "no-store" in response["Cache-Control"]
    identity = services.authenticate(plain=plain[0], address="127.0.0.1", now=datetime.now(UTC))
    assert identity.name == "robot"
    assert not SECRET.search(admin_client.get("/keys").content.decode())


def test_sending_the_form_again_makes_no_second_key_and_shows_no_secret(
    admin_client: Client,
) -> None:
    sent = form(admin_client)
    admin_client.post("/keys/new", sent)

    again = admin_client.post("/keys/new", sent)

    assert (again.status_code, again["Location"]) == (302, "/keys")
    assert ApiKey.objects.count() == 1


@pytest.mark.parametrize(
    ("typed", "complaint"),
    [
        ({"name": " "}, "must be printable text and not blank"),
        ({"scopes": []}, "at least 1 item"),
        ({"expires_in_days": "soon"}, "valid integer"),
        ({"addresses": "10.0.0.0/8 nowhere"}, "must be an address"),
    ],
)
def test_what_is_wrong_is_said_beside_the_field_and_what_was_typed_stays(
    admin_client: Client, typed: dict[str, Any], complaint: str
) -> None:
    response = admin_client.post("/keys/new", form(admin_client, **{"name": "robot"} | typed))

    page = response.content.decode()
    assert response.status_code == 400
    assert complaint in page
    assert not ApiKey.objects.exists()


def test_a_rotated_key_has_a_successor_that_is_shown_once(admin_client: Client) -> None:
    key, _ = make_key()
    sent = form(admin_client)

    response = admin_client.post(f"/keys/{key.id}/rotate", sent)

    key.refresh_from_db()
    assert SECRET.search(response.content.decode())
    assert ApiKey.objects.filter(rotated_from=key).count() == 1
    assert key.expires_at is not None


def test_revoking_wants_the_prefix(admin_client: Client) -> None:
    key, _ = make_key()

    refused = admin_client.post(f"/keys/{key.id}/revoke", {"prefix": "something"})
    key.refresh_from_db()
    stands = key.revoked_at is None
    done = admin_client.post(f"/keys/{key.id}/revoke", {"prefix": key.id})

    key.refresh_from_db()
    assert (refused.status_code, done.status_code) == (400, 302)
    assert stands
    assert key.revoked_at is not None


def test_calls_of_the_last_day_stand_beside_the_key(admin_client: Client) -> None:
    _, plain = make_key()
    for _ in range(3):
        Client().get("/api/v1/signals", headers={"X-API-Key": plain})

    page = admin_client.get("/keys").content.decode()

    assert '<data value="3" data-as="whole">3</data>' in page


@pytest.mark.parametrize(
    ("group", "sees", "issues"),
    [("Viewer", 403, 403), ("Trader", 403, 403), ("Operator", 200, 403), ("Admin", 200, 302)],
)
def test_who_sees_keys_and_who_makes_them(group: str, sees: int, issues: int) -> None:
    client = member(group)

    assert client.get("/keys").status_code == sees
    assert client.post("/keys/new", {"once": "x"}).status_code == issues
    assert not ApiKey.objects.exists()


def test_a_hostile_name_is_shown_as_text(admin_client: Client) -> None:
    make_key("<script>alert(1)</script>")

    page = admin_client.get("/keys").content.decode()

    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page
