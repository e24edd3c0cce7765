"""Put a backup in the place of what is stored."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand

from lens_site import archiving
from lens_site.archiving import Restored
from lens_site.refusal import Refused
from lens_site.terminal import Terminal, refusal_text

ACTOR = "command:restore"


class Command(BaseCommand):
    help = (
        "Put a backup in the place of what is stored. Numbers of decisions go on above every number"
        " that subscribers may have seen, and keys that were revoked since stay revoked."
    )
    requires_system_checks: list[str] = []
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--yes", action="store_true", help="do not ask before replacing")
        parser.add_argument(
            "--anchors", type=Path, metavar="FILE", help="a newer copy of anchors.jsonl"
        )
        parser.add_argument("--json", action="store_true", help="one JSON object")

    def handle(self, **options: Any) -> None:
        terminal = Terminal(self.stdout, as_json=options["json"])
        try:
            manifest = archiving.read_manifest(options["file"])
            if not options["yes"]:
                _ask(f"Replace what is stored by the backup of {manifest['made_at']}? [y/N]")
            done = archiving.restore(
                options["file"], outside=options["anchors"], actor=ACTOR, now=datetime.now(UTC)
            )
        except Refused as refused:
            self.stderr.write(refusal_text(refused))
            raise SystemExit(1) from refused
        _tell(done, terminal)
        if done.counts != done.manifest["rows"]:
            raise SystemExit(1)


def _ask(question: str) -> None:
    if not sys.stdin.isatty():
        raise Refused("nobody is there to agree to this", todo="--yes agrees beforehand")
    sys.stdout.write(f"{question} ")
    sys.stdout.flush()
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise Refused("nothing was changed")


def _tell(done: Restored, terminal: Terminal) -> None:
    told, counts = done.manifest["rows"], done.counts
    wrong = {name: (told.get(name), counts.get(name)) for name in {*told, *counts}}
    wrong = {name: pair for name, pair in wrong.items() if pair[0] != pair[1]}
    terminal.record(
        {
            "rows": dict(counts),
            "differing": wrong,
            "head": done.head,
            "revoked_again": done.revoked,
            "set_aside": done.set_aside,
        }
    )
    for name, (before, after) in sorted(wrong.items()):
        terminal.line(f"✗ {name}: {before} rows in the backup, {after} now")
    if not wrong:
        terminal.line(f"✓ {sum(counts.values())} rows in {len(counts)} tables, as in the backup")
    terminal.line(f"  decisions go on above {done.head}; {done.revoked} keys revoked again")
    if done.set_aside:
        terminal.line(f"  what was stored before lies at {done.set_aside}")
    terminal.line("  now: ./lens audit verify, then ./lens up")
