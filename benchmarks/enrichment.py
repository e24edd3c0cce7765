"""How long facts take to gather from a market that takes 100 ms for each answer.

Signals of eight symbols come at a pace; caches are warm, as they are on a desk that runs. What is
timed is the gathering alone, as each frozen case tells it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import UTC, datetime
from typing import Any

from benchmarks.desk import desk, part
from benchmarks.frame import REPEATS, Figure, share
from benchmarks.slow_market import LATENCY_S

WANTED_PER_S = 40
PER_S, SECONDS, WARM_UP_S = 44, 15, 4  # a little more than is wanted, or it could not be met
SYMBOLS = ("BTC", "ETH", "SOL", "XRP", "DOGE", "AVAX", "LINK", "ADA")
ENOUGH_S = 60.0
VARIABLES = {
    "DJANGO_SETTINGS_MODULE": "benchmarks.canned",
    "PROVIDER_PRIMARY": "slow",
    "MAX_PRICE_DRIFT_BPS": "1000000",
    "DEMO_FEED_SIGNALS": "0",
}


def figures(*, quick: bool) -> list[Figure]:
    """Return how long gathering takes, in calls of the market, and how many a second are done."""
    told: list[dict[str, Any]] = []
    for _ in range(1 if quick else REPEATS):
        with desk(VARIABLES, workers=1) as environment:
            seconds = str(4 if quick else SECONDS)
            told.append(part("benchmarks.enrichment", environment, seconds))
    return [
        Figure(
            target="P5",
            what=f"gathering at {PER_S}/s, p95",
            unit="ms",
            samples=[each["p95_ms"] for each in told],
            against="one call",
            baseline=[LATENCY_S * 1000],
            at_most=2.2,
        ),
        Figure(
            target="P5",
            what="signals enriched",
            unit="/s",
            samples=[each["per_s"] for each in told],
            at_least=WANTED_PER_S,
        ),
    ]


def _inside(seconds: int) -> dict[str, Any]:
    import django

    django.setup()
    from enrichment.models import Enrichment

    _submit("warm-up", count=PER_S * WARM_UP_S)
    _wait(PER_S * WARM_UP_S)
    began = datetime.now(UTC)
    _submit("bench", count=PER_S * seconds)
    _wait(PER_S * (WARM_UP_S + seconds))
    rows = Enrichment.objects.filter(created_at__gte=began).order_by("created_at")
    took = list(rows.values_list("duration_ms", "created_at"))
    span_s = (took[-1][1] - began).total_seconds()
    return {"p95_ms": share([each[0] for each in took], 0.95), "per_s": len(took) / span_s}


def _submit(source: str, *, count: int) -> None:
    """Submit signals at the pace, a hundredth of a second at a time."""
    from signals import services
    from signals.types import Submission
    from tests.factories import make_draft

    started = time.perf_counter()
    for number in range(count):
        now = datetime.now(UTC)
        symbol = SYMBOLS[number % len(SYMBOLS)]
        draft = make_draft(symbol=symbol, symbol_given=symbol, ts_utc=now, source=source)
        services.submit_signals(submissions=[Submission(draft=draft, owner="bench")], now=now)
        time.sleep(max(0.0, (number + 1) / PER_S - (time.perf_counter() - started)))


def _wait(count: int) -> None:
    from enrichment.models import Enrichment

    end = time.monotonic() + ENOUGH_S
    while Enrichment.objects.count() < count and time.monotonic() < end:
        time.sleep(0.1)


def main() -> None:
    """Measure inside a desk."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seconds", type=int)
    sys.stdout.write(json.dumps(_inside(parser.parse_args().seconds)))


if __name__ == "__main__":
    main()
