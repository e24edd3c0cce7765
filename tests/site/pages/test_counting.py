"""Counts of the day so far: kept as far as they are settled, true at every moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from lens_site.pages.counting import SoFar

MIDNIGHT = datetime(2026, 1, 15, tzinfo=UTC)
NOON = MIDNIGHT + timedelta(hours=12)


class Rows:
    """Moments that are counted, and the spans that were asked for."""

    def __init__(self, *moments: datetime) -> None:
        self.moments = list(moments)
        self.spans: list[tuple[datetime, datetime | None]] = []

    def count(self, since: datetime, until: datetime | None) -> tuple[int, ...]:
        self.spans.append((since, until))
        found = [at for at in self.moments if at >= since and (until is None or at < until)]
        return len(found), sum(at.minute == 0 for at in found)


def test_every_row_of_the_day_is_counted_once_as_time_goes_on() -> None:
    every = timedelta(seconds=20)
    rows, so_far = Rows(), SoFar()

    for step in range(120):
        now = MIDNIGHT + step * every
        rows.moments.append(now)

        assert so_far.count(rows.count, since=MIDNIGHT, now=now) == (
            step + 1,
            sum(at.minute == 0 for at in rows.moments),
        )


def test_what_is_settled_is_not_looked_at_again() -> None:
    rows, so_far = Rows(MIDNIGHT, NOON - timedelta(hours=1)), SoFar()
    so_far.count(rows.count, since=MIDNIGHT, now=NOON)
    rows.spans.clear()

    so_far.count(rows.count, since=MIDNIGHT, now=NOON + timedelta(minutes=2))

    assert min(since for since, _ in rows.spans) > NOON - timedelta(minutes=10)


def test_a_row_that_was_stored_late_is_counted() -> None:
    rows, so_far = Rows(MIDNIGHT), SoFar()
    so_far.count(rows.count, since=MIDNIGHT, now=NOON)
    rows.moments.append(NOON - timedelta(minutes=1))

    assert so_far.count(rows.count, since=MIDNIGHT, now=NOON)[0] == 2


def test_another_day_begins_at_nothing() -> None:
    rows, so_far = Rows(NOON), SoFar()
    so_far.count(rows.count, since=MIDNIGHT, now=NOON + timedelta(hours=1))
    tomorrow = MIDNIGHT + timedelta(days=1)

    assert so_far.count(rows.count, since=tomorrow, now=tomorrow) == (0, 0)
