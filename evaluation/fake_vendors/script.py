"""Which call goes wrong, and how: rules that are matched against each call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from evaluation.fake_vendors.asked import Asked, unit

BELOW_ANSWERS = frozenset({"hang", "drip", "html", "half_json", "redirect", "reset", "cut"})
IN_ANSWERS = frozenset(
    {"empty", "whitespace", "refusal", "blocked", "truncated", "half_answer", "fenced"}
    | {"wrong_types", "out_of_range", "extra_fields", "missing_field", "unknown_word"}
    | {"wrong_side", "ungrounded", "injected", "absurd_usage", "no_usage"}
)
QUOTA = "quota"
KINDS = BELOW_ANSWERS | IN_ANSWERS | {QUOTA}
FAULT_FIELDS = frozenset({"kind", "times", "retry_after", "every_ms"})
RULE_FIELDS = frozenset({"match", "faults", "rate", "seed", "latency", "gullible"})
MATCH_FIELDS = frozenset({"vendor", "model", "contains"})
LATENCY_FIELDS = frozenset({"ms", "spread_ms"})


class BadScript(ValueError):
    """A rule is not one that this server can follow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One way of going wrong, for ``times`` calls, or for all."""

    kind: str
    times: int | None = None
    retry_after: float | None = None
    every_ms: float = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What shall happen to one call."""

    fault: Fault | None = None
    latency_s: float = 0.0
    is_gullible: bool = False


@dataclass(slots=True, kw_only=True)
class Rule:
    """Faults, latency and manners for the calls that it matches.

    Without a rate the faults come one after another, each its number of times. With one, that
    share of the calls goes wrong, each in one of the ways; which calls, the seed and the calls
    themselves determine, not the order in which they come.
    """

    match: Mapping[str, str] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()
    rate: float | None = None
    seed: int = 0
    latency_ms: float | None = None
    spread_ms: float = 0.0
    is_gullible: bool = False
    spent: Counter[int] = field(default_factory=Counter)

    def matches(self, asked: Asked) -> bool:
        """Return whether the rule speaks of a call."""
        wanted = self.match
        return (
            wanted.get("vendor", asked.vendor) == asked.vendor
            and wanted.get("model", asked.model) == asked.model
            and wanted.get("contains", "") in asked.prompt
        )

    def fault_for(self, key: tuple[object, ...]) -> Fault | None:
        """Return how a matching call goes wrong, if it does, and count it."""
        left = [place for place, each in enumerate(self.faults) if self._is_left(place, each)]
        if not left:
            return None
        if self.rate is None:
            place = left[0]
        elif unit("rate", self.seed, *key) < self.rate:
            place = left[int(unit("which", self.seed, *key) * len(left))]
        else:
            return None
        self.spent[place] += 1
        return self.faults[place]

    def latency_for(self, key: tuple[object, ...]) -> float:
        """Return the seconds that a matching call waits."""
        return ((self.latency_ms or 0.0) + self.spread_ms * unit("wait", self.seed, *key)) / 1000

    def _is_left(self, place: int, fault: Fault) -> bool:
        return fault.times is None or self.spent[place] < fault.times


class Script:
    """The rules in force; the first one that has something to say about a call says it."""

    def __init__(self) -> None:
        self.rules: list[Rule] = []
        self._asked: Counter[tuple[str, str, str]] = Counter()

    def add(self, told: object) -> None:
        """Add one rule, or a list of them, as JSON tells it.

        :raises BadScript: if it is none.
        """
        rules = told if isinstance(told, list) else [told]
        self.rules += [parse_rule(rule) for rule in rules]

    def turn_of(self, asked: Asked) -> int:
        """Return the how-manieth call with this very prompt it is, and count it."""
        key = (asked.vendor, asked.model, asked.prompt)
        self._asked[key] += 1
        return self._asked[key]

    def plan(self, asked: Asked, turn: int) -> Plan:
        """Return what shall happen to a call."""
        rules = [rule for rule in self.rules if rule.matches(asked)]
        key = (asked.vendor, asked.model, asked.prompt, turn)
        slow = next((rule for rule in rules if rule.latency_ms is not None), None)
        fault = None
        for rule in rules:
            fault = fault or rule.fault_for(key)
        return Plan(
            fault=fault,
            latency_s=slow.latency_for(key) if slow else 0.0,
            is_gullible=any(rule.is_gullible for rule in rules),
        )


def parse_rule(told: object) -> Rule:
    """Return the rule that JSON tells.

    :raises BadScript: if it has fields or values that no rule has.
    """
    rule = _object(told, RULE_FIELDS, "a rule")
    latency = _object(rule.get("latency", {}), LATENCY_FIELDS, "latency")
    match = _object(rule.get("match", {}), MATCH_FIELDS, "match")
    rate = rule.get("rate")
    return Rule(
        match={name: str(value) for name, value in match.items()},
        faults=tuple(_fault(each) for each in _list(rule.get("faults", []))),
        rate=None if rate is None else _number(rate, "rate", most=1.0),
        seed=int(_number(rule.get("seed", 0), "seed")),
        latency_ms=_number(latency.get("ms", 0), "latency.ms") if latency else None,
        spread_ms=_number(latency.get("spread_ms", 0), "latency.spread_ms"),
        is_gullible=rule.get("gullible", False) is True,
    )


def _fault(told: object) -> Fault:
    fault = _object(told, FAULT_FIELDS, "a fault")
    kind = str(fault.get("kind", ""))
    is_status = kind.isdigit() and 400 <= int(kind) <= 599
    if kind not in KINDS and not is_status:
        known = ", ".join(sorted(KINDS))
        raise BadScript(f"kind must be a status from 400 to 599 or one of {known}, was {kind!r}")
    times, after = fault.get("times"), fault.get("retry_after")
    return Fault(
        kind=kind,
        times=None if times is None else int(_number(times, "times")),
        retry_after=None if after is None else _number(after, "retry_after"),
        every_ms=_number(fault.get("every_ms", 1000), "every_ms"),
    )


def _object(told: object, fields: frozenset[str], name: str) -> dict[str, Any]:
    if not isinstance(told, dict):
        raise BadScript(f"{name} must be an object, was {told!r}")
    beyond = sorted(set(told) - fields)
    if beyond:
        known = ", ".join(sorted(fields))
        raise BadScript(f"{name} has no field {beyond[0]!r}; it has {known}")
    return told


def _list(told: object) -> Sequence[object]:
    if not isinstance(told, list):
        raise BadScript(f"faults must be a list, was {told!r}")
    return told


def _number(told: object, name: str, *, most: float = 1e9) -> float:
    if isinstance(told, bool) or not isinstance(told, int | float) or not 0 <= told <= most:
        raise BadScript(f"{name} must be a number from 0 to {most:g}, was {told!r}")
    return float(told)
