"""Show Lens at work: signals on a simulated market, judged by the running workers."""

from __future__ import annotations

import argparse
import time
from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from lens_site import demonstration
from lens_site.demo_views import View
from lens_site.demonstration import Demo, Order
from lens_site.refusal import Refused
from lens_site.terminal import STOPPED, Terminal, refusal_text, stoppable

SYMBOLS = "BTC,ETH,SOL,BNB,XRP,DOGE,ADA,AVAX,LINK,HYPE,LTC,DOT,ATOM,NEAR,APT,ARB,OP,SUI,TON,AAVE"


class Command(BaseCommand):
    help = (
        "Send a signal on a simulated market every few seconds and show the decisions as they"
        " come. Its signals are marked as demo. Ctrl-C stops it."
    )
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--every", type=_seconds, default=5.0, help="seconds, default 5")
        parser.add_argument("--symbols", type=_symbols, default=SYMBOLS, help="such as BTC,ETH,SOL")
        parser.add_argument("--count", type=int, help="stop after so many signals")
        parser.add_argument("--seconds", type=_seconds, help="stop after so long")
        parser.add_argument("--source", default="demo", help="what the signals say sent them")
        parser.add_argument("--seed", type=int, help="make the same choices again")
        parser.add_argument("--json", action="store_true", help="one line of JSON per event")

    def handle(self, **options: Any) -> None:
        order = Order(
            symbols=options["symbols"],
            every_s=options["every"],
            count=options["count"],
            seconds=options["seconds"],
            source=options["source"],
            seed=options["seed"],
        )
        view = View(Terminal(self.stdout, as_json=options["json"]), models=settings.AI_MODELS)
        try:
            code = _show(order, view)
        except Refused as refused:
            self.stderr.write(refusal_text(refused))
            code = 1
        if code:
            raise SystemExit(code)


def _show(order: Order, view: View) -> int:
    demo = Demo(order, listener=view, lent=_Wall())
    code = 0
    with stoppable():
        try:
            with view:
                demo.run()
        except KeyboardInterrupt:
            code = STOPPED
    view.close(demonstration.tally(demo.rows))
    return code


class _Wall:
    """The clock on the wall."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)


def _seconds(text: str) -> float:
    try:
        value = float(text.removesuffix("s"))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds") from error
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError("must be above 0")
    return value


def _symbols(text: str) -> tuple[str, ...]:
    names = tuple(name.strip().upper() for name in text.split(",") if name.strip())
    if not names:
        raise argparse.ArgumentTypeError("must name at least one")
    return names
