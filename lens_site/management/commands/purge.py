"""Remove what is past its time, or count what would be removed."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from lens_site.terminal import STOPPED, Terminal, stoppable, table_of
from pipeline import retention
from pipeline.models import Purge
from pipeline.retention import Tally

ACTOR = "command:purge"


class Command(BaseCommand):
    help = (
        "Remove signals that ended more than RETENTION_DAYS ago, with all that hangs on them. What"
        " is held, unfinished or has an open dead letter stays. A stopped purge goes on next time."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="count, and remove nothing")
        parser.add_argument("--json", action="store_true", help="one JSON object")

    def handle(self, **options: Any) -> None:
        terminal = Terminal(self.stdout, as_json=options["json"])
        total = Tally()
        code = 0
        with stoppable():
            try:
                if options["dry_run"]:
                    total = _rehearse(terminal)
                else:
                    _purge(total, terminal)
            except KeyboardInterrupt:
                code = STOPPED
        _tell(total, terminal, is_dry=options["dry_run"], is_stopped=bool(code))
        if code:
            raise SystemExit(code)


def _rehearse(terminal: Terminal) -> Tally:
    total = Tally()
    with _bar(terminal) as bar:
        task = bar.add_task("", total=None, told="")
        for total in retention.rehearse(now=datetime.now(UTC)):
            bar.update(task, told=f"{total.signals} signals counted")
    return total


def _purge(total: Tally, terminal: Terminal) -> None:
    purge = retention.start(actor=ACTOR, now=datetime.now(UTC))
    with _bar(terminal) as bar:
        task = bar.add_task("", total=None, told="")
        while not total.is_done:
            began_s = time.monotonic()
            _add(total, retention.step(purge_id=purge.id, now=datetime.now(UTC)))
            bar.update(task, told=_place(total, Purge.objects.get(id=purge.id)))
            time.sleep(retention.rest_s(time.monotonic() - began_s))


def _add(total: Tally, tally: Tally) -> None:
    total.removed += tally.removed
    total.kept += tally.kept
    total.signals += tally.signals
    total.is_done = tally.is_done


def _place(total: Tally, purge: Purge) -> str:
    place = "" if purge.place_at is None else f", up to {purge.place_at:%Y-%m-%d %H:%M}"
    return f"{total.signals} signals removed{place}"


def _bar(terminal: Terminal) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.fields[told]}"),
        TimeElapsedColumn(),
        console=terminal.console,
        transient=True,
        disable=not terminal.is_live,
    )


def _tell(total: Tally, terminal: Terminal, *, is_dry: bool, is_stopped: bool) -> None:
    cutoff = retention.cutoff_at(datetime.now(UTC))
    terminal.record(
        {
            "dry_run": is_dry,
            "stopped": is_stopped,
            "cutoff": cutoff.isoformat(),
            "removed": dict(+total.removed),
            "kept": dict(total.kept),
        }
    )
    word = "would be removed" if is_dry else "removed"
    rows = [(name, count) for name, count in sorted(total.removed.items()) if count]
    terminal.table(
        table_of(f"rows {word}", ("table", "rows"), [*rows, ("together", total.removed.total())])
    )
    for reason, count in sorted(total.kept.items()):
        terminal.line(f"{count} signals kept: {reason}")
    terminal.line(f"signals that ended before {cutoff:%Y-%m-%d %H:%M:%S} UTC: {word}")
    if is_stopped:
        terminal.line("Stopped. The next purge goes on from here.")
