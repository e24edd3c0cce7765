"""Write how models and sources stand: a table here, and a page to keep."""

from __future__ import annotations

from argparse import ArgumentParser
from dataclasses import asdict
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand

from decisions.types import LIVE, REPLAY
from lens_site import scoring
from lens_site.refusal import Refused
from lens_site.reporting import Report, read_report, report_page
from lens_site.terminal import Terminal, refusal_text


class Unwritable(Refused):
    """The page cannot be written there."""


class Command(BaseCommand):
    help = "Show how models and sources stand, and write it as one HTML page."
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--replay", type=UUID, help="a replay's signals, not the live ones")
        parser.add_argument("--since", type=date.fromisoformat, help="from this day on")
        parser.add_argument("--until", type=date.fromisoformat, help="before this day")
        parser.add_argument(
            "--to", type=Path, default=Path("lens-report.html"), help="file (lens-report.html)"
        )
        parser.add_argument("--json", action="store_true", help="as one JSON object; no page")

    def handle(self, **options: Any) -> None:
        terminal = Terminal(self.stdout, as_json=options["json"])
        scope = LIVE if options["replay"] is None else f"{REPLAY}{options['replay']}"
        report = read_report(scope=scope, since=options["since"], until=options["until"])
        try:
            _show(terminal, report)
            if not options["json"]:
                _write(report, options["to"])
                terminal.line(f"The same with plots: {options['to'].resolve()}")
        except Refused as refused:
            self.stderr.write(refusal_text(refused))
            raise SystemExit(1) from refused


def _show(terminal: Terminal, report: Report) -> None:
    for table in scoring.tables(report.board, report.ends):
        terminal.table(table)
    for line in scoring.lines(report.board, report.marginal):
        terminal.line(line)
    terminal.record(
        {
            "scope": report.scope,
            "outcomes": report.ends,
            "standings": [asdict(each) for each in report.board.standings],
            "baselines": [asdict(each) for each in report.board.baselines],
            "leave_one_out": report.marginal,
            "sources": [card.as_json() for card in report.cards],
        }
    )


def _write(report: Report, to: Path) -> None:
    try:
        to.write_text(report_page(report, now=datetime.now(UTC)), encoding="utf-8")
    except OSError as error:
        raise Unwritable(
            f"the page could not be written to {to}", why=str(error), todo="name a file with --to"
        ) from error
