"""The trading policy: what no model's advice may exceed; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

from enrichment.types import BadDefinition, as_number

BUILT_IN: Mapping[str, Any] = MappingProxyType(
    {
        "min_hold_minutes": 15,
        "one_direction_only": True,
        "max_trades_per_hour": 4,
        "max_position_size_pct": 25,
        "max_leverage": 10,
        "symbols": {
            "BTC": {"min_hold_minutes": 10, "max_position_size_pct": 30, "max_leverage": 20},
            "ETH": {"min_hold_minutes": 10, "max_position_size_pct": 30, "max_leverage": 20},
            "SOL": {"max_position_size_pct": 20},
            "DOGE": {"min_hold_minutes": 30, "max_position_size_pct": 10, "max_leverage": 5},
        },
    }
)


@dataclass(frozen=True, slots=True)
class Range:
    """The values that one constraint may take."""

    least: float
    most: float
    whole: bool

    def fault(self, value: object) -> str | None:
        """Return what is wrong with ``value``, if anything."""
        number = as_number(value, whole=self.whole)
        if number is not None and self.least <= number <= self.most:
            return None
        kind = "whole number" if self.whole else "number"
        return f"must be a {kind} from {self.least:g} to {self.most:g}, was {value!r}"


RANGES: Mapping[str, Range] = {
    "min_hold_minutes": Range(0, 10_080, whole=True),
    "max_trades_per_hour": Range(0, 1_000, whole=True),
    "max_position_size_pct": Range(0, 100, whole=False),
    "max_leverage": Range(1, 200, whole=False),
}
SWITCHES = ("one_direction_only",)
CONSTRAINTS = (*RANGES, *SWITCHES)


@dataclass(frozen=True, slots=True, kw_only=True)
class TradingPolicy:
    """The constraints for every symbol, and what differs for some."""

    version: int
    everywhere: Mapping[str, Any]
    symbols: Mapping[str, Mapping[str, Any]]


def parse_policy(definition: Mapping[str, Any], *, version: int) -> TradingPolicy:
    """Return the policy that a definition describes; what it leaves out is as built in.

    :raises BadDefinition: if it breaks a rule.
    """
    given = {key: value for key, value in definition.items() if key != "symbols"}
    _check(given, path="")
    symbols = definition.get("symbols", {})
    if not isinstance(symbols, Mapping):
        raise BadDefinition("symbols", f"must be an object, was {symbols!r}")
    for symbol, override in symbols.items():
        if not isinstance(override, Mapping):
            raise BadDefinition(f"symbols.{symbol}", f"must be an object, was {override!r}")
        _check(override, path=f"symbols.{symbol}.")
    return TradingPolicy(
        version=version,
        everywhere={name: given.get(name, BUILT_IN[name]) for name in CONSTRAINTS},
        symbols={symbol.upper(): dict(override) for symbol, override in symbols.items()},
    )


def constraints_for(policy: TradingPolicy, *, symbol: str) -> dict[str, Any]:
    """Return what no advice on ``symbol`` may exceed."""
    return {**policy.everywhere, **policy.symbols.get(symbol.upper(), {})}


def _check(given: Mapping[str, Any], *, path: str) -> None:
    for name, value in given.items():
        if name in RANGES:
            fault = RANGES[name].fault(value)
        elif name in SWITCHES:
            fault = None if isinstance(value, bool) else f"must be true or false, was {value!r}"
        else:
            near = get_close_matches(name, CONSTRAINTS, n=1, cutoff=0.0)[0]
            fault = f"no such constraint; did you mean {near!r}?"
        if fault:
            raise BadDefinition(f"{path}{name}", fault)
