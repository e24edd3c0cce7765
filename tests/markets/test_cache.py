from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import numpy as np
import pytest
import redis
from pytest_django import Settings
from redis.exceptions import RedisError

from markets import cache
from markets.cache import PREFIX, CandleTail, SharedCache, SharedStore, Shelf, SingleFlight
from markets.parsing import bars_of
from pipeline.queue import async_redis_client
from quant.types import Bars
from tests.markets.clocks import HandClock


def text_shelf(fresh_s: float = 1.0) -> Shelf[str]:
    return Shelf(kind="word", fresh_s=fresh_s, encode=str.encode, decode=bytes.decode)


class Source:
    """Brings a new word each time; counts, and waits at a gate."""

    def __init__(self) -> None:
        self.calls = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.lasts: list[str | None] = []

    async def __call__(self, last: str | None) -> str:
        self.calls += 1
        self.lasts.append(last)
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return f"word {self.calls}"


def bars(*opens_min: int) -> Bars:
    times = np.array(opens_min, dtype=np.int64) * 60_000
    return bars_of(times, np.arange(len(opens_min) * 5.0).reshape(-1, 5) + 1, timeframe_s=60)


def tail(*opens_min: int, asked: int = 10) -> CandleTail:
    return CandleTail(bars=bars(*opens_min), asked=asked, end_ms=7, look_again_ms=9, source="x")


async def test_a_value_is_kept_while_it_is_fresh() -> None:
    clock, source, shelf = HandClock(), Source(), text_shelf()
    shared = SharedCache(store=SharedStore(), clock=clock)

    first = await shared.fresh(shelf, "k", source)
    clock.seconds += 0.99
    second = await shared.fresh(shelf, "k", source)
    clock.seconds += 0.01
    third = await shared.fresh(shelf, "k", source)

    assert (first, second, third) == ("word 1", "word 1", "word 2")


async def test_all_who_ask_at_once_share_one_fetch() -> None:
    source, shelf = Source(), text_shelf()
    shared = SharedCache(store=SharedStore())
    source.gate.clear()

    waiting = [asyncio.create_task(shared.fresh(shelf, "k", source)) for _ in range(20)]
    await asyncio.sleep(0)
    source.gate.set()
    words = await asyncio.gather(*waiting)

    assert source.calls == 1
    assert set(words) == {"word 1"}


async def test_a_failure_reaches_all_who_wait_and_is_not_kept() -> None:
    source, shelf = Source(), text_shelf()
    shared = SharedCache(store=SharedStore())
    source.error = LookupError("no")

    results = await asyncio.gather(
        *(shared.fresh(shelf, "k", source) for _ in range(5)), return_exceptions=True
    )
    source.error = None

    assert source.calls == 1
    assert all(isinstance(result, LookupError) for result in results)
    assert await shared.fresh(shelf, "k", source) == "word 2"


async def test_one_who_gives_up_does_not_stop_the_others() -> None:
    source, shelf = Source(), text_shelf()
    shared = SharedCache(store=SharedStore())
    source.gate.clear()
    leaving = asyncio.create_task(shared.fresh(shelf, "k", source))
    staying = asyncio.create_task(shared.fresh(shelf, "k", source))
    await asyncio.sleep(0)

    leaving.cancel()
    await asyncio.sleep(0)
    source.gate.set()

    assert await staying == "word 1"
    assert leaving.cancelled()
    assert source.calls == 1


async def test_closing_stops_what_is_under_way() -> None:
    flights, gate = SingleFlight(), asyncio.Event()
    waiter = asyncio.create_task(flights.join("k", gate.wait))
    await asyncio.sleep(0)

    await flights.close()

    with pytest.raises(asyncio.CancelledError):
        await waiter


async def test_no_more_values_are_kept_than_there_is_room_for() -> None:
    shelf = text_shelf()

    for number in range(cache.KEPT_VALUES + 1):
        shelf.put(str(number), "x", fresh_until_s=9)

    assert shelf.get("0", now_s=0) is None
    assert shelf.get("1", now_s=0) == "x"


async def test_another_process_takes_the_shared_value(
    redis_store: Callable[[], SharedStore],
) -> None:
    one, other = SharedCache(store=redis_store()), SharedCache(store=redis_store())
    source = Source()

    mine = await one.fresh(text_shelf(), "k", source)
    theirs = await other.fresh(text_shelf(), "k", source)

    assert mine == theirs == "word 1"


async def test_a_shared_value_is_no_fresher_here_than_there(
    redis_store: Callable[[], SharedStore],
) -> None:
    clock, store, shelf = HandClock(), redis_store(), text_shelf()
    await store.put("word:k", b"theirs", fresh_s=0.5)
    shared = SharedCache(store=store, clock=clock)
    source = Source()
    await shared.fresh(shelf, "k", source)

    assert shelf.get("k", now_s=clock.seconds + 0.2) == "theirs"
    assert shelf.get("k", now_s=clock.seconds + 0.51) is None
    assert source.calls == 0


async def test_processes_that_ask_at_once_share_one_fetch(
    redis_store: Callable[[], SharedStore],
) -> None:
    processes = [SharedCache(store=redis_store()) for _ in range(3)]
    source = Source()
    source.gate.clear()

    waiting = [asyncio.create_task(each.fresh(text_shelf(), "k", source)) for each in processes]
    while not source.calls:
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.05)
    source.gate.set()
    words = await asyncio.gather(*waiting)

    assert source.calls == 1
    assert set(words) == {"word 1"}


async def test_a_value_that_came_just_before_our_turn_is_taken(
    redis_store: Callable[[], SharedStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, other, source = redis_store(), redis_store(), Source()
    take_turn = store.take_turn

    async def late(key: str, *, token: str) -> bool:
        await other.put(key, b"theirs", fresh_s=5)
        return await take_turn(key, token=token)

    monkeypatch.setattr(store, "take_turn", late)
    word = await SharedCache(store=store).fresh(text_shelf(), "k", source)

    assert word == "theirs"
    assert source.calls == 0
    assert await other.take_turn("word:k", token="next")


async def test_a_holder_that_died_keeps_nobody_waiting_for_long(
    redis_store: Callable[[], SharedStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "TURN_MS", 80)
    store = redis_store()
    assert await store.take_turn("word:k", token="died")

    word = await asyncio.wait_for(
        SharedCache(store=redis_store()).fresh(text_shelf(), "k", Source()), timeout=2
    )

    assert word == "word 1"


async def test_a_failed_fetch_lets_the_next_process_try_at_once(
    redis_store: Callable[[], SharedStore],
) -> None:
    failing, working = Source(), Source()
    failing.error = LookupError("no")
    with pytest.raises(LookupError):
        await SharedCache(store=redis_store()).fresh(text_shelf(), "k", failing)

    word = await asyncio.wait_for(
        SharedCache(store=redis_store()).fresh(text_shelf(), "k", working), timeout=2.5
    )

    assert word == "word 1"


async def test_a_turn_is_given_back_only_by_its_holder(
    redis_store: Callable[[], SharedStore],
) -> None:
    store = redis_store()
    await store.take_turn("k", token="mine")

    await store.end_turn("k", token="other")
    still_taken = not await store.take_turn("k", token="other")
    await store.end_turn("k", token="mine")

    assert still_taken
    assert await store.take_turn("k", token="other")


@pytest.mark.parametrize("planted", [b"\xff\xfe", b"\x80\x04\x95cposix\nsystem\n."])
async def test_what_somebody_planted_is_fetched_anew(
    redis_store: Callable[[], SharedStore], redis_url: str, planted: bytes
) -> None:
    client = redis.Redis.from_url(redis_url)
    client.set(f"{PREFIX}word:k", planted, px=60_000)
    client.close()

    word = await SharedCache(store=redis_store()).fresh(text_shelf(), "k", Source())

    assert word == "word 1"


async def test_without_redis_each_process_keeps_its_own(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    clock, source, shelf = HandClock(), Source(), text_shelf()
    store = SharedStore(client=async_redis_client(), faults=(RedisError, OSError), clock=clock)
    shared = SharedCache(store=store, clock=clock)

    with caplog.at_level(logging.INFO, logger="markets.cache"):
        words = []
        for _ in range(4):
            words.append(await shared.fresh(shelf, "k", source))
            words.append(await shared.fresh(shelf, "k", source))
            clock.seconds += 1

    assert words == [f"word {number}" for number in (1, 1, 2, 2, 3, 3, 4, 4)]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    await shared.close()


async def test_redis_coming_back_is_noticed(
    redis_store: Callable[[], SharedStore], caplog: pytest.LogCaptureFixture
) -> None:
    store = redis_store()
    store._is_away = True

    with caplog.at_level(logging.INFO, logger="markets.cache"):
        await store.put("k", b"v", fresh_s=1)

    assert "shared again" in caplog.text
    assert (await store.get("k") or (b"", 0))[0] == b"v"


def test_candles_come_back_as_they_were_written_down() -> None:
    kept = tail(28_000_000, 28_000_001, 28_000_005)

    read = cache.tail_of(cache.tail_text(kept))

    np.testing.assert_array_equal(read.bars.open_ms, kept.bars.open_ms)
    for column in ("open", "high", "low", "close", "volume"):
        np.testing.assert_array_equal(getattr(read.bars, column), getattr(kept.bars, column))
    assert read.bars.timeframe_s == 60
    assert (read.asked, read.end_ms, read.look_again_ms, read.source) == (10, 7, 9, "x")


def test_no_candles_come_back_as_none() -> None:
    assert len(cache.tail_of(cache.tail_text(tail())).bars) == 0


@pytest.mark.parametrize("change", [b"", b"{}\n", b"\x80\x04"])
def test_what_holds_no_candles_is_refused(change: bytes) -> None:
    with pytest.raises((ValueError, KeyError)):
        cache.tail_of(change)


def test_newer_candles_are_joined_without_doubles_and_cut_to_length() -> None:
    together = cache.joined(bars(1, 2, 3), bars(3, 4, 6), count=4)

    assert list(together.open_ms // 60_000) == [2, 3, 4, 6]
    assert together.open[1] == bars(1, 2, 3).open[2]


@pytest.mark.parametrize(
    ("kept", "count", "reaches"),
    [
        (tail(*range(1, 11)), 10, True),
        (tail(*range(1, 11)), 11, False),
        (tail(1, 2, 3), 10, True),
    ],
    ids=["all", "asked for fewer", "a young instrument"],
)
def test_a_tail_knows_how_far_it_reaches_back(
    kept: CandleTail, count: int, *, reaches: bool
) -> None:
    assert kept.reaches_back(count=count, end_ms=11 * 60_000) is reaches


def test_a_tail_does_not_reach_back_from_an_earlier_moment() -> None:
    kept = tail(*range(1, 11))

    assert not kept.reaches_back(count=10, end_ms=10 * 60_000)
    assert kept.reaches_back(count=9, end_ms=10 * 60_000)
