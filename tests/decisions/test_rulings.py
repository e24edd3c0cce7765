"""How many signals the jury has ruled on since a moment, each counted once."""

from __future__ import annotations

from datetime import timedelta
from itertools import count

import pytest

from decisions import queries
from decisions.models import Decision
from decisions.queries import Judged
from decisions.types import JURY
from signals.models import Signal
from tests.factories import NOON, make_decision, make_signal

pytestmark = pytest.mark.django_db
FOLLOW, IGNORE = "FOLLOW_ENTER", "IGNORE"
NUMBERS = count(1)


def ruled(signal: Signal, word: str, **changes: object) -> Decision:
    """Return a numbered word of the jury, published after noon."""
    given = {"model": JURY, "published_at": NOON + timedelta(minutes=1), "seq": next(NUMBERS)}
    return make_decision(signal, decision=word, **(given | changes))


def newest(judged: Judged, *, limit: int = 9, **filters: str) -> list[Signal]:
    return judged.newest(Signal.objects.order_by("-id"), filters=filters, limit=limit)


def total() -> tuple[int, int]:
    first = queries.count_first_rulings(since=NOON)
    later = queries.count_later_rulings(since=NOON)
    return first[0] + later[0], first[1] + later[1]


def test_only_the_jurys_published_words_on_live_signals_of_the_span_count() -> None:
    ruled(make_signal(), FOLLOW)
    ruled(make_signal(), IGNORE)
    ruled(make_signal(), FOLLOW, published_at=NOON - timedelta(seconds=1))
    ruled(make_signal(), FOLLOW, model="rules")
    ruled(make_signal(), FOLLOW, published_at=None, seq=None)
    ruled(make_signal(origin="DEMO"), FOLLOW)
    ruled(make_signal(origin="REPLAY"), FOLLOW, seq=None)

    assert total() == (2, 1)


@pytest.mark.parametrize(
    ("first", "then", "followed"),
    [(IGNORE, FOLLOW, 1), (FOLLOW, IGNORE, 1), (FOLLOW, FOLLOW, 1), (IGNORE, IGNORE, 0)],
)
def test_a_signal_that_was_ruled_on_again_counts_once(first: str, then: str, followed: int) -> None:
    signal = make_signal()
    ruled(signal, first)
    ruled(signal, then, revision=2)
    ruled(signal, then, run=2)

    assert total() == (1, followed)


def test_a_signal_whose_first_ruling_is_of_yesterday_counts_with_the_later_one() -> None:
    signal = make_signal()
    ruled(signal, FOLLOW, published_at=NOON - timedelta(hours=1))
    ruled(signal, IGNORE, revision=2)

    assert total() == (1, 0)


def test_adjoining_spans_add_up() -> None:
    for minutes in (1, 2, 3):
        ruled(make_signal(), FOLLOW, published_at=NOON + timedelta(minutes=minutes))
    middle = NOON + timedelta(minutes=2)

    before = queries.count_first_rulings(since=NOON, until=middle)
    after = queries.count_first_rulings(since=middle)

    assert (before, after) == ((1, 1), (2, 2))


def test_the_newest_signals_of_a_word_are_found_though_words_were_said_again() -> None:
    old, middle, new = make_signal(), make_signal(), make_signal()
    for signal in (old, middle, new):
        ruled(signal, FOLLOW)
        ruled(signal, FOLLOW, revision=2)
    ruled(make_signal(), IGNORE)

    found = newest(Judged(actions=(FOLLOW,)), symbol="BTC", limit=2)

    assert found == [new, middle]


def test_the_newest_signals_of_several_words_are_in_one_order() -> None:
    ignored, followed, sure = make_signal(), make_signal(), make_signal()
    ruled(ignored, IGNORE, confidence=0.9)
    ruled(followed, FOLLOW, confidence=0.6)
    ruled(sure, FOLLOW, confidence=0.9)

    assert newest(Judged(min_confidence=0.7)) == [sure, ignored]


def test_a_word_on_an_earlier_run_is_not_the_judges_word() -> None:
    signal = make_signal(run=2)
    ruled(signal, FOLLOW, run=1)

    assert newest(Judged(actions=(FOLLOW,))) == []


def test_signals_taken_up_anew_do_not_hide_older_ones_of_the_same_word() -> None:
    old = make_signal(source="desk")
    ruled(old, FOLLOW)
    for _ in range(3):
        ruled(make_signal(run=2, source="desk"), FOLLOW, run=1)

    assert newest(Judged(actions=(FOLLOW,)), source="desk", limit=1) == [old]
