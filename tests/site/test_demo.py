"""The demo sends made-up signals and shows what becomes of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.core.management.base import OutputWrapper

from lens_site import demonstration
from lens_site.demo_views import View
from lens_site.demonstration import Answer, Demo, Order, Row, Trader
from lens_site.desk import NobodyAtWork
from lens_site.drafting import UnusableSignal
from lens_site.terminal import Terminal
from signals.models import Signal
from signals.types import Direction, EventType, Origin, SignalDraft, SignalStatus
from tests.site.desk import Turning, report_programs
from tests.site.test_terminal import Tty

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)


def rising(symbol: str, at: datetime) -> float:
    """Return a price that rises by a dollar every hour."""
    del symbol
    return 100.0 + (at - NOW).total_seconds() / 3600


def make_drafts(*, seed: int, count: int = 200) -> list[SignalDraft]:
    trader = Trader(Order(symbols=("BTC", "ETH"), seed=seed))
    return [
        trader.next_draft(price_of=rising, now=NOW + timedelta(seconds=place))
        for place in range(count)
    ]


def test_the_same_seed_makes_the_same_choices() -> None:
    assert make_drafts(seed=3) == make_drafts(seed=3)
    assert make_drafts(seed=3) != make_drafts(seed=4)


def test_entries_lie_near_the_market_and_mostly_go_with_its_move() -> None:
    entries = [d for d in make_drafts(seed=3) if d.event_type == EventType.OPEN_SIGNAL]

    longs = sum(draft.direction == Direction.LONG for draft in entries)
    assert all(abs(float(draft.entry_price) / 100.0 - 1) < 0.002 for draft in entries)
    assert 0.6 < longs / len(entries) < 0.9
    assert {draft.symbol for draft in entries} == {"BTC", "ETH"}


def test_some_signals_leave_what_was_entered_before() -> None:
    held: list[tuple[str, str]] = []
    closed = 0

    for draft in make_drafts(seed=3):
        if draft.event_type == EventType.OPEN_SIGNAL:
            held.append((draft.symbol, str(draft.direction)))
        else:
            held.remove((draft.symbol, str(draft.direction).removeprefix("close_")))
            closed += 1

    assert 20 < closed < 60


def test_a_symbol_that_no_signal_may_carry_is_refused_before_anything_is_sent() -> None:
    trader = Trader(Order(symbols=("BTC", "no such")))

    with pytest.raises(UnusableSignal, match="'no such'"):
        trader.rehearse(price_of=rising, now=NOW)


def test_what_moved_most_of_late_is_traded() -> None:
    def price_of(symbol: str, at: datetime) -> float:
        hours = (at - NOW).total_seconds() / 3600
        return 100.0 + hours * {"CALM": 0.01, "UP": 1.0, "DOWN": -1.0, "ALSO": 0.5}[symbol]

    trader = Trader(Order(symbols=("CALM", "UP", "DOWN", "ALSO"), seed=1))

    drafts = [trader.next_draft(price_of=price_of, now=NOW) for _ in range(100)]

    assert {draft.symbol for draft in drafts} == {"UP", "DOWN", "ALSO"}


class Recorder:
    """Writes down what it is told, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def on_signal(self, row: Row) -> None:
        self.told.append(("signal", row.symbol))

    def on_answer(self, row: Row, answer: Answer) -> None:
        self.told.append(("answer", answer.model))

    def on_end(self, row: Row) -> None:
        self.told.append(("end", str(row.status)))


@pytest.mark.django_db(transaction=True)
def test_every_signal_is_followed_from_its_sending_to_its_end() -> None:
    report_programs(at=datetime.now(UTC))
    recorder = Recorder()
    demo = Demo(Order(symbols=("BTC",), count=1), listener=recorder, lent=Turning())

    demo.run()

    assert recorder.told == [
        ("signal", "BTC"),
        ("answer", "ensemble"),
        ("answer", "rules"),
        ("answer", "jury"),
        ("end", "PUBLISHED"),
    ]
    assert set(Signal.objects.values_list("origin", flat=True)) == {Origin.DEMO}
    assert demonstration.tally(demo.rows).ended == {"PUBLISHED": 1}


@pytest.mark.django_db(transaction=True)
def test_without_a_worker_the_demo_says_so_and_sends_nothing() -> None:
    demo = Demo(Order(symbols=("BTC",)), listener=Recorder(), lent=Turning())

    with pytest.raises(NobodyAtWork, match="no worker is running"):
        demo.run()

    assert Signal.objects.count() == 0


@pytest.fixture
def _turning_door(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    report_programs(at=datetime.now(UTC))
    monkeypatch.setattr("lens_site.management.commands.demo.time.sleep", Turning().pause)
    yield


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_turning_door")
def test_the_command_writes_one_json_line_per_event_all_marked_simulated() -> None:
    out = StringIO()

    call_command("demo", count=2, every=0.001, symbols=("ETH",), json=True, stdout=out)

    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    of_signals: dict[str, list[str]] = {}
    for line in lines[:-1]:
        of_signals.setdefault(line["event_id"], []).append(line["type"])
    life = ["signal", "decision", "decision", "decision", "signal_status"]
    assert list(of_signals.values()) == [life, life]
    assert lines[-1]["type"] == "summary"
    assert {line["market"] for line in lines} == {"SIMULATED"}
    assert lines[-1]["signals"] == 2


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_turning_door")
def test_the_command_writes_one_plain_line_per_event_to_a_file() -> None:
    out = StringIO()

    call_command("demo", count=1, every=0.001, symbols=("ETH",), stdout=out)

    lines = out.getvalue().splitlines()
    assert lines[0].startswith("SIMULATED market")
    assert [line.split(": ")[1].split()[0] for line in lines[1:6]] == [
        "entry",
        "ensemble",
        "rules",
        "jury",
        "PUBLISHED",
    ]
    assert "\x1b" not in out.getvalue()


@pytest.mark.django_db(transaction=True)
def test_stopping_the_command_leaves_with_a_summary(monkeypatch: pytest.MonkeyPatch) -> None:
    report_programs(at=datetime.now(UTC))

    def stop(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lens_site.management.commands.demo.time.sleep", stop)
    out = StringIO()

    with pytest.raises(SystemExit) as left:
        call_command("demo", stdout=out)

    assert left.value.code == 130
    assert "1 signals (1 ENQUEUED)" in out.getvalue()


@pytest.mark.parametrize(
    "arguments", [["--every", "0"], ["--every", "soon"], ["--symbols", ","], ["--count", "x"]]
)
def test_options_that_make_no_sense_are_refused(arguments: list[str]) -> None:
    with pytest.raises(CommandError, match=arguments[0]):
        call_command("demo", *arguments)


def make_row(**changes: object) -> Row:
    values = {
        "event_id": "e",
        "at": NOW,
        "symbol": "BTC",
        "direction": Direction.SHORT,
        "entry": 65000.5,
    }
    return Row(**(values | changes))  # type: ignore[arg-type]


def test_the_live_table_says_everything_in_words_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.setenv("LINES", "40")
    monkeypatch.setenv("NO_COLOR", "1")
    out = Tty()
    view = View(Terminal(OutputWrapper(out)), models=("steady", "shy", "late"))
    row = make_row()
    answers = [
        Answer(model="steady", decision="FOLLOW_ENTER", confidence=0.8),
        Answer(model="shy", cause="insufficient_data"),
        Answer(model="jury", decision="IGNORE", confidence=0.625),
    ]

    with view:
        view.on_signal(row)
        for answer in answers:
            row.answers[answer.model] = answer
            view.on_answer(row, answer)
        unfinished = out.getvalue()
        row.status, row.took_ms = SignalStatus.PUBLISHED, 412.4
        view.on_end(row)

    finished = out.getvalue()[len(unfinished) :]
    assert "SIMULATED market" in unfinished
    assert "412 ms" not in unfinished
    for told in ("▼ short", "65000.5", "● FOLLOW", "! insufficient data", "○ IGNORE 62 %"):
        assert told in unfinished
    assert "412 ms" in finished
    assert "1 PUBLISHED  2 decisions  1 abstentions" in finished
