from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from pytest_django import Settings

from decisions.models import Decision
from enrichment.models import Enrichment
from evaluation.models import Evaluation
from lens_site.demo_feed import DemoFeed
from pipeline.models import StageRun
from pipeline.services import Opening, open_runs
from signals import queries, services
from signals.models import Signal
from signals.types import Origin, SignalStatus
from tests.factories import make_decision, make_enrichment, make_evaluation, make_signal

pytestmark = pytest.mark.django_db
NOW = datetime.now(UTC)


def price_of(symbol: str, at: datetime) -> float:
    del at
    return 100.0 + len(symbol)


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def test_a_fresh_desk_makes_a_demo_signal_every_so_often(settings: Settings) -> None:
    settings.DEMO_FEED_EVERY_S, settings.DEMO_FEED_SIGNALS = 10, 20
    services.start_demo_feed(now=NOW)
    feed = DemoFeed(price_of=price_of)

    for second in (0, 1, 9, 10, 11, 25):
        feed.look(now=after(second))

    assert [(row.origin, row.source) for row in Signal.objects.all()] == [("DEMO", "demo")] * 3


def test_the_demo_ends_after_so_many(settings: Settings) -> None:
    settings.DEMO_FEED_SIGNALS = 2
    services.start_demo_feed(now=NOW)
    feed = DemoFeed(price_of=price_of)

    for minute in range(5):
        feed.look(now=after(minute * 60))

    assert Signal.objects.count() == 2


def test_of_two_that_look_at_once_one_sends() -> None:
    services.start_demo_feed(now=NOW)

    DemoFeed(price_of=price_of).look(now=NOW)
    DemoFeed(price_of=price_of).look(now=NOW)

    assert Signal.objects.count() == 1


def test_a_stopped_demo_sends_no_more() -> None:
    services.start_demo_feed(now=NOW)
    services.stop_demo_feed(actor="anna", now=NOW)

    DemoFeed(price_of=price_of).look(now=NOW)

    feed = queries.get_demo_feed()
    assert not Signal.objects.exists()
    assert feed is not None
    assert feed.stopped_by == "anna"


def test_a_desk_that_was_used_is_left_alone(settings: Settings) -> None:
    make_signal()
    DemoFeed(price_of=price_of).look(now=NOW)

    assert services.start_demo_feed(now=NOW) is False
    assert Signal.objects.count() == 1


def test_no_demo_can_be_wanted(settings: Settings) -> None:
    settings.DEMO_FEED_SIGNALS = 0

    assert services.start_demo_feed(now=NOW) is False


def test_clearing_takes_away_the_demo_and_nothing_else() -> None:
    services.start_demo_feed(now=NOW)
    kept, demo = make_signal(), make_signal(origin=Origin.DEMO, status=SignalStatus.PUBLISHED)
    for signal in (kept, demo):
        make_enrichment(signal)
        make_evaluation(signal)
        make_decision(signal, published_at=NOW)
        open_runs(
            [Opening(stage="x", subject=signal.event_id, trace=signal.event_id, attempts_max=1)]
        )

    assert services.clear_demo(actor="anna", now=NOW) == 1

    assert list(Signal.objects.all()) == [kept]
    assert [row.event_id for row in Enrichment.objects.all()] == [kept.event_id]
    assert [row.signal for row in Evaluation.objects.all()] == [kept]
    assert [row.signal for row in Decision.objects.all()] == [kept]
    assert [row.trace for row in StageRun.objects.all()] == [kept.event_id]
    feed = queries.get_demo_feed()
    assert feed is not None
    assert feed.dismissed_at == NOW


def test_a_demo_signal_that_is_being_judged_stays_until_it_has_ended() -> None:
    services.start_demo_feed(now=NOW)
    make_signal(origin=Origin.DEMO, received_at=NOW)

    cleared_now = services.clear_demo(actor="anna", now=NOW)
    cleared_later = services.clear_demo(actor="anna", now=after(120))

    assert (cleared_now, cleared_later) == (0, 1)
