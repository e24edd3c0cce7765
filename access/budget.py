"""Token buckets: so many calls a minute, so many at once, counted for all web processes together.

The counts live in Redis. While Redis is away each process counts by itself, so a limit may then
be generous by the number of processes, but never absent, and no call waits for Redis twice.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from threading import Lock
from typing import Any

from pipeline.queue import RedisError, redis_client

logger = logging.getLogger(__name__)

PREFIX = "lens:bucket:"
CALLS_PREFIX = "lens:calls:"
CALLS_HOURS = 24
HOUR_S = 3_600
SILENCE_AFTER_FAULT_S = 1.0
LOCAL_BUCKETS_MAX = 10_000

# Every call is counted in its hour, allowed or not. A clock that lags (another machine's, or one
# that was set back) earns nothing and costs nothing: the bucket keeps the latest time it has seen.
# A refused call takes nothing. Of calls that come together, the first ones are allowed.
TAKE = """
local rate, burst, now = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local calls = tonumber(ARGV[4])
local kept = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens, at = tonumber(kept[1]) or burst, tonumber(kept[2]) or now
tokens = math.min(burst, tokens + math.max(0, now - at) * rate)
redis.call('INCRBY', KEYS[2], calls)
redis.call('EXPIRE', KEYS[2], 90000)
local allowed = math.min(calls, math.floor(tokens))
if allowed > 0 then
  tokens = tokens - allowed
  redis.call('HSET', KEYS[1], 'tokens', tostring(tokens), 'at', tostring(math.max(now, at)))
  redis.call('PEXPIRE', KEYS[1], math.ceil((burst - tokens) / rate * 1000) + 1000)
end
return {allowed, tostring(tokens)}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """How fast a bucket fills and how much it holds; ``name`` is shown to clients."""

    name: str
    per_min: int
    burst: int

    @property
    def per_s(self) -> float:
        """Tokens that come back each second."""
        return self.per_min / 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether a call may pass, and what its bucket holds afterwards."""

    limit: Limit
    allowed: bool
    tokens: float

    @property
    def wait_s(self) -> float:
        """Seconds until a call would pass; 0 if one would now."""
        return max(0.0, (1 - self.tokens) / self.limit.per_s)

    def headers(self) -> dict[str, str]:
        """Return the answer's headers (draft-ietf-httpapi-ratelimit-headers).

        ``r`` calls are left, ``t`` seconds until the bucket is full again.
        """
        limit = self.limit
        full_in_s = math.ceil((limit.burst - self.tokens) / limit.per_s)
        shown = {
            "RateLimit-Policy": f'"{limit.name}";q={limit.per_min};w=60;burst={limit.burst}',
            "RateLimit": f'"{limit.name}";r={math.floor(self.tokens)};t={full_in_s}',
        }
        if not self.allowed:
            shown["Retry-After"] = str(max(1, math.ceil(self.wait_s)))
        return shown


@dataclass(slots=True)
class LocalBuckets:
    """Buckets of this process alone, for the time without Redis."""

    _kept: dict[str, tuple[float, float]] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def take(self, *, whose: str, limit: Limit, now_s: float) -> Verdict:
        """Take one token if there is one."""
        [verdict] = self.take_many(whose=whose, limit=limit, now_s=now_s, calls=1)
        return verdict

    def take_many(self, *, whose: str, limit: Limit, now_s: float, calls: int) -> list[Verdict]:
        """Take a token for each of some calls, as far as there are any."""
        with self._lock:
            tokens, at = self._kept.get(whose, (float(limit.burst), now_s))
            tokens = min(limit.burst, tokens + max(0.0, now_s - at) * limit.per_s)
            allowed = min(calls, math.floor(tokens))
            if allowed:
                tokens -= allowed
                self._keep(whose, (tokens, max(now_s, at)))
        return _verdicts(limit, calls=calls, allowed=allowed, left=tokens)

    def _keep(self, whose: str, bucket: tuple[float, float]) -> None:
        self._kept.pop(whose, None)
        if len(self._kept) >= LOCAL_BUCKETS_MAX:
            del self._kept[next(iter(self._kept))]
        self._kept[whose] = bucket

    def clear(self) -> None:
        """Forget every count."""
        with self._lock:
            self._kept.clear()


class Budget:
    """All buckets of the house, shared through Redis when it is there."""

    def __init__(self) -> None:
        self._local = LocalBuckets()
        self._silent_until = 0.0

    def take(self, *, whose: str, limit: Limit, now_s: float) -> Verdict:
        """Take one token from the bucket of ``whose`` if there is one; never raises."""
        [verdict] = self.take_many(whose=whose, limit=limit, now_s=now_s, calls=1)
        return verdict

    def take_many(self, *, whose: str, limit: Limit, now_s: float, calls: int) -> list[Verdict]:
        """Take a token for each of some calls that came together, in one round trip."""
        name = f"{limit.name}:{whose}"
        if time.monotonic() >= self._silent_until:
            try:
                allowed, left = self._take_shared(
                    name, limit, whose=whose, now_s=now_s, calls=calls
                )
            except RedisError as error:
                self._silent_until = time.monotonic() + SILENCE_AFTER_FAULT_S
                logger.warning("limits are counted by this process alone: %s", error)
            else:
                return _verdicts(limit, calls=calls, allowed=allowed, left=left)
        return self._local.take_many(whose=name, limit=limit, now_s=now_s, calls=calls)

    def _take_shared(
        self, name: str, limit: Limit, *, whose: str, now_s: float, calls: int
    ) -> tuple[int, float]:
        take = _take_script(redis_client())
        arguments = (repr(limit.per_s), limit.burst, repr(now_s), calls)
        keys = [PREFIX + name, _calls_key(whose, int(now_s // HOUR_S))]
        allowed, tokens = take(keys=keys, args=arguments)
        return int(allowed), float(tokens)

    def count_calls(self, *, owners: Sequence[str], now_s: float) -> dict[str, int]:
        """Return how often each owner called within the last 24 hours; nothing without Redis."""
        hour = int(now_s // HOUR_S)
        keys = [_calls_key(owner, hour - ago) for owner in owners for ago in range(CALLS_HOURS)]
        try:
            counts = [int(count or 0) for count in redis_client().mget(keys)] if keys else []
        except RedisError as error:
            logger.warning("calls cannot be counted: %s", error)
            return {}
        return {
            owner: sum(counts[at * CALLS_HOURS : (at + 1) * CALLS_HOURS])
            for at, owner in enumerate(owners)
        }

    def clear(self) -> None:
        """Forget what this process counted by itself and look for Redis again."""
        self._local.clear()
        self._silent_until = 0.0


@cache
def _take_script(client: Any) -> Any:
    return client.register_script(TAKE)


def _verdicts(limit: Limit, *, calls: int, allowed: int, left: float) -> list[Verdict]:
    """Return what each of some calls is told, in order, of which the first ones passed."""
    return [
        Verdict(limit=limit, allowed=at < allowed, tokens=left + max(0, allowed - 1 - at))
        for at in range(calls)
    ]


def _calls_key(whose: str, hour: int) -> str:
    return f"{CALLS_PREFIX}{whose}:{hour}"


BUDGET = Budget()
