from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from evaluation.evaluators.ensemble import Ensemble
from evaluation.evaluators.rules import Rules
from evaluation.types import Action, Verdict
from quant.ensemble import EnsembleFeatures
from quant.scoring import EngineFeatures
from tests.contracts.test_evaluators import make_case

BULLISH = EnsembleFeatures(
    close_ms=0,
    close=42_000.0,
    ret_5=0.03,
    ret_10=0.05,
    ret_20=0.06,
    vol_5=0.004,
    vol_10=0.006,
    volume_ratio=1.8,
    volume_trend=0.3,
    bb_position=0.85,
    bb_width=0.012,
    rsi_norm=0.42,
    rsi_overbought=0.0,
    rsi_oversold=0.0,
    macd_cross=1.0,
    macd_strength=0.5,
    trend_alignment=1.0,
    momentum_1=0.004,
    atr_frac=0.008,
    adx=30.0,
    bb_width_rank=0.1,
    vol_5_median=0.004,
)
TRENDING = EngineFeatures(
    close_ms=0,
    close=42_000.0,
    atr_frac=0.004,
    range_expansion=2.6,
    ema_slope=0.009,
    vwap_distance=0.02,
    structure="uptrend",
    breakout="bullish",
    breakout_level=41_900.0,
)
FLAT = EngineFeatures(
    close_ms=0,
    close=42_000.0,
    atr_frac=0.004,
    range_expansion=1.0,
    ema_slope=0.0,
    vwap_distance=0.0,
    structure="neutral",
    breakout="none",
)


def ensemble(side: str, event_type: str = "OPEN_SIGNAL", **changes: Any) -> Verdict:
    features = json.loads(json.dumps(BULLISH.to_dict())) | changes
    case = make_case({"ensemble": features}, side=side, event_type=event_type)
    verdict = asyncio.run(Ensemble(name="e").evaluate(case)).verdict
    assert verdict is not None
    return verdict


def rules(
    side: str, event_type: str = "OPEN_SIGNAL", frames: dict[str, EngineFeatures] | None = None
) -> Verdict:
    usual = {"5m": TRENDING, "15m": TRENDING, "1h": TRENDING}
    facts = {"engine": {name: f.to_dict() for name, f in (usual | (frames or {})).items()}}
    case = make_case(facts, side=side, event_type=event_type)
    verdict = asyncio.run(Rules(name="r").evaluate(case)).verdict
    assert verdict is not None
    return verdict


def test_the_ensemble_follows_what_it_votes_for_itself() -> None:
    verdict = ensemble("long")

    assert verdict.action is Action.FOLLOW_ENTER
    assert verdict.confidence >= 0.65
    assert 0 < verdict.size_pct <= 25
    assert verdict.risk_plan is not None
    assert 0.8 <= verdict.risk_plan["atr_multiple"] <= 1.5
    assert "bullish_trend" in verdict.reasons


def test_the_ensemble_ignores_what_it_votes_against_as_surely() -> None:
    against, own = ensemble("short"), ensemble("long")

    assert against.action is Action.IGNORE
    assert against.confidence == own.confidence
    assert (against.size_pct, against.entry_plan) == (0.0, None)


def test_a_silent_ensemble_ignores_with_the_doubt_in_the_signals_side() -> None:
    verdict = ensemble("long", ret_5=0.0, ret_10=0.0, volume_ratio=1.0, bb_width_rank=0.9)

    strength = verdict.details["long"]
    assert verdict.details["direction"] is None
    assert verdict.action is Action.IGNORE
    assert verdict.confidence == pytest.approx(1.0 - strength)


@pytest.mark.parametrize(("side", "action"), [("long", Action.HOLD), ("short", Action.FOLLOW_EXIT)])
def test_on_closing_the_ensemble_holds_its_own_side_and_leaves_the_other(
    side: str, action: Action
) -> None:
    assert ensemble(side, "CLOSE_SIGNAL").action is action


def test_a_silent_ensemble_tightens_the_stop_on_closing() -> None:
    verdict = ensemble(
        "long", "CLOSE_SIGNAL", ret_5=0.0, ret_10=0.0, volume_ratio=1.0, bb_width_rank=0.9
    )

    assert (verdict.action, verdict.confidence) == (Action.TIGHTEN_STOP, 0.5)


def test_the_rules_follow_a_confirmed_trend_and_say_what_was_known() -> None:
    verdict = rules("long")

    assert verdict.action is Action.FOLLOW_ENTER
    assert verdict.confidence >= 0.60
    assert verdict.details["missing"] == ["liquidation", "oi"]
    assert verdict.details["coverage"] == pytest.approx(0.70)
    assert verdict.details["timeframes"]["aligned"] is True


def test_the_rules_ignore_a_signal_against_the_trend() -> None:
    verdict = rules("short")

    assert verdict.action is Action.IGNORE
    assert verdict.confidence >= 0.60


def test_the_rules_want_the_other_timeframes_to_agree() -> None:
    verdict = rules("long", frames={"15m": FLAT, "1h": FLAT})

    assert verdict.details["timeframes"]["aligned"] is False
    assert verdict.action is Action.IGNORE
    assert verdict.confidence == pytest.approx(1 - verdict.details["score_of_known"], abs=1e-6)


def test_a_market_without_a_side_is_ignored_undecided() -> None:
    verdict = rules("long", frames={"5m": FLAT, "15m": FLAT, "1h": FLAT})

    assert (verdict.action, verdict.confidence) == (Action.IGNORE, 0.5)


@pytest.mark.parametrize(("side", "action"), [("long", Action.HOLD), ("short", Action.FOLLOW_EXIT)])
def test_on_closing_the_rules_hold_their_own_side_and_leave_the_other(
    side: str, action: Action
) -> None:
    assert rules(side, "CLOSE_SIGNAL").action is action
