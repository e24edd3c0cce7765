"""When a provider that fails is left alone, and when it is tried again.

Opens after five faults in a row, or when half of the last twenty calls within a minute failed;
then one probe after thirty seconds. A rate limit opens at once, for as long as the venue says.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from enum import Enum, auto

from markets.types import CircuitPhase, Scripts

FAULTS_IN_ROW = 5
SAMPLE = 20
SAMPLE_MS = 60_000
SAMPLE_FAULTS = 10
OPEN_MS = 30_000
PROBE_MS = 30_000  # a probe whose process died is given up after this
MAX_LIMITED_MS = 60_000  # without a word from the venue: 1 s, 2 s, 4 s ... up to this
KEPT_MS = 900_000
SWAP_TRIES = 5

# KEYS: circuit. Returns its text ('' if there is none) and the time in ms.
READ = """
local t = redis.call('TIME')
return {redis.call('GET', KEYS[1]) or '', t[1] * 1000 + math.floor(t[2] / 1000)}
"""

# KEYS: circuit; ARGV: text it must have, new text, ms to keep it. Returns 1 if it was changed.
SWAP = """
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"""


class Verdict(Enum):
    """What a call said about the provider's health."""

    GOOD = auto()
    FAULT = auto()
    LIMITED = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Circuit:
    """What is remembered of one provider; times in unix milliseconds."""

    outcomes: tuple[tuple[int, bool], ...] = ()  # (time, was good), oldest first
    faults_in_row: int = 0
    limits_in_row: int = 0
    open_until_ms: int = 0  # 0: closed
    probe_until_ms: int = 0
    reason: str = ""

    def phase(self, *, now_ms: int) -> CircuitPhase:
        """Return whether the provider is asked now."""
        if not self.open_until_ms:
            return CircuitPhase.CLOSED
        return CircuitPhase.OPEN if now_ms < self.open_until_ms else CircuitPhase.PROBING


def admitted(circuit: Circuit, *, now_ms: int) -> tuple[Circuit, float]:
    """Return the circuit after a caller asks to pass, and the seconds it must wait (0: go)."""
    phase = circuit.phase(now_ms=now_ms)
    if phase is CircuitPhase.CLOSED:
        return circuit, 0.0
    if phase is CircuitPhase.OPEN:
        return circuit, (circuit.open_until_ms - now_ms) / 1000
    if now_ms < circuit.probe_until_ms:
        return circuit, (circuit.probe_until_ms - now_ms) / 1000
    return replace(circuit, probe_until_ms=now_ms + PROBE_MS), 0.0


def judged(
    circuit: Circuit,
    verdict: Verdict,
    *,
    now_ms: int,
    retry_after_s: float | None = None,
    reason: str = "",
) -> Circuit:
    """Return the circuit after a call ended."""
    if verdict is Verdict.GOOD:
        return _after_good(circuit, now_ms=now_ms)
    limited = verdict is Verdict.LIMITED
    failed = replace(
        circuit,
        outcomes=_recent(circuit, now_ms=now_ms, good=False),
        faults_in_row=circuit.faults_in_row + 1,
        limits_in_row=circuit.limits_in_row + 1 if limited else 0,
        probe_until_ms=0,
        reason=reason[:200],
    )
    if limited:
        until_ms = now_ms + _limited_ms(failed, retry_after_s)
        return replace(failed, open_until_ms=max(circuit.open_until_ms, until_ms))
    if circuit.phase(now_ms=now_ms) is CircuitPhase.OPEN:
        return failed  # a call from before it opened
    if _is_failing(failed) or circuit.open_until_ms:
        return replace(failed, open_until_ms=now_ms + OPEN_MS)
    return failed


def _after_good(circuit: Circuit, *, now_ms: int) -> Circuit:
    outcomes = _recent(circuit, now_ms=now_ms, good=True)
    if circuit.phase(now_ms=now_ms) is CircuitPhase.OPEN:
        return replace(circuit, outcomes=outcomes)
    if circuit.open_until_ms:
        return Circuit()  # the probe came back: nothing is held against the provider
    return replace(circuit, outcomes=outcomes, faults_in_row=0, limits_in_row=0, reason="")


def _recent(circuit: Circuit, *, now_ms: int, good: bool) -> tuple[tuple[int, bool], ...]:
    kept = [each for each in circuit.outcomes if each[0] > now_ms - SAMPLE_MS]
    return (*kept, (now_ms, good))[-SAMPLE:]


def _is_failing(circuit: Circuit) -> bool:
    faults = sum(not good for _, good in circuit.outcomes)
    sampled = len(circuit.outcomes) == SAMPLE and faults >= SAMPLE_FAULTS
    return sampled or circuit.faults_in_row >= FAULTS_IN_ROW


def _limited_ms(circuit: Circuit, retry_after_s: float | None) -> int:
    if retry_after_s is not None:
        return int(retry_after_s * 1000)
    return int(min(MAX_LIMITED_MS, 1000 * 2 ** min(circuit.limits_in_row - 1, 10)))


def circuit_text(circuit: Circuit) -> str:
    """Return the circuit as JSON."""
    return json.dumps(asdict(circuit), separators=(",", ":"))


def circuit_of(text: str | bytes) -> Circuit:
    """Return the circuit that JSON holds; a fresh one if it holds something else."""
    try:
        fields = json.loads(text)
        return Circuit(
            outcomes=tuple((int(at), bool(good)) for at, good in fields["outcomes"]),
            faults_in_row=int(fields["faults_in_row"]),
            limits_in_row=int(fields["limits_in_row"]),
            open_until_ms=int(fields["open_until_ms"]),
            probe_until_ms=int(fields["probe_until_ms"]),
            reason=str(fields["reason"]),
        )
    except (ValueError, TypeError, KeyError):
        return Circuit()


def circuit_key(name: str) -> str:
    """Return where a provider's circuit is kept."""
    return f"{name}:circuit"


class Breaker:
    """The circuit of one provider: shared where there is a shared place, else this process's."""

    def __init__(
        self, *, name: str, scripts: Scripts, clock: Callable[[], float] = time.time
    ) -> None:
        self.name = name
        self._scripts = scripts
        self._clock = clock

    async def admit(self) -> float:
        """Return 0 if the provider may be asked now, else the seconds until it may be."""
        return await self._change(lambda circuit, now_ms: admitted(circuit, now_ms=now_ms))

    async def judge(
        self, verdict: Verdict, *, retry_after_s: float | None = None, reason: str = ""
    ) -> None:
        """Remember how a call ended."""
        await self._change(
            lambda circuit, now_ms: (
                judged(circuit, verdict, now_ms=now_ms, retry_after_s=retry_after_s, reason=reason),
                0.0,
            )
        )

    async def _change(self, change: Callable[[Circuit, int], tuple[Circuit, float]]) -> float:
        wait_s = 0.0
        for _ in range(SWAP_TRIES):
            before, text, now_ms = await self._read()
            after, wait_s = change(before, now_ms)
            if after == before or await self._swap(text, after):
                break
        return wait_s

    async def _read(self) -> tuple[Circuit, bytes | None, int]:
        """Return the circuit, its shared text (None: nothing is shared now) and the time."""
        answer = await self._scripts.script(READ, key=circuit_key(self.name), args=())
        if not isinstance(answer, list):
            return own_circuit(self.name), None, int(self._clock() * 1000)
        text = bytes(answer[0])
        return circuit_of(text), text, int(answer[1])

    async def _swap(self, text: bytes | None, circuit: Circuit) -> bool:
        if text is not None:
            changed = await self._scripts.script(
                SWAP, key=circuit_key(self.name), args=(text, circuit_text(circuit), KEPT_MS)
            )
            if changed == 0:
                return False
        _OWN[self.name] = circuit
        return True


_OWN: dict[str, Circuit] = {}


def own_circuit(name: str) -> Circuit:
    """Return what this process knows of a provider."""
    return _OWN.get(name, Circuit())
