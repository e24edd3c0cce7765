"""Sends that begin at once, and the one task that looks at every socket."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

import pytest

from decisions.sockets import Rounds, begin


async def test_what_waits_for_nothing_is_over_at_once() -> None:
    done: list[str] = []

    async def send() -> None:
        done.append("sent")

    assert begin(send()) is None
    assert done == ["sent"]


async def test_what_has_to_wait_is_finished_by_whoever_awaits_the_rest() -> None:
    room, done = asyncio.Event(), []

    async def send() -> None:
        done.append("begun")
        await room.wait()
        await asyncio.sleep(0)
        done.append("sent")

    rest = begin(send())
    assert rest is not None
    assert done == ["begun"]
    task = asyncio.ensure_future(_finish(rest))
    await asyncio.sleep(0)
    assert done == ["begun"]
    room.set()
    await task

    assert done == ["begun", "sent"]


async def _finish(rest: object) -> None:
    await rest  # type: ignore[misc]


async def test_an_error_before_any_wait_comes_at_once_and_a_later_one_from_the_rest() -> None:
    async def fail(*, at_once: bool) -> None:
        if not at_once:
            await asyncio.sleep(0)
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        begin(fail(at_once=True))
    with pytest.raises(ConnectionError):
        await _finish(begin(fail(at_once=False)))


async def test_giving_up_the_rest_is_felt_where_the_coroutine_waits() -> None:
    lock = asyncio.Lock()
    await lock.acquire()

    async def send() -> None:
        async with lock:
            raise AssertionError("never reached")

    task = asyncio.ensure_future(_finish(begin(send())))
    await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    lock.release()

    async with asyncio.timeout(1), lock:
        assert task.cancelled()


async def test_a_look_that_breaks_down_stops_no_other(caplog: pytest.LogCaptureFixture) -> None:
    rounds, looked = Rounds(), asyncio.Event()

    def broken(now: float) -> None:
        raise ZeroDivisionError(now)

    def look(now: float) -> None:
        looked.set()

    with caplog.at_level(logging.ERROR, logger="asyncio"):
        for each in (broken, look):
            rounds.join(each, every_s=lambda: 0.001)
        async with asyncio.timeout(2):
            for _ in range(2):
                looked.clear()
                await looked.wait()
        for each in (broken, look):
            rounds.leave(each)

    assert "ZeroDivisionError" in caplog.text


async def test_the_last_to_leave_ends_the_rounds_and_the_next_begins_them_anew() -> None:
    rounds = Rounds()
    looks: list[float] = []

    for _ in range(2):
        looks.clear()
        rounds.join(looks.append, every_s=lambda: 0.001)
        async with asyncio.timeout(2):
            while not looks:
                await asyncio.sleep(0.001)
        rounds.leave(looks.append)
        await asyncio.sleep(0)

        assert [task for task in asyncio.all_tasks() if "_walk" in repr(task)] == []
