from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from enrichment import measures, model_facts
from enrichment.measures import measure
from enrichment.model_facts import ModelNeeds
from enrichment.payload import canonical
from enrichment.profiles import BUILT_INS, Definition, Profile, resolve
from enrichment.types import Limits, Snapshot
from markets.types import CandleSeries, Quote
from quant.types import Bars
from tests.enrichment.market import later, make_bars, make_book, make_derivatives
from tests.factories import NOON

TIMEFRAMES = ("15m", "1h", "4h")
NEEDS = ModelNeeds(ensemble_timeframe="15m", engine_timeframes=TIMEFRAMES)
LIMITS = Limits(
    signal_age_s=300,
    price_drift_bps=50,
    stale_mid_s=5,
    stale_book_s=10,
    stale_derivatives_s=60,
    stale_candle_multiplier=2,
)
NONE: Mapping[str, Bars] = {}
REMEMBERED = (
    measures._technicals,
    measures._turning_points,
    model_facts._ensemble_of,
    model_facts._engine_of,
)


@pytest.fixture(autouse=True)
def _nothing_remembered() -> Iterator[None]:
    forget()
    yield
    forget()


def forget() -> None:
    for each in REMEMBERED:
        each.cache_clear()


def profile_of(name: str = "full_v1", **definitions: Definition) -> Profile:
    every = {**BUILT_INS, **definitions}
    return resolve(name, definitions=every, versions=dict.fromkeys(every, 1), timeframes=TIMEFRAMES)


def snapshot_of(given: Mapping[str, Bars] = NONE, *, source: str = "script") -> Snapshot:
    every = {each: make_bars(each, last_close=NOON) for each in TIMEFRAMES} | dict(given)
    return Snapshot(
        as_of=NOON,
        quote=Quote(symbol="BTC", mid=42_010, bid=42_009, ask=42_011, as_of=NOON, source=source),
        candles={
            name: CandleSeries(symbol="BTC", timeframe=name, bars=each, as_of=NOON, source=source)
            for name, each in every.items()
        },
        book=make_book(),
        derivatives=make_derivatives(),
    )


def text_of(snapshot: Snapshot, profile: Profile) -> str:
    """Return everything that is gathered from a snapshot, to the last digit."""
    parts = measure(snapshot, profile=profile, entry_price=42_000, limits=LIMITS)
    told: dict[str, Any] = {
        name: [dict(part.values), part.flags.to_dict(), dict(part.provenance)]
        for name, part in parts.items()
    }
    facts = model_facts.model_facts(snapshot, needs=NEEDS, simulated=False, limits=LIMITS)
    return canonical([told, facts])


def changed(bars: Bars, column: str) -> Bars:
    """Return the bars with the last value of a column a little higher."""
    values = getattr(bars, column).copy()
    values[-1] += 1e-6
    return replace(bars, **{column: values})


def test_of_many_signals_in_one_candle_only_the_first_is_computed_for() -> None:
    text_of(snapshot_of(), profile_of())
    first = [each.cache_info().misses for each in REMEMBERED]

    text_of(snapshot_of(), profile_of())

    assert [each.cache_info().misses for each in REMEMBERED] == first
    assert all(first)


def test_what_is_remembered_is_what_is_computed_anew() -> None:
    nan = np.full(320, np.nan)
    hourly = make_bars("1h", last_close=NOON)
    snapshots = [
        snapshot_of(),
        snapshot_of(source="other"),
        snapshot_of({"1h": changed(hourly, "volume")}),
        snapshot_of({"1h": hourly[-90:]}),
        snapshot_of({"1h": replace(hourly, close=nan)}),
        snapshot_of({"15m": Bars.empty(timeframe_s=900)}),
        replace(snapshot_of(), as_of=later(days=2)),
    ]
    profiles = [
        profile_of("trend_follow_v1"),
        profile_of("full_v1"),
        profile_of("mine", mine={"extends": "full_v1", "levels": {"sensitivity": 0.001}}),
    ]
    cases = [(snapshot, profile) for snapshot in snapshots for profile in profiles]
    anew = []
    for case in cases:
        forget()
        anew.append(text_of(*case))
    forget()

    remembered = [[text_of(*case) for case in cases] for _ in range(2)]

    assert remembered == [anew, anew]
    assert len(set(anew)) == len(anew) - 1  # no level is found in what no market has


@pytest.mark.parametrize("column", ["open", "high", "low", "close", "volume"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -1.0])
def test_a_candle_that_no_market_has_is_told_apart(column: str, value: float) -> None:
    bars = make_bars("15m", last_close=NOON)
    values = getattr(bars, column).copy()
    values[7] = value

    assert measures.are_candles(bars)
    assert not measures.are_candles(replace(bars, **{column: values}))


@pytest.mark.parametrize(
    ("column", "factor"), [("high", 0.99), ("low", 1.01), ("open", 1.1), ("close", 0.9)]
)
def test_a_price_outside_its_candle_is_told(column: str, factor: float) -> None:
    bars = make_bars("15m", last_close=NOON)

    assert not measures.are_candles(replace(bars, **{column: getattr(bars, column) * factor}))


@pytest.mark.parametrize("column", ["open", "high", "close", "volume"])
def test_one_changed_candle_is_seen(column: str) -> None:
    bars = make_bars("15m", last_close=NOON)
    text_of(snapshot_of({"15m": bars}), profile_of())
    before = measures._technicals.cache_info().misses

    text_of(snapshot_of({"15m": changed(bars, column)}), profile_of())

    assert measures._technicals.cache_info().misses == before + 1


def test_options_of_two_profiles_over_the_same_candles_do_not_mix() -> None:
    quick = profile_of("quick", quick={"indicators": [{"name": "macd", "options": {"fast": 5}}]})
    usual = profile_of("usual", usual={"indicators": [{"name": "macd", "options": {"fast": 12}}]})

    lines = [
        measure(snapshot_of(), profile=each, entry_price=42_000, limits=LIMITS)["ta"].values[
            "timeframes"
        ]["15m"]["macd_line"]
        for each in (quick, usual, quick)
    ]

    assert lines[0] == lines[2] != lines[1]


def test_who_changes_the_facts_of_one_signal_changes_those_of_no_other() -> None:
    def facts() -> dict[str, Any]:
        return model_facts.model_facts(snapshot_of(), needs=NEEDS, simulated=False, limits=LIMITS)

    mine = facts()
    mine["engine"]["1h"]["close"] = mine["ensemble"]["close"] = 0.0

    assert facts()["engine"]["1h"]["close"] != 0.0
    assert facts()["ensemble"]["close"] != 0.0
