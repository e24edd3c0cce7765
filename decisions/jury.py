"""How all models together decide: a plain majority with a quorum; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from statistics import pstdev

from decisions.types import Ruling
from evaluation.types import Action

CAUTIOUS = {"OPEN_SIGNAL": Action.IGNORE, "CLOSE_SIGNAL": Action.HOLD}
"""What a tie means: do nothing."""

FOLLOWING = frozenset({Action.FOLLOW_ENTER, Action.FOLLOW_EXIT})
UNDECIDED = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """One member's decision, as it was published."""

    model: str
    action: Action
    confidence: float
    size_pct: float
    reasons: tuple[str, ...]


def rule(
    votes: Sequence[Vote], *, event_type: str, asked: Sequence[str], quorum_pct: int
) -> Ruling | None:
    """Return the ruling, or None while fewer than the quorum of the models asked have voted.

    Abstentions are not votes. Weights are equal until outcomes say otherwise. The confidence is
    the mean of those who voted with the ruling; a tie falls to the side that does nothing.
    """
    quorum = max(1, ceil(len(asked) * quorum_pct / 100))
    if len(votes) < quorum:
        return None
    counts = Counter(vote.action for vote in votes)
    action = _winner(counts, event_type=event_type)
    side = [vote for vote in votes if vote.action == action]
    voted = {vote.model for vote in votes}
    agreement = counts[action] / len(votes)
    return Ruling(
        action=action,
        confidence=sum(vote.confidence for vote in side) / len(side) if side else 0.5,
        reasons=tuple(dict.fromkeys(reason for vote in side for reason in vote.reasons)),
        size_pct=min((vote.size_pct for vote in side), default=0.0),
        tally={
            "counts": {str(name): count for name, count in sorted(counts.items())},
            "agreement": round(agreement, 6),
            "disagreement": round(disagreement(votes), 6),
            "weights": {vote.model: round(1 / len(votes), 6) for vote in votes},
            "quorum": {"needed": quorum, "voted": len(votes), "asked": len(asked)},
            "abstained": sorted(set(asked) - voted),
        },
    )


def disagreement(votes: Sequence[Vote]) -> float:
    """Return how far the votes lie apart: the standard deviation of their follow probability.

    Edges: one vote agrees with itself, 0.0; half for and half against, all certain, is 0.5.
    Units: a probability, 0 to 0.5.
    """
    return pstdev([follow_probability(vote) for vote in votes]) if votes else 0.0


def follow_probability(vote: Vote) -> float:
    """Return how probable a vote holds it that following is right; TIGHTEN_STOP is undecided."""
    if vote.action is Action.TIGHTEN_STOP:
        return UNDECIDED
    return vote.confidence if vote.action in FOLLOWING else 1.0 - vote.confidence


def _winner(counts: Counter[Action], *, event_type: str) -> Action:
    most = max(counts.values())
    leaders = [action for action, count in counts.items() if count == most]
    return leaders[0] if len(leaders) == 1 else CAUTIOUS[event_type]
