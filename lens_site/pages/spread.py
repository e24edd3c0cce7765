"""What models cost against how long they take, as the Models page draws and lists it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.queries import Answered
from lens_site.pages import words
from lens_site.pages.model_history import Hours
from lens_site.pages.ranks import at_share

DOTS_A_MODEL = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """The newest priced answers of one model: milliseconds and US dollars each."""

    model: str
    letter: str
    dots: tuple[tuple[float, float], ...]

    @property
    def p50_ms(self) -> float | None:
        """How long every second answer took at most."""
        return at_share([ms for ms, _ in self.dots], 0.5)

    @property
    def p95_ms(self) -> float | None:
        """How long nearly all of them took at most."""
        return at_share([ms for ms, _ in self.dots], 0.95)

    @property
    def p50_usd(self) -> float | None:
        """What every second answer cost at most."""
        return at_share([usd for _, usd in self.dots], 0.5)

    @property
    def p95_usd(self) -> float | None:
        """What nearly all of them cost at most."""
        return at_share([usd for _, usd in self.dots], 0.95)


def spreads_of(answers: Mapping[str, Sequence[Answered]]) -> list[Spread]:
    """Return the spread of each model that costs something, in the order of the models.

    Letters are those of the board. What calculates here costs nothing and is left out.
    """
    letters = words.letters(list(answers))
    found = ((model, _dots(rows)) for model, rows in answers.items())
    return [Spread(model=model, letter=letters[model], dots=dots) for model, dots in found if dots]


def _dots(rows: Sequence[Answered]) -> tuple[tuple[float, float], ...]:
    told = [
        (round(row.latency_ms), float(row.cost_usd))
        for row in rows
        if row.latency_ms is not None and row.cost_usd
    ]
    return tuple(told[:DOTS_A_MODEL])


def chart_of_spreads(spreads: Sequence[Spread]) -> str:
    """Return the spreads as the page's script reads them."""
    return _packed([{"letter": each.letter, "dots": each.dots} for each in spreads])


def chart_of_hours(hours: Hours) -> str:
    """Return the hours as the page's script reads them: when they begin, then by cause."""
    counts = {cause: [hour.faults.get(cause, 0) for hour in hours.hours] for cause in hours.faults}
    return _packed(
        {
            "since": [round(hour.since.timestamp()) for hour in hours.hours],
            "causes": [
                {"cause": str(words.phrase(words.CAUSES, cause)), "counts": told}
                for cause, told in counts.items()
            ],
        }
    )


def _packed(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
