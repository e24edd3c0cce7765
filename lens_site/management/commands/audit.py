"""The audit trail on the shell: prove that it is whole, and take it out."""

from __future__ import annotations

import argparse
import sys
from argparse import ArgumentParser
from contextlib import nullcontext
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lens_site.arguments import moment
from lens_site.refusal import Refused
from lens_site.terminal import STOPPED, Terminal, refusal_text, stoppable
from pipeline import anchors, exporting
from pipeline.anchors import Anchor, Past
from pipeline.verifying import Report, Verification, note_verification


class Command(BaseCommand):
    help = "Verify the audit trail against its hash chain, or export it."
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", metavar="verb", required=True)
        verify = verbs.add_parser("verify", help="find what was changed, removed or cut off")
        verify.add_argument("--json", action="store_true", help="one JSON object")
        verify.add_argument(
            "--anchors", type=Path, metavar="FILE", help="a copy of the anchors kept elsewhere"
        )
        verify.add_argument(
            "--anchor",
            type=_anchor,
            action="append",
            default=[],
            metavar="SEAL:HASH",
            help="an anchor as the log told it; may be given again",
        )
        export = verbs.add_parser("export", help="write the trail to a file or to this terminal")
        export.add_argument("--format", choices=exporting.FORMATS, default="jsonl")
        export.add_argument("--since", type=moment, help="from this time on; UTC if no offset")
        export.add_argument("--until", type=moment, help="up to this time, not included")
        export.add_argument("--output", type=Path, metavar="FILE", help="instead of the terminal")

    def handle(self, **options: Any) -> None:
        try:
            code = self._verify(options) if options["verb"] == "verify" else self._export(options)
        except Refused as refused:
            self.stderr.write(refusal_text(refused))
            code = 1
        if code:
            raise SystemExit(code)

    def _verify(self, options: dict[str, Any]) -> int:
        terminal = Terminal(self.stdout, as_json=options["json"])
        outside = _outside(options)
        try:
            with stoppable():
                report = _seen_through(Verification(outside=outside), terminal)
        except KeyboardInterrupt:
            terminal.line("Stopped; nothing was concluded.")
            return STOPPED
        note_verification(report=report, now=datetime.now(UTC))
        _tell(report, terminal, has_anchors=bool(outside.anchors))
        return 0 if report.is_whole else 1

    def _export(self, options: dict[str, Any]) -> int:
        kind, target = options["format"], options["output"]
        batches = exporting.list_batches(since=options["since"], until=options["until"])
        try:
            opened = (
                nullcontext(sys.stdout)
                if target is None
                else target.open("x", encoding="utf-8", newline="")
            )
            with opened as file:
                file.write(exporting.header(kind))
                file.writelines(exporting.written(kind, batch) for batch in batches)
        except BrokenPipeError:
            sys.stderr.close()
            return 1
        except OSError as error:
            raise Refused(f"{target} cannot be written", why=str(error)) from error
        return 0


def _anchor(text: str) -> Anchor:
    number, _, sha256 = text.partition(":")
    if not number.isdecimal() or len(sha256) != 64:
        raise argparse.ArgumentTypeError(f"{text!r} is no anchor such as 42:9f86d0...")
    return Anchor(int(number), sha256, "the command line")


def _outside(options: dict[str, Any]) -> Past:
    source = options["anchors"]
    if source is not None and not source.is_file():
        raise Refused(f"{source} does not exist", todo="name a file of anchors, or leave it out")
    past = anchors.read(source)
    return Past(anchors=(*past.anchors, *options["anchor"]), void=past.void)


def _seen_through(verification: Verification, terminal: Terminal) -> Report:
    bar = Progress(
        TextColumn("seals"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        console=terminal.console,
        transient=True,
        disable=not terminal.is_live,
    )
    with bar:
        task = bar.add_task("seals", total=None)
        for report in verification.steps():
            bar.update(task, total=report.seals_in_all, completed=report.seals)
    return verification.report


def _tell(report: Report, terminal: Terminal, *, has_anchors: bool) -> None:
    terminal.record({"whole": report.is_whole, **asdict(report)})
    for finding in report.findings:
        terminal.line(f"✗ {finding}")
    if report.findings_in_all > len(report.findings):
        terminal.line(f"✗ and {report.findings_in_all - len(report.findings)} more")
    mark, verdict = ("✓", "is whole") if report.is_whole else ("✗", "is NOT whole")
    terminal.line(
        f"{mark} the trail {verdict}: {report.lines} lines in {report.seals} seals,"
        f" {report.purged} purged, {report.anchors} anchors hold, {report.waiting} not sealed yet"
    )
    terminal.line(f"  head {report.head}")
    if not has_anchors:
        terminal.line(f"  without anchors a cut-off end cannot be found: {anchors.path()} has none")
