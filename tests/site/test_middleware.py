from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from django.conf import settings
from django.test import Client

from access.models import User
from access.people import SEEN_AT
from lens_site.asgi import http
from pipeline.models import AuditEvent

INLINE = re.compile(r"<script(?![^>]*\bsrc=)[^>]*>|\son\w+=|<style|\sstyle=")
PASSWORD = "correct horse battery"


@pytest.fixture
def person(db: None) -> User:
    return User.objects.create_superuser("ada", password=PASSWORD)


def directives(answer: Any) -> dict[str, str]:
    text = answer["Content-Security-Policy"]
    pairs = (part.strip().partition(" ") for part in text.split(";"))
    return {name: value for name, _, value in pairs}


async def answer_to(path: str, *, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Ask the web process's own application, without a server round it."""
    given = {"host": "localhost", **(headers or {})}
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "path": path,
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        "client": ("127.0.0.1", 1),
    }
    asked: Any = ApplicationCommunicator(http, scope)  # type: ignore[no-untyped-call]
    await asked.send_input({"type": "http.request", "body": b""})
    start = await asked.receive_output(5)
    body = await asked.receive_output(5)
    await asked.wait()
    told = {name.decode().lower(): value.decode() for name, value in start["headers"]}
    return {"status": start["status"], "body": body["body"], "headers": told}


@pytest.mark.parametrize("path", ["/admin/login/", "/api/v1/nothing", "/health", "/nothing"])
def test_every_answer_carries_the_headers_that_make_browsers_careful(
    client: Client, db: None, path: str
) -> None:
    answer = client.get(path)

    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Referrer-Policy"] == "same-origin"
    assert answer["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "camera=()" in answer["Permissions-Policy"]
    assert directives(answer)["default-src"] == "'none'"
    assert directives(answer)["frame-ancestors"] == "'none'"
    assert "Strict-Transport-Security" not in answer


def test_pages_run_no_script_or_style_that_stands_in_them(client: Client, person: User) -> None:
    client.force_login(person)

    for path in ("/admin/", "/admin/password_change/"):
        answer = client.get(path)

        policy = directives(answer)
        assert answer.status_code == 200, path
        assert policy["script-src"] == policy["style-src"] == "'self'"
        assert not INLINE.search(answer.content.decode()), path


@pytest.mark.parametrize("path", ["/api/docs", "/api/redoc"])
def test_the_pages_of_the_api_may_style_themselves_but_run_no_script_of_their_own(
    client: Client, db: None, path: str
) -> None:
    answer = client.get(path)

    assert directives(answer)["script-src"] == "'self'"
    assert directives(answer)["style-src"] == "'self' 'unsafe-inline'"
    assert not re.search(r"<script(?![^>]*\bsrc=)[^>]*>", answer.content.decode())
    assert "https://" not in answer.content.decode()


async def test_programs_pass_no_middleware_that_is_for_people(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("a program was sent through the chain for people")

    monkeypatch.setattr("lens_site.middleware.ContentPolicy.process_request", fail)

    answer = await answer_to("/health")

    assert answer["status"] == 200
    assert answer["headers"]["x-content-type-options"] == "nosniff"
    assert answer["headers"]["content-length"] == str(len(answer["body"]))
    assert answer["headers"]["x-request-id"]


async def test_what_a_program_is_told_with_its_key_is_kept_by_no_cache() -> None:
    answer = await answer_to("/health", headers={"x-api-key": "lens_live_x"})

    assert answer["headers"]["cache-control"] == "no-store"


async def test_programs_are_refused_under_a_name_that_is_not_ours() -> None:
    answer = await answer_to("/health", headers={"host": "evil.example"})

    assert answer["status"] == 400
    assert answer["headers"]["content-type"] == "application/problem+json"


def test_a_session_ends_after_eight_hours_whatever_is_done_with_it(
    client: Client, person: User
) -> None:
    client.force_login(person)
    session = client.session
    session.set_expiry(datetime.now(UTC) + timedelta(seconds=1))
    left = (session.get_expiry_date() - datetime.now(UTC)).total_seconds()
    assert left < 2

    fresh = Client()
    fresh.force_login(person)
    first = fresh.session.get_expiry_date()
    fresh.get("/admin/")

    assert fresh.session.get_expiry_date() == first
    assert abs((first - datetime.now(UTC)).total_seconds() - settings.SESSION_MAX_S) < 60


def test_a_session_ends_when_nothing_was_asked_for_half_an_hour(
    client: Client, person: User
) -> None:
    client.force_login(person)
    session = client.session
    assert client.get("/admin/").status_code == 200

    session[SEEN_AT] = (datetime.now(UTC) - timedelta(minutes=29)).isoformat()
    session.save()
    assert client.get("/admin/").status_code == 200
    assert client.get("/admin/").status_code == 200
    seen = datetime.fromisoformat(client.session[SEEN_AT])
    assert datetime.now(UTC) - seen < timedelta(minutes=1)

    session = client.session
    session[SEEN_AT] = (datetime.now(UTC) - timedelta(minutes=31)).isoformat()
    session.save()

    assert client.get("/admin/").status_code == 302


def test_five_wrong_passwords_shut_a_name_out_from_that_address_alone(
    client: Client, person: User
) -> None:
    form = {"username": "ada", "password": "wrong"}
    tries = [client.post("/admin/login/", form).status_code for _ in range(5)]
    right = {"username": "ada", "password": PASSWORD}

    shut_out = client.post("/admin/login/", right)
    elsewhere = client.post("/admin/login/", right, REMOTE_ADDR="192.0.2.7")

    assert tries[:4] == [200] * 4
    assert shut_out.status_code == 429
    assert int(shut_out["Retry-After"]) == settings.LOGIN_PAUSE_S
    assert elsewhere.status_code == 302
    verbs = list(AuditEvent.objects.values_list("verb", flat=True))
    assert verbs.count("SHUT_OUT") >= 1
    assert verbs.count("SIGNED_IN") == 1


def test_cookies_are_out_of_reach_for_scripts_and_other_sites(
    client: Client, person: User, settings: Any
) -> None:
    settings.SESSION_COOKIE_SECURE = True

    client.post("/admin/login/", {"username": "ada", "password": PASSWORD})

    cookie = client.cookies[settings.SESSION_COOKIE_NAME]
    assert cookie["httponly"]
    assert cookie["secure"]
    assert cookie["samesite"] == "Lax"
    assert cookie["path"] == "/"
    assert not cookie["domain"]
