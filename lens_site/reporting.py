"""One page that says how models and sources stand, whole in itself: to keep, to send, to print."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from django.template.loader import render_to_string

from lens_site.pages.reliability import Plot, plot_of
from outcomes import queries
from outcomes.models import WeightSet
from outcomes.queries import Scoreboard
from outcomes.sourcing import SourceCard
from quant.sourcecards import DECAY_MINUTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that a report shows of one scope and window."""

    scope: str
    since: date | None
    until: date | None
    ends: dict[str, int]
    board: Scoreboard
    marginal: dict[str, float]
    weights: WeightSet | None
    cards: list[SourceCard]
    plots: list[Plot]


def read_report(*, scope: str, since: date | None = None, until: date | None = None) -> Report:
    """Return the report of a scope, over the days from ``since`` on and before ``until``."""
    board = queries.get_scoreboard(scope=scope, since=since, until=until)
    window = queries.wanted(scope=scope, since=since, until=until)
    plots = [
        plot_of(line.model, queries.get_reliability(window, model=line.model))
        for line in board.standings
    ]
    return Report(
        scope=scope,
        since=since,
        until=until,
        ends=queries.count_by_status(scope=scope),
        board=board,
        marginal=queries.get_leave_one_out(scope=scope),
        weights=queries.latest_weights(scope=scope),
        cards=queries.get_source_cards(scope=scope),
        plots=plots,
    )


def report_page(report: Report, *, now: datetime) -> str:
    """Return the report as one HTML document that needs nothing beside it."""
    shown = {
        "report": report,
        "board": report.board,
        "marginal": report.marginal,
        "weights": report.weights,
        "cards": report.cards,
        "minutes_shown": DECAY_MINUTES,
        "ends": sorted(report.ends.items()),
        "now": now,
    }
    return render_to_string("report.html", shown)
