"""Follow and score what was decided, and say how the models stand."""

from __future__ import annotations

from argparse import ArgumentParser
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand

from decisions.types import LIVE
from lens_site import scoring
from lens_site.refusal import Refused
from lens_site.scoring import NoSuchReplay
from lens_site.terminal import Terminal, refusal_text
from outcomes import queries
from signals.models import Replay


class Command(BaseCommand):
    help = "Follow a replay's signals to their outcomes, and show how the models stand."
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        track = verbs.add_parser("track", help="answer and score a replay; the latest by default")
        track.add_argument("--replay", type=UUID)
        board = verbs.add_parser("board", help="the scoreboard of live signals, or of a replay")
        board.add_argument("--replay", type=UUID)
        answers = verbs.add_parser("answers", help="write how a replay ended, to try out scoring")
        answers.add_argument("--replay", type=UUID)
        answers.add_argument("--to", type=Path, required=True)
        for verb in (track, board, answers):
            verb.add_argument("--json", action="store_true", help="as one JSON object")

    def handle(self, **options: Any) -> None:
        terminal = Terminal(self.stdout, as_json=options["json"])
        try:
            _act(options, terminal)
        except Refused as refused:
            self.stderr.write(refusal_text(refused))
            raise SystemExit(1) from refused


def _act(options: dict[str, Any], terminal: Terminal) -> None:
    now = datetime.now(UTC)
    if options["verb"] == "answers":
        count = scoring.write_answers(_replay(options["replay"]), options["to"])
        terminal.line(f"{count} answers written to {options['to']}")
        terminal.record({"answers": count, "path": str(options["to"])})
        return
    if options["verb"] == "board" and options["replay"] is None:
        show(terminal, scope=LIVE, ends=queries.count_by_status(scope=LIVE))
        return
    replay = _replay(options["replay"])
    scope = scoring.scope_of_replay(replay)
    if options["verb"] == "track":
        show(terminal, scope=scope, ends=scoring.settle_replay(replay, now=now))
    else:
        show(terminal, scope=scope, ends=queries.count_by_status(scope=scope))


def show(terminal: Terminal, *, scope: str, ends: dict[str, int]) -> None:
    """Show the outcomes of a scope and how the models stand."""
    board = queries.get_scoreboard(scope=scope)
    marginal = queries.get_leave_one_out(scope=scope)
    for table in scoring.tables(board, ends):
        terminal.table(table)
    for line in scoring.lines(board, marginal):
        terminal.line(line)
    terminal.record(
        {
            "scope": scope,
            "outcomes": ends,
            "standings": [asdict(each) for each in [*board.standings, *board.baselines]],
            "verdict": board.verdict and asdict(board.verdict),
            "leave_one_out": marginal,
        }
    )


def _replay(replay_id: UUID | None) -> Replay:
    rows = Replay.objects.order_by("-created_at")
    found = rows.first() if replay_id is None else rows.filter(id=replay_id).first()
    if found is None:
        raise NoSuchReplay("there is no such replay", todo="./lens replay makes one")
    return found
