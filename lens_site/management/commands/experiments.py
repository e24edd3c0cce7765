"""Challengers in the shadow of those that decide: list, start, promote, stop."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from lens_site.arguments import positive
from lens_site.experiments import experiment_json
from lens_site.terminal import Terminal, table_of
from outcomes import queries, services
from outcomes.models import Experiment
from pipeline.types import LensError

ACTOR = "command:experiments"
COLUMNS = ("name", "tries", "share", "status", "pairs", "gain in Brier", "it says", "still needed")


class Command(BaseCommand):
    help = "Have a challenger judge a share of live signals in the shadow; promote it on evidence."

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        verbs.add_parser("list", help="every experiment, and what it has shown")
        verbs.add_parser("needed", help="how many decisions differences of some sizes take to show")
        start = verbs.add_parser("start", help="begin one; what it will take is said first")
        start.add_argument("name")
        start.add_argument("--champion", required=True, help="one of AI_MODELS")
        tried = start.add_mutually_exclusive_group(required=True)
        tried.add_argument("--challenger", help="another model, of AI_MODELS or SHADOW_MODELS")
        tried.add_argument("--prompt", help="NAME@VERSION: the champion under another prompt")
        start.add_argument("--share", type=positive, default=20, help="percent of signals (20)")
        for verb in ("promote", "stop"):
            end = verbs.add_parser(verb, help=f"{verb} a challenger")
            end.add_argument("name")
            end.add_argument("--why", required=True)
        for each in verbs.choices.values():
            each.add_argument("--json", action="store_true", help="as one JSON object")

    def handle(self, **options: Any) -> None:
        terminal = Terminal(self.stdout, as_json=options["json"])
        try:
            _act(options, terminal)
        except LensError as refused:
            raise CommandError(str(refused)) from refused


def _act(options: dict[str, Any], terminal: Terminal) -> None:
    now, verb = datetime.now(UTC), options["verb"]
    if verb == "list":
        rows = queries.list_experiments()
        terminal.table(table_of("Experiments", COLUMNS, [_row(each) for each in rows]))
        terminal.record({"items": [experiment_json(each) for each in rows]})
        return
    if verb == "needed":
        _say_needed(services.expectation(), terminal)
        return
    if verb == "start":
        row = _start(options, now=now)
        _say_needed(row.expected, terminal, row=row)
        return
    act = services.promote_challenger if verb == "promote" else services.stop_experiment
    row = act(name=options["name"], actor=ACTOR, why=options["why"], now=now)
    terminal.line(f"{row.name}: {row.status.lower()}")
    terminal.record(experiment_json(row))


def _start(options: dict[str, Any], *, now: datetime) -> Experiment:
    prompt = None
    if options["prompt"]:
        name, _, version = options["prompt"].partition("@")
        if not version.isdecimal():
            raise CommandError("--prompt is NAME@VERSION, such as judge@2")
        prompt = (name, int(version))
    return services.start_experiment(
        name=options["name"],
        champion=options["champion"],
        challenger=options["challenger"] or options["champion"],
        prompt=prompt,
        share_pct=options["share"],
        actor=ACTOR,
        now=now,
    )


def _say_needed(
    expected: dict[str, int | None], terminal: Terminal, *, row: Experiment | None = None
) -> None:
    rows = [(gain, "more than ten million" if n is None else n) for gain, n in expected.items()]
    terminal.table(table_of("What it will take", ("true difference in Brier", "pairs"), rows))
    terminal.record({"expected": expected} if row is None else experiment_json(row))


def _row(row: Experiment) -> tuple[str | int, ...]:
    found = row.evidence
    gain, needed = found.get("mean_gain"), found.get("still_needed")
    between = "" if gain is None else f"{gain:+.4f} ({found['low']:+.4f} to {found['high']:+.4f})"
    prompt = f"{row.champion} under {row.prompt_name} v{row.prompt_version}"
    return (
        row.name,
        prompt if row.prompt_name else f"{row.challenger} against {row.champion}",
        f"{row.share_pct} %",
        row.status,
        found.get("n", 0),
        between or "-",
        found.get("standing", "OPEN"),
        "-" if needed is None else needed,
    )
