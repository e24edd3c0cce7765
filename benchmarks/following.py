"""How long one minute's look at stored open questions takes: ``python -m benchmarks.following``.

Fills a database of its own with open questions on one symbol and follows them over a new candle,
rows read and written included. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import django
import numpy as np

from benchmarks.frame import Figure

START = datetime(2026, 1, 15, 12, tzinfo=UTC)
BATCH = 2_000
TARGET_S = 60.0


def figures(*, quick: bool) -> list[Figure]:
    """Return how long each minute's look took; the slowest must be done within its minute."""
    questions = 500 if quick else 10_000
    looks = measure(questions=questions, minutes=4 if quick else 20)
    return [
        Figure(
            target="outcomes",
            what=f"a look at {questions:,} stored questions",
            unit="s",
            samples=looks,
        ),
        Figure(
            target="outcomes",
            what="the slowest look",
            unit="s",
            samples=[max(looks)],
            at_most=TARGET_S,
        ),
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=10_000)
    parser.add_argument("--minutes", type=int, default=20)
    options = parser.parse_args()
    looks = measure(questions=options.questions, minutes=options.minutes)
    found = {
        "questions": options.questions,
        "median_s": round(float(np.median(looks)), 3),
        "worst_s": round(max(looks), 3),
        "keeps_up": max(looks) < TARGET_S,
    }
    sys.stdout.write(json.dumps(found) + "\n")


def measure(*, questions: int, minutes: int) -> list[float]:
    """Return how long each look took, on a database that is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"DJANGO_SETTINGS_MODULE": "lens_site.settings", "LENS_VAR_DIR": folder}
        os.environ.setdefault("SECRET_KEY", "benchmark" * 4)
        os.environ.setdefault("LENS_KEY_PEPPER", "benchmark" * 4)
        django.setup()
        return _measured(questions, minutes)


def _measured(questions: int, minutes: int) -> list[float]:
    """Return how long each minute's look took; every fifteenth stores all progress."""
    from django.core.management import call_command

    from outcomes import services
    from quant.types import Bars

    call_command("migrate", verbosity=0)
    _fill(questions)
    prices = np.full(minutes, 100.0)
    open_ms = int(START.timestamp() * 1000) + np.arange(minutes, dtype=np.int64) * 60_000
    bars = Bars(open_ms, prices, prices + 0.1, prices - 0.1, prices, prices, 60)
    looks = []
    for minute in range(1, minutes + 1):
        at = START + timedelta(minutes=minute)
        started = time.perf_counter()
        services.advance(
            market="m", symbol="BTC", replay_id=None, bars=bars[:minute], as_of=at, now=at
        )
        looks.append(time.perf_counter() - started)
    return looks


def _fill(count: int) -> None:
    from outcomes.models import Outcome, Question

    for start in range(0, count, BATCH):
        rows = [
            Question(
                id=uuid4(),
                scope="live",
                event_id=uuid4(),
                run=1,
                event_type="OPEN_SIGNAL",
                symbol="BTC",
                source="s",
                side="long",
                market="m",
                asked_at=START,
                opens_at=START,
                entry_rule="MARKET",
                entry_price=Decimal(100),
                entry_within_s=900,
                horizon_s=21_600,
                target_price=Decimal(102),
                stop_price=Decimal(99),
                basis="ATR",
                costs={"fee_bps": 5.0, "slippage_bps": 2.0, "funding_bps_per_hour": 0.0},
                sha256="0" * 64,
            )
            for _ in range(min(BATCH, count - start))
        ]
        Question.objects.bulk_create(rows)
        Outcome.objects.bulk_create(
            Outcome(
                question=row,
                scope="live",
                market="m",
                symbol="BTC",
                opens_at=START,
                seen_until=START,
            )
            for row in rows
        )


if __name__ == "__main__":
    main()
