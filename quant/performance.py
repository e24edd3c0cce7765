"""What a row of finished trades earned: win rates, profit factor, Sharpe, drawdown."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
import numpy.typing as npt

from quant.types import Array

LEAST_CLOSED = 30  # trades below which a Sharpe ratio says nothing; specification A8
DAYS_PER_YEAR = 365.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Performance:
    """What a row of finished trades earned.

    Units: shares and returns as fractions; ``max_drawdown`` as a fraction of the highest equity,
        at most 0; ``sharpe_annualised`` by the trades a year that the window really held.
    Edges: None where there is nothing to divide: no trades, no losses (``profit_factor``), no
        spread, or fewer trades than ``least`` (the Sharpe ratios).
    """

    closed: int
    win_rate: float | None
    tp_rate: float | None
    average: float | None
    median: float | None
    profit_factor: float | None
    expectancy: float | None
    sharpe: float | None
    sharpe_annualised: float | None
    sortino: float | None
    max_drawdown: float | None
    total: float | None


NOTHING = Performance(
    closed=0,
    win_rate=None,
    tp_rate=None,
    average=None,
    median=None,
    profit_factor=None,
    expectancy=None,
    sharpe=None,
    sharpe_annualised=None,
    sortino=None,
    max_drawdown=None,
    total=None,
)


def performance(
    net_returns: Array,
    *,
    hit_target: npt.NDArray[np.bool_],
    window_days: float,
    least: int = LEAST_CLOSED,
) -> Performance:
    """Return what finished trades earned, oldest first.

    Shapes: (n,), (n,).
    Units: ``net_returns`` as fractions, after costs.
    Edges: a trade that returned exactly 0 was not won; equity compounds trade by trade.
    Source: specification A8; vectors ``engine.outcome_metrics``.
    :raises ValueError: if the shapes differ, or ``window_days`` is not above 0.
    """
    if net_returns.shape != hit_target.shape:
        raise ValueError("a return for each trade, and whether it hit its target")
    if not window_days > 0.0:
        raise ValueError(f"window_days must be above 0, was {window_days}")
    closed = net_returns.size
    if not closed:
        return NOTHING
    average = float(net_returns.mean())
    won = net_returns > 0.0
    lost = -float(net_returns[net_returns < 0.0].sum())
    sharpe = _over_spread(net_returns) if closed >= least else None
    per_year = closed / window_days * DAYS_PER_YEAR
    equity = np.cumprod(np.concatenate(([1.0], 1.0 + net_returns)))
    return Performance(
        closed=closed,
        win_rate=float(won.mean()),
        tp_rate=float(hit_target.mean()),
        average=average,
        median=float(np.median(net_returns)),
        profit_factor=float(net_returns[won].sum()) / lost if lost else None,
        expectancy=average,
        sharpe=sharpe,
        sharpe_annualised=None if sharpe is None else sharpe * sqrt(per_year),
        sortino=_over_downside(net_returns) if closed >= least else None,
        max_drawdown=float((equity / np.maximum.accumulate(equity) - 1.0).min()),
        total=float(equity[-1] - 1.0),
    )


def _over_spread(returns: Array) -> float | None:
    """Return the mean for each unit of the sample's standard deviation."""
    spread = float(returns.std(ddof=1)) if returns.size > 1 and np.ptp(returns) else 0.0
    return float(returns.mean()) / spread if spread else None


def _over_downside(returns: Array) -> float | None:
    """Return the mean for each unit of the root mean square of the losses, over all trades."""
    downside = sqrt(float((np.minimum(returns, 0.0) ** 2).mean()))
    return float(returns.mean()) / downside if downside else None
