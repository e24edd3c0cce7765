"""`./lens bench [name ...]`: measure private desks beside baselines, and hold them to targets."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from benchmarks.frame import Skipped, history_line
from launcher.places import ROOT

NAMES: Final = {
    "intake": "P1: signals accepted a second, beside a plain FastAPI and the declared view",
    "queue": "P2: from commit to claim, beside RQ's own workers",
    "models": "P3, P4, P6: what Lens adds to language models, beside a textbook pipeline",
    "enrichment": "P5: facts from a market that takes 100 ms",
    "burst": "P7: 1,000 signals at once, all the way to a subscriber",
    "fanout": "P8: one decision to 1,000 and 5,000 sockets, beside a bare broadcast",
    "start": "P9: how soon it is ready, and what it takes of memory",
    "pages": "P10: pages on few and on many signals",
    "admin": "P10, P11: the back office, and the cost of one signal, on few and on many signals",
    "replay": "P12: signals replayed a second and core",
    "scores": "P13: scores over a million decisions, beside Polars",
    "scale": "three web and three worker processes beside one of each",
    "tracker": "open questions followed over a minute, and over a recording",
    "following": "one minute's look at stored open questions",
    "purge": "what intake feels of a purge",
}
NUMBERS: Final = ("median", "ratio", "noise")
LOG_WIDTH: Final = 150
HISTORY: Final = ROOT / "docs" / "benchmarks.md"
HISTORY_MARK: Final = "|---|---|---|---|"


def main() -> int:
    """Run what was asked for; return 1 when a target was missed, 2 when something did not run."""
    options = parse(sys.argv[1:])
    if options.inside:
        return inside(options.inside, Path(options.json), quick=options.quick)
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        console.width = LOG_WIDTH
    results = []
    for name in options.names or list(NAMES):
        with console.status(f"{name}: {NAMES[name]}"):
            result = apart(name, quick=options.quick)
        show(result, console)
        results.append(result)
    write(results, options)
    if any(result["trouble"] for result in results):
        return 2
    missed = [each for result in results for each in result["figures"] if "miss" in each["verdict"]]
    return 1 if missed else 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """Return what was asked for."""
    listed = "\n".join(f"  {name:<12}{text}" for name, text in NAMES.items())
    parser = argparse.ArgumentParser(
        prog="lens bench",
        description="Measure, side by side with a baseline in the same run. Every benchmark has"
        " servers and a database of its own.",
        epilog=f"names (all when none is given):\n{listed}\n\n"
        "exit codes: 0 all targets met, 1 some missed, 2 something could not be run",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="name", choices=[*NAMES, []])
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run at all?")
    parser.add_argument("--json", nargs="?", const="-", default="", help="to a file, or to stdout")
    parser.add_argument("--history", action="store_true", help="add lines to docs/benchmarks.md")
    parser.add_argument("--inside", default="", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.quick and options.history:
        parser.error("what --quick finds is no figure for the history")
    return options


def apart(name: str, *, quick: bool) -> dict[str, Any]:
    """Run one benchmark in a process of its own and return what it found."""
    with tempfile.TemporaryDirectory(prefix="lens-bench-") as folder:
        path = Path(folder) / "told.json"
        command = [sys.executable, "-m", "benchmarks", "--inside", name, "--json", str(path)]
        command += ["--quick"] if quick else []
        ended = subprocess.run(command, cwd=ROOT, stdout=sys.stderr, check=False)
        if not path.exists():
            return {"name": name, "figures": [], "trouble": f"it ended with {ended.returncode}"}
        told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return told


def inside(name: str, path: Path, *, quick: bool) -> int:
    """Run one benchmark here and write down what it found."""
    told: dict[str, Any] = {"name": name, "quick": quick, "figures": [], "trouble": ""}
    try:
        module = importlib.import_module(f"benchmarks.{name}")
        told["figures"] = [each.told() for each in module.figures(quick=quick)]
    except Skipped as why:
        told["figures"] = [each.told() for each in why.figures]
        told["trouble"] = f"SKIPPED: {why}"
    path.write_text(json.dumps(told), encoding="utf-8")
    return 0


def show(result: dict[str, Any], console: Console) -> None:
    """Print one benchmark as a table."""
    small = " (quick: too small for a verdict to count)" if result.get("quick") else ""
    title = f"{result['name']}: {NAMES[result['name']]}{small}"
    table = Table(title=title, title_justify="left")
    for title in ("", "what", "median", "against", "ratio", "target", "noise", "verdict"):
        table.add_column(
            title, justify="right" if title in ("median", "ratio", "noise") else "left"
        )
    for each in result["figures"]:
        table.add_row(
            each["target"],
            each["what"],
            f"{each['median']:g} {each['unit']}",
            each["against"],
            "" if each["ratio"] is None else f"{each['ratio']:g}x",
            each["bound"],
            f"{each['noise_pct']:.0f} %",
            each["verdict"],
            style="red" if "miss" in each["verdict"] else "",
        )
    console.print(table)
    if result["trouble"]:
        console.print(f"[red]✗ {result['name']}: {result['trouble']}[/red]")


def write(results: list[dict[str, Any]], options: argparse.Namespace) -> None:
    """Write JSON and history as far as they were asked for."""
    now, cores = datetime.now(UTC), os.cpu_count()
    machine = f"{cores} cores, Python {platform.python_version()}"
    told = {"at": now.isoformat(timespec="seconds"), "machine": machine, "results": results}
    if options.json == "-":
        sys.stdout.write(json.dumps(told) + "\n")
    elif options.json:
        Path(options.json).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    if options.history:
        day = f"{now:%Y-%m-%d}"
        lines = [
            history_line(result["name"], result["figures"], day=day, machine=machine)
            for result in results
            if result["figures"]
        ]
        text = HISTORY.read_text(encoding="utf-8")
        HISTORY.write_text(
            text.replace(HISTORY_MARK, "\n".join([HISTORY_MARK, *lines]), 1), encoding="utf-8"
        )


if __name__ == "__main__":
    sys.exit(main())
