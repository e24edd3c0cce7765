"""What a source's signals have been worth, followed one and all; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from outcomes.standing import Figure, mean_by_day
from quant.intervals import wilson
from quant.scores import TOO_FEW
from quant.sourcecards import DECAY_MINUTES, chance_p_value
from quant.types import Times

SEED = 11
"""Chance is drawn with this seed, so that the same signals always show the same p-value."""

RESAMPLES = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedSignal:
    """One signal of a source whose question was answered by the market.

    Units: ``_r`` in R; ``break_even`` the probability of the target at which it earns nothing.
    """

    source: str
    day: int
    won: bool
    net_r: float
    break_even: float | None
    decay_r: Mapping[str, float]
    elsewhere_r: Sequence[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceCard:
    """What following every signal of a source would have come to.

    Units: ``hit_rate`` and ``break_even`` are shares; ``net_r`` after costs; ``decay`` how the
        signals stood so many minutes later, before costs; ``p_value`` how often the same trades
        at random moments would have earned as much.
    """

    source: str
    n: int
    hit_rate: Figure
    break_even: float | None
    net_r: Figure
    decay: tuple[tuple[int, Figure], ...]
    p_value: float | None

    @property
    def is_too_few(self) -> bool:
        """Whether too little is known to tell it from luck."""
        return self.n < TOO_FEW

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "source": self.source,
            "n": self.n,
            "is_too_few": self.is_too_few,
            "hit_rate": self.hit_rate.as_json(),
            "break_even": self.break_even,
            "net_r": self.net_r.as_json(),
            "decay_r": {str(minutes): figure.as_json() for minutes, figure in self.decay},
            "p_value": self.p_value,
        }


def card_of(source: str, signals: Sequence[EndedSignal]) -> SourceCard:
    """Return what a source's signals have been worth.

    Shapes: n signals, at least one.
    Units: see ``SourceCard``.
    Edges: decay is over the signals that have a bar at that moment.
    Source: ``quant.sourcecards``; intervals by drawing days again, Wilson's for the hit rate.
    """
    n, wins = len(signals), sum(each.won for each in signals)
    days = np.array([each.day for each in signals], dtype=np.int64)
    net_r = np.array([each.net_r for each in signals], dtype=np.float64)
    even = [each.break_even for each in signals if each.break_even is not None]
    return SourceCard(
        source=source,
        n=n,
        hit_rate=Figure(value=wins / n, interval=wilson(wins, n)),
        break_even=float(np.mean(even)) if even else None,
        net_r=mean_by_day(net_r, days),
        decay=tuple((minutes, _decay(signals, days, minutes)) for minutes in DECAY_MINUTES),
        p_value=chance_p_value(
            net_r,
            [list(each.elsewhere_r) for each in signals],
            rng=np.random.default_rng(SEED),
            resamples=RESAMPLES,
        ),
    )


def _decay(signals: Sequence[EndedSignal], days: Times, minutes: int) -> Figure:
    found = [each.decay_r.get(str(minutes)) for each in signals]
    known = np.array([value is not None for value in found], dtype=np.bool_)
    values = np.array([value for value in found if value is not None], dtype=np.float64)
    return mean_by_day(values, days[known])
