from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, TypeAlias, cast

import pytest
from drf_spectacular.generators import SchemaGenerator
from rest_framework.test import APIClient

from access import services
from access.models import ApiKey
from pipeline.models import AuditEvent
from tests.access.conftest import MakeKey

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.access.urls")]

ClientWith = Callable[..., APIClient]
Answer: TypeAlias = Any  # the test client adds json() to what a view returns

PATHS = [
    ("GET", "/api/v1/keys"),
    ("POST", "/api/v1/keys"),
    ("GET", "/api/v1/keys/aaaaaaaa"),
    ("DELETE", "/api/v1/keys/aaaaaaaa"),
    ("POST", "/api/v1/keys/aaaaaaaa/rotate"),
]


@pytest.fixture
def admin(client_with: ClientWith) -> APIClient:
    return client_with("admin", name="the admin")


def issue(admin: APIClient, **body: object) -> Answer:
    asked = {"name": "strategy", "scopes": ["stream"]} | body
    return cast("Answer", admin.post("/api/v1/keys", asked, format="json"))


def fields(answer: Answer) -> set[str]:
    assert answer.status_code == 400, answer.content
    assert answer["Content-Type"].startswith("application/problem+json")
    return {fault["field"] for fault in answer.json()["errors"]}


@pytest.mark.parametrize(("method", "path"), PATHS)
@pytest.mark.parametrize(
    "held", ["signals:write", "signals:read", "decisions:read", "stream", "ops"]
)
def test_only_admins_reach_the_keys(
    client_with: ClientWith, method: str, path: str, held: str
) -> None:
    assert client_with(held).generic(method, path).status_code == 403
    assert APIClient().generic(method, path).status_code == 401


def test_an_issued_key_opens_the_door_and_is_shown_once(admin: APIClient) -> None:
    answer = issue(admin, scopes=["stream", "signals:read"], expires_in_days=30, burst=9)

    body = answer.json()
    assert answer.status_code == 201
    assert answer["Cache-Control"] == "no-store"
    assert answer["Location"] == f"/api/v1/keys/{body['id']}"
    assert (body["status"], body["scopes"]) == ("ACTIVE", ["signals:read", "stream"])
    assert (body["burst"], body["rate_per_min"]) == (9, None)
    life = datetime.fromisoformat(body["expires_at"]) - datetime.fromisoformat(body["created_at"])
    assert life == timedelta(days=30)
    opened = APIClient(headers={"X-API-Key": body["key"]}).get("/door/STREAM")
    assert opened.json() == {"owner": body["id"]}
    shown = admin.get(f"/api/v1/keys/{body['id']}")
    assert "key" not in shown.json()
    assert body["key"].rsplit("_", 1)[1] not in shown.content.decode()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": " "}, "name"),
        ({"name": "two\nlines"}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": None}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["stream", "stream"]}, "scopes"),
        ({"scopes": ["everything"]}, "scopes.0"),
        ({"scopes": "admin"}, "scopes"),
        ({"expires_in_days": 0}, "expires_in_days"),
        ({"expires_in_days": "7"}, "expires_in_days"),
        ({"expires_in_days": 10**30}, "expires_in_days"),
        ({"addresses": ["10.0.0.1/8"]}, "addresses.0"),
        ({"addresses": ["home"]}, "addresses.0"),
        ({"addresses": ["10.0.0.0/8"] * 51}, "addresses"),
        ({"rate_per_min": 0}, "rate_per_min"),
        ({"rate_per_min": True}, "rate_per_min"),
        ({"burst": 1.5}, "burst"),
        ({"owner": "somebody"}, "owner"),
    ],
)
def test_a_bad_wish_is_refused_by_field(
    admin: APIClient, change: dict[str, Any], field: str
) -> None:
    before = ApiKey.objects.count()

    answer = issue(admin, **change)

    assert fields(answer) == {field}
    assert ApiKey.objects.count() == before


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        '"text"',
        "{",
        '{"name": NaN, "scopes": ["stream"]}',
        '{"name": "a", "name": "b", "scopes": ["stream"]}',
        "[" * 5000,
    ],
)
def test_what_is_no_json_object_is_refused(admin: APIClient, body: str) -> None:
    answer = admin.generic("POST", "/api/v1/keys", body, content_type="application/json")

    assert answer.status_code == 400
    assert answer.json()["code"] == "VALIDATION_ERROR"


def test_a_body_that_is_no_utf8_is_refused(admin: APIClient) -> None:
    answer = admin.post("/api/v1/keys", data=b"\xff", content_type="application/json")

    assert answer.status_code == 400


def test_a_body_too_large_or_of_another_kind_is_refused(admin: APIClient) -> None:
    large = admin.generic("POST", "/api/v1/keys", "x" * 20_000, content_type="application/json")
    form = admin.post("/api/v1/keys", {"name": "a"})

    assert (large.status_code, large.json()["code"]) == (413, "PAYLOAD_TOO_LARGE")
    assert (form.status_code, form.json()["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")


def test_keys_are_listed_newest_first_without_secrets(admin: APIClient) -> None:
    plain = [issue(admin, name=name).json()["key"] for name in ("first", "second")]

    answer = admin.get("/api/v1/keys")

    assert [key["name"] for key in answer.json()["items"]][:2] == ["second", "first"]
    assert answer.json()["next_cursor"] is None
    assert not any(key.rsplit("_", 1)[1] in answer.content.decode() for key in plain)
    assert "hmac" not in answer.content.decode()


@pytest.mark.parametrize("key_id", ["aaaaaaaa", "x", "%00", "a" * 300, "AAAAAAAA"])
def test_an_unknown_key_is_not_found(admin: APIClient, key_id: str) -> None:
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/rotate")):
        answer = admin.generic(method, f"/api/v1/keys/{key_id}{path}")

        assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")


def test_a_revoked_key_is_shut_out_and_stays_on_the_list(admin: APIClient) -> None:
    body = issue(admin).json()
    client = APIClient(headers={"X-API-Key": body["key"]})
    assert client.get("/door/STREAM").status_code == 200

    answers = [admin.delete(f"/api/v1/keys/{body['id']}").status_code for _ in range(2)]

    assert answers == [204, 204]
    assert client.get("/door/STREAM").status_code == 401
    assert admin.get(f"/api/v1/keys/{body['id']}").json()["status"] == "REVOKED"


def test_rotation_serves_the_owner_without_a_gap(admin: APIClient) -> None:
    old = issue(admin).json()

    answer = admin.post(f"/api/v1/keys/{old['id']}/rotate")

    new = answer.json()
    assert answer.status_code == 201
    assert answer["Cache-Control"] == "no-store"
    assert (new["owner"], new["rotated_from"]) == (old["id"], old["id"])
    for plain in (old["key"], new["key"]):
        opened = APIClient(headers={"X-API-Key": plain}).get("/door/STREAM")
        assert opened.json() == {"owner": old["id"]}


def test_rotation_may_end_the_old_key_at_once(admin: APIClient) -> None:
    old = issue(admin).json()

    admin.post(f"/api/v1/keys/{old['id']}/rotate", {"overlap_hours": 0}, format="json")

    assert APIClient(headers={"X-API-Key": old["key"]}).get("/door/STREAM").status_code == 401


@pytest.mark.parametrize("hours", [-1, 169, "NaN", None])
def test_an_overlap_out_of_bounds_is_refused(admin: APIClient, hours: object) -> None:
    old = issue(admin).json()

    answer = admin.post(f"/api/v1/keys/{old['id']}/rotate", {"overlap_hours": hours}, format="json")

    assert fields(answer) == {"overlap_hours"}


def test_a_key_rotates_once(admin: APIClient) -> None:
    old = issue(admin).json()

    answers = [admin.post(f"/api/v1/keys/{old['id']}/rotate") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [201, 400]


def test_every_act_is_on_the_trail_with_its_actor_and_no_secret(
    make_key: MakeKey, client_with: ClientWith
) -> None:
    key, plain = make_key("admin", name="the admin")
    admin = APIClient(headers={"X-API-Key": plain})
    issued = issue(admin).json()
    rotated = admin.post(f"/api/v1/keys/{issued['id']}/rotate").json()
    admin.delete(f"/api/v1/keys/{rotated['id']}")

    trail = list(AuditEvent.objects.filter(actor=f"key:{key.id}").order_by("id"))

    assert [event.verb for event in trail] == ["KEY_ISSUED", "KEY_ROTATED", "KEY_REVOKED"]
    assert [event.details["key"] for event in trail] == [
        issued["id"],
        rotated["id"],
        rotated["id"],
    ]
    written = json.dumps([event.details for event in trail])
    assert not any(body["key"].rsplit("_", 1)[1] in written for body in (issued, rotated))


def test_a_ticket_opens_a_socket_for_its_key(redis_url: str, client_with: ClientWith) -> None:
    answer = client_with("stream").post("/api/v1/ws-tickets")

    body = answer.json()
    assert answer.status_code == 201
    assert answer["Cache-Control"] == "no-store"
    holder = services.redeem_ticket(
        ticket=body["ticket"],
        address="127.0.0.1",
        now=datetime.fromisoformat(body["expires_at"]) - timedelta(seconds=1),
    )
    assert holder.name == "tester"


def test_a_ticket_needs_the_scope_and_no_body(redis_url: str, client_with: ClientWith) -> None:
    refused = client_with("signals:read").post("/api/v1/ws-tickets")
    answer = client_with("stream").post("/api/v1/ws-tickets", {"for": "ever"}, format="json")

    assert refused.status_code == 403
    assert fields(answer) == {"for"}


def test_tickets_are_unavailable_without_redis(no_redis: None, client_with: ClientWith) -> None:
    answer = client_with("stream").post("/api/v1/ws-tickets")

    assert (answer.status_code, answer.json()["code"]) == (503, "SERVICE_UNAVAILABLE")
    assert answer["Retry-After"] == "1"


def test_the_api_document_describes_every_path_with_examples() -> None:
    document = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]

    named = {
        operation["operationId"]
        for path, operations in document["paths"].items()
        for operation in operations.values()
        if path.startswith("/api/v1/")
    }
    assert named == {
        "issue_key",
        "list_keys",
        "get_key",
        "revoke_key",
        "rotate_key",
        "issue_ws_ticket",
    }
    body = document["paths"]["/api/v1/keys"]["post"]["requestBody"]["content"]["application/json"]
    assert body["schema"] == {"$ref": "#/components/schemas/KeyBodyRequest"}
    assert body["examples"]
