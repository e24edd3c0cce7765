"""Where to enter, take profit and stop, and where a venue would close the position."""

from __future__ import annotations

from dataclasses import dataclass

from quant.types import Side

MIN_RISK_REWARD = 1.2  # AI_MIN_RISK_REWARD, specification B6
MIN_NET_RISK_REWARD = 1.0  # after costs, specification B6
EPSILON = 1e-9


class NoLevels(ValueError):
    """Prices do not move enough, or move too much, for a target and a stop to make sense."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """An entry with its target and its stop.

    Units: prices in quote currency; multiples in average true ranges; ``risk_reward`` is the
    way to the target for each unit of the way to the stop.
    """

    side: Side
    entry: float
    target: float
    stop: float
    target_multiple: float
    stop_multiple: float
    risk_reward: float

    def net_risk_reward(self, *, cost_frac: float) -> float:
        """Return reward for risk when a round trip costs that fraction of the entry.

        Shapes: scalar.
        Units: none.
        Edges: negative when the cost exceeds the reward.
        Source: specification B6.
        """
        reward, risk = abs(self.target - self.entry), abs(self.entry - self.stop)
        cost = cost_frac * self.entry
        return (reward - cost) / (risk + cost)

    def is_worthwhile(
        self,
        *,
        cost_frac: float,
        min_risk_reward: float = MIN_RISK_REWARD,
        min_net: float = MIN_NET_RISK_REWARD,
    ) -> bool:
        """Whether reward for risk suffices, before and after costs."""
        net = self.net_risk_reward(cost_frac=cost_frac)
        return self.risk_reward >= min_risk_reward - EPSILON and net >= min_net - EPSILON


def multiples(*, confidence: float) -> tuple[float, float]:
    """Return how many average true ranges away target and stop lie.

    Shapes: scalar -> two scalars.
    Units: ``confidence`` from 0 to 100.
    Edges: more confidence puts the target farther and the stop nearer.
    Source: specification B6.
    :raises ValueError: if ``confidence`` lies outside 0 to 100.
    """
    if not 0.0 <= confidence <= 100.0:
        raise ValueError(f"confidence must be from 0 to 100, was {confidence}")
    share = confidence / 100.0
    return 1.5 + 1.5 * share, 1.5 - 0.7 * share


def risk_reward(*, confidence: float) -> float:
    """Return the way to the target for each unit of the way to the stop.

    Shapes: scalar -> scalar.
    Units: ``confidence`` from 0 to 100.
    Edges: depends on nothing else; 1 at 0, 3.75 at 100.
    Source: specification B6; vectors ``risk_reward_curve``.
    :raises ValueError: if ``confidence`` lies outside 0 to 100.
    """
    target, stop = multiples(confidence=confidence)
    return target / stop


def atr_levels(*, side: Side, entry: float, atr: float, confidence: float) -> Levels:
    """Return target and stop at distances set by volatility and confidence.

    Shapes: scalars.
    Units: ``entry`` and ``atr`` in quote currency; ``confidence`` from 0 to 100.
    Edges: prices are not rounded to a tick.
    Source: specification B6; vectors ``level_cases``.
    :raises NoLevels: if ``atr`` is 0, or so large that a price would not be positive.
    :raises ValueError: if ``confidence`` lies outside 0 to 100.
    """
    to_target, to_stop = multiples(confidence=confidence)
    target = entry + side.sign * atr * to_target
    stop = entry - side.sign * atr * to_stop
    if not (entry > 0.0 and atr > 0.0 and target > 0.0 and stop > 0.0):
        raise NoLevels(f"no levels for {side} at {entry} with an average range of {atr}")
    return Levels(
        side=side,
        entry=entry,
        target=target,
        stop=stop,
        target_multiple=to_target,
        stop_multiple=to_stop,
        risk_reward=to_target / to_stop,
    )


def liquidation_price(*, side: Side, entry: float, leverage: float, mmr: float = 0.005) -> float:
    """Return the price at which a venue would close an isolated position by force.

    Shapes: scalars -> scalar.
    Units: quote currency; ``mmr``, the maintenance margin rate, as a fraction.
    Edges: without fees and funding; at or below 0 for a long without leverage.
    Source: specification part 1; vectors ``risk.liquidation_price_cases``.
    :raises ValueError: if ``leverage`` is not above 0, or the margin would not cover ``mmr``.
    """
    if not leverage > 0.0:
        raise ValueError(f"leverage must be above 0, was {leverage}")
    if not 0.0 <= mmr < 1.0 / leverage:
        raise ValueError(f"mmr must lie below 1 / leverage, was {mmr} at {leverage}")
    return entry * (1.0 - side.sign * (1.0 / leverage - mmr))
