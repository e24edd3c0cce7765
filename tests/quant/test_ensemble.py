from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from quant.ensemble import (
    FEATURE_ORDER,
    MIN_BARS,
    PROFILES,
    EnsembleFeatures,
    InsufficientBars,
    ModelVote,
    Profile,
    Regime,
    Silence,
    Tally,
    ensemble_features,
    vote,
)
from quant.ensemble.rationale import rationale
from quant.ensemble.tally import LARGEST_WEIGHT, MULTIPLIERS, TRUST, WEIGHTS, regime_of, tally
from quant.ensemble.voters import breakout, mean_reversion, model_votes, momentum, technical
from quant.levels import atr_levels
from quant.snapshot import BadSnapshot
from quant.types import Bars, Side
from tests.quant.conftest import flat, random_walk

CONTEXT = ("atr_frac", "adx", "bb_width_rank", "vol_5_median")
SIDES = {"LONG": Side.LONG, "SHORT": Side.SHORT, None: None}
CASE_BARS = (120, 126, 165, 199, 205, 210, 250, 262, 299)


@pytest.fixture
def golden(ensemble_vectors: dict[str, Any]) -> dict[str, Any]:
    section: dict[str, Any] = ensemble_vectors["ensemble"]
    return section


@pytest.fixture
def base(golden: dict[str, Any]) -> EnsembleFeatures:
    table = golden["model_truth_tables"]
    return EnsembleFeatures(
        close_ms=0, close=100.0, **table["base_features"], **table["base_context"]
    )


def near(expected: object) -> object:
    return pytest.approx(expected, rel=1e-7, abs=1e-9)


def as_vote(case: dict[str, Any]) -> ModelVote:
    return ModelVote(SIDES[case["direction"]], case["score"])


def assert_votes(found: dict[str, ModelVote], expected: dict[str, Any]) -> None:
    for name, case in expected.items():
        assert found[name].direction == SIDES[case["direction"]], name
        assert found[name].score == near(case["score"]), name


# --- golden -------------------------------------------------------------------------------------


def test_every_series_case_is_compared(golden: dict[str, Any]) -> None:
    assert tuple(case["bar_index"] for case in golden["series_cases"]) == CASE_BARS


@pytest.mark.parametrize("place", range(len(CASE_BARS)), ids=[f"bar {bar}" for bar in CASE_BARS])
def test_golden_series_case(place: int, synth: Bars, golden: dict[str, Any]) -> None:
    case = golden["series_cases"][place]

    features = ensemble_features(synth[: case["bar_index"] + 1])

    assert features.in_order() == near(case["features"])
    assert {name: getattr(features, name) for name in CONTEXT} == near(case["context"])
    for profile in PROFILES:
        expected, found = case[profile], vote(features, profile=profile)
        result = expected["result"]
        assert found.regime == case["regime"]
        assert_votes(dict(found.votes), expected["votes"])
        assert found.direction == SIDES[result["signal"]]
        assert (found.reason or "OK") == result["reason"]
        assert (found.long, found.short) == (near(result["long"]), near(result["short"]))
        assert found.coverage == near(result["coverage"])
        assert found.result.voters == result["voters"]
        if result["signal"]:
            assert found.confidence == near(result["confidence"])
            assert found.result.agreement == near(result["agreement"])
        if "levels" in expected:
            levels = atr_levels(
                side=SIDES[result["signal"]],  # type: ignore[arg-type]
                entry=features.close,
                atr=features.atr,
                confidence=found.confidence,
            )
            assert (levels.target, levels.stop, levels.risk_reward) == (
                near(expected["levels"]["target"]),
                near(expected["levels"]["stop"]),
                near(expected["levels"]["risk_reward"]),
            )


@pytest.mark.parametrize("model", WEIGHTS)
@pytest.mark.parametrize("profile", PROFILES)
def test_golden_truth_table(
    model: str, profile: Profile, base: EnsembleFeatures, golden: dict[str, Any]
) -> None:
    table = golden["model_truth_tables"][model]

    for case in table:
        features = replace(base, **case["changes_to_base"], **case["context_changes"])

        assert_votes(model_votes(features, profile=profile), {model: case[profile]})


@pytest.mark.parametrize(
    ("column", "profile", "regime"),
    [
        ("published", "published", Regime.TREND),
        ("adaptive_neutral", "adaptive", Regime.NEUTRAL),
        ("adaptive_trend", "adaptive", Regime.TREND),
        ("adaptive_range", "adaptive", Regime.RANGE),
    ],
)
def test_golden_vote_cases(
    column: str, profile: Profile, regime: Regime, golden: dict[str, Any]
) -> None:
    for case in golden["vote_cases"]:
        votes = {name: as_vote(each) for name, each in case["votes"].items()}
        expected = case[column]

        found = tally(votes, profile=profile, regime=regime)

        assert found.direction == SIDES[expected["signal"]], case["name"]
        assert (found.reason or "OK") == expected["reason"], case["name"]
        assert (found.long, found.short) == (near(expected["long"]), near(expected["short"]))
        assert (found.coverage, found.voters) == (near(expected["coverage"]), expected["voters"])
        if expected["signal"]:
            assert found.confidence == near(expected["confidence"])
            assert found.agreement == near(expected["agreement"])


def test_golden_constants(golden: dict[str, Any]) -> None:
    adaptive = golden["adaptive"]

    assert list(FEATURE_ORDER) == golden["feature_order"]
    assert dict(WEIGHTS) == golden["weights"]
    assert adaptive["rho0"] == TRUST
    assert adaptive["w_max"] == LARGEST_WEIGHT
    assert {
        str(regime): dict(each) for regime, each in MULTIPLIERS.items()
    } == adaptive["regime_multipliers"]  # fmt: skip


# --- features -----------------------------------------------------------------------------------


def test_119_bars_are_too_few_and_120_enough() -> None:
    bars = random_walk(seed=1, count=MIN_BARS)

    with pytest.raises(InsufficientBars, match="120 closed bars are needed, 119 are there"):
        ensemble_features(bars[:-1])
    assert all(np.isfinite(value) for value in ensemble_features(bars).in_order().values())


def test_features_survive_json_to_the_last_bit(walk: Bars) -> None:
    features = ensemble_features(walk)

    again = EnsembleFeatures.from_dict(json.loads(json.dumps(features.to_dict())))

    assert again == features
    assert vote(again) == vote(features)


@pytest.mark.parametrize(
    "change",
    [{"version": 2}, {"surprise": 1.0}, {"adx": None}],
    ids=["version", "unknown field", "missing field"],
)
def test_a_record_of_another_shape_is_refused(walk: Bars, change: dict[str, Any]) -> None:
    plain = {**ensemble_features(walk).to_dict(), **change}
    plain = {name: value for name, value in plain.items() if value is not None}

    with pytest.raises(BadSnapshot, match="EnsembleFeatures"):
        EnsembleFeatures.from_dict(plain)


@pytest.mark.parametrize("scale", [1e-7, 1000.0])
def test_the_unit_of_price_changes_no_feature_and_no_vote(scale: float, walk: Bars) -> None:
    prices = [column * scale for column in (walk.open, walk.high, walk.low, walk.close)]
    scaled = ensemble_features(
        Bars(walk.open_ms, prices[0], prices[1], prices[2], prices[3], walk.volume, 900)
    )
    plain = ensemble_features(walk)

    assert scaled.in_order() == pytest.approx(plain.in_order(), rel=1e-6, abs=1e-10)
    for profile in PROFILES:
        assert vote(scaled, profile=profile).direction == vote(plain, profile=profile).direction


@pytest.mark.parametrize("price", [100.0, 0.1, 3e-8])
def test_a_market_that_stands_still_gives_no_side(price: float) -> None:
    features = ensemble_features(flat(price=price, volume=0.0))

    assert features.rsi_norm == 0.5
    assert (features.bb_position, features.bb_width) == (0.5, 0.0)
    assert (features.volume_ratio, features.volume_trend) == (1.0, 0.0)
    assert (features.macd_cross, features.macd_strength) == (0.0, 0.0)
    for profile in PROFILES:
        assert vote(features, profile=profile).long == vote(features, profile=profile).short == 0.0


@pytest.mark.parametrize("wrong", [0.0, -1.0, np.nan, np.inf])
def test_impossible_prices_are_refused(wrong: float) -> None:
    bars = random_walk(seed=1, count=130)
    bars.low[7] = wrong

    with pytest.raises(ValueError, match="positive and finite"):
        ensemble_features(bars)


def test_negative_volume_is_refused() -> None:
    bars = random_walk(seed=1, count=130)
    bars.volume[7] = -1.0

    with pytest.raises(ValueError, match="volume"):
        ensemble_features(bars)


# --- models and vote ----------------------------------------------------------------------------


def mirrored(features: EnsembleFeatures) -> EnsembleFeatures:
    """Return the features of the same market upside down, off every bound by construction."""
    return replace(
        features,
        ret_5=-features.ret_5,
        ret_10=-features.ret_10,
        macd_cross=-features.macd_cross,
        trend_alignment=-features.trend_alignment,
        momentum_1=-features.momentum_1,
        bb_position=1.0 - features.bb_position,
        rsi_norm=1.0 - features.rsi_norm,
    )


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("seed", range(12))
def test_a_mirrored_market_gets_the_mirrored_vote(seed: int, profile: Profile) -> None:
    features = ensemble_features(random_walk(seed=seed, count=150))

    straight, upside_down = (
        vote(features, profile=profile),
        vote(mirrored(features), profile=profile),
    )

    assert straight.long == near(upside_down.short)
    assert straight.short == near(upside_down.long)
    assert straight.reason == upside_down.reason


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"rsi_norm": 0.30, "macd_cross": 0.0}, ModelVote(Side.LONG, 0.2)),
        ({"rsi_norm": 0.45, "macd_cross": 0.0}, ModelVote(None, 0.0)),
        ({"rsi_norm": 0.55, "macd_cross": 0.0}, ModelVote(None, 0.0)),
        ({"bb_position": 0.8, "macd_cross": 0.0}, ModelVote(None, 0.0)),
    ],
)
def test_technical_bounds_are_strict(
    changes: dict[str, Any], expected: ModelVote, base: EnsembleFeatures
) -> None:
    assert technical(replace(base, **changes)) == expected


PUSH = {"ret_5": 0.025, "ret_10": 0.035, "volume_ratio": 1.3}
FAR = {"bb_position": 0.05, "rsi_norm": 0.28}
TIGHT = {"bb_width": 0.015, "bb_width_rank": 0.1, "volume_ratio": 1.6, "bb_position": 0.8}


@pytest.mark.parametrize(
    ("profile", "model", "changes", "score"),
    [
        ("published", "momentum", {**PUSH, "ret_10": 0.03}, 0.6),
        ("published", "momentum", {"ret_5": 0.01}, 0.3),
        ("adaptive", "momentum", {**PUSH, "ret_5": 1.5 * 0.008}, 0.6),
        ("adaptive", "momentum", {"ret_5": 0.75 * 0.008}, 0.0),
        ("published", "mean_reversion", {**FAR, "vol_5": 0.05}, 0.9),
        ("adaptive", "mean_reversion", {**FAR, "vol_5": 0.02, "vol_5_median": 0.01}, 0.9),
        ("published", "mean_reversion", {"bb_position": 0.4, "vol_5": 0.06}, 0.14),
        ("published", "breakout", {**TIGHT, "bb_width": 0.02}, 0.3),
        ("adaptive", "breakout", {**TIGHT, "bb_width_rank": 0.2}, 0.0),
    ],
)
def test_model_bounds_are_strict(
    profile: Profile,
    model: str,
    changes: dict[str, Any],
    score: float,
    base: EnsembleFeatures,
) -> None:
    votes = model_votes(replace(base, **changes), profile=profile)

    assert votes[model].score == near(score)


def test_published_models_vote_weakly_where_adaptive_ones_are_silent(
    base: EnsembleFeatures,
) -> None:
    features = replace(base, ret_5=0.001, bb_position=0.6)

    for model in (momentum, mean_reversion, breakout):
        assert model(features, profile="published").score > 0.0
        assert model(features, profile="adaptive") == ModelVote(None, 0.0)


def test_a_squeeze_without_a_push_is_silence(base: EnsembleFeatures) -> None:
    squeezed = replace(base, bb_width=0.01, volume_ratio=2.0, bb_position=0.9, momentum_1=0.0)

    assert breakout(squeezed, profile="published") == ModelVote(None, 0.0)


def test_agreement_never_weakens_a_side() -> None:
    alone = {name: ModelVote(None, 0.0) for name in WEIGHTS}
    alone["technical"] = ModelVote(Side.LONG, 0.6)
    joined = {**alone, "breakout": ModelVote(Side.LONG, 0.1)}

    one = tally(alone, profile="adaptive", regime=Regime.NEUTRAL)
    two = tally(joined, profile="adaptive", regime=Regime.NEUTRAL)

    assert two.long > one.long


def test_a_single_voter_has_no_strength_in_the_adaptive_profile() -> None:
    votes = {name: ModelVote(None, 0.0) for name in WEIGHTS}
    votes["momentum"] = ModelVote(Side.LONG, 0.8)

    adaptive = tally(votes, profile="adaptive", regime=Regime.TREND)
    published = tally(votes, profile="published", regime=Regime.TREND)

    assert (adaptive.long, adaptive.reason) == (0.0, Silence.NO_QUORUM)
    assert published.long == near(0.24)


def test_the_caller_decides_how_sure_is_sure_enough(synth: Bars) -> None:
    features = ensemble_features(synth[:211])

    assert vote(features).direction is Side.LONG
    assert vote(features, min_confidence=90).reason is Silence.LOW_CONFIDENCE
    assert vote(features, min_margin=0.9).reason is Silence.NO_CONVICTION


def test_exactly_enough_margin_and_strength_are_enough() -> None:
    votes = {name: ModelVote(Side.LONG, score) for name, score in zip(
        WEIGHTS, (1.0, 0.5, 1.0, 0.0), strict=True
    )}  # fmt: skip

    exact = tally(votes, profile="published", regime=Regime.NEUTRAL)
    short_of_it = tally(votes, profile="published", regime=Regime.NEUTRAL, min_confidence=65.001)
    wide = tally(votes, profile="published", regime=Regime.NEUTRAL, min_margin=0.65)
    too_wide = tally(votes, profile="published", regime=Regime.NEUTRAL, min_margin=0.65001)

    assert exact.long == near(0.65) and exact.direction is Side.LONG
    assert short_of_it.reason is Silence.LOW_CONFIDENCE
    assert wide.direction is Side.LONG
    assert too_wide.reason is Silence.NO_CONVICTION


@pytest.mark.parametrize(
    ("adx", "regime"),
    [(25.0, "trend"), (24.99, "neutral"), (20.0, "neutral"), (19.99, "range")],
)
def test_regime_bounds(adx: float, regime: str) -> None:
    assert regime_of(adx) == regime


def test_too_few_bars_are_silence_with_its_reason() -> None:
    nothing = vote(None)

    assert (nothing.direction, nothing.reason) == (None, Silence.INSUFFICIENT_DATA)
    assert (nothing.confidence, nothing.coverage, nothing.regime) == (0.0, 0.0, None)
    assert nothing.rationale[0].text.startswith("No side (INSUFFICIENT_DATA)")


@pytest.mark.parametrize("features_known", [True, False])
def test_an_unknown_profile_is_refused(features_known: bool, base: EnsembleFeatures) -> None:
    with pytest.raises(ValueError, match="profile must be one of published, adaptive"):
        vote(base if features_known else None, profile="bold")  # type: ignore[arg-type]


# --- rationale ----------------------------------------------------------------------------------


def test_a_signal_is_told_in_its_three_first_facts(synth: Bars) -> None:
    told = vote(ensemble_features(synth[:211])).rationale

    assert [fact.code for fact in told] == ["CONFIDENCE", "AGREEMENT", "TOP_MODEL"]
    assert told[0].text == "High confidence in a long: 83.8 % from the ensemble"
    assert told[1].text == "Strong agreement of the models (0.84)"
    assert told[2].text == "The momentum model is the surest (0.80)"


def test_the_surest_model_is_one_that_voted_for_the_side(base: EnsembleFeatures) -> None:
    oversold = replace(base, rsi_norm=0.25, bb_position=0.05, adx=15.0, ret_5=-0.02, ret_10=-0.03)
    falling = replace(oversold, trend_alignment=-1.0, volume_ratio=1.4)

    found = vote(falling)

    assert found.votes["momentum"] == ModelVote(Side.SHORT, 0.8)
    assert found.direction is Side.LONG
    assert found.rationale[2].parameters["model"] == "technical"


def test_silence_is_told_with_its_reason_and_the_market(synth: Bars) -> None:
    told = vote(ensemble_features(synth)).rationale

    assert [fact.code for fact in told] == ["SILENCE", "REGIME"]
    assert told[0].text == "No side (LOW_CONFIDENCE): long 0.12 against short 0.39"
    assert told[1].text == "The market is in a range regime (ADX 13.2)"


def test_rsi_that_leaves_room_is_told(base: EnsembleFeatures) -> None:
    features = replace(base, rsi_norm=0.38, bb_position=0.25, adx=15.0)

    codes = [fact.code for fact in vote(features, min_confidence=50).rationale]

    assert codes == ["CONFIDENCE", "AGREEMENT", "RSI_CONTEXT"]


@pytest.mark.parametrize(
    ("rsi_norm", "position", "told"), [(0.62, 0.75, True), (0.62, 0.25, False), (0.38, 0.75, False)]
)
def test_rsi_that_leaves_no_room_is_not_told(
    rsi_norm: float, position: float, told: bool, base: EnsembleFeatures
) -> None:
    features = replace(base, rsi_norm=rsi_norm, bb_position=position)
    side = Side.SHORT if position > 0.5 else Side.LONG
    result = Tally(direction=side, reason=None, long=0.7, short=0.6, coverage=1.0, voters=4)
    votes = {"technical": ModelVote(side, 0.5)}

    facts = rationale(result, votes=votes, features=features, regime=Regime.NEUTRAL)

    assert ("RSI_CONTEXT" in {fact.code for fact in facts}) is told
    assert facts[0].text.startswith("Moderate confidence")
    assert facts[-1].code == "REGIME"


@pytest.mark.parametrize(
    ("long", "short", "level"), [(0.8, 0.39, "Strong"), (0.8, 0.45, "Moderate"), (0.8, 0.6, None)]
)
def test_agreement_is_told_by_its_size(
    long: float, short: float, level: str | None, base: EnsembleFeatures
) -> None:
    result = Tally(direction=Side.LONG, reason=None, long=long, short=short, coverage=1, voters=4)
    votes = {"technical": ModelVote(Side.LONG, 0.7)}

    facts = rationale(result, votes=votes, features=base, regime=Regime.NEUTRAL)

    told = [fact.parameters["level"] for fact in facts if fact.code == "AGREEMENT"]
    assert told == ([level] if level else [])
    assert facts[0].parameters["level"] == "High"


def test_a_vote_can_be_stored_as_json(synth: Bars) -> None:
    plain = json.loads(json.dumps(vote(ensemble_features(synth[:211])).to_dict()))

    assert plain["direction"] == "long"
    assert plain["reason"] is None
    assert plain["regime"] == "trend"
    assert plain["votes"]["momentum"] == {"direction": "long", "score": 0.8}
    assert plain["rationale"][0]["code"] == "CONFIDENCE"
