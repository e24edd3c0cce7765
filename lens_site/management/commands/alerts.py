"""What about the models needs a look: list it, acknowledge it."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from lens_site.terminal import Terminal, table_of
from outcomes import queries, services
from pipeline.parsing import time_text
from pipeline.types import LensError

ACTOR = "command:alerts"
COLUMNS = ("id", "kind", "subject", "message", "since", "acknowledged")


class Command(BaseCommand):
    help = "List what about the models needs a look, and note what you make of it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        verbs.add_parser("list", help="what is open")
        seen = verbs.add_parser("acknowledge", help="it calls nobody any more")
        seen.add_argument("id", type=int)
        seen.add_argument("--why", required=True)
        for each in verbs.choices.values():
            each.add_argument("--json", action="store_true", help="as one JSON object")

    def handle(self, **options: Any) -> None:
        terminal = Terminal(self.stdout, as_json=options["json"])
        if options["verb"] == "acknowledge":
            try:
                services.acknowledge_alert(
                    alert_id=options["id"],
                    actor=ACTOR,
                    why=options["why"],
                    now=datetime.now(UTC),
                )
            except LensError as refused:
                raise CommandError(str(refused)) from refused
        rows = [
            (
                row.pk,
                row.kind,
                row.subject,
                row.message,
                str(time_text(row.opened_at)),
                f"{row.acknowledged_by}: {row.why}" if row.acknowledged_at else "-",
            )
            for row in queries.list_open_alerts()
        ]
        terminal.table(table_of("Alerts", COLUMNS, rows))
        terminal.record({"items": [dict(zip(COLUMNS, row, strict=True)) for row in rows]})
