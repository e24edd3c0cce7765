"""Commands speak to whoever listens: a person at a terminal, a file, a program."""

from __future__ import annotations

import json
import os
import signal
from io import StringIO

import pytest
from django.core.management.base import OutputWrapper

from lens_site.refusal import Refused
from lens_site.terminal import Style, Terminal, in_ms, in_seconds, refusal_text, stoppable, table_of


class Tty(StringIO):
    """A file that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _capable_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)


def test_a_terminal_is_written_over_and_a_file_is_not() -> None:
    at_terminal = Terminal(OutputWrapper(Tty()))
    at_file = Terminal(OutputWrapper(StringIO()))

    assert at_terminal.style is Style.LIVE
    assert at_file.style is Style.PLAIN


def test_a_dumb_terminal_is_never_written_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")

    terminal = Terminal(OutputWrapper(Tty()))

    assert terminal.style is Style.PLAIN


def test_no_color_takes_the_colour_out_of_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    out = Tty()

    Terminal(OutputWrapper(out)).console.print("red", style="red")

    assert out.getvalue() == "red\n"


def test_a_file_gets_no_control_codes_even_where_colour_is_forced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    out = StringIO()

    Terminal(OutputWrapper(out)).console.print("red", style="red")

    assert "\x1b[3" not in out.getvalue()


def test_a_program_gets_json_alone_and_a_person_none_of_it() -> None:
    machine, person = StringIO(), StringIO()

    for out, as_json in ((machine, True), (person, False)):
        terminal = Terminal(OutputWrapper(out), as_json=as_json)
        terminal.line("one line")
        terminal.table(table_of("Title", ("name", "count"), [("one", 1)]))
        terminal.record({"text": "x" * 500})

    assert json.loads(machine.getvalue()) == {"text": "x" * 500}
    assert person.getvalue().startswith("one line\n")
    assert "Title" in person.getvalue()
    assert "xxx" not in person.getvalue()


def test_long_lines_and_brackets_are_written_as_they_are() -> None:
    out = StringIO()
    text = "[bold]" + "word " * 60

    Terminal(OutputWrapper(out)).line(text)

    assert out.getvalue() == text + "\n"


def test_a_refusal_says_what_why_and_what_to_do() -> None:
    refused = Refused("no worker is running", why="none has reported", todo="run ./lens up")

    text = refusal_text(refused)

    assert text == "✗ no worker is running\n  none has reported\n  run ./lens up"


def test_being_asked_to_end_feels_like_ctrl_c() -> None:
    before = signal.getsignal(signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt), stoppable():
        os.kill(os.getpid(), signal.SIGTERM)

    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.04, "0.0 ms"), (99.94, "99.9 ms"), (100.0, "100 ms"), (12345.6, "12 346 ms")],
)
def test_milliseconds_read_well(value: float | None, text: str) -> None:
    assert in_ms(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.42, "0.4 s"), (39.4, "39 s"), (125.0, "2 min 5 s"), (60.0, "60 s")]
)
def test_seconds_read_well(value: float, text: str) -> None:
    assert in_seconds(value) == text
