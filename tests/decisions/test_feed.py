from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta
from typing import Any

import orjson
import pytest
from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from django.db import OperationalError
from pytest_django import Settings

from decisions import feed as feeds
from decisions import push, queries
from decisions.feed import Feed, FeedStopped, Seats, Subscription, feed_here
from decisions.models import Decision, PublicationHead
from decisions.parsing import Filters
from decisions.serializers import WORDING
from pipeline import retention
from pipeline.models import AuditEvent
from signals.models import Signal
from signals.types import SignalStatus
from tests.decisions.conftest import Publish, publish_one
from tests.decisions.subscriber import PATIENCE_S, connected, dialled
from tests.factories import NOON, make_signal

pytestmark = pytest.mark.django_db(transaction=True)


@asynccontextmanager
async def joined() -> AsyncIterator[Feed]:
    feed = feed_here(wording=WORDING)
    await feed.join()
    try:
        yield feed
    finally:
        feed.leave()


async def take(feed: Feed, count: int, *, after_seq: int | None = None) -> list[int]:
    """Return the numbers of a new subscription's first messages."""
    found: list[int] = []
    subscription = Subscription(feed, filters=Filters(), after_seq=after_seq)
    async with asyncio.timeout(PATIENCE_S), aclosing(subscription.messages()) as messages:
        while len(found) < count:
            found.append((await anext(messages)).seq or 0)
    return found


@sync_to_async
def publish_many(count: int, **changes: object) -> None:
    for _ in range(count):
        publish_one(**changes)


# --- bell and poll ----------------------------------------------------------------------------


async def test_a_lost_bell_costs_no_more_than_the_poll(key: str, publish: Publish) -> None:
    async with connected(key) as client:
        await client.subscribe()
        await publish()

        assert (await client.hear(timeout=1))["seq"] == 1


async def test_the_bell_wakes_a_feed_that_would_look_only_in_an_hour(
    key: str, publish: Publish, settings: Settings, redis_url: str
) -> None:
    settings.WS_POLL_S = 3600
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": [redis_url], "prefix": "lens"},
        }
    }

    async with connected(key) as client:
        await client.subscribe()
        assert await client.receive_nothing(0.3)  # time to join the group
        await publish()
        await push.announce_head(1)

        assert (await client.hear(timeout=1))["seq"] == 1
    await get_channel_layer().flush()


async def test_without_redis_decisions_come_all_the_same(
    key: str, publish: Publish, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": ["unix:///nonexistent/redis.sock"]},
        }
    }

    async with connected(key) as client:
        await client.subscribe()
        await publish()
        await push.announce_head(1)

        assert (await client.hear(timeout=1))["seq"] == 1
    assert "head 1 not announced" in caplog.text
    await get_channel_layer().flush()


async def test_a_listener_hears_again_when_redis_is_back(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(push, "RETRY_S", 0.01)
    layer = get_channel_layer()
    new_channel, faults = layer.new_channel, [ConnectionError("away"), ConnectionError("away")]

    async def flaky(*args: object) -> str:
        if faults:
            raise faults.pop()
        name: str = await new_channel(*args)
        return name

    monkeypatch.setattr(layer, "new_channel", flaky)
    rung = asyncio.Event()
    listening = asyncio.create_task(push.listen(on_bell=rung.set))
    async with asyncio.timeout(PATIENCE_S):
        while not rung.is_set():
            await push.announce_head(7)
            await asyncio.sleep(0.01)
    listening.cancel()

    assert caplog.text.count("not hearing announcements") == 2


# --- one walk from replay to live -------------------------------------------------------------


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remember little and read in small bites, so that every path is walked."""
    for name, size in {
        "REMEMBERED": 12,
        "TAIL_PAGE": 5,
        "REPLAY_PAGE": 4,
        "LIVE_PAGE": 3,
    }.items():
        monkeypatch.setattr(feeds, name, size)


@pytest.mark.parametrize("after_seq", [0, 1, 7, 15, 24, 25])
async def test_a_reader_resumes_with_exactly_what_it_has_not_seen(
    small_pages: None, after_seq: int
) -> None:
    await publish_many(25)

    async with joined() as feed:
        seqs = await take(feed, 25 - after_seq, after_seq=after_seq)

    assert seqs == list(range(after_seq + 1, 26))


async def test_replay_runs_over_into_live_without_gap_or_double(small_pages: None) -> None:
    await publish_many(30)

    async with joined() as feed:
        reading = asyncio.create_task(take(feed, 60, after_seq=3))
        await publish_many(33)

        assert await reading == list(range(4, 64))


async def test_clients_that_come_and_go_during_publication_miss_and_double_nothing(
    small_pages: None, key: str, settings: Settings
) -> None:
    settings.WS_MAX_MESSAGES_PER_S = 1000
    total, rng = 80, random.Random(4)
    publishing = asyncio.create_task(publish_many(total))

    async def listen_in_pieces() -> list[int]:
        seen: list[int] = []
        while len(seen) < total:
            async with connected(key) as client:
                await client.subscribe(after_seq=seen[-1] if seen else 0)
                pieces = min(rng.randint(1, 15), total - len(seen))
                seen += await client.seqs(pieces)
        return seen

    heard = await asyncio.gather(*(listen_in_pieces() for _ in range(3)))
    await publishing

    assert heard == [list(range(1, total + 1))] * 3


async def test_a_filtered_replay_moves_its_place_over_what_does_not_match(
    small_pages: None,
) -> None:
    await publish_many(20, symbol="BTC")
    await publish_many(1, symbol="ETH")
    await publish_many(20, symbol="BTC")

    async with joined() as feed:
        subscription = Subscription(feed, filters=Filters(symbol=frozenset({"ETH"})), after_seq=0)
        messages = subscription.messages()
        assert (await anext(messages)).seq == 21
        waiting = asyncio.ensure_future(anext(messages))
        async with asyncio.timeout(PATIENCE_S):
            while subscription.cursor < 41:
                await asyncio.sleep(0.01)
        waiting.cancel()

    assert subscription.cursor == 41


async def test_a_reader_whose_place_another_process_has_already_passed_hears_no_gap(
    key: str, settings: Settings, publish: Publish
) -> None:
    settings.WS_POLL_S = 3600

    async with joined() as feed:
        assert feed.head == 0
        await publish_many(3)
        seqs = await take(feed, 1, after_seq=2)

    assert seqs == [3]


async def test_filters_say_the_same_in_memory_and_in_the_database() -> None:
    rng = random.Random(11)
    choices: dict[str, tuple[str, ...]] = {
        "model": ("ensemble", "rules", "jury"),
        "symbol": ("BTC", "ETH", "SOL"),
        "event_type": ("OPEN_SIGNAL", "CLOSE_SIGNAL"),
        "decision": ("FOLLOW_ENTER", "IGNORE", "HOLD"),
        "source": ("a", "b"),
        "origin": ("LIVE", "DEMO"),
    }

    @sync_to_async
    def compare() -> list[int]:
        for _ in range(40):
            values = {name: rng.choice(words) for name, words in choices.items()}
            publish_one(**values, confidence=rng.choice([0.0, 0.5, 0.75, 1.0]))
        rows = list(Decision.objects.order_by("seq"))
        sizes = []
        for _ in range(60):
            picked: dict[str, Any] = {
                name: frozenset(rng.sample(words, rng.randint(1, len(words))))
                for name, words in choices.items()
                if rng.random() < 0.4
            }
            filters = Filters(**picked, min_confidence=rng.choice([0.0, 0.5, 0.9]))
            stored = queries.list_published(after_seq=0, limit=100, filters=filters)
            assert [row.seq for row in stored] == [
                row.seq for row in rows if filters.passes_decision(row)
            ]
            sizes.append(len(stored))
        return sizes

    sizes = await compare()

    assert 0 < sum(sizes) < 60 * 40


# --- gaps -------------------------------------------------------------------------------------


async def first_message(feed: Feed, *, after_seq: int) -> dict[str, Any]:
    subscription = Subscription(feed, filters=Filters(), after_seq=after_seq)
    async with asyncio.timeout(PATIENCE_S), aclosing(subscription.messages()) as messages:
        message: dict[str, Any] = orjson.loads((await anext(messages)).text)
        return message


async def test_a_place_before_the_oldest_stored_decision_gives_a_gap_and_goes_on(
    key: str,
) -> None:
    await publish_many(10)
    await sync_to_async(Decision.objects.filter(seq__lte=6).delete)()

    async with connected(key) as client:
        await client.subscribe(after_seq=2)
        gap = await client.hear()
        seqs = await client.seqs(4)

    assert (gap["type"], gap["from"], gap["to"], gap["reason"]) == ("gap", 3, 6, "PURGED")
    assert seqs == [7, 8, 9, 10]


@pytest.mark.usefixtures("_unsealed")
async def test_a_purge_is_told_as_a_gap_to_a_subscriber_that_slept_through_it(key: str) -> None:
    await publish_many(10)
    await sync_to_async(end_and_purge)(upto=6)

    async with connected(key) as late, connected(key) as later:
        await late.subscribe(after_seq=2)
        gap = await late.hear()
        seqs = await late.seqs(4)
        await later.subscribe(after_seq=6)
        unbroken = await later.seqs(4)

    assert (gap["type"], gap["from"], gap["to"], gap["reason"]) == ("gap", 3, 6, "PURGED")
    assert seqs == unbroken == [7, 8, 9, 10]


def end_and_purge(*, upto: int) -> None:
    """Let the signals of the first numbers end, and a purge come when their time is over."""
    old = Signal.objects.filter(decision__seq__lte=upto)
    for status in (SignalStatus.ENRICHED, SignalStatus.EVALUATED):
        Signal.objects.filter(id__in=list(old.values_list("id", flat=True))).update(status=status)
    ids = list(old.values_list("id", flat=True))
    Signal.objects.filter(id__in=ids).update(status=SignalStatus.PUBLISHED, terminal_at=NOON)
    later = NOON + timedelta(days=181)
    purge = retention.start(actor="test", now=later)
    for _ in range(10):
        if retention.step(purge_id=purge.id, now=later).is_done:
            break
    assert not Decision.objects.filter(seq__lte=upto).exists()


async def test_no_gap_is_told_when_only_what_was_seen_is_gone() -> None:
    await publish_many(10)
    await sync_to_async(Decision.objects.filter(seq__lte=6).delete)()

    async with joined() as feed:
        assert (await first_message(feed, after_seq=6))["type"] == "decision"


async def test_everything_purged_gives_a_gap_up_to_the_last_number() -> None:
    await publish_many(3)
    await sync_to_async(Decision.objects.all().delete)()

    async with joined() as feed:
        gap = await first_message(feed, after_seq=0)

    assert (gap["from"], gap["to"]) == (1, 3)


async def test_a_place_too_far_back_gives_a_gap_with_the_place_to_read_it(
    settings: Settings,
) -> None:
    settings.WS_REPLAY_MAX = 4
    await publish_many(10)

    async with joined() as feed:
        gap = await first_message(feed, after_seq=1)
        seqs = await take(feed, 5, after_seq=1)

    assert (gap["from"], gap["to"], gap["reason"]) == (2, 6, "TOO_MANY")
    assert gap["rest_url"] == "/api/v1/decisions?after_seq=1"
    assert seqs == [6, 7, 8, 9, 10]  # the gap, then everything after it


async def test_a_place_beyond_the_last_number_tells_that_counting_began_anew() -> None:
    await publish_many(2)

    async with joined() as feed:
        gap = await first_message(feed, after_seq=900)

    assert (gap["from"], gap["to"], gap["reason"]) == (1, 2, "RESTARTED")


# --- the life of a feed -----------------------------------------------------------------------


async def test_all_subscribers_of_a_process_share_one_feed_until_the_last_leaves() -> None:
    async with joined() as first:
        async with joined() as second:
            assert first is second
        async with joined() as third:
            assert third is first

    async with joined() as fourth:
        assert fourth is not first
    assert first.is_stopped


async def test_a_decision_is_put_into_words_once_for_all_subscribers(
    key: str, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    worded: list[int | None] = []

    def word(row: Decision) -> str:
        worded.append(row.seq)
        return WORDING.decision(row)

    feed = Feed(wording=feeds.Wording(decision=word, notice=WORDING.notice))
    await feed.join()
    readings = [asyncio.create_task(take(feed, 3)) for _ in range(5)]
    await asyncio.sleep(0)
    await publish_many(3)
    heard = await asyncio.gather(*readings)
    feed.leave()

    assert heard == [[1, 2, 3]] * 5
    assert worded == [1, 2, 3]


async def test_a_feed_rides_out_an_absence_of_the_database(
    key: str, publish: Publish, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = queries.list_published

    def away(**_: object) -> list[Decision]:
        raise OperationalError("no database")

    async with connected(key) as client:
        await client.subscribe()
        monkeypatch.setattr(queries, "list_published", away)
        await publish()
        assert await client.receive_nothing(0.1)
        monkeypatch.setattr(queries, "list_published", real)

        assert (await client.hear())["seq"] == 1
    assert "not read, looking again" in caplog.text


async def test_a_database_that_is_away_at_the_start_sends_clients_back(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> int:
        raise OperationalError("no database")

    monkeypatch.setattr(queries, "get_head", away)
    monkeypatch.setattr(feeds, "START_S", 0.05)

    async with dialled(key) as client:
        code, said = await client.closing()

    assert code == 1013
    assert said[0]["code"] == "SERVICE_UNAVAILABLE"


async def test_a_feed_that_breaks_down_sends_its_clients_back_to_a_new_one(
    key: str, publish: Publish, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = queries.list_published

    def broken(**_: object) -> list[Decision]:
        raise ZeroDivisionError

    async with connected(key) as client:
        await client.subscribe()
        monkeypatch.setattr(queries, "list_published", broken)
        code, said = await client.closing()
    monkeypatch.setattr(queries, "list_published", real)
    async with connected(key) as client:
        await client.subscribe()
        await publish()
        assert (await client.hear())["seq"] == 1

    assert code == 1013
    assert said[-1]["type"] == "goodbye"
    assert "the feed broke down" in caplog.text


async def test_waiting_on_a_stopped_feed_is_refused() -> None:
    async with joined() as feed:
        pass

    with pytest.raises(FeedStopped):
        await feed.moved(seq=5, notice=5)


async def test_the_head_is_known_although_the_last_decisions_were_purged(publish: Publish) -> None:
    await publish()
    await sync_to_async(Decision.objects.all().delete)()

    assert await sync_to_async(queries.get_head)() == 1


async def test_the_head_is_known_without_a_counter() -> None:
    await publish_many(2)
    await sync_to_async(PublicationHead.objects.all().delete)()

    assert await sync_to_async(queries.get_head)() == 2


async def test_notices_committed_out_of_order_are_heard_once(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    @sync_to_async
    def tell(line: int) -> None:
        signal = make_signal(symbol=f"S{line}")
        AuditEvent.objects.create(
            id=last + line, trace=signal.event_id, verb="EXPIRED", actor="lens", at=NOON
        )

    last = await sync_to_async(queries.latest_trail_id)()  # ids never start again on PostgreSQL
    async with connected(key) as client:
        await client.subscribe(types=["signal_status"])
        assert await client.hears_nothing()
        heard = []
        for line in (1002, 1001, 1003):
            await tell(line)
            heard.append((await client.hear())["symbol"])

        assert heard == ["S1002", "S1001", "S1003"]
        assert await client.hears_nothing()


def test_seats_are_counted_in_all_and_by_key(settings: Settings) -> None:
    settings.WS_MAX_CONNECTIONS = 2
    settings.WS_MAX_CONNECTIONS_PER_KEY = 1
    seats = Seats()

    assert [seats.take(), seats.take(), seats.take()] == [True, True, False]
    assert [seats.take_for("a"), seats.take_for("a"), seats.take_for("b")] == [True, False, True]
    seats.leave()
    seats.leave_for("a")
    assert not seats.is_full()
    assert not seats.is_full_for("a")
    assert seats.is_full_for("b")
