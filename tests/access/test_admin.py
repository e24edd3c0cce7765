from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from access.models import ApiKey, User
from pipeline.models import AuditEvent

pytestmark = pytest.mark.django_db

ISSUE = {
    "name": "alpha",
    "scopes": ["signals:read"],
    "expires_in_days": "30",
    "addresses": "10.0.0.0/8\n127.0.0.1",
    "rate_per_min": "10",
}


@pytest.fixture
def admin(api: Callable[..., APIClient]) -> Client:
    user = User.objects.create_user(username="ada", is_staff=True)
    user.groups.add(Group.objects.get(name="Admin"))
    client = Client()
    client.force_login(user)
    return client


def mark(client: Client, url: str) -> str:
    found = re.search(r'name="mark" value="([^"]+)"', client.get(url).content.decode())
    assert found is not None
    return found[1]


def plain_key(html: str) -> str:
    found = re.search(r"<code>(lens_\w+)</code>", html)
    assert found is not None
    return found[1]


def issue(client: Client, **changes: object) -> str:
    url = reverse("admin:key_issue")
    answer = client.post(url, ISSUE | {"mark": mark(client, url)} | changes)
    assert answer.status_code == 200
    return plain_key(answer.content.decode())


def opens(plain: str) -> int:
    client = APIClient()
    client.credentials(HTTP_X_API_KEY=plain)
    return int(client.get("/api/v1/signals").status_code)


def test_a_key_is_shown_in_the_answer_that_issues_it_and_works(admin: Client) -> None:
    url = reverse("admin:key_issue")

    answer = admin.post(url, ISSUE | {"mark": mark(admin, url)})
    plain = plain_key(answer.content.decode())

    key = ApiKey.objects.get(name="alpha")
    assert "no-store" in answer["Cache-Control"]
    assert opens(plain) == 200
    assert key.address_list == ["10.0.0.0/8", "127.0.0.1/32"]
    assert (key.rate_per_min, key.expires_at is not None) == (10, True)


def test_reloading_the_answer_shows_nothing_and_issues_nothing(admin: Client) -> None:
    url = reverse("admin:key_issue")
    body = ISSUE | {"mark": mark(admin, url)}
    plain = plain_key(admin.post(url, body).content.decode())

    again = admin.post(url, body)

    assert again.status_code == 409
    assert "lens_" not in again.content.decode().replace("lens_live_…", "")
    assert ApiKey.objects.filter(name="alpha").count() == 1
    listed = admin.get(reverse("admin:access_apikey_changelist")).content.decode()
    assert plain not in listed


def test_no_secret_is_left_in_the_session_the_trail_or_the_pages(admin: Client) -> None:
    plain = issue(admin)
    key = ApiKey.objects.get(name="alpha")
    detail = admin.get(reverse("admin:access_apikey_change", args=[key.pk])).content.decode()

    secret = plain.rsplit("_", 1)[1]

    assert secret not in str(dict(admin.session))
    assert not any(secret in str(line.details) for line in AuditEvent.objects.all())
    assert secret not in detail and key.secret_hmac not in detail


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"addresses": "10.0.0.0/8\n10.0.0.1/8"}, "Line 2"),
        ({"scopes": []}, "This field is required"),
        ({"scopes": ["root"]}, "Select a valid choice"),
        ({"name": " "}, "This field is required"),
        ({"expires_in_days": "0"}, "greater than or equal to 1"),
    ],
)
def test_a_form_with_a_mistake_issues_nothing_and_says_which(
    admin: Client, changes: dict[str, object], fault: str
) -> None:
    url = reverse("admin:key_issue")

    answer = admin.post(url, ISSUE | {"mark": mark(admin, url)} | changes)

    assert fault in answer.content.decode()
    assert not ApiKey.objects.filter(name="alpha").exists()


def test_a_rotated_key_and_its_successor_both_work_for_the_overlap(admin: Client) -> None:
    old = issue(admin)
    key = ApiKey.objects.get(name="alpha")
    url = reverse("admin:key_rotate", args=[key.pk])

    answer = admin.post(url, {"mark": mark(admin, url), "overlap_hours": "1"})
    new = plain_key(answer.content.decode())
    refused = admin.post(url, {"mark": mark(admin, url), "overlap_hours": "1"})

    assert old != new
    assert (opens(old), opens(new)) == (200, 200)
    assert "was rotated already" in refused.content.decode()


def test_revoking_asks_for_the_keys_id_and_is_felt_at_once(admin: Client) -> None:
    plain = issue(admin)
    key = ApiKey.objects.get(name="alpha")
    url = reverse("admin:key_revoke", args=[key.pk])
    before = opens(plain)

    wrong = admin.post(url, {"agreed": "yes", "key_id": "alpha"})
    still = opens(plain)
    admin.post(url, {"agreed": "yes", "key_id": key.pk})

    assert "That is not the id of alpha" in wrong.content.decode()
    assert (before, still, opens(plain)) == (200, 200, 401)
    assert AuditEvent.objects.filter(verb="KEY_REVOKED", actor="ada").exists()


def test_who_only_sees_keys_cannot_manage_them() -> None:
    user = User.objects.create_user(username="op", is_staff=True)
    user.groups.add(Group.objects.get(name="Operator"))
    client = Client()
    client.force_login(user)

    assert client.get(reverse("admin:access_apikey_changelist")).status_code == 200
    assert client.post(reverse("admin:key_issue"), ISSUE).status_code == 403
