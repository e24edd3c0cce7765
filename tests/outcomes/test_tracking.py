"""Open questions are followed to their end: nothing lost, doubled, guessed or seen too early."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from pytest_django import Settings

from outcomes import queries, services
from outcomes.models import Outcome
from outcomes.tracking import CHECKPOINT, Pass
from quant.types import Bars
from tests.factories import NOON
from tests.outcomes.makers import make_open, make_question
from tests.outcomes.market import flat, make_bars

pytestmark = pytest.mark.django_db

TO_TARGET = (100.0, 102.5, 99.9, 102.2)
TO_STOP = (100.0, 100.2, 98.5, 98.8)
TO_BOTH = (100.0, 103.0, 98.0, 100.0)


def after(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def follow(bars: Bars, *, until: float | None = None) -> Pass:
    at = after(until) if until is not None else after(len(bars))
    return services.advance(
        market="scripted", symbol="BTC", replay_id=None, bars=bars, as_of=at, now=at
    )


def the_outcome(outcome: Outcome) -> Outcome:
    return Outcome.objects.select_related("question").get(pk=outcome.pk)


def test_the_target_reached_first_is_won_after_costs() -> None:
    outcome = make_open()

    passed = follow(make_bars(*flat(3), TO_TARGET, *flat(2, 102.0)))

    found = the_outcome(outcome)
    assert passed.ended == 1
    assert (found.status, found.resolution, found.won) == ("RESOLVED", "TARGET", True)
    assert found.exit_price == 102.0
    assert found.exit_at == after(3)
    assert found.known_at == after(4)
    assert found.gross_r == pytest.approx(2.0)
    assert found.net_r == pytest.approx(2.0 - 0.12, abs=0.01)


def test_both_levels_in_one_candle_count_as_the_stop() -> None:
    outcome = make_open()

    follow(make_bars(*flat(1), TO_BOTH))

    found = the_outcome(outcome)
    assert (found.resolution, found.won, found.ambiguous) == ("STOP", False, True)


def test_at_the_horizon_the_price_of_the_moment_counts() -> None:
    outcome = make_open(make_question(horizon_s=300))

    follow(make_bars(*flat(5), (100.5, 100.6, 100.4, 100.5)))

    found = the_outcome(outcome)
    assert (found.resolution, found.won) == ("EXPIRED", False)
    assert found.gross_r == pytest.approx(0.5)


def test_an_entry_that_is_not_touched_is_no_trade() -> None:
    outcome = make_open(make_question(entry_rule="TOUCH", entry_within_s=120))

    follow(make_bars(*flat(4, 105.0)))

    found = the_outcome(outcome)
    assert (found.status, found.resolution, found.won) == ("RESOLVED", "NOT_FILLED", None)


def test_an_exit_was_right_when_holding_on_would_have_lost() -> None:
    outcome = make_open(make_question(event_type="CLOSE_SIGNAL"))

    follow(make_bars(TO_STOP))

    assert the_outcome(outcome).won is True


def test_a_stop_on_the_wrong_side_is_never_answered() -> None:
    outcome = make_open(make_question(stop_price=101))

    follow(make_bars(*flat(3)))

    found = the_outcome(outcome)
    assert found.status == "UNRESOLVABLE"
    assert found.reason.startswith("BAD_LEVELS")


def test_a_gap_is_waited_for_and_then_left_unanswered(settings: Settings) -> None:
    settings.OUTCOME_GAP_PATIENCE_S = 600
    outcome = make_open()
    broken = make_bars(*flat(4), TO_TARGET, without=frozenset({2}))

    follow(broken, until=5)
    waiting = the_outcome(outcome)
    follow(broken, until=14)
    given_up = the_outcome(outcome)

    assert (waiting.status, waiting.waiting_since) == ("OPEN", after(5))
    assert given_up.status == "UNRESOLVABLE"
    assert given_up.reason == "DATA_GAP: no candle of 2026-01-15 12:02 UTC came"


def test_a_late_candle_closes_the_gap() -> None:
    outcome = make_open()
    follow(make_bars(*flat(4), TO_TARGET, without=frozenset({2})), until=5)

    follow(make_bars(*flat(4), TO_TARGET), until=6)

    assert the_outcome(outcome).resolution == "TARGET"


@pytest.mark.parametrize(
    "wrong",
    [(100.0, 99.0, 101.0, 100.0), (100.0, float("nan"), 99.9, 100.0), (100.0, 200.0, -1.0, 100.0)],
)
def test_a_candle_that_cannot_be_true_counts_as_missing(wrong: Any) -> None:
    outcome = make_open()

    follow(make_bars(*flat(2), wrong, TO_TARGET), until=4)

    assert the_outcome(outcome).status == "OPEN"


def test_candles_told_again_or_revised_change_nothing_that_was_counted() -> None:
    outcome = make_open()
    follow(make_bars(*flat(20)))
    before = the_outcome(outcome)

    follow(make_bars(TO_STOP, *flat(19)))

    again = the_outcome(outcome)
    assert before.seen_until == again.seen_until == after(20)
    assert (again.bars, again.status) == (20, "OPEN")


def test_a_restart_in_mid_track_comes_to_the_same_end_as_one_long_look() -> None:
    path = make_bars(*flat(40), (100.0, 101.5, 99.2, 101.0), *flat(30, 101.0), TO_STOP)
    often, once = make_open(), make_open()

    for minutes in range(1, len(path)):
        seen = path[:minutes]
        services.advance(
            market="scripted",
            symbol="BTC",
            replay_id=None,
            bars=seen,
            as_of=after(minutes),
            now=after(minutes),
        )
        Outcome.objects.filter(pk=once.pk).update(seen_until=NOON, bars=0, mfe_r=0, mae_r=0)
    follow(path)

    one, other = the_outcome(often), the_outcome(once)
    for field in ("resolution", "exit_at", "gross_r", "net_r", "mfe_r", "mae_r", "bars"):
        assert getattr(one, field) == getattr(other, field), field


def test_two_trackers_at_once_count_a_candle_once(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = make_open()
    bars = make_bars(*flat(30))
    read = queries.list_open

    def overtaken(**asked: Any) -> list[Outcome]:
        rows = read(**asked)
        if rows:
            monkeypatch.setattr(queries, "list_open", read)
            follow(bars)
        return rows

    monkeypatch.setattr(queries, "list_open", overtaken)
    follow(bars)

    assert the_outcome(outcome).bars == 30


def test_without_the_future_nothing_is_different() -> None:
    """What was found out at a moment is the same whether or not later candles exist."""
    path = make_bars(*flat(10), TO_TARGET, *flat(10, 102.0), TO_STOP, *flat(5, 99.0))
    known = [make_open(make_question(opens_at=after(place))) for place in range(0, 20, 2)]
    follow(path[:15], until=15)
    early = {each.pk: the_outcome(each) for each in known}

    follow(path, until=len(path))

    ended = [each for each in early.values() if each.status == "RESOLVED"]
    assert ended
    for each in ended:
        assert each.known_at is not None
        assert each.known_at <= after(15)
        assert the_outcome(each).net_r == each.net_r


def test_a_question_not_known_by_then_gets_levels_from_candles_closed_before() -> None:
    question = make_question(target_price=None, stop_price=None, sha256="", basis="CANDLES")
    make_open(question)
    before = [(100.0, 101.0, 99.0, 100.0)] * 40
    hours = make_bars(*before, (100.0, 500.0, 1.0, 100.0), start=-40)

    services.set_missing_levels(question=question, bars=hours, fault="", now=NOON)

    question.refresh_from_db()
    assert float(question.target_price or 0) == pytest.approx(104.0)
    assert float(question.stop_price or 0) == pytest.approx(98.0)
    assert len(question.sha256) == 64


def test_without_candles_to_set_levels_by_a_question_is_unresolvable() -> None:
    outcome = make_open(make_question(target_price=None, stop_price=None, sha256=""))

    services.set_missing_levels(
        question=outcome.question, bars=None, fault="no such coin", now=NOON
    )

    assert the_outcome(outcome).reason == "NO_LEVELS: no such coin"


def test_a_delisted_symbol_is_given_up_after_the_patience(settings: Settings) -> None:
    settings.OUTCOME_GAP_PATIENCE_S = 600
    outcome = make_open()

    def ask(minutes: int) -> int:
        return services.close_unfindable(
            market="scripted",
            symbol="BTC",
            replay_id=None,
            reason="does not list BTC",
            now=after(minutes),
        )

    assert ask(5) == 0
    assert ask(11) == 1
    assert the_outcome(outcome).reason == "UNKNOWN_INSTRUMENT: does not list BTC"


def test_progress_is_stored_at_checkpoints() -> None:
    outcome = make_open()
    minutes = int(CHECKPOINT.total_seconds() // 60)

    follow(make_bars(*flat(minutes - 1)))
    before = the_outcome(outcome)
    follow(make_bars(*flat(minutes)))

    assert before.seen_until == NOON
    assert the_outcome(outcome).seen_until == after(minutes)
