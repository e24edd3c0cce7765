"""Run scripted vendors on loopback, for trials without keys, demonstrations and benchmarks."""

from __future__ import annotations

import asyncio
import json
import signal
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from evaluation.fake_vendors.app import FakeVendors
from evaluation.fake_vendors.script import BadScript
from evaluation.fake_vendors.serving import Server
from evaluation.fake_vendors.wires.known import BASES, MODELS

PORT = 8899
KEY = "fake-key"
NAMES = {"openai": "chatgpt"}  # what a vendor's model is called in Lens, if not as its vendor
USUAL_FAULTS = ("429", "500", "529", "html", "half_json", "empty", "half_answer", "wrong_types")


class Command(BaseCommand):
    help = (
        "Answer as all vendors of language models do, on loopback, with verdicts that the prompt"
        " alone determines. It costs nothing and takes any key. GET /_ledger tells what was"
        " called, POST /_script lets calls go wrong. Ctrl-C stops it."
    )
    requires_system_checks: list[str] = []
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, default=PORT, help=f"default {PORT}, 0 any free")
        parser.add_argument("--latency-ms", type=float, help="how long every call takes")
        parser.add_argument("--spread-ms", type=float, default=0.0, help="and up to so much longer")
        parser.add_argument("--fault-rate", type=float, help="share of calls to go wrong, 0 to 1")
        parser.add_argument(
            "--faults",
            default=",".join(USUAL_FAULTS),
            help="in which ways, by kind; default %(default)s",
        )
        parser.add_argument("--seed", type=int, default=0, help="which calls go wrong")
        parser.add_argument("--script", type=Path, help="a file of rules, as POST /_script takes")
        parser.add_argument(
            "--env", action="store_true", help="print the settings for .env and leave"
        )
        parser.add_argument("--json", action="store_true", help="one line of JSON instead of text")

    def handle(self, **options: Any) -> None:
        if options["env"]:
            self._print_settings(f"http://127.0.0.1:{options['port']}")
            return
        app = FakeVendors()
        try:
            for rule in _rules(options):
                app.script.add(rule)
        except (BadScript, OSError, json.JSONDecodeError) as error:
            raise CommandError(f"the script cannot be followed: {error}") from error
        try:
            asyncio.run(self._serve(app, port=options["port"], as_json=options["json"]))
        except OSError as error:
            raise CommandError(f"port {options['port']} cannot be had: {error}") from error
        self._sum_up(app, as_json=options["json"])

    async def _serve(self, app: FakeVendors, *, port: int, as_json: bool) -> None:
        server, stopped = Server(app, port=port), asyncio.Event()
        await server.start()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        self._greet(server.url, as_json=as_json)
        await stopped.wait()
        await server.close()

    def _greet(self, url: str, *, as_json: bool) -> None:
        if as_json:
            vendors = {vendor: url + base for vendor, base in BASES.items()}
            told = {"url": url, "vendors": vendors, "environment": settings_for(url)}
            self.stdout.write(json.dumps(told))
        else:
            self.stdout.write(f"fake vendors answer at {url}, calls are listed at {url}/_ledger\n")
            for vendor, base in BASES.items():
                self.stdout.write(f"  {vendor:<11}{url}{base}")
            self.stdout.write("\nsettings that point every model to them:\n")
            self._print_settings(url)
        self.stdout.flush()

    def _print_settings(self, url: str) -> None:
        for name, value in settings_for(url).items():
            self.stdout.write(f"{name}={value}")

    def _sum_up(self, app: FakeVendors, *, as_json: bool) -> None:
        models = app.ledger.told()["models"]
        if as_json:
            self.stdout.write(json.dumps({"models": models}))
            return
        for each in models:
            outcomes = ", ".join(f"{count} {name}" for name, count in each["outcomes"].items())
            used = f"{each['tokens_in']} tokens in, {each['tokens_out']} out"
            self.stdout.write(f"{each['vendor']} {each['model']}: {outcomes}; {used}")


def settings_for(url: str) -> dict[str, str]:
    """Return the settings that make one model of every vendor, all at ``url``."""
    names = {vendor: NAMES.get(vendor, vendor) for vendor in BASES}
    found = {"AI_MODELS": ",".join(names.values())}
    for vendor, name in names.items():
        prefix = f"MODEL_{name.upper()}"
        found |= {
            f"{prefix}_PROVIDER": vendor,
            f"{prefix}_BASE_URL": url + BASES[vendor],
            f"{prefix}_API_KEY": KEY,
            f"{prefix}_MODEL_ID": MODELS[vendor],
        }
    return found


def _rules(options: dict[str, Any]) -> list[object]:
    rules: list[object] = []
    if options["script"]:
        told = json.loads(options["script"].read_text(encoding="utf-8"))
        rules += told if isinstance(told, list) else [told]
    if options["latency_ms"] is not None:
        latency = {"ms": options["latency_ms"], "spread_ms": options["spread_ms"]}
        rules.append({"latency": latency})
    if options["fault_rate"] is not None:
        faults = [{"kind": kind.strip()} for kind in options["faults"].split(",")]
        rules.append({"faults": faults, "rate": options["fault_rate"], "seed": options["seed"]})
    return rules
