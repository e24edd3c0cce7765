"""Figures of a scoreboard are those of its scores, whatever rows they are read from."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from django.db.models import F

from outcomes import queries
from outcomes.models import Score, ScoreDay
from outcomes.standing import Standing
from outcomes.types import ALL, SIGNAL, WHOLE_DAY
from quant.scores import auc, brier, calibration_error, log_loss, reliability
from tests.factories import NOON
from tests.outcomes.conftest import DAYS

pytestmark = pytest.mark.django_db


def only(standings: list[Standing]) -> Standing:
    (found,) = standings
    return found


def test_a_board_shows_the_figures_of_its_scores(told: None) -> None:
    rows = list(Score.objects.filter(model="judge"))
    p, won = np.array([row.p for row in rows]), np.array([row.won for row in rows])
    base = np.array([row.base_rate for row in rows])
    r = np.array([row.net_r for row in rows])
    followed = np.array([row.followed for row in rows])

    line = only(queries.get_scoreboard(scope="live").standings)

    assert line.n == line.asked == DAYS * 5
    assert line.brier.value == pytest.approx(brier(p, won), abs=1e-9)
    assert line.skill.value == pytest.approx(1 - brier(p, won) / brier(base, won), abs=1e-9)
    assert line.log_loss == pytest.approx(log_loss(p, won), abs=1e-9)
    assert line.auc == pytest.approx(auc(p, won), abs=1e-9)
    assert line.ece == pytest.approx(calibration_error(reliability(p, won)), abs=0.05)
    assert line.followed_r.value == pytest.approx(r[followed].mean(), abs=1e-9)
    assert line.ignored_r.value == pytest.approx(r[~followed].mean(), abs=1e-9)
    lower, upper = line.brier.interval or (1.0, 0.0)
    assert lower < brier(p, won) < upper


def test_whole_days_hold_what_their_parts_hold(told: None) -> None:
    whole = ScoreDay.objects.filter(**WHOLE_DAY)
    parts = ScoreDay.objects.exclude(source=ALL).exclude(symbol=ALL)

    assert whole.filter(model="judge").count() == DAYS
    for row in whole:
        of_day = parts.filter(model=row.model, day=row.day)
        assert row.n == sum(part.n for part in of_day) == 5
        assert row.brier == pytest.approx(sum(part.brier for part in of_day), abs=1e-12)
        counted = 0 if row.model == SIGNAL else row.n
        assert sum(n for n, _ in row.bins.values()) == counted
        assert sum(wins for _, wins in row.bins.values()) == (row.wins if counted else 0)


def test_a_board_of_one_source_and_one_by_source_agree(told: None) -> None:
    by_source = queries.get_scoreboard(scope="live", by=("model", "source")).standings
    alpha = only(queries.get_scoreboard(scope="live", filters={"source": "alpha"}).standings)

    lines = {each.group["source"]: each for each in by_source if each.model == "judge"}
    assert set(lines) == {"alpha", "beta"}
    assert (lines["alpha"].brier, lines["alpha"].auc) == (alpha.brier, alpha.auc)
    assert lines["alpha"].n + lines["beta"].n == DAYS * 5


@pytest.mark.parametrize(
    "filters", [{"source": "alpha"}, {"source": "alpha", "symbol": "BTC"}, {"regime": "up"}]
)
def test_days_by_one_thing_hold_what_the_scores_hold(told: None, filters: dict[str, str]) -> None:
    board = queries.get_scoreboard(scope="live", filters=filters)
    rows = Score.objects.filter(model="judge", **filters)

    line = only(board.standings)

    assert line.n == rows.count() > 0
    assert line.brier.value == pytest.approx(
        np.mean([((row.p or 0.0) - row.won) ** 2 for row in rows])
    )
    bins = queries.get_reliability(queries.wanted(scope="live", filters=filters), model="judge")
    assert sum(each.n for each in bins) == line.n


def test_a_board_is_remembered_until_something_is_scored(
    told: None, django_assert_num_queries: Any
) -> None:
    first = queries.get_scoreboard(scope="live")

    with django_assert_num_queries(2):
        assert queries.get_scoreboard(scope="live") is first
    ScoreDay.objects.filter(model="judge", **WHOLE_DAY).update(asked=F("asked") + 1)

    assert only(queries.get_scoreboard(scope="live").standings).asked > only(first.standings).asked


def test_whole_days_and_their_parts_give_the_same_line(told: None) -> None:
    whole = only(queries.get_scoreboard(scope="live").standings)
    parts = only(queries.get_scoreboard(scope="live", filters={"regime": "up"}).standings)

    assert whole.n == parts.n
    assert whole.auc == parts.auc
    assert whole.ece == parts.ece
    assert (whole.brier.value or 0.0) == pytest.approx(parts.brier.value or 1.0)


def test_a_window_of_days_leaves_the_others_out(told: None) -> None:
    since, until = (NOON + timedelta(days=2)).date(), (NOON + timedelta(days=4)).date()

    line = only(queries.get_scoreboard(scope="live", since=since, until=until).standings)

    assert line.n == 10
    assert line.brier.interval is None
    assert line.is_too_few


def test_those_who_know_nothing_are_measured_on_the_same_signals(told: None) -> None:
    won = np.array(Score.objects.filter(model=SIGNAL).values_list("won", flat=True))

    lines = {each.model: each for each in queries.get_scoreboard(scope="live").baselines}

    assert lines["always follow"].brier.value == pytest.approx(1 - won.mean())
    assert lines["always ignore"].brier.value == pytest.approx(won.mean())
    assert lines["coin"].brier.value == pytest.approx(0.25)
    assert lines["always follow"].followed_r.value == pytest.approx(np.where(won, 1.8, -1.2).mean())
