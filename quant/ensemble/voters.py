"""The four models. Each reads the features and gives a side with a score, or stays silent.

Bounds are strict: a value exactly on one is not beyond it. The ``published`` models vote weakly
when nothing else applies; the ``adaptive`` ones measure in the instrument's own volatility and
are silent instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from quant.ensemble.features import EnsembleFeatures
from quant.types import Side

Profile = Literal["published", "adaptive"]
PROFILES: tuple[Profile, ...] = ("published", "adaptive")

MIN_EVIDENCE = 0.05  # technical evidence below this is silence; specification B4
SQUEEZE_VOLUME = 1.5  # times the mean volume
STRONG_VOLUME = 1.2
CALMER = 0.7  # mean reversion is trusted less while prices are wild


@dataclass(frozen=True, slots=True)
class ModelVote:
    """One model's side, or None for silence, and how sure it is from 0 to 1."""

    direction: Side | None
    score: float


SILENT = ModelVote(None, 0.0)


def model_votes(features: EnsembleFeatures, *, profile: Profile) -> dict[str, ModelVote]:
    """Return the vote of every model by its name."""
    return {
        "technical": technical(features),
        "momentum": momentum(features, profile=profile),
        "mean_reversion": mean_reversion(features, profile=profile),
        "breakout": breakout(features, profile=profile),
    }


def technical(features: EnsembleFeatures) -> ModelVote:
    """Return the vote of RSI, MACD and Bollinger position added up.

    Shapes: one value -> one vote.
    Units: score from 0 to 1.
    Edges: silent when the parts nearly cancel out.
    Source: specification B4; vectors ``model_truth_tables.technical``.
    """
    rsi, position = features.rsi_norm, features.bb_position
    evidence = (
        (0.4 * _outside(rsi, 0.30, 0.70) or 0.2 * _outside(rsi, 0.45, 0.55))
        + 0.3 * features.macd_cross
        + 0.3 * _outside(position, 0.2, 0.8)
    )
    return SILENT if abs(evidence) < MIN_EVIDENCE else _for_sign(evidence, abs(evidence))


def momentum(features: EnsembleFeatures, *, profile: Profile) -> ModelVote:
    """Return the vote of the latest returns.

    Shapes: one value -> one vote.
    Units: score from 0 to 1.
    Edges: silent when five bars brought nothing.
    Source: specification B4; vectors ``model_truth_tables.momentum``.
    """
    a = features.atr_frac
    limits = (0.02, 0.03, 0.01) if profile == "published" else (1.5 * a, 2.2 * a, 0.75 * a)
    strong_5, strong_10, moderate = limits
    sign = _sign(features.ret_5)
    five, ten = sign * features.ret_5, sign * features.ret_10
    if five > strong_5 and ten > strong_10 and features.volume_ratio > STRONG_VOLUME:
        return _for_sign(sign, 0.8)
    if five > moderate and features.trend_alignment == sign:
        return _for_sign(sign, 0.6)
    return _for_sign(sign, 0.3) if profile == "published" else SILENT


def mean_reversion(features: EnsembleFeatures, *, profile: Profile) -> ModelVote:
    """Return the vote for a way back from the bands.

    Shapes: one value -> one vote.
    Units: score from 0 to 1.
    Edges: the score is cut to 0.7 of itself while volatility is high.
    Source: specification B4; vectors ``model_truth_tables.mean_reversion``.
    """
    rsi, position = features.rsi_norm, features.bb_position
    wild = 0.05 if profile == "published" else 2.0 * features.vol_5_median
    trust = CALMER if features.vol_5 > wild else 1.0
    far, near = _outside(position, 0.1, 0.9), _outside(position, 0.3, 0.7)
    if far and far == _outside(rsi, 0.30, 0.70):
        return _for_sign(far, 0.9 * trust)
    if near and near == _outside(rsi, 0.40, 0.60):
        return _for_sign(near, 0.6 * trust)
    if profile == "published":
        return _for_sign(_outside(position, 0.5, 0.5), 0.2 * trust)
    return SILENT


def breakout(features: EnsembleFeatures, *, profile: Profile) -> ModelVote:
    """Return the vote for the way out of a squeeze.

    Shapes: one value -> one vote.
    Units: score from 0 to 1.
    Edges: a squeeze needs narrow bands and volume; in one, a still last bar is silence.
    Source: specification B4; vectors ``model_truth_tables.breakout``.
    """
    is_narrow = features.bb_width < 0.02 if profile == "published" else features.bb_width_rank < 0.2
    if is_narrow and features.volume_ratio > SQUEEZE_VOLUME:
        pushed = _sign(features.momentum_1)
        leaves = pushed != 0 and pushed == -_outside(features.bb_position, 0.3, 0.7)
        return _for_sign(pushed, 0.85 if leaves else 0.4)
    if profile == "published":
        return _for_sign(-_outside(features.bb_position, 0.5, 0.5), 0.3)
    return SILENT


def _outside(value: float, low: float, high: float) -> int:
    """Return +1 below ``low``, where there is room to rise, -1 above ``high``, else 0."""
    return int(value < low) - int(value > high)


def _sign(value: float) -> int:
    return int(value > 0.0) - int(value < 0.0)


def _for_sign(sign: float, score: float) -> ModelVote:
    if sign == 0:
        return SILENT
    return ModelVote(Side.LONG if sign > 0 else Side.SHORT, score)
