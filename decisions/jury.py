"""How all models together decide: their probabilities pooled by proven skill; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from statistics import pstdev
from typing import Any

import numpy as np

from decisions.types import UNDECIDED, Ruling, Voices
from decisions.types import follow_probability as stated
from evaluation.types import Action
from quant.pooling import log_pool

CAUTIOUS = {"OPEN_SIGNAL": Action.IGNORE, "CLOSE_SIGNAL": Action.HOLD}
"""What a tie means: do nothing."""

FOLLOW = {"OPEN_SIGNAL": Action.FOLLOW_ENTER, "CLOSE_SIGNAL": Action.FOLLOW_EXIT}
NEW = {"reason": "TOO_FEW", "why": "nothing is known of its skill yet: an equal share"}
DIGITS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """One member's decision, as it was published.

    ``p`` is how probable the member holds it that following is right, calibrated, ``p_raw`` as it
    was stated; without them the decision and its confidence say so.
    """

    model: str
    action: Action
    confidence: float
    size_pct: float
    reasons: tuple[str, ...]
    p: float | None = None
    p_raw: float | None = None


def rule(
    votes: Sequence[Vote],
    *,
    event_type: str,
    asked: Sequence[str],
    quorum_pct: int,
    voices: Voices | None = None,
    threshold: float | None = None,
) -> Ruling | None:
    """Return the ruling, or None while fewer than the quorum of the models asked have voted.

    Abstentions are not votes. The probabilities are pooled by the voices' weights, all equal
    until outcomes say otherwise. The jury follows when the pool reaches the threshold (without
    one: when it lies above one half) and a member follows too; a tie does nothing.
    """
    quorum = max(1, ceil(len(asked) * quorum_pct / 100))
    if len(votes) < quorum:
        return None
    weights = _weights(votes, voices)
    p = _pooled([follow_probability(vote) for vote in votes], weights)
    p_raw = _pooled([_raw_probability(vote) for vote in votes], [1.0] * len(votes))
    action = _action(votes, p=p, threshold=threshold, event_type=event_type)
    side = [vote for vote in votes if vote.action == action]
    return Ruling(
        action=action,
        confidence=stated(action=action, confidence=p),
        confidence_raw=stated(action=action, confidence=p_raw),
        p=p,
        p_raw=p_raw,
        reasons=tuple(dict.fromkeys(reason for vote in side for reason in vote.reasons)),
        size_pct=min((vote.size_pct for vote in side), default=0.0),
        tally=_tally(votes, weights, voices, asked=asked, quorum=quorum, action=action)
        | {"p": round(p, DIGITS), "threshold": threshold and round(threshold, DIGITS)},
    )


def disagreement(votes: Sequence[Vote]) -> float:
    """Return how far the votes lie apart: the standard deviation of their follow probability.

    Edges: one vote agrees with itself, 0.0; half for and half against, all certain, is 0.5.
    Units: a probability, 0 to 0.5.
    """
    return pstdev([follow_probability(vote) for vote in votes]) if votes else 0.0


def follow_probability(vote: Vote) -> float:
    """Return how probable a vote holds it that following is right; TIGHTEN_STOP is undecided."""
    if vote.p is not None:
        return vote.p
    return stated(action=vote.action, confidence=vote.confidence)


def _raw_probability(vote: Vote) -> float:
    return follow_probability(vote) if vote.p_raw is None else vote.p_raw


def _weights(votes: Sequence[Vote], voices: Voices | None) -> list[float]:
    """Return each vote's share; who is new has an equal one, and all equal if none has any."""
    equal = 1.0 / len(votes)
    known = voices.weights if voices else {}
    found = [float(known.get(vote.model, {}).get("weight", equal)) for vote in votes]
    total = sum(found)
    return [weight / total for weight in found] if total else [equal] * len(votes)


def _pooled(p: Sequence[float], weights: Sequence[float]) -> float:
    return log_pool(np.array(p, dtype=np.float64), np.array(weights, dtype=np.float64))


def _action(votes: Sequence[Vote], *, p: float, threshold: float | None, event_type: str) -> Action:
    follow, counts = FOLLOW[event_type], Counter(vote.action for vote in votes)
    is_enough = (
        p > UNDECIDED if threshold is None or event_type != "OPEN_SIGNAL" else p >= threshold
    )
    if is_enough and counts[follow]:
        return follow
    return _winner({each: n for each, n in counts.items() if each != follow}, event_type=event_type)


def _tally(
    votes: Sequence[Vote],
    weights: Sequence[float],
    voices: Voices | None,
    *,
    asked: Sequence[str],
    quorum: int,
    action: Action,
) -> dict[str, Any]:
    counts = Counter(vote.action for vote in votes)
    voted = {vote.model for vote in votes}
    return {
        "counts": {str(name): count for name, count in sorted(counts.items())},
        "agreement": round(counts[action] / len(votes), DIGITS),
        "disagreement": round(disagreement(votes), DIGITS),
        "weights": {
            vote.model: round(weight, DIGITS) for vote, weight in zip(votes, weights, strict=True)
        },
        "weighing": {vote.model: _why(vote.model, voices) for vote in votes},
        "weights_version": voices.version if voices else None,
        "effective_models": voices.effective_models if voices else None,
        "quorum": {"needed": quorum, "voted": len(votes), "asked": len(asked)},
        "abstained": sorted(set(asked) - voted),
    }


def _why(model: str, voices: Voices | None) -> Mapping[str, Any]:
    return (voices.weights if voices else {}).get(model, NEW)


def _winner(counts: Mapping[Action, int], *, event_type: str) -> Action:
    if not counts:
        return CAUTIOUS[event_type]
    most = max(counts.values())
    leaders = [action for action, count in counts.items() if count == most]
    return leaders[0] if len(leaders) == 1 else CAUTIOUS[event_type]
