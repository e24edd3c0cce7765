"""How the demo shows: a table that fills in, plain lines, or lines of JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Self

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from decisions.types import JURY
from evaluation.types import Action
from lens_site.demonstration import SIMULATED, Answer, Row, Tally
from lens_site.terminal import Style, Terminal, in_ms
from pipeline.parsing import time_text
from signals.types import Direction, SignalStatus

PENDING = "·"
WORDS = {
    Action.FOLLOW_ENTER: ("●", "FOLLOW", "green"),
    Action.IGNORE: ("○", "IGNORE", ""),
    Action.FOLLOW_EXIT: ("●", "FOLLOW", "green"),
    Action.HOLD: ("○", "HOLD", ""),
    Action.TIGHTEN_STOP: ("◐", "TIGHTEN", "yellow"),
}
ARROWS = {
    Direction.LONG: ("▲", "long", "green"),
    Direction.SHORT: ("▼", "short", "red"),
    Direction.CLOSE_LONG: ("×", "close long", ""),
    Direction.CLOSE_SHORT: ("×", "close short", ""),
}
HEADLINE = "SIMULATED market: the prices are made up. Recommendations only, Lens places no trades."
ROWS_KEPT = 200
LINES_AROUND = 8
"""Lines that are not rows: headline, table head and rules, footer, and the prompt below."""


class View:
    """Shows one demo in the way its reader can take."""

    def __init__(self, terminal: Terminal, *, models: Sequence[str]) -> None:
        self._terminal = terminal
        self._models = models
        self._rows: list[Row] = []
        self._counts: Counter[str] = Counter()
        self._live = Live(console=terminal.console, auto_refresh=False, vertical_overflow="crop")

    def __enter__(self) -> Self:
        if self._terminal.is_live:
            self._live.start()
        else:
            self._terminal.line(HEADLINE)
        return self

    def __exit__(self, *raised: object) -> None:
        if self._terminal.is_live:
            self._refresh()
            self._live.stop()

    def on_signal(self, row: Row) -> None:
        """Show a new signal."""
        self._rows = [*self._rows[-ROWS_KEPT:], row]
        self._counts["signals"] += 1
        self._show("signal", row, f"entry {_price(row.entry)}", entry_price=_price(row.entry))

    def on_answer(self, row: Row, answer: Answer) -> None:
        """Show what a model or the jury said."""
        if answer.cause:
            self._counts["abstentions"] += 1
            text = f"{answer.model} abstained: {answer.cause}"
            self._show(
                "abstention",
                row,
                f"{text} ({answer.reason})" if answer.reason else text,
                model=answer.model,
                cause=answer.cause,
                reason=answer.reason,
            )
            return
        self._counts["decisions"] += 1
        self._show(
            "decision",
            row,
            f"{answer.model} {answer.decision} {_share(answer)}",
            model=answer.model,
            decision=answer.decision,
            confidence=answer.confidence,
            revision=answer.revision,
        )

    def on_end(self, row: Row) -> None:
        """Show that a signal is done with."""
        self._counts[str(row.status)] += 1
        self._show(
            "signal_status",
            row,
            f"{row.status} after {in_ms(row.took_ms)}",
            status=str(row.status),
            took_ms=None if row.took_ms is None else round(row.took_ms, 3),
        )

    def close(self, tally: Tally) -> None:
        """Show what it all came to."""
        if self._terminal.style is Style.JSON:
            self._terminal.record({"type": "summary", "market": SIMULATED, **asdict(tally)})
            return
        ended = ", ".join(f"{count} {status}" for status, count in tally.ended.items())
        self._terminal.line(f"{tally.signals} signals ({ended}), median {in_ms(tally.median_ms)}")
        for model, words in tally.answers.items():
            said = ", ".join(f"{count} {word}" for word, count in words.items())
            self._terminal.line(f"  {model}: {said}")

    def _show(self, kind: str, row: Row, text: str, **facts: object) -> None:
        if self._terminal.is_live:
            self._refresh()
            return
        arrow, word, _ = ARROWS[row.direction]
        self._terminal.line(f"{row.at:%H:%M:%S} {row.symbol} {arrow} {word}: {text}")
        self._terminal.record(
            {
                "type": kind,
                "market": SIMULATED,
                "event_id": str(row.event_id),
                "symbol": row.symbol,
                "signal_direction": str(row.direction),
                "ts_utc": time_text(row.at),
                **facts,
            }
        )

    def _refresh(self) -> None:
        self._live.update(self._picture(), refresh=True)

    def _picture(self) -> RenderableType:
        room = max(1, self._terminal.console.height - LINES_AROUND)
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for name in ("time", "signal"):
            table.add_column(name, no_wrap=True)
        table.add_column("entry", justify="right", no_wrap=True)
        for name in (*self._models, JURY):
            table.add_column(name, no_wrap=True, min_width=9)
        table.add_column("end-to-end", justify="right", no_wrap=True)
        for row in reversed(self._rows[-room:]):
            table.add_row(*self._cells(row))
        return Group(Text(HEADLINE, style="bold yellow"), table, Text(self._footer()))

    def _cells(self, row: Row) -> list[Text]:
        arrow, word, colour = ARROWS[row.direction]
        return [
            Text(f"{row.at:%H:%M:%S}"),
            Text.assemble(f"{row.symbol:<6}", (f"{arrow} {word}", colour)),
            Text(_price(row.entry)),
            *(_answer_text(row, model) for model in self._models),
            _answer_text(row, JURY),
            Text(_end_text(row)),
        ]

    def _footer(self) -> str:
        counts = self._counts
        ends = [word for word in SignalStatus.values if counts[word]]
        shown = ["signals", *ends, "decisions", "abstentions"]
        told = "  ".join(f"{counts[name]} {name}" for name in shown)
        return f"{told}   Ctrl-C stops"


def _answer_text(row: Row, model: str) -> Text:
    answer = row.answers.get(model)
    if answer is None:
        return Text(PENDING if row.is_open else "–", style="dim")
    if answer.cause:
        return Text(f"! {answer.cause.replace('_', ' ')}", style="yellow")
    mark, word, colour = WORDS[Action(answer.decision)]
    share = f" {_share(answer)}" if model == JURY else ""
    return Text(f"{mark} {word}{share}", style=colour)


def _end_text(row: Row) -> str:
    if row.is_open:
        return PENDING
    told = in_ms(row.took_ms)
    return told if row.status == SignalStatus.PUBLISHED else f"{row.status} {told}"


def _share(answer: Answer) -> str:
    return "" if answer.confidence is None else f"{100 * answer.confidence:.0f} %"


def _price(value: float) -> str:
    return f"{value:.10g}"
