from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.test import Client
from pytest_django import Settings

from access import services as access
from access.models import ApiKey
from decisions import consumers, feed, sockets
from decisions.feed import SEATS
from pipeline.models import AuditEvent
from tests.decisions.conftest import Publish
from tests.decisions.subscriber import Subscriber, connected, dialled
from tests.factories import NOON, make_decision, make_evaluation, make_signal

pytestmark = pytest.mark.django_db(transaction=True)


# --- the first words --------------------------------------------------------------------------


async def test_a_client_is_told_the_last_number_and_the_clock(key: str, publish: Publish) -> None:
    await publish()

    async with dialled(key) as client:
        message = await client.hear()

    assert message["type"] == "connected"
    assert message["last_seq"] == 1
    assert message["heartbeat_s"] == 30
    assert message["server_time"].endswith("Z")


async def test_a_client_receives_nothing_before_it_subscribes(key: str, publish: Publish) -> None:
    async with connected(key) as client:
        await publish()

        assert await client.hears_nothing()


async def test_a_subscriber_hears_a_decision_in_the_published_form(
    key: str, publish: Publish
) -> None:
    async with connected(key) as client:
        subscribed = await client.subscribe()
        decision = await publish(symbol="ETH")
        message = await client.hear()

    assert subscribed == {
        "type": "subscribed",
        "filters": {"origin": "LIVE"},
        "types": ["decision"],
        "last_seq": 0,
    }
    assert message["type"] == "decision"
    assert message["seq"] == message["decision"]["seq"] == 1
    assert message["event_id"] == message["decision"]["event_id"] == str(decision.event_id)
    assert (message["symbol"], message["event_type"]) == ("ETH", "OPEN_SIGNAL")
    assert message["model"] == message["decision"]["model"] == "ensemble"
    assert message["published_at"] == message["decision"]["published_at"] == "2026-01-15T12:00:02Z"


async def test_subscribers_hear_everything_in_the_same_order(key: str, publish: Publish) -> None:
    async with connected(key) as first, connected(key) as second:
        await first.subscribe()
        await second.subscribe()
        for _ in range(5):
            await publish()

        assert await first.seqs(5) == await second.seqs(5) == [1, 2, 3, 4, 5]


# --- filters ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filters", "unwanted", "wanted"),
    [
        ({"model": "rules"}, {"model": "ensemble"}, {"model": "rules"}),
        ({"model": ["jury", "rules"]}, {"model": "ensemble"}, {"model": "jury"}),
        ({"symbol": "ETH"}, {"symbol": "BTC"}, {"symbol": "ETH"}),
        ({"symbol": ["eth", "sol"]}, {"symbol": "BTC"}, {"symbol": "SOL"}),
        (
            {"event_type": "CLOSE_SIGNAL"},
            {"event_type": "OPEN_SIGNAL"},
            {"event_type": "CLOSE_SIGNAL"},
        ),
        ({"decision": "IGNORE"}, {"decision": "FOLLOW_ENTER"}, {"decision": "IGNORE"}),
        ({"source": "mine"}, {"source": "other"}, {"source": "mine"}),
        ({"min_confidence": 0.6}, {"confidence": 0.59}, {"confidence": 0.6}),
        ({"origin": "DEMO"}, {"origin": "LIVE"}, {"origin": "DEMO"}),
        ({"origin": ["LIVE", "DEMO"], "symbol": "ETH"}, {}, {"origin": "DEMO", "symbol": "ETH"}),
    ],
)
async def test_only_what_passes_the_filters_is_heard(
    key: str,
    publish: Publish,
    filters: dict[str, Any],
    unwanted: dict[str, Any],
    wanted: dict[str, Any],
) -> None:
    async with connected(key) as client:
        await client.subscribe(filters=filters)
        await publish(**unwanted)
        expected = await publish(**wanted)

        assert (await client.hear())["seq"] == expected.seq
        assert await client.hears_nothing()


async def test_filters_work_alike_on_what_is_replayed(
    key: str, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "TAIL_PAGE", 1)
    await publish(symbol="BTC")
    expected = await publish(symbol="ETH", model="rules")
    await publish(symbol="ETH", model="ensemble")
    await publish(symbol="BTC")

    async with connected(key) as client:
        await client.subscribe(filters={"symbol": "ETH", "model": "rules"}, after_seq=0)

        assert (await client.hear())["seq"] == expected.seq
        assert await client.hears_nothing()


async def test_demo_decisions_are_not_heard_unless_asked_for(key: str, publish: Publish) -> None:
    async with connected(key) as client:
        await client.subscribe()
        await publish(origin="DEMO")
        live = await publish()

        assert (await client.hear())["seq"] == live.seq


async def test_effective_filters_are_echoed(key: str) -> None:
    async with connected(key) as client:
        answer = await client.subscribe(filters={"symbol": ["btc", "eth"], "min_confidence": 1})

    assert answer["filters"] == {"symbol": ["BTC", "ETH"], "min_confidence": 1, "origin": "LIVE"}


@pytest.mark.parametrize(
    ("wanted", "named"),
    [
        ({"filters": {"model": "oracle"}}, "model"),
        ({"filters": {"colour": "red"}}, "colour"),
        ({"filters": {"symbol": 7}}, "symbol"),
        ({"filters": {"symbol": ["BTC", 7]}}, "symbol"),
        ({"filters": {"symbol": []}}, "symbol"),
        ({"filters": {"symbol": "§"}}, "symbol"),
        ({"filters": {"event_type": "OPEN"}}, "event_type"),
        ({"filters": {"decision": "BUY"}}, "decision"),
        ({"filters": {"origin": "REPLAY"}}, "origin"),
        ({"filters": {"min_confidence": "high"}}, "min_confidence"),
        ({"filters": {"min_confidence": True}}, "min_confidence"),
        ({"filters": {"min_confidence": 1.01}}, "min_confidence"),
        ({"filters": ["BTC"]}, "filters"),
        ({"types": ["gossip"]}, "types"),
        ({"types": []}, "types"),
        ({"types": [["decision"]]}, "types"),
        ({"after_seq": -1}, "after_seq"),
        ({"after_seq": "12"}, "after_seq"),
        ({"after_seq": 2**63}, "after_seq"),
        ({"filter": {"symbol": "BTC"}}, "filter"),
    ],
)
async def test_a_wrong_filter_is_named_and_changes_nothing(
    key: str, publish: Publish, wanted: dict[str, Any], named: str
) -> None:
    async with connected(key) as client:
        await client.subscribe(filters={"symbol": "ETH"})
        error = await client.subscribe(**wanted)
        await publish(symbol="BTC")
        expected = await publish(symbol="ETH")
        heard = await client.hear()

    assert (error["type"], error["code"]) == ("error", "INVALID_FILTER")
    assert named in error["message"]
    assert [fault["field"] for fault in error["errors"]] == [named]
    assert heard["seq"] == expected.seq


async def test_a_wrong_first_filter_begins_no_subscription(key: str, publish: Publish) -> None:
    async with connected(key) as client:
        assert (await client.subscribe(filters={"model": "oracle"}))["code"] == "INVALID_FILTER"
        await publish()

        assert await client.hears_nothing()


async def test_a_model_that_decided_once_is_known_although_it_is_asked_no_more(
    key: str, publish: Publish
) -> None:
    await publish(model="retired")

    async with connected(key) as client:
        answer = await client.subscribe(filters={"model": "retired"})

    assert answer["type"] == "subscribed"


async def test_changing_filters_goes_on_from_the_same_place(
    key: str, publish: Publish, settings: Settings
) -> None:
    async with connected(key) as client:
        await client.subscribe(filters={"symbol": "ETH"})
        await publish(symbol="ETH")
        assert (await client.hear())["seq"] == 1
        await client.subscribe(filters={"symbol": "BTC"})
        await publish(symbol="BTC")
        await publish(symbol="ETH")

        assert (await client.hear())["seq"] == 2
        assert await client.hears_nothing()


async def test_after_unsubscribing_nothing_more_is_heard(key: str, publish: Publish) -> None:
    async with connected(key) as client:
        await client.subscribe()
        await client.say(action="unsubscribe")
        assert await client.hears_nothing()
        await publish()

        assert await client.hears_nothing()


# --- other kinds of message -------------------------------------------------------------------


@sync_to_async
def tell_of_an_abstention_and_an_end() -> None:
    signal = make_signal(symbol="ETH")
    make_evaluation(signal, model="rules", status="ABSTAINED", outcome="timeout", reason="late")
    make_evaluation(signal, model="ensemble", status="DECIDED", outcome="ok")
    for verb, details in (
        ("MODEL_DONE", {"model": "ensemble", "status": "ok"}),
        ("MODEL_DONE", {"model": "rules", "status": "timeout"}),
        ("ENRICHED", {}),
        ("EXPIRED", {"gate": "validity"}),
    ):
        AuditEvent.objects.create(
            trace=signal.event_id, verb=verb, actor="lens", at=NOON, details=details
        )


async def test_abstentions_and_ends_are_heard_when_asked_for(key: str) -> None:
    async with connected(key) as client:
        await client.subscribe(types=["abstention", "signal_status"])
        assert await client.hears_nothing()
        await tell_of_an_abstention_and_an_end()
        abstention, end = await client.hear(), await client.hear()
        assert await client.hears_nothing()

    assert (abstention["type"], abstention["model"]) == ("abstention", "rules")
    assert (abstention["status"], abstention["reason"]) == ("timeout", "late")
    assert (end["type"], end["status"], end["symbol"]) == ("signal_status", "EXPIRED", "ETH")
    assert end["at"] == "2026-01-15T12:00:00Z"


async def test_abstentions_are_filtered_by_model(key: str) -> None:
    async with connected(key) as client:
        await client.subscribe(types=["abstention"], filters={"model": "ensemble"})
        assert await client.hears_nothing()
        await tell_of_an_abstention_and_an_end()

        assert await client.hears_nothing()


async def test_nobody_hears_abstentions_unasked(key: str, publish: Publish) -> None:
    async with connected(key) as curious, connected(key) as plain:
        await curious.subscribe(types=["abstention"])
        await plain.subscribe()
        assert await curious.hears_nothing()
        await tell_of_an_abstention_and_an_end()
        await publish()

        assert (await curious.hear())["type"] == "abstention"
        assert (await plain.hear())["type"] == "decision"
        assert await curious.hears_nothing()


# --- bad messages -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", "MALFORMED_JSON"),
        ('{"action": NaN}', "MALFORMED_JSON"),
        ("[" * 5000, "MALFORMED_JSON"),
        ("[1, 2]", "BAD_MESSAGE"),
        ('"subscribe"', "BAD_MESSAGE"),
        ('{"action": "buy"}', "UNKNOWN_ACTION"),
        ('{"action": {"a": 1}}', "UNKNOWN_ACTION"),
        ("{}", "UNKNOWN_ACTION"),
    ],
)
async def test_a_broken_message_is_answered_and_the_subscription_stays(
    key: str, publish: Publish, text: str, code: str
) -> None:
    async with connected(key) as client:
        await client.subscribe()
        await client.send_to(text_data=text)
        error = await client.hear()
        await publish()

        assert (error["type"], error["code"]) == ("error", code)
        assert (await client.hear())["seq"] == 1


async def test_a_binary_message_is_answered_and_the_subscription_stays(
    key: str, publish: Publish
) -> None:
    async with connected(key) as client:
        await client.subscribe()
        await client.send_to(bytes_data=b"\x00\xff")
        error = await client.hear()
        await publish()

        assert error["code"] == "BAD_MESSAGE"
        assert (await client.hear())["seq"] == 1


async def test_an_oversized_message_closes_the_socket(key: str, settings: Settings) -> None:
    settings.WS_MAX_MESSAGE_BYTES = 100

    async with connected(key) as client:
        await client.send_to(text_data="ü" * 51)
        code, said = await client.closing()

    assert code == 4400
    assert said[-1]["code"] == "MESSAGE_TOO_LARGE"


async def test_unknown_actions_are_borne_nine_times(key: str) -> None:
    async with connected(key) as client:
        for _ in range(10):
            await client.say(action="buy")
        code, said = await client.closing()

    assert code == 4400
    assert [message["code"] for message in said] == ["UNKNOWN_ACTION"] * 10


async def test_a_flood_is_refused_and_then_closed(key: str, settings: Settings) -> None:
    settings.WS_MAX_MESSAGES_PER_S = 5

    async with connected(key) as client:
        for _ in range(30):
            await client.say(action="ping")
        code, said = await client.closing()

    assert code == 4429
    assert [message["type"] for message in said[:5]] == ["pong"] * 5
    assert sum(message.get("code") == "RATE_LIMITED" for message in said) == 10


# --- who may listen ---------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["stream", "decisions:read", "admin"])
async def test_each_reading_scope_opens_the_socket(
    make_key: Callable[..., str], scope: str
) -> None:
    async with dialled(await sync_to_async(make_key)(scope)) as client:
        assert (await client.hear())["type"] == "connected"


async def test_a_bearer_header_opens_the_socket(key: str) -> None:
    headers = [(b"authorization", f"Bearer {key}".encode())]

    async with dialled(headers=headers) as client:
        assert (await client.hear())["type"] == "connected"


async def test_what_a_client_brought_is_forgotten_once_it_is_let_in(key: str) -> None:
    async with connected(key) as client:
        kept = client.scope["headers"]

    assert kept == []


async def test_a_key_in_the_query_opens_the_socket(key: str) -> None:
    async with dialled(path=f"/ws/decisions?api_key={key}") as client:
        assert (await client.hear())["type"] == "connected"


async def test_a_key_in_the_query_can_be_switched_off(key: str, settings: Settings) -> None:
    settings.WS_ALLOW_QUERY_KEY = False

    async with dialled(path=f"/ws/decisions?api_key={key}") as client:
        assert (await client.closing())[0] == 4401


async def test_a_ticket_opens_the_socket_once(key: str, redis_url: str) -> None:
    @sync_to_async
    def issue() -> str:
        now = datetime.now(UTC)
        identity = access.authenticate(plain=key, address="127.0.0.1", now=now)
        return access.issue_ticket(identity=identity, address="127.0.0.1", now=now)

    ticket = await issue()

    async with dialled(path=f"/ws/decisions?ticket={ticket}") as client:
        assert (await client.hear())["type"] == "connected"
    async with dialled(path=f"/ws/decisions?ticket={ticket}") as client:
        assert (await client.closing())[0] == 4401


async def test_a_logged_in_page_of_ours_opens_the_socket(transactional_db: None) -> None:
    @sync_to_async
    def log_in() -> str:
        browser = Client()
        browser.force_login(get_user_model().objects.create_user("viewer"))
        return browser.cookies["sessionid"].value

    cookie = f"sessionid={await log_in()}".encode()
    ours = [(b"cookie", cookie), (b"origin", b"http://localhost"), (b"host", b"localhost")]

    async with dialled(headers=ours) as client:
        assert (await client.hear())["type"] == "connected"


async def test_a_page_of_another_site_is_refused(key: str) -> None:
    foreign = [(b"origin", b"https://evil.example"), (b"host", b"localhost")]

    async with dialled(key, headers=foreign) as client:
        assert (await client.closing())[0] == 4403


async def test_the_first_message_may_carry_the_key(key: str, publish: Publish) -> None:
    async with dialled() as client:
        await client.say(action="auth", api_key=key)
        assert (await client.hear())["type"] == "connected"
        await client.subscribe()
        await publish()

        assert (await client.hear())["seq"] == 1


async def test_nothing_is_told_before_the_key_has_come(key: str, publish: Publish) -> None:
    async with dialled() as client:
        await publish()
        assert await client.receive_nothing(0.1)
        refused = await client.subscribe()
        await publish()

        assert refused["code"] == "UNAUTHORIZED"
        assert await client.receive_nothing(0.1)


@pytest.mark.parametrize("api_key", ["lens_live_wrong", 7, None])
async def test_a_wrong_key_in_the_first_message_closes_with_4401(
    transactional_db: None, api_key: object
) -> None:
    async with dialled() as client:
        await client.say(action="auth", api_key=api_key)

        assert (await client.closing())[0] == 4401


async def test_a_wrong_key_at_the_door_is_accepted_and_closed_with_4401(
    transactional_db: None,
) -> None:
    async with dialled("lens_live_wrong") as client:
        code, said = await client.closing()

    assert code == 4401
    assert said[0]["code"] == "UNAUTHORIZED"


async def test_no_key_in_time_closes_with_4408(transactional_db: None, settings: Settings) -> None:
    settings.WS_AUTH_TIMEOUT_S = 0.05

    async with dialled() as client:
        assert (await client.closing())[0] == 4408


async def test_a_key_of_another_scope_closes_with_4403(make_key: Callable[..., str]) -> None:
    async with dialled(await sync_to_async(make_key)("signals:write")) as client:
        assert (await client.closing())[0] == 4403


async def test_a_revoked_key_closes_its_open_socket(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers.DecisionsConsumer, "recheck_s", 0.05)

    @sync_to_async
    def revoke() -> None:
        row = ApiKey.objects.get(id=key.split("_")[2])
        access.revoke_key(key=row, actor="test", now=datetime.now(UTC))

    async with connected(key) as client:
        await client.subscribe()
        assert await client.receive_nothing(0.2)
        await revoke()

        assert (await client.closing())[0] == 4401


async def test_a_full_server_closes_with_4429_until_somebody_leaves(
    key: str, settings: Settings
) -> None:
    settings.WS_MAX_CONNECTIONS = 1

    async with connected(key), dialled(key) as second:
        assert (await second.closing())[0] == 4429
    async with connected(key) as third:
        assert await third.hears_nothing()


async def test_one_key_holds_only_so_many_sockets(
    key: str, make_key: Callable[..., str], settings: Settings
) -> None:
    settings.WS_MAX_CONNECTIONS_PER_KEY = 1
    other = await sync_to_async(make_key)("stream")

    async with connected(key), connected(other), dialled(key) as third:
        assert (await third.closing())[0] == 4429
    async with connected(key):
        pass
    assert not SEATS.is_full_for(key.split("_")[2])


async def test_an_unknown_path_is_accepted_and_closed_with_4404() -> None:
    client = Subscriber(path="/ws/nowhere")
    accepted, _ = await client.connect()

    assert accepted
    assert (await client.closing())[0] == 4404
    await client.disconnect()


# --- the heart --------------------------------------------------------------------------------


async def test_a_ping_is_answered_with_the_last_number(key: str, publish: Publish) -> None:
    await publish()

    async with connected(key) as client:
        await client.say(action="ping")
        pong = await client.hear()

    assert (pong["type"], pong["head_seq"]) == ("pong", 1)


async def test_the_heartbeat_moves_the_place_of_a_subscriber_that_nothing_matched(
    key: str, publish: Publish, settings: Settings
) -> None:
    settings.WS_HEARTBEAT_S = 0.05

    async with connected(key) as client:
        await client.subscribe(filters={"symbol": "ETH"})
        await publish(symbol="BTC")
        ping = await client.hear()
        while ping["after_seq"] < 1:
            ping = await client.hear()

    assert ping["type"] == "ping"
    assert ping["head_seq"] == ping["after_seq"] == 1


async def test_the_heartbeat_owes_no_answer_but_takes_one(key: str, settings: Settings) -> None:
    settings.WS_HEARTBEAT_S = 0.05

    async with connected(key) as client:
        assert (await client.hear())["type"] == "ping"
        await client.say(action="pong")
        await client.say(type="pong")

        assert (await client.hear())["type"] == "ping"


# --- slow clients and stops -------------------------------------------------------------------


async def test_a_client_that_falls_behind_its_buffer_gets_goodbye(
    key: str, settings: Settings, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.WS_BUFFER_MESSAGES = 5
    monkeypatch.setattr(consumers.DecisionsConsumer, "slow_s", 0.05)

    async with connected(key, room=2) as slow, connected(key) as quick:
        await slow.subscribe()
        await quick.subscribe()
        for _ in range(12):
            await publish()
        assert await quick.seqs(12) == list(range(1, 13))
        assert await quick.receive_nothing(0.2)
        code, said = await slow.closing()
        resumes_at = max(message["seq"] for message in said if message["type"] == "decision")
        async with connected(key) as again:
            await again.subscribe(after_seq=resumes_at)
            rest = await again.seqs(12 - resumes_at)

    assert code == 4429
    assert (said[-1]["type"], said[-1]["code"]) == ("goodbye", "SLOW_CLIENT")
    assert rest == list(range(resumes_at + 1, 13))


async def test_a_batch_larger_than_the_buffer_does_no_harm_to_a_client_that_reads(
    key: str, settings: Settings, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.WS_BUFFER_MESSAGES = 5
    monkeypatch.setattr(consumers.DecisionsConsumer, "slow_s", 0.05)

    async with connected(key) as client:
        await client.subscribe()
        await decide(30)
        await publish()

        assert await client.seqs(31) == list(range(1, 32))


@sync_to_async
def decide(count: int) -> None:
    for _ in range(count):
        make_decision()


async def test_a_client_that_is_slow_but_not_for_long_keeps_its_socket(
    key: str, settings: Settings, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.WS_BUFFER_MESSAGES = 5
    monkeypatch.setattr(consumers.DecisionsConsumer, "slow_s", 10.0)

    async with connected(key, room=2) as client:
        await client.subscribe()
        await decide(20)
        await publish()
        await asyncio.sleep(0.2)

        assert await client.seqs(21) == list(range(1, 22))


async def test_a_client_may_take_its_time_over_what_was_published_before_it_came(
    key: str, settings: Settings, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.WS_BUFFER_MESSAGES = 5
    monkeypatch.setattr(consumers.DecisionsConsumer, "slow_s", 0.05)
    await decide(20)
    await publish()

    async with connected(key, room=2) as client:
        await client.subscribe(after_seq=0)
        await asyncio.sleep(0.3)

        assert await client.seqs(21) == list(range(1, 22))


async def test_subscribing_anew_in_the_middle_of_a_batch_misses_and_doubles_nothing(
    key: str, publish: Publish
) -> None:
    async with connected(key, room=2) as client:
        await client.subscribe()
        await decide(9)
        await publish()
        seqs = await client.seqs(2)
        await client.say(action="subscribe", filters={"symbol": "BTC"})
        await asyncio.sleep(0.2)  # it is read while half of the batch still waits
        while len(seqs) < 10:
            message = await client.hear()
            seqs += [message["seq"]] if message["type"] == "decision" else []

    assert seqs == list(range(1, 11))


class Protocol:
    """As much of daphne's protocol as the consumer knows."""

    producer: sockets.Valve | None = None

    def unregisterProducer(self) -> None:  # noqa: N802
        self.producer = None

    def registerProducer(self, producer: sockets.Valve, streaming: bool) -> None:  # noqa: N802
        assert streaming
        self.producer = producer


async def test_a_full_transport_is_given_nothing_until_it_has_room(
    key: str, publish: Publish
) -> None:
    protocol = Protocol()

    async def on_daphne(scope: Any, receive: Any, send: Any) -> None:
        async def handle_reply(of: Protocol, message: Any) -> None:
            assert of is protocol
            await send(message)

        consumer = consumers.DecisionsConsumer.as_asgi()
        await consumer(scope, receive, partial(handle_reply, protocol))

    client = Subscriber(key=key)
    client.application = on_daphne
    await client.connect()
    await client.hear()
    await client.subscribe()
    assert protocol.producer is not None
    protocol.producer.pauseProducing()
    await publish()
    assert await client.receive_nothing(0.2)
    protocol.producer.resumeProducing()

    assert (await client.hear())["seq"] == 1
    await client.disconnect()


async def test_a_client_whose_transport_stays_full_is_let_go_though_it_subscribed_to_nothing(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers.DecisionsConsumer, "stuck_s", 0.1)
    valve = sockets.Valve()
    monkeypatch.setattr(consumers, "valve_of", lambda send: valve)

    async with connected(key) as client:
        valve.pauseProducing()

        assert (await client.closing())[0] == 4429


async def test_a_client_that_takes_nothing_at_all_is_let_go(
    key: str, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers.DecisionsConsumer, "stuck_s", 0.1)
    monkeypatch.setattr(consumers, "FAREWELL_S", 0.05)

    client = Subscriber(key=key, room=1)
    await client.connect()
    await client.hear()
    await client.subscribe()
    for _ in range(3):
        await publish()
    await client.wait(timeout=3)

    assert client.future.done()
    assert not client.future.cancelled()


async def test_a_stopping_server_says_goodbye(key: str) -> None:
    client = Subscriber(key=key)
    await client.connect()
    await client.hear()
    client.future.cancel()
    said = await client.output_queue.get()
    end = await client.output_queue.get()

    assert '"goodbye"' in said["text"]
    assert '"retry_after_s"' in said["text"]
    assert end["code"] == 1012
    await client.wait()


async def test_a_valve_shuts_and_opens_with_the_transport() -> None:
    valve = sockets.Valve()
    await valve.opened()

    valve.pauseProducing()
    waiting = asyncio.create_task(valve.opened())
    await asyncio.sleep(0)
    assert not waiting.done()
    assert valve.shut_since is not None

    valve.stopProducing()
    await waiting
    assert valve.shut_since is None
