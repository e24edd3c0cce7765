from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client

from access import queries, services
from access.models import ApiKey, SignInLink, User
from access.types import Unauthorized
from pipeline.models import AuditEvent
from signals.models import DemoFeed
from tests.factories import make_signal

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
HERE = "127.0.0.1"


def greeted(*options: str) -> dict[str, Any]:
    out = StringIO()
    call_command("welcome", "--json", *options, stdout=out)
    answer: dict[str, Any] = json.loads(out.getvalue())
    return answer


def test_a_link_signs_in_once() -> None:
    user = services.ensure_local_admin(now=NOON)
    token = services.issue_sign_in_link(user=user, now=NOON)

    first = services.redeem_sign_in_link(token=token, address=HERE, now=NOON)

    assert first == user
    with pytest.raises(Unauthorized):
        services.redeem_sign_in_link(token=token, address=HERE, now=NOON)


def test_a_link_is_kept_only_as_a_digest() -> None:
    token = services.issue_sign_in_link(user=services.ensure_local_admin(now=NOON), now=NOON)

    assert token not in json.dumps(list(SignInLink.objects.values()), default=str)


@pytest.mark.parametrize(
    ("address", "after_s"), [("10.0.0.7", 0), ("", 0), (HERE, 900), ("::1", 901)]
)
def test_a_link_fails_from_elsewhere_and_when_it_is_old(address: str, after_s: int) -> None:
    token = services.issue_sign_in_link(user=services.ensure_local_admin(now=NOON), now=NOON)

    with pytest.raises(Unauthorized):
        services.redeem_sign_in_link(
            token=token, address=address, now=NOON + timedelta(seconds=after_s)
        )


def test_the_administrator_is_made_once_and_has_no_password() -> None:
    made = services.ensure_local_admin(now=NOON)
    again = services.ensure_local_admin(now=NOON)

    assert made == again
    assert made.is_superuser
    assert not made.has_usable_password()
    assert not queries.has_password_holder()
    assert AuditEvent.objects.filter(verb="USER_MADE").count() == 1


def test_an_administrator_who_is_there_is_taken() -> None:
    anna = User.objects.create_superuser("anna", password="x" * 20)

    assert services.ensure_local_admin(now=NOON) == anna
    assert queries.has_password_holder()


def test_the_page_of_the_link_signs_in_and_leads_to_the_board_without_it(client: Client) -> None:
    path = greeted()["path"]

    response = client.get(path)

    assert response.status_code == 302
    assert response["Location"] == "/board"
    assert "no-store" in response["Cache-Control"]
    assert client.get("/board").status_code == 200


def test_a_used_link_tells_how_to_get_another(client: Client) -> None:
    path = greeted()["path"]
    client.get(path)

    response = Client().get(path)

    assert response.status_code == 403
    assert "./lens login" in response.content.decode()


def test_looking_at_the_head_of_a_link_does_not_use_it_up(client: Client) -> None:
    path = greeted()["path"]

    assert client.head(path).status_code == 405
    assert client.get(path).status_code == 302


def test_a_fresh_desk_gets_a_key_and_a_demo_and_an_old_one_neither() -> None:
    first = greeted("--first-key", "--demo")
    second = greeted("--first-key", "--demo")

    assert first["key"].startswith("lens_")
    assert first["demo"] is True
    assert "key" not in second
    assert second["demo"] is False
    assert ApiKey.objects.count() == DemoFeed.objects.count() == 1


def test_a_desk_with_signals_starts_no_demo() -> None:
    make_signal()

    assert greeted("--demo")["demo"] is False


def test_only_asking_makes_no_link() -> None:
    answer = greeted("--only-ask")

    assert answer == {"user": "admin", "has_password": False}
    assert not SignInLink.objects.exists()
