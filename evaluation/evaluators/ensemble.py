"""The four-model ensemble as a judge of other people's signals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from evaluation.evaluators.base import Abstained
from evaluation.evaluators.quantitative import Quantitative
from evaluation.types import Action, AttemptStatus, Case, Verdict
from quant.ensemble import PROFILES, EnsembleFeatures, EnsembleVote, Profile, vote
from quant.levels import multiples
from quant.snapshot import BadSnapshot
from quant.types import Side

RSI_HIGH, RSI_LOW = 0.7, 0.3
SILENT_CONFIDENCE = 0.5


class Ensemble(Quantitative):
    """Follows a signal when the four models vote for its side strongly enough.

    The models see the last closed bars at the signal's time, never its entry or source. Facts
    that are too short give an abstention, not advice.
    """

    version: ClassVar[str] = "ensemble-1"

    def __init__(
        self,
        *,
        name: str,
        profile: Profile = "adaptive",
        min_confidence: float = 65.0,
        min_margin: float = 0.15,
    ) -> None:
        super().__init__(name=name)
        if profile not in PROFILES:
            raise TypeError(f"profile must be one of {', '.join(PROFILES)}, was {profile!r}")
        self.profile = profile
        self.min_confidence = min_confidence
        self.min_margin = min_margin

    def judge(self, case: Case) -> Verdict:
        side = Side(case.side)
        ballot = vote(
            _features(case.facts),
            profile=self.profile,
            min_confidence=self.min_confidence,
            min_margin=self.min_margin,
        )
        action, confidence = _on_open(ballot, side) if case.is_opening else _on_close(ballot, side)
        return Verdict(
            action=action,
            confidence=round(confidence, 6),
            reasons=tuple(_reasons(ballot)),
            details=ballot.to_dict(),
            **(_plans(ballot, case) if action is Action.FOLLOW_ENTER else {}),
        )


def _features(facts: Mapping[str, Any]) -> EnsembleFeatures:
    plain = facts.get("ensemble") or {"missing": "no facts for the ensemble were gathered"}
    if "missing" in plain:
        raise Abstained(str(plain["missing"]), status=AttemptStatus.INSUFFICIENT_DATA)
    try:
        return EnsembleFeatures.from_dict(plain)
    except BadSnapshot as error:
        raise Abstained(str(error), status=AttemptStatus.STALE_INPUT) from error


def _on_open(ballot: EnsembleVote, side: Side) -> tuple[Action, float]:
    if ballot.direction is side:
        return Action.FOLLOW_ENTER, ballot.strength(side)
    if ballot.direction is side.opposite:
        return Action.IGNORE, ballot.strength(side.opposite)
    return Action.IGNORE, 1.0 - ballot.strength(side)


def _on_close(ballot: EnsembleVote, side: Side) -> tuple[Action, float]:
    if ballot.direction is side:
        return Action.HOLD, ballot.strength(side)
    if ballot.direction is side.opposite:
        return Action.FOLLOW_EXIT, ballot.strength(side.opposite)
    return Action.TIGHTEN_STOP, SILENT_CONFIDENCE


def _plans(ballot: EnsembleVote, case: Case) -> dict[str, Any]:
    """Return size, entry and stop: the stop is nearer and the size larger with confidence."""
    _, to_stop = multiples(confidence=ballot.confidence)
    largest = float(case.constraints.get("max_position_size_pct", 0.0))
    return {
        "size_pct": round(largest * ballot.confidence / 100.0, 2),
        "entry_plan": {"type": "market", "offset_bps": 0.0},
        "risk_plan": {"stop_method": "atr", "atr_multiple": round(to_stop, 4)},
    }


def _reasons(ballot: EnsembleVote) -> Iterator[str]:
    """Name what the features showed, in the words of the vocabulary."""
    features = ballot.features
    if features is None:
        return
    trending = ballot.regime is not None and ballot.regime.value == "trend"
    up = features.trend_alignment > 0
    yield ("bullish_trend" if up else "bearish_trend") if trending else "no_trend"
    if features.macd_cross:
        yield "macd_bullish_cross" if features.macd_cross > 0 else "macd_bearish_cross"
    if features.rsi_norm < RSI_LOW:
        yield "rsi_oversold"
    elif features.rsi_norm > RSI_HIGH:
        yield "rsi_overbought"
    else:
        yield "rsi_neutral"
