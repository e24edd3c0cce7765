from __future__ import annotations

from datetime import timedelta
from random import Random

import pytest

from pipeline.retry import backoff


def wait_ms(attempt: int, after_s: float | None = None, seed: int = 1) -> float:
    wait = backoff(attempt=attempt, base_ms=2_000, max_ms=30_000, after_s=after_s, rng=Random(seed))
    return wait / timedelta(milliseconds=1)


@pytest.mark.parametrize(
    ("attempt", "longest"), [(1, 2_000), (2, 4_000), (4, 16_000), (5, 30_000), (60, 30_000)]
)
def test_the_wait_doubles_up_to_its_ceiling(attempt: int, longest: int) -> None:
    waits = [wait_ms(attempt, seed=seed) for seed in range(50)]

    assert all(longest / 2 <= wait <= longest for wait in waits)
    assert max(waits) - min(waits) > longest / 10


def test_a_wait_that_the_other_side_named_is_kept_to_the_letter() -> None:
    assert wait_ms(1, after_s=7.5) == 7_500


def test_a_named_wait_in_the_past_means_now() -> None:
    assert wait_ms(3, after_s=-2) == 0
