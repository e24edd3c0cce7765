"""Judge stored signals again with another model or prompt, and show what differs."""

from __future__ import annotations

import argparse
import sys
from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand

from evaluation import rerunning
from evaluation.models import Rerun
from evaluation.queries import Selection
from evaluation.rerunning import Plan, RerunRefused
from lens_site import rejudging, rerun_diff
from lens_site.arguments import moment, positive
from lens_site.desk import require_programs
from lens_site.progress import Lent
from lens_site.refusal import Refused
from lens_site.terminal import STOPPED, Terminal, refusal_text, stoppable

ACTOR = "command:reevaluate"


class Command(BaseCommand):
    help = (
        "Give stored signals, with the very facts they were judged by, to a model once more. The"
        " answers are stored for comparison; nothing is decided or published."
    )
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--signals", type=_ids, default=(), help="event ids, by commas")
        parser.add_argument("--source", default="", help="only signals of this source")
        parser.add_argument("--symbol", default="", help="only signals on this symbol")
        parser.add_argument("--since", type=moment, help="from this time on; UTC if no offset")
        parser.add_argument("--until", type=moment, help="up to this time, not included")
        parser.add_argument("--replay", type=_id, help="only signals of this replay")
        parser.add_argument(
            "--limit", type=positive, default=100, help="the newest so many (default 100)"
        )
        parser.add_argument("--model", required=True, help="one of AI_MODELS")
        parser.add_argument("--prompt", default="", help="name or name@version, such as judge@2")
        parser.add_argument("--yes", action="store_true", help="do not ask before spending")
        parser.add_argument("--json", action="store_true", help="the summary as one JSON object")

    def handle(self, **options: Any) -> None:
        terminal = Terminal(self.stdout, as_json=options["json"])
        try:
            code = _reevaluate(options, terminal)
        except Refused as refused:
            self.stderr.write(refusal_text(refused))
            code = 1
        if code:
            raise SystemExit(code)


def _reevaluate(options: dict[str, Any], terminal: Terminal) -> int:
    now = datetime.now(UTC)
    require_programs(now=now)
    plan = rejudging.plan_rerun(
        selection=_selection(options), model=options["model"], prompt=options["prompt"], now=now
    )
    terminal.line(f"To be judged again by {_judge(plan)}: {rerunning.estimate_text(plan=plan)}.")
    for warning in (rerunning.contamination_text(plan=plan), rerunning.budget_text(plan=plan)):
        if warning:
            terminal.line(warning)
    if not options["yes"] and not _is_agreed(terminal):
        terminal.line("Nothing was asked and nothing was stored.")
        return 1
    try:
        rerun = rerunning.start_rerun(plan=plan, actor=ACTOR, now=datetime.now(UTC))
    except RerunRefused as refused:
        raise rejudging.NoRerun("judging again stopped", why=str(refused)) from refused
    return _see_through(rerun, terminal)


def _selection(options: dict[str, Any]) -> Selection:
    event_ids = tuple(options["signals"])
    return Selection(
        event_ids=event_ids,
        source=options["source"],
        symbol=options["symbol"],
        since=options["since"],
        until=options["until"],
        replay_id=options["replay"],
        limit=max(options["limit"], len(event_ids)),
    )


def _judge(plan: Plan) -> str:
    return (
        f"{plan.model} under {plan.prompt.name}@{plan.prompt.version}"
        if plan.prompt
        else plan.model
    )


def _is_agreed(terminal: Terminal) -> bool:
    """Ask the person at the terminal.

    :raises Refused: if there is none.
    """
    if terminal.is_machine or not sys.stdin.isatty():
        raise Refused("nobody is there to agree to this", todo="--yes agrees beforehand")
    terminal.line("Go on? [y/N]")
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _see_through(rerun: Rerun, terminal: Terminal) -> int:
    code = 0
    with stoppable():
        try:
            with Lent(terminal, total=rerun.signals) as lent:
                rejudging.follow(rerun, lent=lent)
        except KeyboardInterrupt:
            code = STOPPED
            left = rerun.signals - rejudging.count_done(rerun)
            terminal.line(f"Stopped. The {left} that are not judged will be, by themselves.")
    totals = rerun_diff.total(rerun=rerun)
    for table in rejudging.tables(totals):
        terminal.table(table)
    terminal.line(
        f"rerun {rerun.id}; side by side: /reruns/{rerun.id} or /api/v1/reruns/{rerun.id}"
    )
    terminal.record(
        {**rerun_diff.rerun_json(rerun), "totals": totals.as_json(), "stopped": bool(code)}
    )
    return code


def _ids(text: str) -> tuple[UUID, ...]:
    return tuple(_id(part.strip()) for part in text.split(",") if part.strip())


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no id") from error
