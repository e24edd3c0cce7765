"""How the providers are doing."""

from __future__ import annotations

import time

from django.conf import settings

from markets import parsing
from markets.breaker import Circuit, circuit_key, circuit_of, own_circuit
from markets.cache import PREFIX
from markets.types import CircuitPhase, ProviderState
from pipeline.queue import RedisError, redis_client


def provider_states() -> tuple[ProviderState, ...]:
    """Return the state of every provider by name: the shared one, else what this process knows."""
    names = sorted(settings.PROVIDERS)
    now_ms = int(time.time() * 1000)
    circuits = zip(names, _circuits(names), strict=True)
    return tuple(_state(name, circuit, now_ms=now_ms) for name, circuit in circuits)


def _circuits(names: list[str]) -> list[Circuit]:
    try:
        texts = redis_client().mget([PREFIX + circuit_key(name) for name in names])
    except RedisError:
        return [own_circuit(name) for name in names]
    return [circuit_of(text) if text else Circuit() for text in texts]


def _state(name: str, circuit: Circuit, *, now_ms: int) -> ProviderState:
    phase = circuit.phase(now_ms=now_ms)
    return ProviderState(
        name=name,
        phase=phase,
        open_until=None if phase is CircuitPhase.CLOSED else parsing.moment(circuit.open_until_ms),
        faults_in_row=circuit.faults_in_row,
        reason=circuit.reason,
    )
