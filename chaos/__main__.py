"""`./lens chaos`: break a desk of its own in every way, and count what was lost."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from chaos.client import Unanswered
from chaos.databases import NoPostgres, database
from chaos.stack import NotInTime, Stack
from chaos.trial import Plan, Report, Trial
from launcher.redis_server import RedisBinary, bundled_binary, system_binary

LEAST_FAULTS = 0.03
"""Faults a signal: 60 for 2,000 signals, however fast they are sent."""


def main() -> int:
    """Run one trial for each seed and return 1 when anything was lost, stuck or doubled."""
    options = parse(sys.argv[1:])
    console = Console(stderr=True, highlight=False)
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    reports = []
    for seed in options.seed:
        try:
            report = run(options, seed=seed, console=console)
        except (NoPostgres, NotInTime, Unanswered) as failure:
            console.print(f"[red]✗[/red] {failure}")
            return 1
        show(report, console)
        reports.append(report)
    told = [asdict(report) | {"passed": report.passed} for report in reports]
    if options.json == "-":
        sys.stdout.write(json.dumps(told) + "\n")
    elif options.json:
        Path(options.json).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return 0 if all(report.passed for report in reports) else 1


def parse(arguments: list[str]) -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(
        prog="lens chaos",
        description="Start a private desk (2 web, 2 workers, a conductor, Redis, a database, a"
        " scripted vendor), send signals while programs are killed and frozen, Redis is emptied and"
        " killed, the database disturbed, jobs doubled and the vendor fails; then count. Nothing"
        " of a desk that runs here is touched.",
        epilog="exit codes: 0 all zero, 1 something was lost, stuck, doubled or missing",
    )
    parser.add_argument("--n", type=int, default=200, help="how many signals (200)")
    parser.add_argument("--seed", type=int, nargs="+", default=[1], help="one trial each (1)")
    parser.add_argument("--per-s", type=float, default=15.0, help="signals a second (15)")
    parser.add_argument(
        "--postgres",
        action="store_true",
        help="on a private, durable PostgreSQL, with the Redis"
        " of this machine; without it on SQLite with the bundled Redis, as ./lens up has them",
    )
    parser.add_argument(
        "--database-url", default="", help="on a fresh database of this PostgreSQL server"
    )
    parser.add_argument(
        "--fault-every-s",
        type=float,
        nargs=2,
        default=(0.5, 2.0),
        metavar=("LEAST", "MOST"),
        help="pause between faults (0.5 2.0)",
    )
    parser.add_argument("--json", nargs="?", const="-", default="", help="to a file, or to stdout")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace, *, seed: int, console: Console) -> Report:
    """Run one trial on a stack of its own, which is gone afterwards."""
    on_postgres = bool(options.postgres or options.database_url)
    plan = Plan(
        signals=options.n,
        seed=seed,
        per_s=options.per_s,
        fault_every_s=tuple(options.fault_every_s),
        faults_least=max(5, round(options.n * LEAST_FAULTS)),
    )
    with (
        tempfile.TemporaryDirectory(prefix="lens-", dir="/tmp") as name,
        database(Path(name), server_url=options.database_url, private=options.postgres) as rows,
        console.status(f"seed {seed}: starting a desk") as status,
    ):
        stack = Stack(
            directory=Path(name),
            binary=redis_binary(bundled_first=not on_postgres),
            database_url=rows.url,
            has_vendor=True,
        )
        try:
            stack.start()
            trial = Trial(
                stack, rows, plan, say=lambda words: status.update(f"seed {seed}: {words}")
            )
            return asyncio.run(trial.run())
        finally:
            stack.stop()


def redis_binary(*, bundled_first: bool) -> RedisBinary:
    """Return the Redis to run on.

    :raises NotInTime: when there is none.
    """
    bundled, installed = bundled_binary(Path(sys.executable)), system_binary()
    found = (bundled or installed) if bundled_first else (installed or bundled)
    if found is None:
        raise NotInTime("no Redis server was found: install redis-server")
    return found


def show(report: Report, console: Console) -> None:
    """Print one trial as a table."""
    plan = report.plan
    table = Table(title=f"chaos: {plan.signals} signals, seed {plan.seed}", title_justify="left")
    table.add_column("what")
    table.add_column("count", justify="right")
    for name, count in report.counts.items():
        table.add_row(name, str(count), style="red" if count else "green")
    table.add_section()
    for name, count in report.faults.items():
        table.add_row(f"fault: {name}", str(count))
    table.add_row("faults in all", str(sum(report.faults.values())))
    table.add_section()
    for name, count in report.ends.items():
        table.add_row(f"ended {name}", str(count))
    for name, value in _figures(report).items():
        table.add_row(name, value)
    console.print(table)
    for words in report.words[:20]:
        console.print(f"[red]✗[/red] {words}")
    verdict = "nothing lost, stuck, doubled or missing" if report.passed else "NOT as promised"
    console.print(f"{'✓' if report.passed else '✗'} {verdict}")


def _figures(report: Report) -> dict[str, str]:
    accept, calls = report.accept_ms, report.calls
    figures = {
        "database, Redis": f"{report.database}, {report.redis}",
        "accepted": str(report.accepted),
        "decisions published": str(report.decisions),
        "connections of each subscriber": ", ".join(map(str, report.connections)),
        "accepted within, p50 / p95 / most": " / ".join(f"{ms:.0f} ms" for ms in accept.values()),
        "all ended, after the last fault": f"{report.over_after_s:.1f} s",
        "whole trial": f"{report.took_s:.0f} s",
    }
    if calls:
        share = 100 * calls["good_repeated"] / max(1, calls["good"])
        figures["vendor calls, good, good ones repeated"] = (
            f"{calls['all']}, {calls['good']}, {calls['good_repeated']} ({share:.1f} %)"
        )
        figures["vendor calls whose caller had gone"] = str(calls["unheard"])
    return figures


if __name__ == "__main__":
    sys.exit(main())
