"""Judge signals made from recorded candles, as of their own time, through the running queue."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand

from lens_site import replay_summary, replaying, scoring
from lens_site.arguments import duration, moment, positive
from lens_site.progress import Lent
from lens_site.refusal import Refused
from lens_site.replaying import Leaning, Order, Plan
from lens_site.terminal import STOPPED, Terminal, in_seconds, refusal_text, stoppable
from outcomes import queries
from signals.models import Replay


class Command(BaseCommand):
    help = (
        "Make a signal at every step of a candle file and let the running workers judge it as of"
        " that moment. The decisions are stored, marked as replayed, and never pushed."
    )
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--candles", type=Path, required=True, help="a CSV file, plain or .gz")
        parser.add_argument("--symbol", required=True, help="what the candles are of, such as BTC")
        parser.add_argument("--every", type=duration, default=900, help="default 15m")
        parser.add_argument("--from", dest="since", type=moment, help="UTC if it names no offset")
        parser.add_argument("--to", dest="until", type=moment, help="the last moment, included")
        parser.add_argument(
            "--direction",
            choices=[leaning.value for leaning in Leaning],
            default=Leaning.MOMENTUM.value,
            help="default momentum: the sign of the last hour's move",
        )
        parser.add_argument(
            "--window", type=positive, default=500, help="most signals unfinished at a time"
        )
        parser.add_argument("--json", action="store_true", help="the summary as one JSON object")
        parser.add_argument(
            "--no-outcomes", action="store_true", help="leave following the signals for later"
        )

    def handle(self, **options: Any) -> None:
        terminal = Terminal(self.stdout, as_json=options["json"])
        order = Order(
            path=options["candles"],
            symbol=options["symbol"],
            every_s=options["every"],
            leaning=Leaning(options["direction"]),
            since=options["since"],
            until=options["until"],
            window=options["window"],
        )
        try:
            code = _replay(order, terminal, follow=not options["no_outcomes"])
        except Refused as refused:
            self.stderr.write(refusal_text(refused))
            code = 1
        if code:
            raise SystemExit(code)


def _replay(order: Order, terminal: Terminal, *, follow: bool) -> int:
    now = datetime.now(UTC)
    plan = replaying.plan_replay(order, now=now)
    replay = replaying.start(plan, now=now)
    terminal.line(_intent(plan, replay))
    code = 0
    with stoppable():
        try:
            with Lent(terminal, total=len(plan.drafts)) as lent:
                replaying.run(plan, replay, lent=lent)
        except KeyboardInterrupt:
            code = STOPPED
            terminal.line(_farewell(plan, replay))
    summary = replay_summary.summarise(replay)
    for table in replay_summary.tables(summary):
        terminal.table(table)
    terminal.line(
        f"{summary.finished} signals in {in_seconds(summary.took_s)},"
        f" {summary.signals_per_s:.1f} signals/s; fingerprint {summary.fingerprint}"
    )
    ends = _score(replay, terminal) if follow and not code else None
    told = {**summary.as_json(), "total": len(plan.drafts), "stopped": bool(code)}
    terminal.record(told if ends is None else {**told, "outcomes": ends})
    return code


def _score(replay: Replay, terminal: Terminal) -> dict[str, int]:
    """Follow the signals to their outcomes, show how the models stand, and return the ends."""
    ends = scoring.settle_replay(replay, now=datetime.now(UTC))
    scope = scoring.scope_of_replay(replay)
    board = queries.get_scoreboard(scope=scope)
    for table in scoring.tables(board, ends):
        terminal.table(table)
    for line in scoring.lines(board, queries.get_leave_one_out(scope=scope)):
        terminal.line(line)
    return ends


def _intent(plan: Plan, replay: Replay) -> str:
    first, last = plan.drafts[0].ts_utc, plan.drafts[-1].ts_utc
    return (
        f"Replaying {len(plan.drafts)} signals on {replay.symbol} from {plan.order.path.name},"
        f" {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC; replay {replay.id}"
    )


def _farewell(plan: Plan, replay: Replay) -> str:
    submitted, done = replaying.count_submitted(replay), replaying.count_done(replay)
    return (
        f"Stopped after {submitted} of {len(plan.drafts)} signals were submitted."
        f" The {submitted - done} that are not finished will be, by themselves."
    )
