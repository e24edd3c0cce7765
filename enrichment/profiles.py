"""Feature profiles: which facts are gathered around a signal; pure.

A definition is plain JSON. ``extends`` names another profile: its lists are merged by name (an
indicator named again changes only the options given again), its other values are overridden.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from enrichment.types import BadDefinition, as_number
from quant.indicators import CATALOGUE, indicator_named
from quant.types import TIMEFRAMES

Definition = Mapping[str, Any]

MARKET_FIELDS = ("mid", "bid", "ask", "spread_bps", "price_drift_bps_from_entry")
DERIVATIVE_FIELDS = (
    "funding_rate",
    "predicted_funding",
    "open_interest",
    "oi_change_24h_pct",
    "mark_price",
    "oracle_price",
)
HISTORY_PER_WARM_UP = 4  # an average's start is forgotten by then; quant.indicators, warm_up
LEVELS_TIMEFRAME = "1h"
KEPT_PROFILES = 256
BARS_MAX = 5_000  # the most a venue tells at once

BUILT_INS: Mapping[str, Definition] = MappingProxyType(
    {
        "trend_follow_v1": {
            "timeframes": ["15m", "1h", "4h"],
            "indicators": [
                {"name": "ema", "options": {"periods": [9, 21, 50]}},
                {"name": "macd", "options": {"fast": 12, "slow": 26, "signal": 9}},
                {"name": "rsi", "options": {"period": 14}},
                {"name": "atr", "options": {"period": 14}},
            ],
            "market": ["mid", "spread_bps", "price_drift_bps_from_entry"],
        },
        "crypto_perps_v1": {
            "extends": "trend_follow_v1",
            "derivatives": list(DERIVATIVE_FIELDS),
        },
        "full_v1": {
            "extends": "crypto_perps_v1",
            "levels": {"lookback": 100, "sensitivity": 0.02, "most": 5},
            "book_imbalance_pct": [1, 2, 5],
        },
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class IndicatorUse:
    """One indicator of the catalogue with its options."""

    name: str
    options: Mapping[str, Any]

    def __hash__(self) -> int:
        return hash(self.name)  # a mapping has none, and few uses of one indicator differ


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelsUse:
    """How support and resistance are looked for; ``sensitivity`` is a fraction of price."""

    timeframe: str = LEVELS_TIMEFRAME
    lookback: int = 100
    sensitivity: float = 0.02
    most: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A feature profile with everything it extends built in.

    ``lineage`` names the versions that it was made of, itself first.
    """

    name: str
    version: int
    lineage: tuple[str, ...]
    timeframes: tuple[str, ...]
    indicators: tuple[IndicatorUse, ...]
    market: tuple[str, ...]
    derivatives: tuple[str, ...]
    levels: LevelsUse | None
    book_imbalance_pct: tuple[float, ...]

    def bars_needed(self) -> Mapping[str, int]:
        """Return how many closed candles to ask for by timeframe."""
        return _bars_needed(self)


@lru_cache(maxsize=KEPT_PROFILES)
def _bars_needed(profile: Profile) -> Mapping[str, int]:
    warm_ups = [
        indicator_named(use.name).warm_up(**use.options) * HISTORY_PER_WARM_UP
        for use in profile.indicators
    ]
    needed = dict.fromkeys(profile.timeframes, max([1, *warm_ups]))
    if profile.levels is not None:
        step = profile.levels.timeframe
        needed[step] = max(needed.get(step, 1), profile.levels.lookback)
    return MappingProxyType(needed)


def resolve(
    name: str,
    *,
    definitions: Mapping[str, Definition],
    versions: Mapping[str, int],
    timeframes: Sequence[str],
) -> Profile:
    """Return one of the named definitions as a profile; ``timeframes`` serve where none are named.

    :raises BadDefinition: if it breaks a rule, extends a profile that is not there, or itself.
    """
    chain = _chain(name, definitions)
    merged: dict[str, Any] = {}
    for ancestor in reversed(chain):
        _check_shape(definitions[ancestor])
        merged = _merged(merged, definitions[ancestor])
    profile = Profile(
        name=name,
        version=versions[name],
        lineage=tuple(f"{each} v{versions[each]}" for each in chain),
        timeframes=tuple(merged.get("timeframes", timeframes)),
        indicators=_indicators(merged.get("indicators", ())),
        market=tuple(merged.get("market", ("mid",))),
        derivatives=tuple(merged.get("derivatives", ())),
        levels=_levels(merged.get("levels")),
        book_imbalance_pct=tuple(merged.get("book_imbalance_pct", ())),
    )
    _check_bars(profile)
    return profile


def _chain(name: str, definitions: Mapping[str, Definition]) -> list[str]:
    chain = [name]
    while (above := definitions[chain[-1]].get("extends")) is not None:
        if not isinstance(above, str) or above not in definitions:
            raise BadDefinition("extends", _unknown(above, definitions))
        if above in chain:
            circle = " extends ".join([*chain, above])
            raise BadDefinition("extends", f"goes in a circle: {circle}")
        chain.append(above)
    return chain


def _merged(base: Mapping[str, Any], over: Definition) -> dict[str, Any]:
    merged = {**base, **over}
    for key in ("timeframes", "market", "derivatives", "book_imbalance_pct"):
        if key in base and key in over:
            merged[key] = list(dict.fromkeys([*base[key], *over[key]]))
    if "indicators" in base and "indicators" in over:
        merged["indicators"] = _merged_indicators(base["indicators"], over["indicators"])
    if base.get("levels") and over.get("levels"):
        merged["levels"] = {**base["levels"], **over["levels"]}
    return merged


def _merged_indicators(
    base: Sequence[Mapping[str, Any]], over: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    found = {each["name"]: dict(each.get("options", {})) for each in base}
    for each in over:
        found[each["name"]] = {**found.get(each["name"], {}), **each.get("options", {})}
    return [{"name": name, "options": options} for name, options in found.items()]


_LISTS: Mapping[str, Sequence[str]] = {
    "timeframes": tuple(TIMEFRAMES),
    "market": MARKET_FIELDS,
    "derivatives": DERIVATIVE_FIELDS,
}
_FIELDS = ("extends", *_LISTS, "indicators", "levels", "book_imbalance_pct")


def _check_shape(definition: Definition) -> None:
    """Check what one definition says by itself; only the whole can be checked for its options."""
    for key in definition:
        if key not in _FIELDS:
            raise BadDefinition(key, f"no such field{_suggestion(key, _FIELDS)}")
    for key, known in _LISTS.items():
        for place, item in enumerate(_list(definition, key)):
            if item not in known:
                raise BadDefinition(f"{key}[{place}]", _unknown(item, known))
    for place, item in enumerate(_list(definition, "indicators")):
        _check_indicator(f"indicators[{place}]", item)
    for place, item in enumerate(_list(definition, "book_imbalance_pct")):
        _check_number(f"book_imbalance_pct[{place}]", item, float, 0.01, 99.0)
    _levels(definition.get("levels"))


def _list(definition: Definition, key: str) -> Sequence[Any]:
    items = definition.get(key, [])
    if not isinstance(items, list | tuple):
        raise BadDefinition(key, f"must be a list, was {items!r}")
    return items


def _check_indicator(path: str, item: object) -> None:
    if not isinstance(item, Mapping) or "name" not in item:
        raise BadDefinition(path, f"must be an object with a name, was {item!r}")
    for key in item:
        if key not in ("name", "options"):
            raise BadDefinition(f"{path}.{key}", "no such field; there are 'name' and 'options'")
    if not isinstance(item["name"], str) or item["name"] not in CATALOGUE:
        raise BadDefinition(f"{path}.name", _unknown(item["name"], CATALOGUE))
    if not isinstance(item.get("options", {}), Mapping):
        raise BadDefinition(f"{path}.options", f"must be an object, was {item['options']!r}")


def _indicators(items: Sequence[Mapping[str, Any]]) -> tuple[IndicatorUse, ...]:
    uses = []
    for item in items:
        options = MappingProxyType(dict(item.get("options", {})))
        try:
            indicator_named(item["name"]).warm_up(**options)
        except (ValueError, TypeError) as error:
            path = f"indicators[{item['name']}].options"  # merged, so no place in one text
            raise BadDefinition(path, str(error)) from error
        uses.append(IndicatorUse(name=item["name"], options=options))
    return tuple(uses)


_LEVELS: Mapping[str, tuple[type, float, float]] = {
    "lookback": (int, 5, 1_000),
    "sensitivity": (float, 0.0001, 0.5),
    "most": (int, 1, 5),
}


def _levels(given: object) -> LevelsUse | None:
    if given is None:
        return None
    if not isinstance(given, Mapping):
        raise BadDefinition("levels", f"must be an object or null, was {given!r}")
    for key, value in given.items():
        if key == "timeframe":
            if value not in TIMEFRAMES:
                raise BadDefinition("levels.timeframe", _unknown(value, TIMEFRAMES))
        elif key not in _LEVELS:
            raise BadDefinition(f"levels.{key}", f"no such field{_suggestion(key, _LEVELS)}")
        else:
            _check_number(f"levels.{key}", value, *_LEVELS[key])
    return LevelsUse(**given)


def _check_number(path: str, value: object, kind: type, least: float, most: float) -> None:
    number = as_number(value, whole=kind is int)
    if number is None or not least <= number <= most:
        noun = "whole number" if kind is int else "number"
        raise BadDefinition(path, f"must be a {noun} from {least:g} to {most:g}, was {value!r}")


def _check_bars(profile: Profile) -> None:
    if not profile.timeframes:
        raise BadDefinition("timeframes", "there must be at least one")
    for timeframe, count in profile.bars_needed().items():
        if count > BARS_MAX:
            fault = f"need {count} candles of {timeframe}, and no venue tells over {BARS_MAX}"
            raise BadDefinition("indicators", fault)


def _unknown(item: object, known: Mapping[str, Any] | Sequence[str]) -> str:
    return f"unknown {item!r}{_suggestion(item, known)}"


def _suggestion(item: object, known: Mapping[str, Any] | Sequence[str]) -> str:
    near = get_close_matches(str(item), list(known), n=1, cutoff=0.0)
    return f"; did you mean {near[0]!r}?" if near else ""
