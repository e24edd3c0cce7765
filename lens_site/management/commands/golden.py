"""Signals that every model judges daily, to see whether it still says the same."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from lens_site.experiments import DAYS_SHOWN
from lens_site.terminal import Terminal, table_of
from outcomes import queries, services
from pipeline.types import LensError

ACTOR = "command:golden"


class Command(BaseCommand):
    help = "Choose golden signals, see what models say of them, and accept a change."

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        verbs.add_parser("list", help="the golden signals, and what models said of late")
        add = verbs.add_parser("add", help="have every model judge a stored signal daily")
        add.add_argument("event_id", type=UUID)
        add.add_argument("--note", default="")
        drop = verbs.add_parser("drop", help="judge it daily no longer")
        drop.add_argument("event_id", type=UUID)
        accept = verbs.add_parser("accept", help="hold later days to what a model says now")
        accept.add_argument("model")
        accept.add_argument("--why", required=True)
        for each in verbs.choices.values():
            each.add_argument("--json", action="store_true", help="as one JSON object")

    def handle(self, **options: Any) -> None:
        terminal = Terminal(self.stdout, as_json=options["json"])
        try:
            _act(options, now=datetime.now(UTC))
        except LensError as refused:
            raise CommandError(str(refused)) from refused
        show(terminal)


def _act(options: dict[str, Any], *, now: datetime) -> None:
    verb = options["verb"]
    if verb == "add":
        note = options["note"][:200]
        services.add_golden(event_id=options["event_id"], note=note, actor=ACTOR, now=now)
    elif verb == "drop":
        services.drop_golden(event_id=options["event_id"], actor=ACTOR, now=now)
    elif verb == "accept":
        services.accept_canary(model=options["model"], actor=ACTOR, why=options["why"], now=now)


def show(terminal: Terminal) -> None:
    """Show the golden signals and the latest days."""
    golden, days = queries.list_golden(), queries.list_canaries(days=DAYS_SHOWN)
    rows = [(str(row.event_id), row.note, row.created_by) for row in golden]
    terminal.table(table_of("Golden signals", ("signal", "note", "chosen by"), rows))
    said = [
        (str(row.day), row.model, row.status, f"{row.changed} of {row.compared}", row.reason)
        for row in days
    ]
    terminal.table(table_of("Days", ("day", "model", "said", "turned round", "why"), said))
    terminal.record(
        {
            "golden": [str(row.event_id) for row in golden],
            "days": [
                {"day": str(row.day), "model": row.model, "status": row.status} for row in days
            ],
        }
    )
