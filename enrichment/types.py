"""Values of this room: what was asked, what the market answered, what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from markets.types import CandleSeries, Derivatives, OrderBook, Quote


class BadDefinition(ValueError):
    """A profile or a policy breaks a rule; the message starts with the path of the fault."""

    def __init__(self, path: str, fault: str) -> None:
        super().__init__(f"{path}: {fault}")
        self.path = path


def as_number(value: object, *, whole: bool) -> float | None:
    """Return a JSON value as a number, or None if it is none of that kind."""
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        return None
    return float(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How old and how far off things may be."""

    signal_age_s: float
    price_drift_bps: float
    stale_mid_s: float
    stale_book_s: float
    stale_derivatives_s: float
    stale_candle_multiplier: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One condition that a signal must meet, with what was measured against what."""

    gate: str
    value: float | str | None
    limit: float | str | None
    unit: str
    passed: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the gate as it is stored."""
        return {**self.reason(), "passed": self.passed}

    def reason(self) -> dict[str, Any]:
        """Return what a sender is told when this gate refuses."""
        return {"gate": self.gate, "value": self.value, "limit": self.limit, "unit": self.unit}


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityFlags:
    """What is wrong with the facts, as paths into the payload; ``notes`` are sentences."""

    missing_data: tuple[str, ...] = ()
    stale_data: tuple[str, ...] = ()
    out_of_range: tuple[str, ...] = ()
    provider_errors: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __add__(self, other: Self) -> QualityFlags:
        return QualityFlags(
            missing_data=self.missing_data + other.missing_data,
            stale_data=self.stale_data + other.stale_data,
            out_of_range=self.out_of_range + other.out_of_range,
            provider_errors=self.provider_errors + other.provider_errors,
            notes=self.notes + other.notes,
        )

    def to_dict(self) -> dict[str, list[str]]:
        """Return the flags as they are stored and sent."""
        return {
            "missing_data": list(self.missing_data),
            "stale_data": list(self.stale_data),
            "out_of_range": list(self.out_of_range),
            "provider_errors": list(self.provider_errors),
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What to ask the market for; ``candles`` counts bars by timeframe.

    Without the ``core`` candles there is nothing to judge by; everything else may be missing.
    """

    candles: Mapping[str, int] = field(default_factory=dict)
    core: frozenset[str] = frozenset()
    book: bool = False
    derivatives: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What the market answered; ``faults`` says by path why an answer is not there."""

    as_of: datetime
    quote: Quote
    candles: Mapping[str, CandleSeries] = field(default_factory=dict)
    book: OrderBook | None = None
    derivatives: Derivatives | None = None
    faults: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One part of the payload with what is wrong with it and where it comes from."""

    values: Mapping[str, Any] = field(default_factory=dict)
    flags: QualityFlags = field(default_factory=QualityFlags)
    provenance: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What gathering came to: everything that an enrichment row holds."""

    as_of: datetime
    provider: str
    simulated: bool
    profile: str
    profile_version: int
    policy_version: int
    gates: tuple[Gate, ...]
    payload: str = "{}"
    facts: Mapping[str, Any] = field(default_factory=dict)
    constraints: Mapping[str, Any] = field(default_factory=dict)
    quality_flags: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    provider_weight: int = 0
    duration_ms: int = 0

    @property
    def refused_by(self) -> Gate | None:
        """The first gate that the signal did not pass."""
        return next((gate for gate in self.gates if not gate.passed), None)
