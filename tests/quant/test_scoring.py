from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from quant.scoring import (
    SCORE_PROFILES,
    THRESHOLD,
    WEIGHTS,
    EngineFeatures,
    EngineScore,
    MarketEvent,
    ScoreProfile,
    ScoreReason,
    confirm,
    engine_features,
    score,
    standing_events,
    timeframe_direction,
)
from quant.types import Bars, Side
from tests.quant.conftest import random_walk

BIAS = {"bullish": Side.LONG, "bearish": Side.SHORT, None: None}
DIRECTION = {"long": Side.LONG, "short": Side.SHORT, "neutral": None, None: None}
BULLISH = EngineFeatures(
    atr_frac=0.0015,
    range_expansion=2.0,
    ema_slope=0.002,
    vwap_distance=0.004,
    structure="uptrend",
    breakout="bullish",
    oi_delta=0.03,
    oi_z=2.0,
    liq_ratio=0.5,
    liq_long_usd=2e4,
    liq_short_usd=2e5,
)


@pytest.fixture
def engine(ensemble_vectors: dict[str, Any]) -> dict[str, Any]:
    section: dict[str, Any] = ensemble_vectors["engine"]
    return section


def near(expected: object) -> object:
    return pytest.approx(expected, rel=1e-7, abs=1e-9)


def scored(case: dict[str, Any], profile: ScoreProfile) -> EngineScore:
    events = [
        MarketEvent(type=each["type"], bias=BIAS[each.get("bias")]) for each in case["events"]
    ]
    return score(EngineFeatures(**case["features"]), events=events, profile=profile)


# --- golden -------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", range(6))
def test_golden_published_score(place: int, engine: dict[str, Any]) -> None:
    case = engine["scoring_cases"][place]
    expected = case["published"]

    found = scored(case, "published")

    assert found.score == near(expected["score"])
    assert found.direction == DIRECTION[expected["direction"]]
    assert dict(found.components) == near(expected["components"])
    bull, bear = expected["votes"]["bull"], expected["votes"]["bear"]
    assert found.net == bull - bear
    assert (found.agree, found.against) == (max(bull, bear), min(bull, bear))
    assert found.reaches() is case["fires_at_0_60"]["published"]
    assert (found.coverage, found.missing) == (1.0, ())


@pytest.mark.parametrize("place", range(6))
def test_golden_aligned_score(place: int, engine: dict[str, Any]) -> None:
    case = engine["scoring_cases"][place]
    expected = case["aligned"]

    found = scored(case, "aligned")

    assert found.score == near(expected["score"])
    assert found.direction == DIRECTION[expected["direction"]]
    assert found.reason == expected["reason"]
    assert found.net == near(expected["net"])
    for name, value in expected["evidence"].items():
        assert found.components[name] == near(value)
    if found.direction:
        assert found.agree == near(expected["agree"])
        assert found.against == near(expected["against"])
        for name in ("volatility", "oi", "event_quality"):
            assert found.components[name] == near(expected[name])
    assert found.reaches() is case["fires_at_0_60"]["aligned"]


def test_every_scoring_case_is_compared(engine: dict[str, Any]) -> None:
    assert len(engine["scoring_cases"]) == 6


def test_golden_timeframe_directions(engine: dict[str, Any]) -> None:
    for case in engine["timeframe_direction_cases"]:
        found = timeframe_direction(EngineFeatures(**case["features"]), profile="published")

        assert found.direction == DIRECTION[case["expected"]]


def test_golden_confirmations(engine: dict[str, Any]) -> None:
    for case in engine["mtf_cases"]:
        directions = {name: DIRECTION[side] for name, side in case["directions"].items()}
        expected = case["expected"]

        found = confirm(directions, min_aligned=case["min_aligned"])

        assert found.aligned is expected["aligned"]
        assert found.direction == DIRECTION[expected["direction"]]
        assert (found.aligned_count, found.total) == (expected["aligned_count"], expected["total"])
        assert found.strength == near(expected["strength"])
        assert found.mtf_score == near(expected["mtf_score"])


def test_golden_weights(engine: dict[str, Any]) -> None:
    assert dict(WEIGHTS) == engine["weights"]
    assert engine["threshold"] == THRESHOLD


# --- what is missing stays visible --------------------------------------------------------------


@pytest.mark.parametrize("profile", SCORE_PROFILES)
def test_unknown_components_are_named_and_lower_the_coverage(profile: ScoreProfile) -> None:
    partial = replace(
        BULLISH, liq_ratio=None, liq_long_usd=None, liq_short_usd=None, oi_delta=None, oi_z=None
    )

    whole = score(BULLISH, events=(), profile=profile)
    found = score(partial, events=(), profile=profile)

    assert found.missing == ("liquidation", "oi")
    assert found.coverage == near(0.70)
    assert found.components["oi"] is None
    assert found.score < whole.score
    assert found.score_of_known == near(found.score / 0.70)


def test_unknown_liquidations_do_not_get_the_strength_of_calm_ones() -> None:
    calm = score(replace(BULLISH, liq_ratio=1.0), events=(), profile="published")
    unknown = score(replace(BULLISH, liq_ratio=None), events=(), profile="published")

    assert calm.score - unknown.score == near(0.15 * 0.2)


@pytest.mark.parametrize("profile", SCORE_PROFILES)
def test_nobody_looking_for_events_is_not_the_same_as_none(profile: ScoreProfile) -> None:
    looked, blind = (score(BULLISH, events=each, profile=profile) for each in ((), None))

    assert (looked.components["event_quality"], looked.missing) == (0.0, ())
    assert (blind.components["event_quality"], blind.missing) == (None, ("event_quality",))


@pytest.mark.parametrize("profile", SCORE_PROFILES)
@pytest.mark.parametrize("bias", [None, Side.LONG])
def test_events_alone_make_no_side(profile: ScoreProfile, bias: Side | None) -> None:
    events = [MarketEvent(type="funding_extreme", bias=bias)]

    found = score(EngineFeatures(), events=events, profile=profile)

    assert (found.direction, found.score) == (None, 0.0)
    assert found.reason is ScoreReason.INSUFFICIENT_DATA
    assert not found.reaches(0.0)


def test_nothing_known_at_all_has_coverage_0() -> None:
    found = score(EngineFeatures(), events=None, profile="aligned")

    assert (found.coverage, found.score_of_known) == (near(0.0), 0.0)
    assert found.missing == tuple(WEIGHTS)


@pytest.mark.parametrize("profile", SCORE_PROFILES)
@pytest.mark.parametrize("half", [{"breakout": None}, {"structure": None}])
def test_half_a_structure_is_unknown(half: dict[str, Any], profile: ScoreProfile) -> None:
    found = score(replace(BULLISH, **half), events=(), profile=profile)

    assert found.missing == ("structure",)


def test_slope_and_distance_mean_nothing_without_the_range_to_measure_them_in() -> None:
    for unmeasured in (None, 0.0):
        features = replace(BULLISH, atr_frac=unmeasured)

        assert score(features, events=(), profile="aligned").missing == ("trend", "vwap")
        assert timeframe_direction(features, profile="aligned").missing == (
            "ema_slope",
            "vwap_distance",
        )


# --- properties ---------------------------------------------------------------------------------


def mirrored(features: EngineFeatures) -> EngineFeatures:
    """Return the features of the same market upside down, as far as ``aligned`` reads them."""
    turn = {"uptrend": "downtrend", "downtrend": "uptrend"}
    flip = {"bullish": "bearish", "bearish": "bullish"}
    changes: dict[str, Any] = {
        "ema_slope": -(features.ema_slope or 0.0),
        "vwap_distance": -(features.vwap_distance or 0.0),
        "structure": turn.get(str(features.structure), features.structure),
        "breakout": flip.get(str(features.breakout), features.breakout),
        "liq_long_usd": features.liq_short_usd,
        "liq_short_usd": features.liq_long_usd,
    }
    return replace(features, **changes)


@pytest.mark.parametrize("seed", range(8))
def test_a_mirrored_market_gets_the_same_score_for_the_other_side(seed: int) -> None:
    features = replace(
        engine_features(random_walk(seed=seed, count=60)), liq_long_usd=3e5, liq_short_usd=1e5
    )

    straight = score(features, events=(), profile="aligned")
    upside_down = score(mirrored(features), events=(), profile="aligned")

    assert straight.score == near(upside_down.score)
    assert straight.net == near(-upside_down.net)
    assert straight.direction is (upside_down.direction and upside_down.direction.opposite)


@pytest.mark.parametrize("profile", SCORE_PROFILES)
@pytest.mark.parametrize("seed", range(20))
def test_scores_stay_between_0_and_1(seed: int, profile: ScoreProfile) -> None:
    features = engine_features(random_walk(seed=seed, count=40 + seed))

    found = score(features, events=standing_events(features), profile=profile)

    assert 0.0 <= found.score <= found.score_of_known <= 1.0
    assert found.coverage == near(0.70)


def test_opposing_evidence_lowers_an_aligned_score_and_not_a_published_one() -> None:
    torn = replace(BULLISH, vwap_distance=-0.004)

    assert (
        score(torn, events=(), profile="aligned").score
        < score(BULLISH, events=(), profile="aligned").score
    )
    assert (
        score(torn, events=(), profile="published").score
        == score(BULLISH, events=(), profile="published").score
    )


@pytest.mark.parametrize(
    ("changes", "name", "strength"),
    [
        ({"ema_slope": 0.001}, "trend", 0.0),
        ({"ema_slope": 0.0011}, "trend", 0.11),
        ({"liq_ratio": 1.3}, "liquidation", 0.2),
        ({"liq_ratio": 0.7}, "liquidation", 0.2),
        ({"liq_ratio": 0.0}, "liquidation", 0.2),
        ({"oi_delta": -0.02}, "oi", 0.2),
    ],
)
def test_published_strengths_on_their_bounds(
    changes: dict[str, Any], name: str, strength: float
) -> None:
    found = score(replace(BULLISH, **changes), events=(), profile="published")

    assert found.components[name] == near(strength)


@pytest.mark.parametrize(("ratio", "net"), [(0.7, 4), (1.3, 4), (0.69, 5), (1.31, 3)])
def test_only_crowded_liquidations_vote(ratio: float, net: int) -> None:
    assert score(replace(BULLISH, liq_ratio=ratio), events=(), profile="published").net == net


def test_aligned_evidence_begins_at_its_bound() -> None:
    at_bound = replace(BULLISH, ema_slope=0.15 * 0.001, atr_frac=0.001)
    within = replace(at_bound, ema_slope=0.149 * 0.001)

    assert score(at_bound, events=(), profile="aligned").components["trend"] == near(0.075)
    assert score(within, events=(), profile="aligned").components["trend"] == 0.0


def test_exactly_enough_net_evidence_has_a_side() -> None:
    enough = EngineFeatures(atr_frac=0.001, vwap_distance=0.002)
    little = replace(enough, vwap_distance=0.00199)

    assert score(enough, events=(), profile="aligned").direction is Side.LONG
    assert score(little, events=(), profile="aligned").reason is ScoreReason.NO_DIRECTION


def test_liquidations_of_one_side_alone_are_unknown() -> None:
    found = score(replace(BULLISH, liq_short_usd=None), events=(), profile="aligned")

    assert found.missing == ("liquidation",)


def test_open_interest_that_falls_fast_counts_half() -> None:
    rising = score(replace(BULLISH, oi_delta=0.05), events=(), profile="published")
    falling = score(replace(BULLISH, oi_delta=-0.05), events=(), profile="published")

    assert (rising.components["oi"], falling.components["oi"]) == (near(0.5), near(0.25))


def test_a_score_exactly_on_the_threshold_reaches_it() -> None:
    found = score(BULLISH, events=(), profile="aligned")

    assert found.reaches(found.score)
    assert not found.reaches(found.score + 1e-6)


def test_a_score_can_be_stored_as_json(walk: Bars) -> None:
    features = engine_features(walk)

    plain = json.loads(json.dumps(score(features, events=(), profile="aligned").to_dict()))

    assert plain["profile"] == "aligned"
    assert plain["missing"] == ["liquidation", "oi"]
    assert plain["components"]["oi"] is None
    assert set(plain["components"]) == set(WEIGHTS)


def test_an_unknown_profile_is_refused() -> None:
    with pytest.raises(ValueError, match="published, aligned"):
        score(BULLISH, events=(), profile="bold")  # type: ignore[arg-type]


# --- timeframes ---------------------------------------------------------------------------------


def test_a_breakout_outvotes_one_opposing_vote() -> None:
    torn = EngineFeatures(structure="downtrend", breakout="bullish")

    found = timeframe_direction(torn, profile="published")

    assert (found.direction, found.bullish, found.bearish) == (Side.LONG, 2, 1)
    assert found.missing == ("ema_slope", "vwap_distance")


def test_the_aligned_profile_reads_thresholds_in_ranges() -> None:
    calm = EngineFeatures(atr_frac=0.001, ema_slope=0.0003, vwap_distance=0.0006)
    wild = replace(calm, atr_frac=0.01)

    assert timeframe_direction(calm, profile="aligned").direction is Side.LONG
    assert timeframe_direction(wild, profile="aligned").direction is None
    assert timeframe_direction(calm, profile="published").direction is None


def test_a_tie_of_timeframes_confirms_nothing() -> None:
    found = confirm({"1m": Side.LONG, "5m": Side.LONG, "15m": Side.SHORT, "1h": Side.SHORT})

    assert (found.aligned, found.direction) == (False, None)


def test_two_timeframes_that_agree_get_no_bonus() -> None:
    assert confirm({"5m": Side.LONG, "1h": Side.LONG}).mtf_score == 1.0
    assert confirm({"5m": Side.LONG, "15m": Side.LONG, "1h": None}).mtf_score == near(2 / 3)
