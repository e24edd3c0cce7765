"""Write everything that is stored into one file."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand

from lens_site import archiving
from lens_site.refusal import Refused
from lens_site.terminal import Terminal, refusal_text

NOT_IN_IT = (
    "  not in it: SECRET_KEY, LENS_KEY_PEPPER and what else var/secret.env holds (without the"
    " pepper\n  every API key is void), logs, recordings. Keep them apart."
)


class Command(BaseCommand):
    help = (
        "Write everything that is stored into one file, while the desk runs. Secrets are not in it."
    )
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", nargs="?", type=Path, help="default: lens-<time>.backup here")
        parser.add_argument("--json", action="store_true", help="one JSON object")

    def handle(self, **options: Any) -> None:
        terminal = Terminal(self.stdout, as_json=options["json"])
        now = datetime.now(UTC)
        target = options["file"] or Path(f"lens-{now:%Y%m%dT%H%M%S}Z.backup")
        try:
            manifest = archiving.make_backup(target, now=now)
        except Refused as refused:
            self.stderr.write(refusal_text(refused))
            raise SystemExit(1) from refused
        terminal.record({"file": str(target), **manifest})
        rows, tables = sum(manifest["rows"].values()), len(manifest["rows"])
        size_mb = target.stat().st_size / 1e6
        seal = manifest["seal"]["number"]
        terminal.line(f"✓ {target}: {rows} rows in {tables} tables, {size_mb:.1f} MB")
        terminal.line(f"  published up to {manifest['head']}, sealed up to {seal}")
        terminal.line(NOT_IN_IT)
