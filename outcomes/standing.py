"""How models stand, from daily sums: figures with their number and their interval; pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from quant.gates import Advice, RiskCoverage
from quant.intervals import LEAST_DAYS, Interval, draw_days, percentiles, wilson
from quant.scores import (
    BASELINES,
    TOO_FEW,
    Counts,
    auc_of,
    calibration_error,
    cost_of_skill,
    reliability_of,
)
from quant.types import Array, Times

SEED = 7
"""Intervals are drawn with this seed, so that the same scores always show the same interval."""

RESAMPLES = 1_000

COLUMNS = (
    "n",
    "wins",
    "brier",
    "brier_raw",
    "brier_base",
    "log_loss",
    "followed",
    "followed_wins",
    "followed_r",
    "ignored_r",
    "p",
    "asked",
    "plans",
    "plan_r",
    "cost_usd",
    "latency_ms",
)
PLACES = {name: place for place, name in enumerate(COLUMNS)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure with the interval in which it may lie by drawing days again, if there are any."""

    value: float | None
    interval: Interval | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        low, high = self.interval or (None, None)
        return {"value": self.value, "low": low, "high": high}


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How one model stands by what it said of signals that have ended.

    Units: ``skill`` is the share of the base rate's Brier score that is avoided, ``skill_raw``
    the same before calibration; ``_r`` after costs, in R; ``coverage`` the share of signals it was
    asked about and judged; ``skill_usd`` what 0.01 of Brier gain costs for 1,000 decisions.
    Edges: None where nothing can be said; ``is_too_few`` below 30 scored decisions.
    """

    group: Mapping[str, str]
    n: int
    asked: int
    is_too_few: bool
    coverage: float | None
    win_rate: Figure
    mean_p: float | None
    brier: Figure
    brier_raw: float | None
    skill: Figure
    skill_raw: Figure
    log_loss: float | None
    auc: float | None
    ece: float | None
    followed: int
    hit_rate: Figure
    followed_r: Figure
    ignored_r: Figure
    plan_r: float | None
    cost_usd: float
    cost_per_decision_usd: float | None
    skill_usd: float | None
    latency_ms: float | None

    @property
    def model(self) -> str:
        """Whose standing it is; empty for the signals themselves, judged by their base rate."""
        return self.group.get("model", "")

    @property
    def part(self) -> str:
        """Which part of the model's decisions this is; empty for all of them."""
        return next((value for name, value in self.group.items() if name != "model"), "")


def standing_of(group: Mapping[str, str], days: Array, *, stated: Counts | None = None) -> Standing:
    """Return how one group stands.

    Shapes: ``days`` is (days, columns) sums; ``stated`` counts the probabilities, for the figures
    that need all of them at once.
    Units: see ``Standing``.
    """
    total = dict(zip(COLUMNS, days.sum(axis=0).tolist(), strict=True))
    n, followed = int(total["n"]), int(total["followed"])
    ignored = n - followed
    drawn = _Drawn(days)
    gain = _ratio(total["brier_base"] - total["brier"], n)
    return Standing(
        group=group,
        n=n,
        asked=int(total["asked"]),
        is_too_few=n < TOO_FEW,
        coverage=_ratio(n, total["asked"]),
        win_rate=_share(total["wins"], n),
        mean_p=_ratio(total["p"], n),
        brier=drawn.figure(lambda sums: _over(sums, "brier", "n")),
        brier_raw=_ratio(total["brier_raw"], n),
        skill=drawn.figure(lambda sums: 1.0 - _over(sums, "brier", "brier_base")),
        skill_raw=drawn.figure(lambda sums: 1.0 - _over(sums, "brier_raw", "brier_base")),
        log_loss=_ratio(total["log_loss"], n),
        auc=None if stated is None else _finite(auc_of(stated)),
        ece=None if stated is None else _finite(calibration_error(reliability_of(stated))),
        followed=followed,
        hit_rate=_share(total["followed_wins"], followed),
        followed_r=drawn.figure(lambda sums: _over(sums, "followed_r", "followed")),
        ignored_r=drawn.figure(_ignored_r) if ignored else Figure(value=None),
        plan_r=_ratio(total["plan_r"], total["plans"]),
        cost_usd=total["cost_usd"],
        cost_per_decision_usd=_ratio(total["cost_usd"], n),
        skill_usd=_finite(cost_of_skill(cost_usd=total["cost_usd"], n=n, brier_gain=gain or 0.0)),
        latency_ms=_ratio(total["latency_ms"], total["asked"]),
    )


def baselines(days: Array) -> list[Standing]:
    """Return how judges that know nothing would stand on the same signals.

    Shapes: ``days`` is (days, columns) sums of the signals themselves.
    Units: see ``Standing``.
    """
    return [_baseline(name, p, days) for name, p in BASELINES.items()]


def _baseline(name: str, p: float, days: Array) -> Standing:
    """Return the sums that always saying ``p`` would have come to; a coin follows half of all."""
    column = {each: days[:, PLACES[each]] for each in COLUMNS}
    n, wins, earned = column["n"], column["wins"], column["followed_r"] + column["ignored_r"]
    brier = wins * (1.0 - p) ** 2 + (n - wins) * p**2
    kept = min(max(p, 1e-6), 1.0 - 1e-6)
    made = column | {
        "p": n * p,
        "brier": brier,
        "brier_raw": brier,
        "log_loss": -(wins * np.log(kept) + (n - wins) * np.log(1.0 - kept)),
        "followed": n * p,
        "followed_wins": wins * p,
        "followed_r": earned * p,
        "ignored_r": earned * (1.0 - p),
        "asked": n,
    }
    return standing_of({"model": name}, np.stack([made[each] for each in COLUMNS], axis=1))


class _Drawn:
    """Sums of all days, and of as many days drawn again and again."""

    def __init__(self, days: Array) -> None:
        self._whole = days.sum(axis=0, keepdims=True)
        self._again = _draws(len(days)) @ days if len(days) >= LEAST_DAYS else None

    def figure(self, statistic: Callable[[Array], Array]) -> Figure:
        """Return a figure with its interval; none below ``LEAST_DAYS`` days."""
        with np.errstate(divide="ignore", invalid="ignore"):
            value = float(statistic(self._whole)[0])
            again = None if self._again is None else statistic(self._again)
        if again is None or not np.isfinite(value):
            return Figure(value=_finite(value))
        return Figure(value=value, interval=percentiles(again))


@lru_cache(maxsize=32)
def _draws(days: int) -> Array:
    """Return the draws for so many days, the same every time."""
    return draw_days(days, rng=np.random.default_rng(SEED), resamples=RESAMPLES)


def _over(sums: Array, above: str, below: str) -> Array:
    ratio: Array = sums[:, PLACES[above]] / sums[:, PLACES[below]]
    return ratio


def _ignored_r(sums: Array) -> Array:
    ignored = sums[:, PLACES["n"]] - sums[:, PLACES["followed"]]
    mean: Array = sums[:, PLACES["ignored_r"]] / ignored
    return mean


def _share(part: float, whole: float) -> Figure:
    return Figure(value=_ratio(part, whole), interval=wilson(part, whole) if whole else None)


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether the jury did better than its best member, and if not, why."""

    jury: str
    best: str
    gain: Figure
    is_better: bool
    why: str


def judge_jury(
    standings: Sequence[Standing], *, gain: Figure | None, best: str, weight: float | None
) -> Verdict | None:
    """Return in a sentence how the jury compares with its best member, on the same signals."""
    jury = next((each for each in standings if each.model == "jury"), None)
    if jury is None or gain is None or gain.value is None:
        return None
    low, high = gain.interval or (None, None)
    if low is not None and low > 0.0:
        why = f"the pool avoids {gain.value:.4f} more of the Brier score than {best} alone"
    elif high is not None and high < 0.0:
        held = "not known" if weight is None else f"{weight:.0%}"
        why = (
            f"{best} alone is better by {-gain.value:.4f}: its weight was {held}, and what the"
            " others add is error it does not make"
        )
    else:
        why = f"the difference to {best} of {gain.value:+.4f} is no more than chance explains"
    return Verdict(
        jury="jury", best=best, gain=gain, is_better=bool(low is not None and low > 0.0), why=why
    )


def threshold_in_words(found: RiskCoverage, *, model: str) -> str:
    """Return what a curve advises, in a sentence."""
    if found.advice is Advice.NOT_ENOUGH:
        return f"too little has ended to say how choosy to be with {model}"
    if found.best is None:
        return f"no threshold on {model} earned anything that luck could not have"
    low, _ = found.best.interval or (None, None)
    return (
        f"follow {model} from {found.best.threshold:.2f} on: that was {found.best.coverage:.0%} of"
        f" signals, {found.best.mean_r:+.2f} R each, at least {low:+.2f} R; it is the best of"
        f" {len(found.points)} looked at, so expect somewhat less"
    )


def mean_by_day(values: Array, days: Times) -> Figure:
    """Return the mean of values with its interval by drawing days again.

    Shapes: (n,), (n,) -> scalar.
    Units: those of the values.
    Edges: None without values.
    """
    if not values.size:
        return Figure(value=None)
    _, day = np.unique(days, return_inverse=True)
    sums = np.stack([np.bincount(day, weights=values), np.bincount(day).astype(np.float64)], axis=1)
    return _Drawn(sums).figure(lambda drawn: drawn[:, 0] / drawn[:, 1])
