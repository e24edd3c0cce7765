"""What a decision endpoint answers to its questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.fake_vendors.asked import Asked, digest, unit

Answer = dict[str, Any]


def answers_for(asked: Asked) -> dict[str, Answer] | list[Answer]:
    """Return one answer per question, in the form of the vendor that was asked."""
    questions = asked.questions or {}
    luck = digest("decisions", asked.model, asked.prompt)
    if isinstance(questions, Mapping):
        return {name: _gemini(each, digest(luck, name)) for name, each in questions.items()}
    return [_openai(each, digest(luck, place)) for place, each in enumerate(questions)]


def _openai(question: Mapping[str, Any], luck: str) -> Answer:
    told = {"type": question["type"], "name": question.get("name")}
    if question["type"] == "predicate":
        return told | {"probability": _chance(luck)}
    named = [each.get("value", each.get("label")) for each in _options(question)]
    shares = _shares(len(named), luck)
    best = shares.index(max(shares))
    if question["type"] == "choice":
        spread: list[Answer] = [
            {"value": name, "probability": share} for name, share in zip(named, shares, strict=True)
        ]
        return told | {"choice": named[best], "confidence": shares[best], "probabilities": spread}
    levels = [
        {"label": name, "value": place, "probability": share}
        for place, (name, share) in enumerate(zip(named, shares, strict=True))
    ]
    return told | {
        "score": _expected(shares),
        "confidence": shares[best],
        "probabilities": levels,
    }


def _gemini(question: Mapping[str, Any], luck: str) -> Answer:
    if question["type"] == "noul":
        chance = _chance(luck)
        return {"type": "noul", "noul": chance, "confidence": max(chance, round(1 - chance, 4))}
    criteria = question["criteria"]
    if isinstance(criteria, Mapping):
        names = list(criteria)
        shares = _shares(len(names), luck)
        best = shares.index(max(shares))
        return {
            "type": "choice",
            "choice": names[best],
            "confidence": shares[best],
            "probabilities": dict(zip(names, shares, strict=True)),
        }
    shares = _shares(len(criteria), luck)
    return {
        "type": "score",
        "score": _expected(shares),
        "confidence": max(shares),
        "legend": {str(place): text for place, text in enumerate(criteria)},
        "probabilities": {str(place): share for place, share in enumerate(shares)},
    }


def _options(question: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    options: Sequence[Mapping[str, Any]] = question.get("choices") or question["levels"]
    return options


def _chance(luck: str) -> float:
    return round(0.01 + 0.98 * unit(luck), 4)


def _shares(count: int, luck: str) -> list[float]:
    """Return probabilities that sum to 1, the last taking what rounding left."""
    weights = [0.05 + unit(luck, place) for place in range(count)]
    shares = [round(weight / sum(weights), 4) for weight in weights[:-1]]
    return [*shares, round(1.0 - sum(shares), 4)]


def _expected(shares: Sequence[float]) -> float:
    return round(sum(place * share for place, share in enumerate(shares)), 4)
