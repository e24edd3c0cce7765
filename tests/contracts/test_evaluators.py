"""The sentences that hold for every evaluator the house knows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import numpy as np
import pytest

from evaluation.evaluators.base import Abstained, Evaluator
from evaluation.evaluators.ensemble import Ensemble
from evaluation.evaluators.rules import Rules
from evaluation.evaluators.scripted import Scripted
from evaluation.types import ACTIONS, REASONS, AttemptStatus, Case, Opinion
from quant.candles import resample
from quant.ensemble import ensemble_features
from quant.scoring import engine_features
from quant.types import Bars

MAKERS: dict[str, Callable[[], Evaluator]] = {
    "ensemble": lambda: Ensemble(name="ensemble"),
    "ensemble published": lambda: Ensemble(name="ensemble", profile="published"),
    "rules": lambda: Rules(name="rules"),
    "rules published": lambda: Rules(name="rules", profile="published"),
    "scripted": lambda: Scripted(name="scripted"),
}
START_MS = 1_767_571_200_000  # 2026-01-05T00:00Z


def walk(*, drift: float, seed: int, minutes: int = 130 * 60) -> Bars:
    """Return one-minute candles of a random walk with a drift per minute."""
    rng = np.random.default_rng(seed)
    close = 42_000 * np.exp(np.cumsum(rng.normal(drift, 0.0008, minutes)))
    opened = np.concatenate([[42_000.0], close[:-1]])
    spread = np.abs(rng.normal(0, 0.0004, minutes)) * close
    return Bars(
        open_ms=START_MS + np.arange(minutes, dtype=np.int64) * 60_000,
        open=opened,
        high=np.maximum(opened, close) + spread,
        low=np.minimum(opened, close) - spread,
        close=close,
        volume=rng.lognormal(3, 0.5, minutes),
        timeframe_s=60,
    )


def facts_of(minutes: Bars) -> dict[str, Any]:
    frames = {"5m": 300, "15m": 900, "1h": 3600}
    facts = {
        "ensemble": ensemble_features(resample(minutes, timeframe_s=3600)).to_dict(),
        "engine": {
            name: engine_features(resample(minutes, timeframe_s=seconds)).to_dict()
            for name, seconds in frames.items()
        },
    }
    frozen: dict[str, Any] = json.loads(json.dumps(facts))
    return frozen


MARKETS = [
    facts_of(walk(drift=drift, seed=seed)) for seed in range(3) for drift in (-2e-4, 0, 2e-4)
]


def make_case(facts: dict[str, Any], *, side: str, event_type: str) -> Case:
    return Case(
        event_id=uuid4(),
        event_type=event_type,
        symbol="BTC",
        side=side,
        entry_price=42_000.0,
        payload="{}",
        facts=facts,
        constraints={"max_position_size_pct": 25},
        as_of=datetime(2026, 1, 10, tzinfo=UTC),
    )


def opinion_of(evaluator: Evaluator, case: Case) -> Opinion:
    return asyncio.run(evaluator.evaluate(case))


@pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("side", ["long", "short"])
@pytest.mark.parametrize("event_type", list(ACTIONS))
def test_a_verdict_keeps_to_the_vocabulary_and_the_constraints(
    maker: Callable[[], Evaluator], side: str, event_type: str
) -> None:
    for facts in MARKETS:
        opinion = opinion_of(maker(), make_case(facts, side=side, event_type=event_type))

        verdict = opinion.verdict
        assert verdict is not None
        assert opinion.status is AttemptStatus.OK
        assert [attempt.status for attempt in opinion.attempts] == [AttemptStatus.OK]
        assert verdict.action in ACTIONS[event_type]
        assert 0.0 <= verdict.confidence <= 1.0
        assert 0.0 <= verdict.size_pct <= 25.0
        assert verdict.reasons
        assert set(verdict.reasons) <= set(REASONS)
        json.dumps(verdict.details)


@pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS)
def test_the_same_case_always_gets_the_same_verdict(maker: Callable[[], Evaluator]) -> None:
    for facts in MARKETS:
        case = make_case(facts, side="long", event_type="OPEN_SIGNAL")

        assert opinion_of(maker(), case).verdict == opinion_of(maker(), case).verdict


@pytest.mark.parametrize("name", ["ensemble", "rules"])
@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"ensemble": {"missing": "needs 120 bars"}, "engine": {"5m": {"missing": "needs bars"}}},
        {"ensemble": {"version": 0}, "engine": {"5m": {"version": 0}}},
    ],
    ids=["none", "too short", "of another version"],
)
def test_facts_that_do_not_suffice_give_an_abstention_with_its_cause(
    name: str, facts: dict[str, Any]
) -> None:
    case = make_case(facts, side="long", event_type="OPEN_SIGNAL")

    with pytest.raises(Abstained) as abstention:
        opinion_of(MAKERS[name](), case)

    assert abstention.value.status in (
        AttemptStatus.INSUFFICIENT_DATA,
        AttemptStatus.STALE_INPUT,
    )
    assert str(abstention.value)


@pytest.mark.parametrize("maker", [Ensemble, Rules])
def test_an_unknown_profile_is_refused_at_the_start(maker: Any) -> None:
    with pytest.raises(TypeError, match="profile must be one of"):
        maker(name="x", profile="lucky")
