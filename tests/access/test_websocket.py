from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.test import Client
from pytest_django import Settings

from access import services
from access.types import (
    ForeignOrigin,
    Identity,
    IdentityKind,
    Scope,
    ServiceUnavailable,
    TooManyWrongKeys,
    Unauthorized,
)
from access.websocket import address_of, identify, identify_key, still_valid
from tests.access.conftest import HOME, MakeKey

pytestmark = pytest.mark.django_db(transaction=True)

HOST = "testserver"
PAGE = "http://testserver"
ADMIN = "Zq8xW3vK1pLr7TnB5yGdM2cJh9sFa4eU"


def socket(query: str = "", *, scheme: str = "ws", **headers: str) -> dict[str, Any]:
    """Return the ASGI scope of a socket; ``x_api_key="..."`` becomes a header."""
    named = {"host": HOST} | {name.replace("_", "-"): text for name, text in headers.items()}
    return {
        "type": "websocket",
        "scheme": scheme,
        "path": "/ws/decisions",
        "query_string": query.encode(),
        "client": [HOME, 50_000],
        "headers": [(name.encode(), text.encode("latin-1")) for name, text in named.items()],
    }


@pytest.fixture
def stream_key(make_key: MakeKey) -> str:
    return make_key("stream", now=datetime.now(UTC))[1]


def logged_in(**flags: bool) -> str:
    """Return the cookie of somebody who has logged in."""
    person = get_user_model().objects.create_user("ann", None, "pw", **flags)
    client = Client()
    client.force_login(person)
    return f"sessionid={client.cookies['sessionid'].value}"


async def ticket_for(plain: str) -> str:
    def issue() -> str:
        now = datetime.now(UTC)
        identity = services.authenticate(plain=plain, address=HOME, now=now)
        return services.issue_ticket(identity=identity, address=HOME, now=now)

    return str(await sync_to_async(issue)())


async def test_a_key_in_a_header_says_who(stream_key: str) -> None:
    by_name = await identify(socket(x_api_key=stream_key))
    by_bearer = await identify(socket(authorization=f"Bearer {stream_key}"))

    assert by_name == by_bearer
    assert by_name is not None
    assert by_name.allows("stream")


async def test_a_wrong_key_is_refused(db: None) -> None:
    with pytest.raises(Unauthorized):
        await identify(socket(x_api_key="wrong"))


async def test_who_brings_nothing_may_still_say(db: None, stream_key: str) -> None:
    assert await identify(socket()) is None

    identity = await identify_key(stream_key, address=HOME)

    assert identity.allows("stream")


async def test_wrong_keys_on_sockets_are_slowed_down_too(redis_url: str) -> None:
    for _ in range(10):
        with pytest.raises(Unauthorized):
            await identify_key("wrong", address=HOME)

    with pytest.raises(TooManyWrongKeys):
        await identify(socket(x_api_key="wrong"))


async def test_a_ticket_opens_one_socket(redis_url: str, stream_key: str) -> None:
    ticket = await ticket_for(stream_key)

    identity = await identify(socket(f"ticket={ticket}"))

    assert identity is not None
    assert identity.name == "tester"
    with pytest.raises(Unauthorized):
        await identify(socket(f"ticket={ticket}"))


async def test_a_ticket_without_redis_is_nobodys_fault(no_redis: None) -> None:
    with pytest.raises(ServiceUnavailable):
        await identify(socket("ticket=any"))


async def test_a_key_in_the_query_works_unless_switched_off(
    stream_key: str, settings: Settings
) -> None:
    identity = await identify(socket(f"api_key={stream_key}"))

    assert identity is not None
    settings.WS_ALLOW_QUERY_KEY = False
    with pytest.raises(Unauthorized, match="switched off"):
        await identify(socket(f"api_key={stream_key}"))


async def test_a_key_in_the_query_is_never_logged(
    stream_key: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")

    await identify(socket(f"api_key={stream_key}"))

    assert stream_key.rsplit("_", 1)[1] not in caplog.text


async def test_a_header_wins_over_the_query(stream_key: str) -> None:
    identity = await identify(socket("api_key=wrong&ticket=wrong", x_api_key=stream_key))

    assert identity is not None


@pytest.mark.parametrize(
    ("flags", "may", "may_not"),
    [
        ({}, Scope.STREAM, Scope.OPS),
        ({"is_staff": True}, Scope.OPS, Scope.SIGNALS_WRITE),
        ({"is_superuser": True}, Scope.ADMIN, None),
    ],
)
async def test_somebody_logged_in_on_our_page_needs_no_key(
    flags: dict[str, bool], may: Scope, may_not: Scope | None
) -> None:
    cookie = await sync_to_async(logged_in)(**flags)

    identity = await identify(socket(cookie=cookie, origin=PAGE))

    assert identity is not None
    assert (identity.kind, identity.name) == (IdentityKind.SESSION, "ann")
    assert identity.allows(may)
    assert may_not is None or not identity.allows(may_not)


async def test_a_cookie_without_an_origin_counts_for_nothing() -> None:
    cookie = await sync_to_async(logged_in)()

    assert await identify(socket(cookie=cookie)) is None


@pytest.mark.parametrize("cookie", ["sessionid=made-up", "sessionid=", "other=1", ""])
async def test_a_cookie_that_is_no_session_says_nothing(db: None, cookie: str) -> None:
    assert await identify(socket(cookie=cookie, origin=PAGE)) is None


async def test_somebody_switched_off_is_nobody() -> None:
    cookie = await sync_to_async(logged_in)()
    identity = await identify(socket(cookie=cookie, origin=PAGE))
    assert identity is not None
    await get_user_model().objects.aupdate(is_active=False)

    assert not await still_valid(identity)
    assert await identify(socket(cookie=cookie, origin=PAGE)) is None


async def test_logging_out_closes_the_socket() -> None:
    cookie = await sync_to_async(logged_in)()
    identity = await identify(socket(cookie=cookie, origin=PAGE))
    assert identity is not None
    assert await still_valid(identity)

    client = Client()
    client.cookies["sessionid"] = cookie.removeprefix("sessionid=")
    await sync_to_async(client.logout)()

    assert not await still_valid(identity)


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "",
        "http://testserver.evil.example",
        "http://eviltestserver",
        "http://testserver:8001",
        "http://testserver@evil.example",
        "file://",
    ],
)
async def test_a_page_of_another_site_gets_nothing_whatever_it_brings(
    stream_key: str, origin: str
) -> None:
    cookie = await sync_to_async(logged_in)()

    with pytest.raises(ForeignOrigin):
        await identify(socket(x_api_key=stream_key, cookie=cookie, origin=origin))


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("testserver", "https://testserver"),
        ("testserver:8000", "http://testserver:8000"),
        ("TestServer", "http://testserver"),
        ("testserver:443", "https://testserver"),
    ],
)
async def test_our_own_page_is_welcome(stream_key: str, host: str, origin: str) -> None:
    assert await identify(socket(x_api_key=stream_key, host=host, origin=origin))


async def test_a_plain_page_may_not_open_an_encrypted_socket(stream_key: str) -> None:
    with pytest.raises(ForeignOrigin):
        await identify(socket(scheme="wss", x_api_key=stream_key, origin=PAGE))

    assert await identify(socket(scheme="wss", x_api_key=stream_key, origin="https://testserver"))


async def test_a_host_that_is_not_ours_makes_no_page_ours(stream_key: str) -> None:
    rebound = {"host": "evil.example", "origin": "http://evil.example"}

    with pytest.raises(ForeignOrigin):
        await identify(socket(x_api_key=stream_key, **rebound))


async def test_a_listed_origin_is_welcome_exactly(stream_key: str, settings: Settings) -> None:
    settings.WS_ALLOWED_ORIGINS = ["https://desk.example"]

    assert await identify(socket(x_api_key=stream_key, origin="https://desk.example"))
    for near in ("http://desk.example", "https://desk.example:444", "https://a.desk.example"):
        with pytest.raises(ForeignOrigin):
            await identify(socket(x_api_key=stream_key, origin=near))


async def test_a_mistyped_allowed_origin_admits_nobody(stream_key: str, settings: Settings) -> None:
    settings.WS_ALLOWED_ORIGINS = ["*", "desk.example", ""]

    for wrong in ("null", "*", "https://desk.example"):
        with pytest.raises(ForeignOrigin):
            await identify(socket(x_api_key=stream_key, origin=wrong))


async def test_an_open_socket_learns_that_its_key_is_gone(make_key: MakeKey) -> None:
    key, plain = await sync_to_async(make_key)("stream", now=datetime.now(UTC))
    identity = await identify(socket(x_api_key=plain))
    assert identity is not None
    assert await still_valid(identity)

    await sync_to_async(services.revoke_key)(key=key, actor="test", now=datetime.now(UTC))

    assert not await still_valid(identity)


async def test_the_environment_admin_keeps_its_socket(db: None, settings: Settings) -> None:
    settings.API_KEY_ADMIN = ADMIN
    identity = await identify(socket(x_api_key=ADMIN))
    assert isinstance(identity, Identity)
    assert await still_valid(identity)

    settings.API_KEY_ADMIN = ""

    assert not await still_valid(identity)


def test_the_address_behind_a_proxy_is_found(settings: Settings) -> None:
    settings.TRUSTED_PROXY_COUNT = 1

    assert address_of(socket(x_forwarded_for="1.1.1.1, 203.0.113.7")) == "203.0.113.7"
    assert address_of(socket()) == HOME
    assert address_of({"headers": [], "client": None}) == ""


async def test_text_that_is_not_ascii_breaks_nothing(db: None) -> None:
    strange = socket(cookie="sessionid=\xff\xfe", origin=PAGE)
    strange["query_string"] = b"api_key=%ff%00&\xff"

    with pytest.raises(Unauthorized):
        await identify(strange)
