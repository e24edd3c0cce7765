"""How commands speak: live on a terminal, in plain lines elsewhere, in JSON to programs."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import IO, cast

from django.core.management.base import OutputWrapper
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from lens_site.refusal import Refused

PLAIN_WIDTH = 110
"""Columns of a table that goes to a file or a pipe."""

STOPPED = 130
"""The exit code of a command that a person stopped."""


class Style(StrEnum):
    """How much the reader at the other end can take."""

    LIVE = "live"
    PLAIN = "plain"
    JSON = "json"


class Terminal:
    """One command's way of speaking; colour is left out wherever it is not wanted."""

    def __init__(self, stream: OutputWrapper, *, as_json: bool = False) -> None:
        stream.ending = ""  # the console ends its lines itself
        is_terminal = stream.isatty()
        self.console = Console(
            file=cast(IO[str], stream),
            width=None if is_terminal else PLAIN_WIDTH,
            no_color=None if is_terminal else True,
            highlight=False,
            markup=False,
            emoji=False,
        )
        self.style = _style(is_terminal and not self.console.is_dumb_terminal, as_json=as_json)

    @property
    def is_live(self) -> bool:
        """Whether lines that were written can be written over."""
        return self.style is Style.LIVE

    @property
    def is_machine(self) -> bool:
        """Whether a program reads along and wants JSON alone."""
        return self.style is Style.JSON

    def line(self, text: str = "") -> None:
        """Write one line for a person; nothing when a program reads."""
        if not self.is_machine:
            self.console.print(text, soft_wrap=True)

    def table(self, table: Table) -> None:
        """Write a table for a person; nothing when a program reads."""
        if not self.is_machine:
            self.console.print(table)

    def record(self, content: object) -> None:
        """Write one line of JSON for a program; nothing when a person reads."""
        if self.is_machine:
            text = json.dumps(content, separators=(",", ":"), default=str)
            self.console.print(text, soft_wrap=True)


def _style(can_overwrite: bool, *, as_json: bool) -> Style:
    if as_json:
        return Style.JSON
    return Style.LIVE if can_overwrite else Style.PLAIN


def refusal_text(refused: Refused) -> str:
    """Return what a person is told when a command cannot go on: what, why, what to do."""
    lines = [f"✗ {refused.what}"]
    lines += [f"  {part}" for block in (refused.why, refused.todo) for part in block.splitlines()]
    return "\n".join(lines)


def table_of(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """Return a table whose first column is text and whose others are figures."""
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for place, name in enumerate(columns):
        table.add_column(name, justify="right" if place else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    return table


@contextmanager
def stoppable() -> Iterator[None]:
    """Let a request to end arrive as Ctrl-C does, so that both leave in order."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def in_ms(value: float | None) -> str:
    """Return a duration as people read it; a dash when it is not known."""
    if value is None:
        return "–"
    return f"{value:.1f} ms" if value < 100 else f"{value:,.0f} ms".replace(",", " ")


def in_seconds(value: float) -> str:
    """Return a duration as a person says it: 0.4 s, 39 s, 2 min 5 s."""
    if value < 10:
        return f"{value:.1f} s"
    if value < 120:
        return f"{value:.0f} s"
    return f"{value // 60:.0f} min {value % 60:.0f} s"
