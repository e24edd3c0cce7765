"""Have a model judge stored entries mirrored, shuffled and paraphrased, and say what changed."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from lens_site.arguments import positive
from lens_site.desk import require_programs
from lens_site.refusal import Refused
from lens_site.terminal import Terminal, refusal_text, table_of
from outcomes import services
from outcomes.models import BiasAudit
from outcomes.types import AuditStatus
from pipeline.types import InvalidRequest

LOOK_EVERY_S = 1.0
PATIENCE_S = 600.0
ACTOR = "command:bias-audit"


class Command(BaseCommand):
    help = "Judge stored entries mirrored, shuffled and paraphrased; nothing of it is published."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--model", required=True)
        parser.add_argument("--cases", type=positive, default=20, help="newest entries (20)")
        parser.add_argument("--json", action="store_true", help="as one JSON object")

    def handle(self, **options: Any) -> None:
        terminal = Terminal(self.stdout, as_json=options["json"])
        now = datetime.now(UTC)
        try:
            require_programs(now=now)
            audit = services.start_audit(
                model=options["model"], cases=options["cases"], actor=ACTOR, now=now
            )
        except Refused as refused:
            self.stderr.write(refusal_text(refused))
            raise SystemExit(1) from refused
        except InvalidRequest as error:
            raise CommandError(str(error)) from error
        show(_finished(audit), terminal)


def _finished(audit: BiasAudit) -> BiasAudit:
    """Return the audit once the workers have judged it all.

    :raises CommandError: when they have not within the patience; the conductor finishes it.
    """
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        services.finish_audits(now=datetime.now(UTC))
        audit.refresh_from_db()
        if audit.status == AuditStatus.DONE:
            return audit
        time.sleep(LOOK_EVERY_S)
    raise CommandError(f"audit {audit.id} is not done yet; the conductor will finish it")


def show(audit: BiasAudit, terminal: Terminal) -> None:
    """Show what changed."""
    rows = [
        (name, found["n"], found["flips"], found["mean_shift"] if found["n"] else "-")
        for name, found in audit.result.items()
        if name in ("mirror", "shuffle", "paraphrase")
    ]
    terminal.table(
        table_of("Bias audit", ("told otherwise", "cases", "turned round", "mean shift"), rows)
    )
    skew = audit.result["skew"]
    terminal.line(
        f"Share followed, cases and mirrors: longs {skew['long']}, shorts {skew['short']}"
    )
    terminal.record({"model": audit.model, "cases": audit.cases, **audit.result})
