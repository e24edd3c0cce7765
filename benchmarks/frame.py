"""What every benchmark ends with: a figure, what it is held against, and a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

REPEATS: Final = 3


class Skipped(RuntimeError):
    """A benchmark, or part of it, cannot be run here: why, and what was measured all the same."""

    def __init__(self, why: str, figures: Sequence[Figure] = ()) -> None:
        super().__init__(why)
        self.figures = figures


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure, measured several times, beside its baseline in the same run.

    The target bounds the ratio to the baseline where there is one, else the figure itself.
    """

    target: str
    what: str
    unit: str
    samples: Sequence[float]
    against: str = ""
    baseline: Sequence[float] = ()
    at_least: float | None = None
    at_most: float | None = None

    @property
    def value(self) -> float:
        """Return the median of all repeats."""
        return median(self.samples)

    @property
    def ratio(self) -> float | None:
        """Return how often the baseline goes into it."""
        return self.value / median(self.baseline) if self.baseline else None

    @property
    def noise_pct(self) -> float:
        """Return how far the repeats lie apart, in percent of their median."""
        spread = max(self.samples) - min(self.samples)
        return 100 * spread / abs(self.value) if self.value else 0.0

    @property
    def miss_pct(self) -> float:
        """Return by how much the target is missed; 0 when it is met or there is none."""
        held = self.value if self.ratio is None else self.ratio
        if self.at_least is not None and held < self.at_least:
            return 100 * (1 - held / self.at_least)
        if self.at_most is not None and held > self.at_most:
            return 100 * (held / self.at_most - 1)
        return 0.0

    @property
    def verdict(self) -> str:
        """Say in words how it stands to its target."""
        if self.at_least is None and self.at_most is None:
            return "told"
        return f"missed by {self.miss_pct:.0f} %" if self.miss_pct else "met"

    @property
    def bound(self) -> str:
        """Say what the target is."""
        sign = "x" if self.baseline else f" {self.unit}"
        if self.at_least is not None:
            return f"≥ {self.at_least:g}{sign}"
        return "" if self.at_most is None else f"≤ {self.at_most:g}{sign}"

    def told(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "target": self.target,
            "what": self.what,
            "unit": self.unit,
            "samples": [rounded(each) for each in self.samples],
            "median": rounded(self.value),
            "against": self.against,
            "baseline": [rounded(each) for each in self.baseline],
            "ratio": None if self.ratio is None else rounded(self.ratio),
            "bound": self.bound,
            "noise_pct": round(self.noise_pct, 1),
            "verdict": self.verdict,
        }


def rounded(value: float) -> float:
    """Return a figure with as many digits as it deserves."""
    return round(value, 3 if abs(value) < 10 else 1)


def share(values: Sequence[float], part: float) -> float:
    """Return what such a part of the values does not exceed; NaN when there are none."""
    ordered = sorted(values)
    if not ordered:
        return float("nan")
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def history_line(name: str, figures: Sequence[Mapping[str, Any]], *, day: str, machine: str) -> str:
    """Return the row of a table that tells how a benchmark went on one day."""
    said = "; ".join(
        f"{each['target']} {each['what']}: {each['median']:g} {each['unit']}"
        + (f" ({each['ratio']:g}x {each['against']})" if each["ratio"] is not None else "")
        + (f", {each['verdict']}" if each["verdict"] != "told" else "")
        for each in figures
    )
    return f"| {day} | {machine} | {name} | {said} |"
