from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from markets.breaker import (
    PROBE_MS,
    Breaker,
    Circuit,
    Verdict,
    admitted,
    circuit_of,
    circuit_text,
    judged,
)
from markets.cache import SharedStore
from markets.types import CircuitPhase
from tests.markets.clocks import HandClock

NOW = 1_800_000_000_000


def after(verdicts: str, *, start: Circuit | None = None, every_ms: int = 1_000) -> Circuit:
    """Return the circuit after calls that were good (.) or faults (x)."""
    circuit = start or Circuit()
    for step, letter in enumerate(verdicts):
        verdict = Verdict.GOOD if letter == "." else Verdict.FAULT
        circuit = judged(circuit, verdict, now_ms=NOW + step * every_ms, reason="down")
    return circuit


def wait_s(circuit: Circuit, *, after_ms: int) -> float:
    return admitted(circuit, now_ms=NOW + after_ms)[1]


@pytest.mark.parametrize(
    ("verdicts", "opens"),
    [
        ("xxxx", False),
        ("xxxxx", True),
        ("xxxx.xxxx", False),
        ("x.x.x.x.x.x.x.x.x.x", False),
        ("x.x.x.x.x.x.x.x.x.x.x", True),
        ("x..x..x..x..x..x..x..x..", False),
    ],
)
def test_it_opens_after_five_in_a_row_or_half_of_twenty(verdicts: str, opens: bool) -> None:
    assert bool(after(verdicts).open_until_ms) is opens


def test_faults_of_more_than_a_minute_ago_do_not_count_in_the_sample() -> None:
    assert not after("x." * 30, every_ms=4_000).open_until_ms


def test_open_it_refuses_and_says_how_long() -> None:
    circuit = after("xxxxx", every_ms=0)

    assert wait_s(circuit, after_ms=0) == 30
    assert wait_s(circuit, after_ms=29_000) == 1


def test_after_the_wait_one_probe_goes_and_the_others_wait() -> None:
    circuit = after("xxxxx", every_ms=0)

    probing, first_s = admitted(circuit, now_ms=NOW + 30_000)
    same, second_s = admitted(probing, now_ms=NOW + 31_000)

    assert first_s == 0
    assert second_s == PROBE_MS / 1000 - 1
    assert same == probing
    assert probing.phase(now_ms=NOW + 31_000) is CircuitPhase.PROBING


def test_a_probe_that_never_comes_back_is_replaced() -> None:
    probing, _ = admitted(after("xxxxx", every_ms=0), now_ms=NOW + 30_000)

    assert admitted(probing, now_ms=NOW + 30_000 + PROBE_MS)[1] == 0


def test_a_good_probe_closes_and_forgets() -> None:
    probing, _ = admitted(after("xxxxx", every_ms=0), now_ms=NOW + 30_000)

    closed = judged(probing, Verdict.GOOD, now_ms=NOW + 31_000)

    assert closed == Circuit()


def test_a_failed_probe_opens_again_at_once() -> None:
    probing, _ = admitted(after("xxxxx", every_ms=0), now_ms=NOW + 30_000)

    again = judged(probing, Verdict.FAULT, now_ms=NOW + 31_000)

    assert wait_s(again, after_ms=31_000) == 30


def test_calls_from_before_it_opened_change_nothing() -> None:
    circuit = after("xxxxx", every_ms=0)

    good = judged(circuit, Verdict.GOOD, now_ms=NOW + 5_000)
    fault = judged(circuit, Verdict.FAULT, now_ms=NOW + 5_000)

    assert good.open_until_ms == fault.open_until_ms == circuit.open_until_ms


def test_a_rate_limit_opens_at_once_for_as_long_as_it_says() -> None:
    circuit = judged(Circuit(), Verdict.LIMITED, now_ms=NOW, retry_after_s=17)

    assert wait_s(circuit, after_ms=0) == 17


def test_a_rate_limit_never_shortens_the_wait() -> None:
    circuit = judged(after("xxxxx", every_ms=0), Verdict.LIMITED, now_ms=NOW, retry_after_s=1)

    assert wait_s(circuit, after_ms=0) == 30


def test_rate_limits_without_a_word_wait_longer_each_time_up_to_a_minute() -> None:
    circuit, waits = Circuit(), []
    moment = NOW
    for _ in range(8):
        circuit = judged(circuit, Verdict.LIMITED, now_ms=moment)
        waits.append((circuit.open_until_ms - moment) / 1000)
        moment = circuit.open_until_ms

    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    assert all(later >= earlier for earlier, later in pairwise(waits))


def test_a_circuit_comes_back_as_it_was_written_down() -> None:
    circuit = after("x.xx")

    assert circuit_of(circuit_text(circuit)) == circuit


@pytest.mark.parametrize("text", ["", "null", "[]", "{", b"\xff", '{"outcomes": 3}', '{"row": 1}'])
def test_what_is_no_circuit_is_read_as_a_fresh_one(text: str | bytes) -> None:
    assert circuit_of(text) == Circuit()


async def test_alone_a_process_keeps_its_own_circuit() -> None:
    clock = HandClock()
    breaker = Breaker(name="x", scripts=SharedStore(), clock=clock)
    for _ in range(5):
        await breaker.judge(Verdict.FAULT)

    refused_s = await breaker.admit()
    clock.seconds += 30

    assert refused_s == 30
    assert await breaker.admit() == 0
    assert await breaker.admit() > 0


async def test_processes_share_a_circuit(redis_store: Callable[[], SharedStore]) -> None:
    one, other = (Breaker(name="x", scripts=redis_store()) for _ in range(2))

    for turn in range(5):
        await (one, other)[turn % 2].judge(Verdict.FAULT, reason="down")

    assert 29 < await one.admit() <= 30
    assert 29 < await other.admit() <= 30


async def test_only_one_process_probes(redis_store: Callable[[], SharedStore]) -> None:
    breakers = [Breaker(name="x", scripts=redis_store()) for _ in range(3)]
    await breakers[0].judge(Verdict.LIMITED, retry_after_s=0)

    waits = [await breaker.admit() for breaker in breakers]

    assert sorted(wait_s == 0 for wait_s in waits) == [False, False, True]
