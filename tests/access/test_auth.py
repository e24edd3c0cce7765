from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest, HttpResponse
from drf_spectacular.generators import SchemaGenerator
from pytest_django import Settings
from rest_framework.test import APIClient

from access import services
from access.auth import RateLimitHeaders, limit_for, scope
from access.budget import Limit, Verdict
from access.models import ApiKey
from access.types import Identity, Scope
from tests.access.conftest import MakeKey

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.access.urls")]

ClientWith = Callable[..., APIClient]

ANYBODY = Identity(key_id="a", owner="a", name="a", scopes=frozenset())


@pytest.mark.parametrize("held", Scope)
def test_each_scope_opens_its_own_door_and_admin_opens_all(
    client_with: ClientWith, held: Scope
) -> None:
    client = client_with(held)

    answers = {wanted: client.get(f"/door/{wanted.name}").status_code for wanted in Scope}

    opened = set(Scope) if held is Scope.ADMIN else {held}
    assert answers == {wanted: 200 if wanted in opened else 403 for wanted in Scope}


def test_a_refusal_names_the_missing_scope(client_with: ClientWith) -> None:
    answer = client_with("stream").get("/door/ADMIN")

    problem = answer.json()
    assert problem["code"] == "FORBIDDEN"
    assert "admin" in problem["detail"]


def test_without_a_key_every_door_answers_401_with_a_challenge() -> None:
    for wanted in Scope:
        answer = APIClient().get(f"/door/{wanted.name}")

        assert answer.status_code == 401
        assert answer["WWW-Authenticate"] == 'Bearer realm="lens"'
        assert answer.json()["code"] == "UNAUTHORIZED"


def test_a_view_that_names_no_scope_lets_nobody_in(client_with: ClientWith) -> None:
    assert client_with("admin").get("/shut").status_code == 403
    assert APIClient().get("/shut").status_code == 401


def test_an_open_door_needs_no_key_but_refuses_a_wrong_one() -> None:
    assert APIClient().get("/open").status_code == 200
    assert APIClient(headers={"X-API-Key": "wrong"}).get("/open").status_code == 401


@pytest.mark.parametrize("form", ["X-API-Key: {}", "Authorization: Bearer {}"])
def test_both_headers_carry_a_key(make_key: MakeKey, form: str) -> None:
    key, plain = make_key("stream")
    name, value = form.format(plain).split(": ", 1)

    answer = APIClient(headers={name: value}).get("/door/STREAM")

    assert answer.json() == {"owner": key.owner}


@pytest.mark.parametrize("name", ["api_key", "API_KEY", "access_token"])
def test_a_key_in_the_url_is_refused_with_a_hint(make_key: MakeKey, name: str) -> None:
    _, plain = make_key("stream")

    answer = APIClient().get("/door/STREAM", {name: plain})

    assert answer.status_code == 401
    assert "X-API-Key" in answer.json()["detail"]
    assert plain not in answer.content.decode()


def test_dead_keys_answer_401_and_say_why(make_key: MakeKey) -> None:
    now = datetime.now(UTC)
    _, plain_expired = make_key("stream", now=now - timedelta(days=1), expires_at=now)
    revoked, plain_revoked = make_key("stream")
    services.revoke_key(key=revoked, actor="test", now=now)

    said = [
        APIClient(headers={"X-API-Key": plain}).get("/door/STREAM").json()["detail"]
        for plain in (plain_expired, plain_revoked)
    ]

    assert ["expired" in said[0], "revoked" in said[1]] == [True, True]


def test_the_address_is_the_peer_unless_a_proxy_is_trusted(
    make_key: MakeKey, settings: Settings
) -> None:
    _, plain = make_key("stream", addresses=("203.0.113.7",))
    client = APIClient(headers={"X-API-Key": plain, "X-Forwarded-For": "203.0.113.7"})

    assert client.get("/door/STREAM").status_code == 401
    settings.TRUSTED_PROXY_COUNT = 1
    assert client.get("/door/STREAM").status_code == 200


def test_the_eleventh_wrong_key_of_a_minute_is_told_to_wait(
    redis_url: str, client_with: ClientWith
) -> None:
    client = APIClient(headers={"X-API-Key": "wrong"})

    answers = [client.get("/door/STREAM") for _ in range(11)]

    assert [answer.status_code for answer in answers] == [401] * 10 + [429]
    assert answers[-1].json()["code"] == "RATE_LIMITED"
    assert int(answers[-1]["Retry-After"]) >= 1
    assert client_with("stream").get("/door/STREAM").status_code == 200


def test_a_key_is_limited_and_told_when_to_come_back(
    redis_url: str, client_with: ClientWith
) -> None:
    client = client_with("stream", rate_per_min=1, burst=2)

    answers = [client.post("/door/STREAM") for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer["RateLimit"].split(";")[1] for answer in answers] == ["r=1", "r=0", "r=0"]
    assert answers[0]["RateLimit-Policy"] == '"writes";q=1;w=60;burst=2'
    assert 1 <= int(answers[-1]["Retry-After"]) <= 60
    assert answers[-1].json()["code"] == "RATE_LIMITED"


def test_a_key_is_limited_without_redis_too(no_redis: None, client_with: ClientWith) -> None:
    client = client_with("stream", rate_per_min=1, burst=2)

    answers = [client.post("/door/STREAM").status_code for _ in range(3)]

    assert answers == [200, 200, 429]


def test_reading_is_still_possible_when_writing_is_used_up(
    redis_url: str, client_with: ClientWith
) -> None:
    client = client_with("stream", rate_per_min=1, burst=1)
    client.post("/door/STREAM")

    assert client.post("/door/STREAM").status_code == 429
    assert client.get("/door/STREAM").status_code == 200


def test_other_keys_are_not_slowed_down(redis_url: str, client_with: ClientWith) -> None:
    busy = client_with("stream", rate_per_min=1, burst=1)
    for _ in range(3):
        busy.post("/door/STREAM")

    assert client_with("stream").post("/door/STREAM").status_code == 200


def test_a_refused_scope_costs_nothing(redis_url: str, client_with: ClientWith) -> None:
    client = client_with("stream", rate_per_min=1, burst=1)
    for _ in range(3):
        client.post("/door/ADMIN")

    assert client.post("/door/STREAM").status_code == 200


def test_an_open_door_is_not_counted() -> None:
    answer = APIClient().get("/open")

    assert "RateLimit" not in answer


def test_limits_come_from_the_settings(settings: Settings) -> None:
    settings.RATE_LIMIT_PER_MIN, settings.RATE_LIMIT_BURST = 60, 120
    settings.RATE_LIMIT_READS_PER_MIN, settings.RATE_LIMIT_READS_BURST = 600, 1200

    assert limit_for(identity=ANYBODY, method="POST") == Limit(name="writes", per_min=60, burst=120)
    assert limit_for(identity=ANYBODY, method="GET") == Limit(name="reads", per_min=600, burst=1200)


def test_a_key_of_its_own_pace_reads_in_proportion(settings: Settings) -> None:
    settings.RATE_LIMIT_PER_MIN, settings.RATE_LIMIT_READS_PER_MIN = 60, 600
    slow = Identity(key_id="a", owner="a", name="a", scopes=frozenset(), rate_per_min=6, burst=12)

    assert limit_for(identity=slow, method="DELETE").per_min == 6
    assert limit_for(identity=slow, method="GET").per_min == 60


def test_an_unknown_scope_is_a_mistake_at_import() -> None:
    with pytest.raises(ValueError, match="signals:delete"):
        scope("signals:delete")


def test_a_request_leaves_word_of_the_last_use(make_key: MakeKey) -> None:
    key, plain = make_key("stream", now=datetime.now(UTC))

    APIClient(headers={"X-API-Key": plain}).get("/door/STREAM")

    assert ApiKey.objects.get(pk=key.pk).last_used_address == "127.0.0.1"


async def test_the_headers_are_put_on_async_answers_too() -> None:
    verdict = Verdict(limit=Limit(name="reads", per_min=60, burst=60), allowed=True, tokens=59)

    async def answer(request: HttpRequest) -> HttpResponse:
        request.rate_verdict = verdict  # type: ignore[attr-defined]
        return HttpResponse("fine")

    middleware = RateLimitHeaders(answer)
    answering: Any = middleware(HttpRequest())

    assert iscoroutinefunction(middleware)
    assert (await answering)["RateLimit"] == '"reads";r=59;t=1'


def test_the_api_document_shows_both_ways_to_send_a_key() -> None:
    document = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]

    assert document["components"]["securitySchemes"] == {
        "ApiKeyHeader": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        "BearerKey": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "lens_<env>_<id>_<secret><check>",
        },
    }
    asked = document["paths"]["/api/v1/keys"]["post"]["security"]
    assert {"ApiKeyHeader": []} in asked
    assert {"BearerKey": []} in asked
