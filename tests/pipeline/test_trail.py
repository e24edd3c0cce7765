from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import DatabaseError, transaction
from rest_framework.test import APIClient

from access import services as access
from access.types import KeyDraft, Scope
from pipeline import services, tracing
from pipeline.models import AuditEvent

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
NEEDLES = {  # what stands in the text, and the part of it that must not be kept
    "lens_live_abcd1234_thesecretpart": "thesecretpart",
    "refused: sk-proj-abcdefgh12345678": "abcdefgh12345678",
    "postgres://lens:hunter2hunter2@db/lens": "hunter2hunter2",
    "Authorization: Bearer abcdefghijklmnop": "abcdefghijklmnop",
}


def act(**changes: Any) -> AuditEvent:
    values: dict[str, Any] = {
        "actor": "ann",
        "verb": "SWITCHED",
        "object": "switch:intake",
        "before": {"on": True},
        "after": {"on": False},
        "at": NOW,
    }
    services.record_act(**(values | changes))
    return AuditEvent.objects.latest("id")


def test_an_act_tells_who_changed_what_from_what_to_what() -> None:
    line = act(reason="maintenance")

    assert (line.actor, line.verb, line.object, line.at) == (
        "ann",
        "SWITCHED",
        "switch:intake",
        NOW,
    )
    assert line.details == {"before": {"on": True}, "after": {"on": False}, "reason": "maintenance"}
    assert (line.trace, line.request_id) == (None, "")


def test_lines_carry_the_request_that_is_being_served_and_no_other() -> None:
    with tracing.request("req-1"):
        inside = act()
        services.record(trace=uuid4(), verb="SEEN", actor="lens", at=NOW)
    outside, named = act(), act(request_id="req-2")

    assert inside.request_id == "req-1"
    assert AuditEvent.objects.get(verb="SEEN").request_id == "req-1"
    assert (outside.request_id, named.request_id) == ("", "req-2")


def test_an_act_through_the_api_carries_the_id_that_its_answer_had(
    api: Callable[..., APIClient],
) -> None:
    answer = api("admin").post(
        "/api/v1/keys",
        {"name": "new", "scopes": ["stream"]},
        format="json",
        headers={"X-Request-ID": "from-the-client-7"},
    )

    line = AuditEvent.objects.filter(verb="KEY_ISSUED").latest("id")
    assert answer.status_code == 201
    assert answer["X-Request-ID"] == line.request_id == "from-the-client-7"


@pytest.mark.parametrize("needle", NEEDLES)
def test_what_looks_like_a_secret_is_struck_out_at_any_depth(needle: str) -> None:
    services.record(trace=None, verb="SAID", actor="lens", at=NOW, reason=needle)
    act(before={"url": [needle]}, after={"nested": {"deep": needle}}, note=needle)

    for line in AuditEvent.objects.all():
        assert "***" in json.dumps(line.details)
        assert NEEDLES[needle] not in json.dumps(line.details)


@pytest.mark.parametrize(
    "name", ["secret", "password", "new_password", "secret_hmac", "api_key", "pepper"]
)
def test_what_is_called_a_secret_is_struck_out(name: str) -> None:
    line = act(after={name: "opensesame", "keyring": "kept"})

    assert line.details["after"] == {name: "***", "keyring": "kept"}


def test_a_key_is_issued_rotated_and_revoked_without_a_word_of_its_secret() -> None:
    draft = KeyDraft(name="alpha", scopes=frozenset({Scope.STREAM}))
    key, first = access.issue_key(draft=draft, actor="ann", now=NOW)
    successor, second = access.rotate_key(key=key, actor="ann", now=NOW + timedelta(minutes=1))
    access.revoke_key(key=successor, actor="ann", now=NOW + timedelta(minutes=2))

    lines = list(AuditEvent.objects.order_by("id"))
    told = json.dumps([line.details for line in lines])
    assert [line.object for line in lines] == [
        f"key:{key.pk}",
        f"key:{successor.pk}",
        f"key:{successor.pk}",
    ]
    assert lines[1].details["before"]["key"] == key.pk
    for secret in (first, second):
        assert secret.rsplit("_", 1)[-1] not in told
    assert key.secret_hmac not in told


def test_a_long_actor_is_cut_to_its_column() -> None:
    assert act(actor="a" * 300).actor == "a" * 100


def test_the_database_refuses_to_change_a_line() -> None:
    line = act()

    with pytest.raises(DatabaseError, match="only ever added to"), transaction.atomic():
        AuditEvent.objects.filter(id=line.id).update(actor="somebody else")
