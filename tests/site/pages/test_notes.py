from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client

from pipeline.models import AuditEvent
from signals.models import Mute, Note, Signal
from tests.factories import make_signal

pytestmark = pytest.mark.django_db
Members = Callable[[str], Client]


def page_of(client: Client, signal: Signal) -> str:
    return client.get(f"/signals/{signal.event_id}").content.decode()


def wrote(client: Client, signal: Signal, text: str) -> int:
    return client.post(f"/signals/{signal.event_id}/notes", {"text": text}).status_code


def muted(client: Client, what: str, **sent: str) -> int:
    return client.post("/mutes", {"what": what, **sent}).status_code


def test_a_traders_note_is_kept_as_text_and_told_in_the_trail(as_member: Members) -> None:
    signal, trader = make_signal(), as_member("Trader")

    for _ in range(2):
        wrote(trader, signal, " <b>late</b> by a minute ")

    note = Note.objects.get()
    line = AuditEvent.objects.get(verb="NOTED")
    assert (note.text, note.author) == ("<b>late</b> by a minute", line.actor)
    assert (line.trace, line.details["after"]["text"]) == (signal.event_id, note.text)
    assert "&lt;b&gt;late&lt;/b&gt; by a minute" in page_of(as_member("Viewer"), signal)


@pytest.mark.parametrize("text", [" ", "x" * 2_001])
def test_a_note_without_words_or_without_end_is_refused(as_member: Members, text: str) -> None:
    assert wrote(as_member("Trader"), make_signal(), text) == 400
    assert not Note.objects.exists()


def test_viewers_neither_write_nor_mute(as_member: Members) -> None:
    signal, viewer = make_signal(), as_member("Viewer")

    assert 'data-testid="write-note"' not in page_of(viewer, signal)
    assert wrote(viewer, signal, "hello") == 403
    assert muted(viewer, "SYMBOL:BTC") == 403


def test_a_mute_of_ones_own_is_nobody_elses(as_member: Members) -> None:
    trader, other = as_member("Trader"), as_member("Operator")
    signal = make_signal(symbol="BTC")

    muted(trader, "SYMBOL:btc", hours="24")

    row = Mute.objects.get()
    assert row.value == "BTC"
    assert row.until is not None
    assert timedelta(hours=23) < row.until - datetime.now(UTC) < timedelta(hours=25)
    assert 'data-testid="muted"' in page_of(trader, signal)
    assert 'data-testid="muted"' not in page_of(other, signal)
    assert other.post(f"/mutes/{row.pk}/off").status_code == 404


def test_the_whole_desk_is_muted_by_operators_and_told_to_the_board(as_member: Members) -> None:
    trader, operator = as_member("Trader"), as_member("Operator")

    refused = muted(trader, "SOURCE:noisy", whom="desk")
    muted(operator, "SOURCE:noisy", whom="desk")

    board = trader.get("/board").content.decode()
    told = re.search(r'data-muted="([^"]+)"', board)
    assert refused == 403
    assert told is not None
    assert json.loads(told[1].replace("&quot;", '"')) == {"source": ["noisy"]}
    assert trader.post(f"/mutes/{Mute.objects.get().pk}/off").status_code == 403


def test_a_mute_is_taken_off_once_and_ends_by_itself(as_member: Members) -> None:
    trader, signal = as_member("Trader"), make_signal(symbol="ETH")
    muted(trader, "SYMBOL:ETH")
    row = Mute.objects.get()
    Mute.objects.create(
        kind="SOURCE",
        value=signal.source,
        until=datetime.now(UTC) - timedelta(seconds=1),
        muted_by="user:ann",
        muted_at=datetime.now(UTC),
    )

    for _ in range(2):
        trader.post(f"/mutes/{row.pk}/off")

    assert 'data-testid="muted"' not in page_of(trader, signal)
    assert AuditEvent.objects.filter(verb="UNMUTED").count() == 1
    assert "Nothing. A source" in trader.get("/settings").content.decode()
