from __future__ import annotations

import pytest
from redis import Redis

from access import budget
from access.budget import Budget, Limit, LocalBuckets, Verdict
from pipeline import queue

LIMIT = Limit(name="writes", per_min=60, burst=3)
START = 1_768_478_400.0


def take(bucket: Budget | LocalBuckets, *, at_s: float, whose: str = "a") -> Verdict:
    return bucket.take(whose=whose, limit=LIMIT, now_s=START + at_s)


@pytest.fixture(params=["redis", "local"])
def bucket(request: pytest.FixtureRequest, redis_url: str) -> Budget | LocalBuckets:
    """The same arithmetic must hold in Redis and in this process."""
    return LocalBuckets() if request.param == "local" else Budget()


def test_a_burst_passes_and_the_next_call_waits(bucket: Budget | LocalBuckets) -> None:
    verdicts = [take(bucket, at_s=0) for _ in range(4)]

    assert [verdict.allowed for verdict in verdicts] == [True, True, True, False]
    assert [verdict.tokens for verdict in verdicts] == [2, 1, 0, 0]
    assert verdicts[-1].wait_s == pytest.approx(1.0)


def test_of_calls_that_come_together_the_first_ones_pass(bucket: Budget | LocalBuckets) -> None:
    verdicts = bucket.take_many(whose="a", limit=LIMIT, now_s=START, calls=5)
    after = take(bucket, at_s=0)

    assert [verdict.allowed for verdict in verdicts] == [True, True, True, False, False]
    assert [verdict.tokens for verdict in verdicts] == [2, 1, 0, 0, 0]
    assert not after.allowed


def test_tokens_come_back_at_the_rate(bucket: Budget | LocalBuckets) -> None:
    for _ in range(3):
        take(bucket, at_s=0)

    assert not take(bucket, at_s=0.9).allowed
    assert take(bucket, at_s=1.0).allowed
    assert not take(bucket, at_s=1.5).allowed
    assert take(bucket, at_s=2.0).allowed


def test_a_refused_call_costs_nothing(bucket: Budget | LocalBuckets) -> None:
    for _ in range(3):
        take(bucket, at_s=0)
    for _ in range(50):
        take(bucket, at_s=0.5)

    assert take(bucket, at_s=1.0).allowed


def test_a_bucket_never_holds_more_than_its_burst(bucket: Budget | LocalBuckets) -> None:
    take(bucket, at_s=0)

    verdicts = [take(bucket, at_s=3600).allowed for _ in range(4)]

    assert verdicts == [True, True, True, False]


def test_a_clock_that_was_set_back_earns_nothing(bucket: Budget | LocalBuckets) -> None:
    for _ in range(3):
        take(bucket, at_s=100)

    assert not take(bucket, at_s=0).allowed
    assert not take(bucket, at_s=100.5).allowed
    assert take(bucket, at_s=101).allowed


def test_a_clock_that_was_set_back_costs_nothing(bucket: Budget | LocalBuckets) -> None:
    take(bucket, at_s=100)

    allowed = [take(bucket, at_s=at_s).allowed for at_s in (0, 100, 100)]

    assert allowed == [True, True, False]


def test_owners_do_not_share_a_bucket(bucket: Budget | LocalBuckets) -> None:
    for _ in range(3):
        take(bucket, at_s=0)

    assert not take(bucket, at_s=0).allowed
    assert take(bucket, at_s=0, whose="b").allowed


def test_two_processes_share_what_redis_counts(redis_url: str) -> None:
    first, second = Budget(), Budget()

    allowed = [take(either, at_s=0).allowed for either in (first, second) * 2]

    assert allowed == [True, True, True, False]


def test_reads_and_writes_have_their_own_buckets(redis_url: str) -> None:
    reads = Limit(name="reads", per_min=60, burst=3)
    shared = Budget()
    for _ in range(3):
        take(shared, at_s=0)

    assert shared.take(whose="a", limit=reads, now_s=START).allowed


def test_buckets_leave_redis_when_they_are_full_again(redis_url: str) -> None:
    take(Budget(), at_s=0)

    left_ms = queue.redis_client().pttl(f"{budget.PREFIX}writes:a")

    assert 0 < left_ms <= 2000


def test_rubbish_in_redis_does_not_lift_the_limit(redis_url: str) -> None:
    queue.redis_client().set(f"{budget.PREFIX}writes:a", "rubbish")

    allowed = [take(Budget(), at_s=0).allowed for _ in range(1)]

    assert allowed == [True]
    shared = Budget()
    assert [take(shared, at_s=0).allowed for _ in range(4)] == [True, True, True, False]


def test_without_redis_this_process_counts_and_asks_redis_once(
    no_redis: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0
    client = queue.redis_client

    def counted() -> Redis:
        nonlocal asked
        asked += 1
        return client()

    monkeypatch.setattr(budget, "redis_client", counted)
    alone = Budget()

    allowed = [take(alone, at_s=0).allowed for _ in range(4)]

    assert allowed == [True, True, True, False]
    assert asked == 1


def test_the_local_store_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "LOCAL_BUCKETS_MAX", 2)
    alone = LocalBuckets()
    for _ in range(3):
        take(alone, at_s=0, whose="a")
    for whose in ("b", "c"):
        take(alone, at_s=0, whose=whose)

    assert take(alone, at_s=0, whose="a").allowed  # the oldest was forgotten to make room


def test_the_headers_say_what_is_left() -> None:
    passed = Verdict(limit=LIMIT, allowed=True, tokens=1.5).headers()
    refused = Verdict(limit=LIMIT, allowed=False, tokens=0.25).headers()

    assert passed == {
        "RateLimit-Policy": '"writes";q=60;w=60;burst=3',
        "RateLimit": '"writes";r=1;t=2',
    }
    assert refused["RateLimit"] == '"writes";r=0;t=3'
    assert refused["Retry-After"] == "1"
