"""What a venue lets us spend: weight in any sixty seconds, counted for all processes together.

Seconds are the slots of the count. A bucket that refills would let twice its size through in its
first minute; a sliding window never does.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from markets.types import Scripts

WINDOW_S = 60
KEPT_S = WINDOW_S + 1  # a slot's weight may have been spent at its very end
MAX_WAIT_S = 60.0

# KEYS: window; ARGV: weight, limit. Returns the seconds to wait, 0 if the weight was taken.
RESERVE = """
local now = tonumber(redis.call('TIME')[1])
local slots, used = {}, 0
local flat = redis.call('HGETALL', KEYS[1])
for i = 1, #flat, 2 do
  local at, weight = tonumber(flat[i]), tonumber(flat[i + 1])
  if at <= now - 61 then redis.call('HDEL', KEYS[1], flat[i])
  else used = used + weight; slots[#slots + 1] = {at, weight} end
end
local weight, limit = tonumber(ARGV[1]), tonumber(ARGV[2])
if used + weight <= limit then
  redis.call('HINCRBY', KEYS[1], now, weight)
  redis.call('EXPIRE', KEYS[1], 120)
  return 0
end
table.sort(slots, function(a, b) return a[1] < b[1] end)
for _, slot in ipairs(slots) do
  used = used - slot[2]
  if used + weight <= limit then return slot[1] + 61 - now end
end
return 60
"""

# KEYS: window; ARGV: weight.
REFUND = """
redis.call('HINCRBY', KEYS[1], redis.call('TIME')[1], -tonumber(ARGV[1]))
redis.call('EXPIRE', KEYS[1], 120)
return 1
"""


class Window:
    """The same count inside one process."""

    def __init__(self) -> None:
        self._slots: dict[int, int] = {}

    def reserve(self, weight: int, *, limit: int, now_s: int) -> float:
        """Take ``weight`` and return 0, or return the seconds until it may fit."""
        self._slots = {at: spent for at, spent in self._slots.items() if at > now_s - KEPT_S}
        used = sum(self._slots.values())
        if used + weight <= limit:
            self.add(weight, now_s=now_s)
            return 0.0
        for at in sorted(self._slots):
            used -= self._slots[at]
            if used + weight <= limit:
                return float(at + KEPT_S - now_s)
        return MAX_WAIT_S

    def add(self, weight: int, *, now_s: int) -> None:
        """Count ``weight``, which is negative for a refund."""
        self._slots[now_s] = self._slots.get(now_s, 0) + weight


class WeightBudget:
    """The weight that all processes may spend on one provider in any sixty seconds.

    While they cannot count together, each process keeps to half: a few of them share one address.
    """

    def __init__(
        self,
        *,
        name: str,
        per_min: int,
        scripts: Scripts,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._key = f"{name}:weight"
        self._per_min = per_min
        self._scripts = scripts
        self._clock = clock
        self._own = Window()

    async def reserve(self, weight: int) -> float:
        """Take ``weight`` and return 0, or return the seconds until it may fit."""
        answer = await self._scripts.script(RESERVE, key=self._key, args=(weight, self._per_min))
        now_s = int(self._clock())
        if not isinstance(answer, int):
            return self._own.reserve(weight, limit=self._per_min // 2, now_s=now_s)
        if answer == 0:
            self._own.add(weight, now_s=now_s)
        return float(answer)

    async def refund(self, weight: int) -> None:
        """Give back weight that was taken and not spent."""
        self._own.add(-weight, now_s=int(self._clock()))
        await self._scripts.script(REFUND, key=self._key, args=(weight,))
