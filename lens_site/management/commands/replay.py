"""Judge signals made from recorded candles, as of their own time, through the running queue."""

from __future__ import annotations

import argparse
import re
import time
from argparse import ArgumentParser
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from django.core.management.base import BaseCommand
from rich import progress as rich_progress

from lens_site import replay_summary, replaying
from lens_site.replaying import Leaning, Order, Plan, Progress
from lens_site.terminal import STOPPED, Refused, Terminal, in_seconds, refusal_text, stoppable
from signals.models import Replay

LINE_EVERY_S = 5.0
UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


class Command(BaseCommand):
    help = (
        "Make a signal at every step of a candle file and let the running workers judge it as of"
        " that moment. The decisions are stored, marked as replayed, and never pushed."
    )
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--candles", type=Path, required=True, help="a CSV file, plain or .gz")
        parser.add_argument("--symbol", required=True, help="what the candles are of, such as BTC")
        parser.add_argument("--every", type=_duration, default=900, help="default 15m")
        parser.add_argument("--from", dest="since", type=_moment, help="UTC if it names no offset")
        parser.add_argument("--to", dest="until", type=_moment, help="the last moment, included")
        parser.add_argument(
            "--direction",
            choices=[leaning.value for leaning in Leaning],
            default=Leaning.MOMENTUM.value,
            help="default momentum: the sign of the last hour's move",
        )
        parser.add_argument(
            "--window", type=_positive, default=500, help="most signals unfinished at a time"
        )
        parser.add_argument("--json", action="store_true", help="the summary as one JSON object")

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
            code = _replay(order, terminal)
        except Refused as refused:
            self.stderr.write(refusal_text(refused))
            code = 1
        if code:
            raise SystemExit(code)


def _replay(order: Order, terminal: Terminal) -> int:
    now = datetime.now(UTC)
    plan = replaying.plan_replay(order, now=now)
    replay = replaying.start(plan, now=now)
    terminal.line(_intent(plan, replay))
    code = 0
    with stoppable():
        try:
            with _Lent(terminal, total=len(plan.drafts)) as lent:
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
    terminal.record({**summary.as_json(), "total": len(plan.drafts), "stopped": bool(code)})
    return code


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


class _Lent:
    """The clock and the progress of one replay: a bar on a terminal, else a line now and then."""

    def __init__(self, terminal: Terminal, *, total: int) -> None:
        self._terminal = terminal
        self._bar = rich_progress.Progress(
            rich_progress.TextColumn("judged"),
            rich_progress.BarColumn(),
            rich_progress.MofNCompleteColumn(),
            rich_progress.TextColumn("{task.fields[rate]:.0f}/s"),
            rich_progress.TimeRemainingColumn(compact=True),
            console=terminal.console,
            transient=True,
            disable=not terminal.is_live,
        )
        self._task = self._bar.add_task("judged", total=total, rate=0.0)
        self._began_s = self._told_s = time.monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._bar.stop()

    def now(self) -> datetime:
        return datetime.now(UTC)

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)

    def tell(self, progress: Progress) -> None:
        now_s = time.monotonic()
        rate = progress.done / max(now_s - self._began_s, 0.001)
        self._bar.update(self._task, completed=progress.done, rate=rate)
        if self._terminal.is_live or now_s - self._told_s < LINE_EVERY_S:
            return
        self._told_s = now_s
        left_s = (progress.total - progress.done) / rate if rate else 0.0
        left = f", about {in_seconds(left_s)} left" if rate else ""
        self._terminal.line(f"{progress.done} of {progress.total} judged, {rate:.0f}/s{left}")


def _duration(text: str) -> int:
    match = re.fullmatch(r"(\d+)([smhd])", text)
    if match is None or not int(match[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is no duration such as 15m, 1h or 1d")
    return int(match[1]) * UNITS[match[2]]


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no ISO 8601 time such as 2022-01-03 or 2022-01-03T10:30"
        ) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)
