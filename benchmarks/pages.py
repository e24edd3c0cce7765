"""How long the pages take with many signals stored: ``python -m benchmarks.pages``.

Fills a database of its own with judged signals, then asks for each page as a person who is signed
in does, through Django's whole stack but without a network. Prints one line of JSON a page.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import uuid4

import django

from benchmarks.desk import ROOT
from benchmarks.frame import Figure, share

TARGET_MS = 100.0
FEW, RATIO_MOST, P95_MOST_MS = 1_000, 1.5, 150
BATCH = 2_000
SYMBOLS = ("BTC", "ETH", "SOL", "XRP", "DOGE", "AVAX", "LINK", "ADA")
MODELS = ("ensemble", "rules", "jury")
PAGES = (
    "/board",
    "/board?symbol=ETH&verdict=follow&min_confidence=70",
    "/board?model=rules&verdict=ignore",
    "/board/tiles",
    "/signals",
    "/signals?source=source-3&status=REJECTED",
    "/signals?symbol=SOL&before={middle}",
    "/signals/{event_id}",
    "/search?q=sig_{beginning}",
    "/models",
    "/models/rules",
    "/sources",
    "/dead-letters",
    "/status",
)


def figures(*, quick: bool) -> list[Figure]:
    """Return each page's p95 on many signals beside the same on few."""
    few, many = FEW, 3_000 if quick else 1_000_000
    small, large = (_told(size, times=5 if quick else 15) for size in (few, many))
    found = [
        Figure(
            target="P10",
            what=f"{name}, {many:,} signals, p95",
            unit="ms",
            samples=[large[name]["p95_ms"]],
            against=f"{few:,} signals",
            baseline=[small[name]["p95_ms"]],
            at_most=RATIO_MOST,
        )
        for name in PAGES
    ]
    slowest = max(each["p95_ms"] for each in large.values())
    what = "slowest page, p95"
    return [
        *found,
        Figure(target="P10", what=what, unit="ms", samples=[slowest], at_most=P95_MOST_MS),
    ]


def _told(signals: int, *, times: int) -> dict[str, dict[str, Any]]:
    """Fill a database of its own and return what each page takes."""
    command = [sys.executable, "-m", "benchmarks.pages", "--signals", str(signals)]
    answer = subprocess.run(
        [*command, "--times", str(times)], cwd=ROOT, stdout=subprocess.PIPE, check=True
    )
    lines = [json.loads(line) for line in answer.stdout.splitlines()]
    return dict(zip(PAGES, lines, strict=True))


def fill(count: int, *, now: datetime) -> list[Any]:
    """Store so many signals over the last two days, nearly all of them judged."""
    from decisions.models import Decision
    from enrichment.models import Enrichment
    from evaluation.models import Evaluation
    from signals.models import Signal

    made: list[Any] = []
    step = timedelta(days=2) / count
    numbers = iter(range(count))
    seq = 0
    while batch := list(islice(numbers, BATCH)):
        signals = [_signal(number, at=now - step * (count - number)) for number in batch]
        Signal.objects.bulk_create(signals)
        judged = [signal for signal in signals if signal.status == "PUBLISHED"]
        Enrichment.objects.bulk_create([_facts(signal) for signal in judged])
        rows = [(signal, model) for signal in judged for model in MODELS]
        Evaluation.objects.bulk_create([_evaluation(*row) for row in rows if row[1] != "jury"])
        decided = [_decision(*row, seq=seq + place) for place, row in enumerate(rows, start=1)]
        Decision.objects.bulk_create(decided)
        seq += len(decided)
        made = signals
    _settle()
    return made


def _settle() -> None:
    """Let PostgreSQL learn what is stored, as its autovacuum would within a minute."""
    from django.db import connection

    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")


def _signal(number: int, *, at: datetime) -> Any:
    from signals.models import Signal

    price = Decimal(100 + number % 900)
    return Signal(
        event_id=uuid4(),
        status="REJECTED" if number % 17 == 0 else "PUBLISHED",
        reason={"gate": "price_drift"} if number % 17 == 0 else {},
        origin="DEMO" if number % 11 == 0 else "LIVE",
        event_type="OPEN_SIGNAL",
        symbol=SYMBOLS[number % len(SYMBOLS)],
        symbol_given=SYMBOLS[number % len(SYMBOLS)],
        direction="long" if number % 2 else "short",
        entry_price=price,
        size=1,
        liquidation_price=price / 2 if number % 2 else price * 2,
        ts_utc=at,
        source=f"source-{number % 40}",
        owner="benchmark",
        received_at=at,
        expires_at=at + timedelta(seconds=300),
        terminal_at=at + timedelta(seconds=3),
    )


def _facts(signal: Any) -> Any:
    from enrichment.models import Enrichment

    frames = {name: {"ema_9": 1.0, "ema_21": 1.0, "rsi_14": 50.0} for name in ("15m", "1h", "4h")}
    payload = {"market": {"price_drift_bps_from_entry": 3.5}, "ta": {"timeframes": frames}}
    return Enrichment(
        event_id=signal.event_id,
        run=1,
        profile="trend_follow_v1",
        profile_version=1,
        policy_version=1,
        provider="simulated",
        as_of=signal.ts_utc,
        payload=json.dumps(payload, separators=(",", ":")) + " " * 1_500,
        payload_sha256="0" * 64,
        facts={"filler": "x" * 1_000},
        facts_sha256="0" * 64,
        constraints={},
        quality_flags={},
        gates=[],
        provenance={},
        duration_ms=100,
        created_at=signal.received_at,
    )


def _evaluation(signal: Any, model: str) -> Any:
    from evaluation.models import Evaluation

    return Evaluation(
        signal=signal,
        run=1,
        model=model,
        status="DECIDED",
        outcome="ok",
        verdict={"action": "IGNORE", "confidence": 0.5, "reasons": ["no_trend"], "size_pct": 0},
        latency_ms=1.0,
        created_at=signal.received_at,
        finished_at=signal.received_at + timedelta(seconds=1),
    )


def _decision(signal: Any, model: str, *, seq: int) -> Any:
    from decisions.models import Decision

    return Decision(
        seq=seq,
        signal=signal,
        event_id=signal.event_id,
        run=1,
        model=model,
        origin=signal.origin,
        symbol=signal.symbol,
        event_type=signal.event_type,
        source=signal.source,
        decision="FOLLOW_ENTER" if seq % 5 == 0 else "IGNORE",
        confidence=0.5 + (seq % 50) / 100,
        confidence_raw=0.5,
        size_pct=5.0,
        reasons=["bullish_trend"],
        model_meta={},
        jury={"counts": {}} if model == "jury" else None,
        expires_at=signal.expires_at,
        evaluated_at=signal.received_at + timedelta(seconds=1),
        published_at=signal.received_at + timedelta(seconds=2),
    )


def measure(path: str, *, times: int) -> dict[str, Any]:
    """Ask for a page several times; return the median and the slowest."""
    from django.test import Client

    from access.models import User

    client = Client(headers={"accept-encoding": "gzip"})
    client.force_login(
        User.objects.get(username="benchmark"),
        backend="django.contrib.auth.backends.ModelBackend",
    )
    answer = client.get(path)
    took, worked = [], []
    for _ in range(times):
        began, began_work = time.perf_counter(), time.process_time()
        answer = client.get(path)
        took.append((time.perf_counter() - began) * 1000)
        worked.append((time.process_time() - began_work) * 1000)
    median = statistics.median(took)
    return {
        "page": path,
        "status": answer.status_code,
        "median_ms": round(median, 1),
        "p95_ms": round(share(took, 0.95), 1),
        "slowest_ms": round(max(took), 1),
        "cpu_ms": round(statistics.median(worked), 1),
        "bytes": len(answer.content),
        "within_target": median < TARGET_MS,
    }


def main() -> None:
    """Fill, measure, tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--signals", type=int, default=100_000)
    parser.add_argument("--times", type=int, default=15)
    told = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lens-bench-") as folder:
        os.environ |= {
            "LENS_VAR_DIR": folder,
            "DATABASE_URL": os.environ.get(
                "DATABASE_URL", f"sqlite:///{Path(folder) / 'b.sqlite3'}"
            ),
            "DJANGO_SETTINGS_MODULE": "lens_site.settings",
            "LOG_LEVEL": "ERROR",
            "ALLOWED_HOSTS": "testserver",
            "PROVIDER_PRIMARY": "simulated",
        }
        django.setup()
        from django.core.management import call_command

        from access.models import User

        call_command("migrate", verbosity=0, interactive=False)
        User.objects.create_user("benchmark", is_staff=True, is_superuser=True)
        last = fill(told.signals, now=datetime.now(UTC))
        places = {
            "event_id": last[-1].event_id,
            "beginning": last[-1].event_id.hex[:10],
            "middle": told.signals // 2,
        }
        for page in PAGES:
            found = measure(page.format(**places), times=told.times)
            sys.stdout.write(json.dumps(found | {"signals": told.signals}) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
