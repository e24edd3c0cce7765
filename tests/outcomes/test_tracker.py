"""The loop that asks for candles: once a symbol, as often as one has closed, never further."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async

from markets.services import MarketDataUnavailable, UnknownInstrument
from outcomes import tracker
from outcomes.models import Outcome
from outcomes.tracker import Look, Tracker
from quant.types import Bars
from tests.factories import NOON
from tests.outcomes.makers import make_open, make_question
from tests.outcomes.market import flat, make_bars

pytestmark = pytest.mark.django_db


class Inline:
    """Runs what is asked of the database in the thread of the test."""

    async def run(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return await sync_to_async(work)(*args, **kwargs)


class Venue:
    """A market that knows some minutes, and remembers what it was asked."""

    def __init__(self, bars: Bars) -> None:
        self.bars = bars
        self.fault: Exception | None = None
        self.asked: list[tuple[str, int]] = []

    async def candles(self, *, symbol: str, timeframe: str, count: int, as_of: datetime) -> Any:
        self.asked.append((symbol, count))
        if self.fault is not None:
            raise self.fault
        known = int((self.bars.close_ms <= as_of.timestamp() * 1000).sum())
        return SimpleNamespace(bars=self.bars[:known])


@pytest.fixture
def venue(monkeypatch: pytest.MonkeyPatch) -> Venue:
    made = Venue(make_bars(*flat(4), (100.0, 102.5, 99.9, 102.2), *flat(5, 102.0)))
    monkeypatch.setattr(tracker, "market_named", lambda *args, **kwargs: made)
    return made


def look(one: Tracker, *, minutes: float) -> Look:
    found: Look = async_to_sync(one.look)(now=NOON + timedelta(minutes=minutes))
    return found


def test_all_questions_on_a_symbol_share_its_candles(venue: Venue) -> None:
    questions = [make_open(make_question(opens_at=NOON)) for _ in range(3)]

    found = look(Tracker(database=Inline()), minutes=6)

    assert [symbol for symbol, _ in venue.asked] == ["BTC"]
    assert found.ended == 3
    assert {each.status for each in Outcome.objects.filter(pk__in=[q.pk for q in questions])} == {
        "RESOLVED"
    }


def test_a_market_is_asked_again_only_when_a_candle_has_closed(venue: Venue) -> None:
    make_open()
    one = Tracker(database=Inline())

    looks = [look(one, minutes=at) for at in (2.1, 2.4, 2.9, 3.1)]

    assert len(venue.asked) == 2
    assert looks == [Look()] * 4


def test_a_candle_that_is_late_is_asked_for_again_at_once(venue: Venue) -> None:
    make_open()
    one, whole = Tracker(database=Inline()), venue.bars
    venue.bars = whole[:2]

    behind = look(one, minutes=3.0)
    venue.bars = whole
    caught_up = look(one, minutes=3.3)

    assert (behind.behind, caught_up.behind) == (1, 0)
    assert len(venue.asked) == 2


@pytest.mark.parametrize(
    "fault", [MarketDataUnavailable("the venue is down"), UnknownInstrument("no such coin")]
)
def test_a_market_that_fails_answers_nothing_and_is_asked_again(
    venue: Venue, fault: Exception
) -> None:
    outcome = make_open()
    one, venue.fault = Tracker(database=Inline()), fault

    found = [look(one, minutes=at) for at in (3.1, 3.2)]

    assert [each.faults for each in found] == [1, 1]
    assert Outcome.objects.get(pk=outcome.pk).status == "OPEN"
