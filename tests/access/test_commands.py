from __future__ import annotations

import json
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from access import services
from access.models import ApiKey
from pipeline.models import AuditEvent
from tests.access.conftest import HOME

pytestmark = pytest.mark.django_db


def run(name: str, *arguments: str) -> str:
    out = StringIO()
    call_command(name, *arguments, stdout=out)
    return out.getvalue()


def created(*arguments: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(run("create_api_key", *arguments, "--json"))
    return answer


def listed() -> list[dict[str, Any]]:
    answer: list[dict[str, Any]] = json.loads(run("list_api_keys", "--json"))
    return answer


def opened_by(plain: str) -> set[str]:
    identity = services.authenticate(plain=plain, address=HOME, now=datetime.now(UTC))
    return {scope.value for scope in identity.scopes}


def test_a_key_is_printed_once_and_works() -> None:
    told = run("create_api_key", "--name", "desk", "--scope", "stream", "--scope", "signals:read")

    assert opened_by(told.splitlines()[0]) == {"stream", "signals:read"}
    assert "will not be shown again" in told


def test_a_key_carries_what_was_asked_for() -> None:
    wishes = ("--rate", "5", "--burst", "6", "--address", "10.0.0.0/8", "--expires-days", "3")
    answer = created("--name", "desk", "--scope", "ops", *wishes)

    key = ApiKey.objects.get(pk=answer["id"])
    assert (key.rate_per_min, key.burst, key.address_list) == (5, 6, ["10.0.0.0/8"])
    assert key.expires_at is not None
    assert (key.expires_at - key.created_at).days == 3
    assert AuditEvent.objects.get().actor == "command:create_api_key"


def test_the_first_key_is_made_only_once() -> None:
    first = created("--first")
    second = created("--first")

    assert first["created"] is True
    assert opened_by(first["key"]) == {
        "signals:write",
        "signals:read",
        "decisions:read",
        "stream",
        "ops",
    }
    assert second == {"created": False, "key": None}
    assert ApiKey.objects.count() == 1


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((), "--name and --scope"),
        (("--name", "desk"), "--scope"),
        (("--name", "desk", "--scope", "everything"), "everything"),
        (("--name", "desk", "--scope", "ops", "--rate", "0"), "rate_per_min"),
        (("--name", "desk", "--scope", "ops", "--address", "home"), "addresses"),
        (("--name", "desk", "--scope", "ops", "--expires-days", "-1"), "expires_in_days"),
    ],
)
def test_a_bad_wish_is_refused_by_name(arguments: tuple[str, ...], named: str) -> None:
    with pytest.raises(CommandError, match=named):
        run("create_api_key", *arguments)

    assert not ApiKey.objects.exists()


def test_keys_are_listed_without_secrets() -> None:
    assert "no API keys yet" in run("list_api_keys")
    made = created("--name", "desk", "--scope", "ops")

    told, keys = run("list_api_keys"), listed()

    assert made["id"] in told
    assert [key["id"] for key in keys] == [made["id"]]
    assert made["key"].rsplit("_", 1)[1] not in told + json.dumps(keys)


def test_a_key_is_revoked_by_its_id() -> None:
    made = created("--name", "desk", "--scope", "ops")

    run("revoke_api_key", made["id"])

    assert listed()[0]["status"] == "REVOKED"
    with pytest.raises(CommandError, match="no API key"):
        run("revoke_api_key", "aaaaaaaa")
