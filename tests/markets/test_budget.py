from __future__ import annotations

import asyncio
from collections.abc import Callable

from markets.budget import WeightBudget
from markets.cache import SharedStore
from tests.markets.clocks import HandClock


def alone(clock: HandClock, *, per_min: int = 200) -> WeightBudget:
    return WeightBudget(name="x", per_min=per_min, scripts=SharedStore(), clock=clock)


async def test_alone_a_process_keeps_to_half() -> None:
    budget = alone(HandClock())

    assert await budget.reserve(60) == 0
    assert await budget.reserve(40) == 0
    assert await budget.reserve(1) > 0


async def test_the_wait_ends_when_enough_has_left_the_window() -> None:
    clock = HandClock()
    budget = alone(clock)
    await budget.reserve(60)
    clock.seconds += 10
    await budget.reserve(40)

    wait_s = await budget.reserve(30)
    clock.seconds += wait_s - 1
    early = await budget.reserve(30)
    clock.seconds += 1

    assert wait_s == 51
    assert early > 0
    assert await budget.reserve(30) == 0
    assert await budget.reserve(31) > 0


async def test_no_minute_ever_holds_more_than_the_limit() -> None:
    clock = HandClock()
    budget = alone(clock)
    spent: list[float] = []

    for _ in range(2_000):
        if await budget.reserve(7) == 0:
            spent.append(clock.seconds)
        clock.seconds += 0.31

    busiest = max(sum(7 for at in spent if start <= at < start + 60) for start in spent)
    assert busiest <= 100
    assert len(spent) * 7 > 100 * 8


async def test_what_was_not_spent_can_be_taken_again() -> None:
    budget = alone(HandClock())
    await budget.reserve(100)

    await budget.refund(25)

    assert await budget.reserve(25) == 0
    assert await budget.reserve(1) > 0


async def test_more_than_the_limit_never_fits() -> None:
    assert await alone(HandClock()).reserve(101) == 60


async def test_processes_count_together(redis_store: Callable[[], SharedStore]) -> None:
    budgets = [WeightBudget(name="x", per_min=100, scripts=redis_store()) for _ in range(2)]

    waits = await asyncio.gather(*(budgets[turn % 2].reserve(7) for turn in range(40)))

    assert sum(wait_s == 0 for wait_s in waits) == 14
    assert all(0 <= wait_s <= 61 for wait_s in waits)


async def test_a_refund_reaches_other_processes(redis_store: Callable[[], SharedStore]) -> None:
    one, other = (WeightBudget(name="x", per_min=100, scripts=redis_store()) for _ in range(2))
    await one.reserve(100)
    refused = await other.reserve(30)

    await one.refund(30)

    assert refused > 50
    assert await other.reserve(30) == 0
    assert await other.reserve(1) > 0


async def test_what_was_spent_together_still_counts_alone(
    redis_store: Callable[[], SharedStore],
) -> None:
    store = redis_store()
    budget = WeightBudget(name="x", per_min=100, scripts=store)
    await budget.reserve(45)
    store._silent_until = float("inf")

    assert await budget.reserve(6) > 0
    assert await budget.reserve(5) == 0
