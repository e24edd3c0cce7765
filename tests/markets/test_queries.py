from __future__ import annotations

from collections.abc import Callable

from pytest_django import Settings

from markets import queries
from markets.breaker import Breaker, Verdict
from markets.cache import SharedStore
from markets.types import CircuitPhase
from pipeline import queue


async def test_the_state_of_a_provider_is_the_shared_one(
    redis_store: Callable[[], SharedStore],
) -> None:
    breaker = Breaker(name="hyperliquid", scripts=redis_store())
    await breaker.judge(Verdict.LIMITED, retry_after_s=50, reason="asked too often (429)")

    states = {state.name: state for state in queries.provider_states()}

    assert set(states) >= {"hyperliquid", "recorded", "simulated"}
    assert states["simulated"].phase is CircuitPhase.CLOSED
    assert states["simulated"].open_until is None
    assert states["hyperliquid"].phase is CircuitPhase.OPEN
    assert states["hyperliquid"].open_until is not None
    assert states["hyperliquid"].reason == "asked too often (429)"
    assert states["hyperliquid"].faults_in_row == 1


async def test_without_redis_the_state_is_what_this_process_knows(
    settings: Settings,
) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    queue.redis_client.cache_clear()
    breaker = Breaker(name="hyperliquid", scripts=SharedStore())
    for _ in range(5):
        await breaker.judge(Verdict.FAULT, reason="the venue answered 500")

    states = {state.name: state for state in queries.provider_states()}
    queue.redis_client.cache_clear()

    assert states["hyperliquid"].phase is CircuitPhase.OPEN
    assert states["hyperliquid"].reason == "the venue answered 500"
