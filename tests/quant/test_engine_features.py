from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from quant.engine_features import EngineFeatures, Liquidations, engine_features
from quant.market_events import EventType, MarketEvent, standing_events
from quant.snapshot import BadSnapshot
from quant.types import Bars, Side
from tests.quant.conftest import flat, random_walk

FROM_BARS = {
    "range_expansion": "range_expansion_14",
    "ema_slope": "ema9_slope_3",
    "vwap_distance": "vwap_distance_20",
}


@pytest.mark.parametrize("count", [21, 60, 121, 126, 201, 300])
def test_golden_features_of_the_last_bar(
    count: int, synth: Bars, indicator_vectors: dict[str, Any]
) -> None:
    columns, natr = indicator_vectors["engine_features"], indicator_vectors["indicators"]["natr_14"]

    found = engine_features(synth[:count])

    for name, column in FROM_BARS.items():
        assert getattr(found, name) == pytest.approx(columns[column][count - 1], rel=1e-7, abs=1e-6)
    assert found.structure == columns["structure"][count - 1]
    assert found.breakout == columns["breakout_20"][count - 1]
    assert found.atr_frac == pytest.approx(natr[count - 1] / 100)


def test_what_was_not_given_is_unknown_and_not_neutral(walk: Bars) -> None:
    found = engine_features(walk)

    for name in ("oi_delta", "oi_z", "funding_z", "liq_ratio", "liq_long_usd", "liq_short_usd"):
        assert getattr(found, name) is None


def test_what_was_given_is_read(walk: Bars) -> None:
    found = engine_features(
        walk,
        open_interest=np.append(1000.0 + np.arange(30.0) % 3, 1100.0),
        funding_rates=np.append(np.tile([1e-5, 2e-5], 20), 9e-5),
        liquidations=Liquidations(long_count=6, short_count=3, long_usd=9e4, short_usd=1e4),
    )

    assert found.oi_delta == pytest.approx(1100 / 1002 - 1)
    assert found.oi_z is not None and found.oi_z > 3
    assert found.funding_z is not None and found.funding_z > 5
    assert (found.liq_ratio, found.liq_long_usd, found.liq_short_usd) == (2.0, 9e4, 1e4)


@pytest.mark.parametrize(
    ("count", "known"),
    [
        (0, set()),
        (1, {"close", "close_ms"}),
        (6, {"close", "close_ms", "structure"}),
        (20, {"close", "close_ms", "structure", "atr_frac", "range_expansion", "ema_slope",
              "vwap_distance"}),
    ],
)  # fmt: skip
def test_short_histories_leave_the_rest_unknown(count: int, known: set[str]) -> None:
    found = engine_features(random_walk(seed=2, count=count))

    told = {field.name for field in fields(found) if getattr(found, field.name) is not None}
    assert told - {"liq_floor_usd"} == known


def test_series_that_are_too_short_are_unknown(walk: Bars) -> None:
    found = engine_features(walk, open_interest=np.ones(10), funding_rates=np.ones(4))

    assert (found.oi_delta, found.oi_z, found.funding_z) == (None, None, None)


def test_a_market_that_stands_still_has_no_expansion_to_tell() -> None:
    found = engine_features(flat(volume=0.0))

    assert (found.range_expansion, found.vwap_distance) == (None, None)
    assert (found.ema_slope, found.structure, found.breakout) == (0.0, "neutral", "none")


def test_features_survive_json_to_the_last_bit(walk: Bars) -> None:
    for features in (engine_features(walk), EngineFeatures()):
        again = EngineFeatures.from_dict(json.loads(json.dumps(features.to_dict())))

        assert again == features


def test_a_record_without_version_is_refused(walk: Bars) -> None:
    plain = engine_features(walk).to_dict()
    del plain["version"]

    with pytest.raises(BadSnapshot, match="version 1, not None"):
        EngineFeatures.from_dict(plain)


# --- events -------------------------------------------------------------------------------------


def test_nothing_known_gives_no_event() -> None:
    assert standing_events(EngineFeatures()) == ()


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        (EngineFeatures(oi_delta=-0.015), MarketEvent(type=EventType.OI_EXPANSION)),
        (EngineFeatures(range_expansion=1.5), MarketEvent(type=EventType.ATR_EXPANSION)),
        (
            EngineFeatures(breakout="bearish"),
            MarketEvent(type=EventType.STRUCTURE_BREAKOUT, bias=Side.SHORT),
        ),
        (
            EngineFeatures(funding_z=2.5),
            MarketEvent(type=EventType.FUNDING_EXTREME, bias=Side.SHORT),
        ),
        (
            EngineFeatures(funding_z=-2.6),
            MarketEvent(type=EventType.FUNDING_EXTREME, bias=Side.LONG),
        ),
    ],
)
def test_a_condition_that_holds_is_an_event(
    features: EngineFeatures, expected: MarketEvent
) -> None:
    assert standing_events(features) == (expected,)


def test_just_below_every_threshold_there_is_no_event() -> None:
    features = EngineFeatures(
        oi_delta=0.0149, range_expansion=1.49, breakout="none", funding_z=-2.49
    )

    assert standing_events(features) == ()


def test_thresholds_are_the_recorded_ones(ensemble_vectors: dict[str, Any]) -> None:
    limits = ensemble_vectors["engine"]["event_thresholds"]
    features = EngineFeatures(
        oi_delta=limits["oi_pct"], range_expansion=limits["range"], funding_z=limits["funding_z"]
    )

    assert len(standing_events(features)) == 3
