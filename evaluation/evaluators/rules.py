"""The weighted rule score as a judge of other people's signals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from evaluation.evaluators.base import Abstained
from evaluation.evaluators.quantitative import Quantitative
from evaluation.types import Action, AttemptStatus, Case, Verdict
from quant.scoring import (
    SCORE_PROFILES,
    Confirmation,
    EngineFeatures,
    EngineScore,
    ScoreProfile,
    ScoreReason,
    confirm,
    score,
    standing_events,
    timeframe_direction,
)
from quant.snapshot import BadSnapshot
from quant.types import Side

COVERAGE_MIN = 0.5
STOP_ATR_MULTIPLE = 1.0  # SL_ATR_MULTIPLIER of the engine, specification D6
UNDECIDED = 0.5
EPSILON = 1e-9
FLAT_SLOPE_ATR = 0.15  # the dead band of the aligned profile, specification A5


class Rules(Quantitative):
    """Follows a signal when the score of its primary timeframe and the other timeframes agree.

    What the market did not tell (liquidations, open interest) is left out and the weights of
    the rest count for the whole; below half of the weight the model abstains. The share that
    was known is in the verdict's details.
    """

    version: ClassVar[str] = "rules-1"

    def __init__(
        self,
        *,
        name: str,
        profile: ScoreProfile = "aligned",
        threshold: float = 0.60,
        primary: str = "5m",
        min_aligned: int = 2,
    ) -> None:
        super().__init__(name=name)
        if profile not in SCORE_PROFILES:
            raise TypeError(f"profile must be one of {', '.join(SCORE_PROFILES)}, was {profile!r}")
        self.profile = profile
        self.threshold = threshold
        self.primary = primary
        self.min_aligned = min_aligned

    def judge(self, case: Case) -> Verdict:
        side = Side(case.side)
        frames = _frames(case.facts, primary=self.primary)
        scored = self._score(frames[self.primary])
        confirmed = confirm(
            {
                name: timeframe_direction(features, profile=self.profile).direction
                for name, features in frames.items()
            },
            min_aligned=self.min_aligned,
        )
        speaks_for = self._side(scored, confirmed)
        strength = scored.score_of_known
        action, confidence = (
            _on_open(speaks_for, side, scored.direction, strength)
            if case.is_opening
            else _on_close(speaks_for, side, strength)
        )
        return Verdict(
            action=action,
            confidence=round(confidence, 6),
            reasons=tuple(_reasons(frames[self.primary])),
            details=_details(scored, confirmed, threshold=self.threshold),
            **(_plans(strength, case) if action is Action.FOLLOW_ENTER else {}),
        )

    def _score(self, features: EngineFeatures) -> EngineScore:
        scored = score(features, events=standing_events(features), profile=self.profile)
        if scored.reason is ScoreReason.INSUFFICIENT_DATA or scored.coverage < COVERAGE_MIN:
            known = f"{scored.coverage:.0%} of the score's weight is known"
            reason = f"{known}; missing: {', '.join(scored.missing)}"
            raise Abstained(reason, status=AttemptStatus.INSUFFICIENT_DATA)
        return scored

    def _side(self, scored: EngineScore, confirmed: Confirmation) -> Side | None:
        """Return the side that score and timeframes speak for together."""
        enough = scored.score_of_known >= self.threshold - EPSILON
        agreed = confirmed.aligned and confirmed.direction is scored.direction
        return scored.direction if enough and agreed else None


def _frames(facts: Mapping[str, Any], *, primary: str) -> dict[str, EngineFeatures]:
    plain = facts.get("engine") or {}
    known = {name: value for name, value in plain.items() if "missing" not in value}
    if primary not in known:
        why = plain.get(primary, {}).get("missing", f"no facts on {primary} were gathered")
        raise Abstained(str(why), status=AttemptStatus.INSUFFICIENT_DATA)
    try:
        return {name: EngineFeatures.from_dict(value) for name, value in known.items()}
    except BadSnapshot as error:
        raise Abstained(str(error), status=AttemptStatus.STALE_INPUT) from error


def _on_open(
    speaks_for: Side | None, side: Side, leans_to: Side | None, strength: float
) -> tuple[Action, float]:
    """Return the advice and how sure it is; a score below the threshold for us is doubt in us."""
    if speaks_for is side:
        return Action.FOLLOW_ENTER, strength
    if leans_to is side:
        return Action.IGNORE, 1.0 - strength
    return Action.IGNORE, UNDECIDED if leans_to is None else max(UNDECIDED, strength)


def _on_close(speaks_for: Side | None, side: Side, strength: float) -> tuple[Action, float]:
    if speaks_for is side:
        return Action.HOLD, strength
    if speaks_for is side.opposite:
        return Action.FOLLOW_EXIT, strength
    return Action.TIGHTEN_STOP, UNDECIDED


def _plans(strength: float, case: Case) -> dict[str, Any]:
    largest = float(case.constraints.get("max_position_size_pct", 0.0))
    return {
        "size_pct": round(largest * strength, 2),
        "entry_plan": {"type": "market", "offset_bps": 0.0},
        "risk_plan": {"stop_method": "atr", "atr_multiple": STOP_ATR_MULTIPLE},
    }


def _details(scored: EngineScore, confirmed: Confirmation, *, threshold: float) -> dict[str, Any]:
    return {
        **scored.to_dict(),
        "score_of_known": scored.score_of_known,
        "threshold": threshold,
        "timeframes": {
            "aligned": confirmed.aligned,
            "direction": confirmed.direction,
            "aligned_count": confirmed.aligned_count,
            "total": confirmed.total,
            "strength": confirmed.strength,
            "mtf_score": confirmed.mtf_score,
        },
    }


def _reasons(features: EngineFeatures) -> Iterator[str]:
    """Name what the primary timeframe showed, in the words of the vocabulary."""
    trends = {"uptrend": "bullish_trend", "downtrend": "bearish_trend"}
    yield trends.get(features.structure or "", "no_trend")
    if features.ema_slope is not None and features.atr_frac:
        slope = features.ema_slope / features.atr_frac
        flat = abs(slope) < FLAT_SLOPE_ATR
        yield "ema_mixed" if flat else "ema_bullish_stack" if slope > 0 else "ema_bearish_stack"
