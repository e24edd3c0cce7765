from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.test import Client
from pytest_django import Settings

from access import factors
from access.models import SecondFactor, User
from access.websocket import _session_identity
from tests.access.test_factors import code_at

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def ada(client: Client) -> User:
    user = User.objects.create_superuser("ada", password="correct horse battery")
    client.force_login(user)
    return user


def set_up(client: Client, user: User) -> str:
    """Set a factor up through the page and return one of its recovery codes."""
    page = client.get("/account/second-factor").content.decode()
    factor = SecondFactor.objects.get(user=user)
    assert factor.base32 in page
    form = {"act": "confirm", "code": code_at(factor, datetime.now(UTC))}
    answer = client.post("/account/second-factor", form)
    assert "no-store" in answer["Cache-Control"]
    return answer.content.decode().partition("<li><code>")[2].partition("<")[0]


@pytest.mark.parametrize(
    "path", ["/board", "/admin/", "/admin/evaluation/promptversion/", "/docs/api", "/api/docs"]
)
def test_no_page_opens_before_the_code_was_shown(client: Client, ada: User, path: str) -> None:
    set_up(client, ada)
    fresh = Client()
    fresh.force_login(ada)

    answer = fresh.get(path)

    assert answer.status_code == 302
    assert answer["Location"].startswith("/login/code?next=")
    assert client.get(path).status_code == 200


def test_the_code_leads_on_to_where_the_person_wanted_to_go(client: Client, ada: User) -> None:
    set_up(client, ada)
    fresh = Client()
    fresh.force_login(ada)
    factor = SecondFactor.objects.get()
    later = datetime.now(UTC) + timedelta(seconds=60)

    wrong = fresh.post("/login/code", {"code": "000000", "next": "/admin/"})
    with time_machine.travel(later, tick=False):
        right = fresh.post("/login/code", {"code": code_at(factor, later), "next": "/admin/"})
        onwards = fresh.get("/admin/")

    assert wrong.status_code == 403
    assert right["Location"] == "/admin/"
    assert onwards.status_code == 200


def test_the_code_page_leads_to_no_other_site(client: Client, ada: User) -> None:
    spare = set_up(client, ada)

    answer = client.post("/login/code", {"code": spare, "next": "https://evil.example/"})

    assert answer["Location"] == "/board"


def test_staff_without_a_factor_are_led_to_set_one_up(
    client: Client, ada: User, settings: Settings
) -> None:
    settings.REQUIRE_2FA = "staff"

    assert client.get("/admin/")["Location"].startswith("/account/second-factor?")
    assert client.get("/account/second-factor").status_code == 200
    set_up(client, ada)

    assert client.get("/admin/").status_code == 200


def test_whoever_has_a_factor_cannot_replace_it_without_showing_it(
    client: Client, ada: User
) -> None:
    set_up(client, ada)
    thief = Client()
    thief.force_login(ada)

    for act in ("confirm", "renew", "remove"):
        answer = thief.post("/account/second-factor", {"act": act, "code": "000000"})
        assert answer["Location"] == "/login/code"

    assert factors.has_factor(user=ada)


def test_a_socket_opens_with_a_session_only_after_the_code(client: Client, ada: User) -> None:
    session = client.session.session_key or ""
    assert _session_identity(session) is not None
    set_up(client, ada)
    fresh = Client()
    fresh.force_login(ada)

    assert _session_identity(fresh.session.session_key or "") is None
    assert _session_identity(client.session.session_key or "") is not None


def test_signing_in_again_asks_for_the_code_again(client: Client, ada: User) -> None:
    set_up(client, ada)

    client.force_login(ada)

    assert client.get("/board")["Location"].startswith("/login/code")
