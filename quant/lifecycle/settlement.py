"""What a finished trade earned, before and after costs, and whether it won."""

from __future__ import annotations

from dataclasses import dataclass

from quant.lifecycle.question import Question
from quant.lifecycle.track import Status, Track

WIN_RULE = "target-first-net/1"
"""The definition of a win that ``Settlement.won`` applies; stored beside every outcome."""

HOUR_MS = 3_600_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What a trade costs.

    Units: basis points of the entry price; fee and slippage for each side, funding for each hour
        as a long pays it, so a short receives it, and a negative rate turns both round.
    Source: specification A8 (fees of 5 basis points a side) and A10 (slippage of 2).
    """

    fee_bps: float = 5.0
    slippage_bps: float = 2.0
    funding_bps_per_hour: float = 0.0

    def of(self, question: Question, *, held_ms: float) -> float:
        """Return the cost of the trade, held for so long, as a fraction of the entry."""
        funding = question.side.sign * self.funding_bps_per_hour * held_ms / HOUR_MS
        return (2.0 * (self.fee_bps + self.slippage_bps) + funding) / 10_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What a finished trade earned.

    Units: returns as fractions of the entry; ``_r`` in R.
    Edges: ``won`` is None where no probability of the target can be judged: a trade that somebody
        ended early.
    """

    gross_return_frac: float
    net_return_frac: float
    gross_r: float
    net_r: float
    cost_r: float
    held_ms: int
    won: bool | None


def settle(question: Question, track: Track, *, costs: Costs) -> Settlement:
    """Return what a finished trade earned.

    Shapes: one question.
    Units: see ``Settlement``.
    Edges: a win is a target reached first that still earns after costs (``WIN_RULE``); a trade
        that ran out its horizon in profit is none, because the question was the target.
    Source: specification A8; vectors ``engine.lifecycle_cases`` and ``outcome_resolution``.
    :raises ValueError: if the trade has not ended, or there was none.
    """
    if not track.status.has_exit or track.exit_price is None:
        raise ValueError(f"nothing to settle: the question is {track.status}")
    gross = question.side.sign * (track.exit_price - question.entry) / question.entry
    held_ms = track.bars * question.bar_ms
    cost = costs.of(question, held_ms=held_ms)
    per_r = question.entry / question.risk
    gross_r = question.in_r(track.exit_price)
    net_r = gross_r - cost * per_r
    early = track.status in (Status.MANUAL, Status.REVERSED)
    return Settlement(
        gross_return_frac=gross,
        net_return_frac=gross - cost,
        gross_r=gross_r,
        net_r=net_r,
        cost_r=cost * per_r,
        held_ms=held_ms,
        won=None if early else track.status is Status.TP_HIT and net_r > 0.0,
    )
