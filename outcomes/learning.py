"""What outcomes teach: what a stated confidence is worth, and whose voice counts how much.

Everything is learnt from outcomes that were known before a moment, by the market's own time, so
that a replay learns as the house would have learnt while it happened.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np

from decisions.types import JURY
from outcomes.following import to_ms
from outcomes.models import Score
from outcomes.types import SIGNAL
from quant.calibration import Calibration, fit, shrink
from quant.pooling import (
    Weight,
    WeightReason,
    effective_k,
    error_correlations,
    log_pool,
    shrunk_correlation,
    skill_posterior,
    skill_weights,
)

ALL_SOURCES = ""
CORRELATED_OVER = 2_000  # of the newest signals, to see who errs with whom
Key = tuple[str, str, str]
"""Model, prompt version and source; an empty source stands for all together."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """One scored decision, as far as something can be learnt from it."""

    signal: str
    model: str
    prompt_version: str
    source: str
    known_ms: int
    p_raw: float
    p: float
    base_rate: float
    followed: bool
    won: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """What each model's voice counts, how many independent voices that makes, and why."""

    by_model: Mapping[str, Weight]
    correlations: Mapping[str, float]
    effective_models: float | None
    n: int

    def values(self) -> dict[str, float]:
        """Return the weights alone."""
        return {model: weight.weight for model, weight in self.by_model.items()}

    def as_json(self) -> dict[str, Any]:
        """Return the weights with the sentences that explain them, by model."""
        return {model: explained(model, weight) for model, weight in self.by_model.items()}


@dataclass(slots=True)
class Experience:
    """Scored decisions in the order in which their outcomes became known."""

    lessons: list[Lesson] = field(default_factory=list)

    def add(self, scores: Iterable[Score]) -> None:
        """Remember scored decisions; abstentions teach nothing here."""
        for score in scores:
            if score.model == SIGNAL or score.p is None or score.p_raw is None or score.variant:
                continue
            self.lessons.append(
                Lesson(
                    signal=f"{score.event_id}:{score.run}",
                    model=score.model,
                    prompt_version=score.prompt_version,
                    source=score.source,
                    known_ms=to_ms(score.known_at),
                    p_raw=score.p_raw,
                    p=score.p,
                    base_rate=0.5 if score.base_rate is None else score.base_rate,
                    followed=score.followed,
                    won=score.won,
                )
            )

    def before(self, moment: datetime) -> list[Lesson]:
        """Return what was known before a moment."""
        until_ms = to_ms(moment)
        return [each for each in self.lessons if each.known_ms < until_ms]


def fit_maps(lessons: Sequence[Lesson]) -> dict[Key, Calibration]:
    """Return for each model, prompt and source what a stated probability is worth.

    A source's own map is shrunk to the model's map of all sources; below the least number of
    outcomes it is that map alone, which is the identity while it has too few as well.
    """
    groups: dict[Key, list[Lesson]] = defaultdict(list)
    for lesson in lessons:
        if lesson.model != JURY:
            groups[lesson.model, lesson.prompt_version, ALL_SOURCES].append(lesson)
            groups[lesson.model, lesson.prompt_version, lesson.source].append(lesson)
    fitted = {key: _fit(group) for key, group in groups.items()}
    return {
        key: own if key[2] == ALL_SOURCES else shrink(own, fitted[key[0], key[1], ALL_SOURCES])
        for key, own in fitted.items()
    }


def _fit(group: Sequence[Lesson]) -> Calibration:
    known_ms = np.array([each.known_ms for each in group], dtype=np.int64)
    return fit(
        np.array([each.p_raw for each in group], dtype=np.float64),
        np.array([each.won for each in group], dtype=np.bool_),
        known_ms=known_ms,
        until_ms=int(known_ms.max()),
    )


def map_for(
    maps: Mapping[Key, Calibration], *, model: str, prompt_version: str, source: str
) -> Calibration | None:
    """Return the map that a decision goes through: its source's, or that of all sources."""
    own = maps.get((model, prompt_version, source))
    return own if own is not None else maps.get((model, prompt_version, ALL_SOURCES))


def fit_weights(lessons: Sequence[Lesson], *, models: Sequence[str]) -> Weights:
    """Return what each of the models' voices counts in the jury, by the skill they showed."""
    gains: dict[str, list[float]] = {model: [] for model in models}
    for each in lessons:
        if each.model in gains:
            beaten = (each.base_rate - each.won) ** 2 - (each.p - each.won) ** 2
            gains[each.model].append(beaten)
    skills = {
        model: (
            len(found),
            skill_posterior(
                n=len(found), gains=sum(found), squares=sum(gain * gain for gain in found)
            ),
        )
        for model, found in gains.items()
    }
    weights = skill_weights(skills)
    correlations, matrix = _correlations(lessons, models=models)
    counted = np.array([weights[model].weight for model in models], dtype=np.float64)
    return Weights(
        by_model=weights,
        correlations=correlations,
        effective_models=effective_k(counted, matrix) if models else None,
        n=len({each.signal for each in lessons}),
    )


def _correlations(
    lessons: Sequence[Lesson], *, models: Sequence[str]
) -> tuple[dict[str, float], np.ndarray[Any, np.dtype[np.float64]]]:
    """Return how much each two models err together, shrunk where little was seen of them."""
    places = {model: place for place, model in enumerate(models)}
    newest = list(dict.fromkeys(each.signal for each in reversed(lessons)))[:CORRELATED_OVER]
    rows = {signal: place for place, signal in enumerate(newest)}
    wrong = np.full((len(rows), len(models)), np.nan)
    for each in lessons:
        if each.signal in rows and each.model in places:
            wrong[rows[each.signal], places[each.model]] = each.followed != each.won
    phi, paired = error_correlations(wrong)
    matrix = np.eye(len(models))
    named = {}
    for one in range(len(models)):
        for other in range(one + 1, len(models)):
            shrunk = shrunk_correlation(float(phi[one, other]), n=int(paired[one, other]))
            matrix[one, other] = matrix[other, one] = shrunk
            named[f"{models[one]}|{models[other]}"] = round(shrunk, 6)
    return named, matrix


def pooled(stated: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """Return the jury's probability: the weighted pool of its members' log odds."""
    names = sorted(stated)
    return log_pool(
        np.array([stated[name] for name in names], dtype=np.float64),
        np.array([weights.get(name, 0.0) for name in names], dtype=np.float64),
    )


def explained(model: str, weight: Weight) -> dict[str, Any]:
    """Return a weight with its reason in a sentence that people can read."""
    skill = f"{weight.skill:+.4f} ± {weight.skill_sd:.4f} Brier against the base rate"
    sentences = {
        WeightReason.TOO_FEW: f"{model} has {weight.n} scored decisions, too few to weigh it:"
        " an equal share",
        WeightReason.EQUAL: f"no model has shown skill yet ({skill} over {weight.n}):"
        " an equal share",
        WeightReason.NO_SKILL: f"{model} has shown no skill ({skill} over {weight.n}): no weight",
        WeightReason.SKILL: f"{model} earns its weight by {skill} over {weight.n} decisions",
    }
    return {
        "weight": round(weight.weight, 6),
        "reason": str(weight.reason),
        "n": weight.n,
        "skill": round(weight.skill, 6),
        "skill_sd": round(weight.skill_sd, 6),
        "why": sentences[weight.reason],
    }
