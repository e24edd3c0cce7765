"""Why the ensemble said what it said, as facts that can be told in any language."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from quant.ensemble.features import EnsembleFeatures
from quant.ensemble.tally import Regime, Tally
from quant.ensemble.voters import ModelVote
from quant.types import Side

MOST_FACTS = 3
TEXTS: Mapping[str, str] = {
    "CONFIDENCE": "{level} confidence in a {side}: {confidence_pct:.1f} % from the ensemble",
    "AGREEMENT": "{level} agreement of the models ({agreement:.2f})",
    "TOP_MODEL": "The {model} model is the surest ({score:.2f})",
    "RSI_CONTEXT": "RSI {rsi:.1f} leaves room for a {side}",
    "REGIME": "The market is in a {regime} regime (ADX {adx:.1f})",
    "SILENCE": "No side ({reason}): long {long:.2f} against short {short:.2f}",
}


@dataclass(frozen=True, slots=True)
class Fact:
    """One reason: a code, its parameters, and an English sentence made of both."""

    code: str
    parameters: Mapping[str, float | str]

    @property
    def text(self) -> str:
        """The fact in English."""
        return TEXTS[self.code].format(**self.parameters)

    def to_dict(self) -> dict[str, Any]:
        """Return a mapping that JSON can hold."""
        return {"code": self.code, "parameters": dict(self.parameters), "text": self.text}


def rationale(
    result: Tally, *, votes: Mapping[str, ModelVote], features: EnsembleFeatures, regime: Regime
) -> tuple[Fact, ...]:
    """Return the first three facts that apply, the most telling first.

    Source: specification B8; for silence its reason stands in the place of the confidence.
    """
    facts = _facts(result, votes, features)
    market = Fact("REGIME", {"regime": regime.value, "adx": features.adx})
    return (*facts, market)[:MOST_FACTS]


def _facts(
    result: Tally, votes: Mapping[str, ModelVote], features: EnsembleFeatures
) -> tuple[Fact, ...]:
    if result.direction is None:
        sides: dict[str, float | str] = {"long": result.long, "short": result.short}
        return (Fact("SILENCE", {"reason": str(result.reason), **sides}),)
    return (
        _confidence(result, result.direction),
        *_agreement(result),
        *_top_model(votes, result.direction),
        *_rsi_context(features, result.direction),
    )


def _confidence(result: Tally, side: Side) -> Fact:
    level = "High" if result.confidence >= 80.0 else "Moderate"
    parameters = {"level": level, "side": side.value, "confidence_pct": result.confidence}
    return Fact("CONFIDENCE", parameters)


def _agreement(result: Tally) -> Iterator[Fact]:
    if result.agreement > 0.25:
        level = "Strong" if result.agreement > 0.40 else "Moderate"
        yield Fact("AGREEMENT", {"level": level, "agreement": result.agreement})


def _top_model(votes: Mapping[str, ModelVote], side: Side) -> Iterator[Fact]:
    scores = {name: vote.score for name, vote in votes.items() if vote.direction is side}
    surest = max(scores, key=lambda name: scores[name])
    if scores[surest] > 0.70:
        yield Fact("TOP_MODEL", {"model": surest.replace("_", " "), "score": scores[surest]})


def _rsi_context(features: EnsembleFeatures, side: Side) -> Iterator[Fact]:
    points = 100.0 * features.rsi_norm
    if (side is Side.LONG and points < 40.0) or (side is Side.SHORT and points > 60.0):
        yield Fact("RSI_CONTEXT", {"rsi": points, "side": side.value})
