"""What advice is worth: calibrated probability, expected value, and the break-even gate; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from decisions.clamp import Advice
from decisions.types import Adjustment, Calibrated, Learnt, Terms, follow_probability
from evaluation.types import Action
from quant.calibration import Calibration
from quant.gates import break_even, expected_r, is_worth_following

DIGITS = 6


def calibrated(*, action: str, confidence: float, learnt: Learnt | None) -> Calibrated:
    """Return how probable advice holds it that following is right, and what that is worth."""
    p_raw = follow_probability(action=action, confidence=confidence)
    if learnt is None:
        return Calibrated(p_raw=p_raw, p=p_raw)
    p = Calibration(knots=learnt.knots, n=learnt.n).of(p_raw)
    return Calibrated(p_raw=p_raw, p=p, by={"version": learnt.version, "n": learnt.n})


def own_or_common(maps: Sequence[Learnt], *, prompt_version: str, source: str) -> Learnt | None:
    """Return the map of a model's prompt for a source, or else for all sources."""
    fitting = [each for each in maps if each.prompt_version == prompt_version]
    own = next((each for each in fitting if each.source == source), None)
    return own or next((each for each in fitting if not each.source), None)


def gated(
    advice: Advice, *, p: float, terms: Terms | None, margin: float | None
) -> tuple[Advice, list[Adjustment]]:
    """Hold back advice to enter whose probability does not clear break-even by the margin.

    Without sound terms or with the gate switched off (margin None) advice stays as it is.
    """
    if advice.action is not Action.FOLLOW_ENTER or margin is None:
        return advice, []
    if terms is None or not terms.is_sound:
        return advice, []
    reward, cost = terms.reward_r, terms.cost_r
    if is_worth_following(p, reward_risk=reward, cost_r=cost, margin=margin):
        return advice, []
    needed = round(break_even(reward_risk=reward, cost_r=cost) + margin, DIGITS)
    change = Adjustment(
        field="decision",
        rule=f"break_even {needed}",
        asked=str(advice.action),
        allowed=str(Action.IGNORE),
    )
    return replace(advice, action=Action.IGNORE), [change]


def economics_of(worth: Calibrated, terms: Terms | None) -> dict[str, Any]:
    """Return what a decision shows of the bet behind it; nothing of it where no bet is known."""
    told: dict[str, Any] = {"p_raw": worth.p_raw, "p": worth.p}
    if terms is None or not terms.is_sound:
        return told
    reward, cost = terms.reward_r, terms.cost_r
    return told | {
        "entry": terms.entry,
        "target": terms.target,
        "stop": terms.stop,
        "horizon_s": terms.house.horizon_s,
        "basis": terms.basis,
        "reward_r": round(reward, DIGITS),
        "cost_r": round(cost, DIGITS),
        "break_even": round(break_even(reward_risk=reward, cost_r=cost), DIGITS),
        "ev_r": round(expected_r(worth.p, reward_risk=reward, cost_r=cost), DIGITS),
    }


def confidence_of(*, action: str, p: float) -> float:
    """Return how probable it is that an action is right, given how probable following is."""
    return follow_probability(action=action, confidence=p)


def break_even_of(terms: Terms | None) -> float | None:
    """Return the probability at which a bet earns nothing, if there is a sound bet."""
    if terms is None or not terms.is_sound:
        return None
    return break_even(reward_risk=terms.reward_r, cost_r=terms.cost_r)
