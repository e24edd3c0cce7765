"""What Lens adds to the vendors' own time, and how many calls wait at once in one worker.

Run it with ``.venv/bin/python -m benchmarks.language_models [--json]``. Every figure is a ratio
or an overhead against the fake vendors' own time in the same run, call by call as their ledger
tells it: from the arrival of the call until its answer leaves.

Signals come at an even pace; vendors take 1.5 to 2.5 s, each call its own time. ``added`` runs
from the frozen case to the decision's number, less the vendor's time: prompt, reservation, SDK,
waiting for a turn, reading, settling, deciding and publishing are in it. ``whole`` begins at the
signal's receipt, so the gathering of facts is in it too.

``at_once`` measures the calls alone, each of 2 s: the facts of its signals are frozen first, in
the measuring process, so all 200 evaluations wait when the one worker starts. The span is from the
start of the first call to the end of the last one, opening the connections included.

``worker_cpu_ms_per_signal`` is what the worker's process spent of its processor, all of its threads
together: the figure that a neighbour's work on the same machine changes least.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from benchmarks.desk import ROOT, desk, fake_vendors, program

LATENCY_MS = 2_000
LEAST_MS, SPREAD_MS = 1_500, 1_000
MODELS = 4
AT_ONCE = 200
SLOW_PER_MIN, FAST_PER_MIN = 60, 600
SECONDS = 30
WARM_UP = 5
MILLISECOND = timedelta(milliseconds=1)
LEDGER = "BENCH_LEDGER_URL"
USD_PER_MILLION = 1


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--part", choices=["submit", "freeze", "report"], help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--pause-s", type=float, default=0.0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        _inside(options)
        return
    figures = measure()
    sys.stdout.write(json.dumps(figures) + "\n" if options.json else table(figures))


def measure() -> dict[str, Any]:
    """Return every figure of one run."""
    with fake_vendors(latency_ms=LATENCY_MS) as vendors:
        told = crowd(model_environment(vendors, count=MODELS), calls=AT_ONCE)
    with fake_vendors(latency_ms=LEAST_MS, spread_ms=SPREAD_MS) as vendors:
        environment = model_environment(vendors, count=MODELS)
        slow = paced(environment, per_min=SLOW_PER_MIN)
        fast = paced(environment, per_min=FAST_PER_MIN)
    return {
        "models": MODELS,
        "at_once": told,
        f"at_{SLOW_PER_MIN}_per_min": slow,
        f"at_{FAST_PER_MIN}_per_min": fast,
    }


def crowd(environment: dict[str, str], *, calls: int) -> dict[str, Any]:
    """Let one worker find so many evaluations waiting when it starts."""
    count = calls // MODELS
    with desk(environment, workers=0) as running:
        _part(running, "freeze", count=count)
        with program(running, "run_worker"):
            return _part(running, "report", count=count)


def model_environment(vendors: str, *, count: int) -> dict[str, str]:
    """Return the variables that make ``count`` models of an OpenAI-compatible server."""
    names = [f"m{number}" for number in range(count)]
    variables = {
        "AI_MODELS": ",".join(names),
        "PROVIDER_PRIMARY": "simulated",
        "MAX_PRICE_DRIFT_BPS": "1000000",
        "JURY_DEADLINE_MS": "9000",
        "LLM_BUDGET_USD_PER_DAY": "1000",
        LEDGER: f"{vendors}/_ledger",
    }
    for name in names:
        prefix = f"MODEL_{name.upper()}"
        variables |= {
            f"{prefix}_PROVIDER": "compatible",
            f"{prefix}_BASE_URL": f"{vendors}/v1",
            f"{prefix}_MODEL_ID": f"bench-{name}",
            f"{prefix}_API_KEY": "none",
            f"{prefix}_TIMEOUT_MS": "8000",
        }
    return variables


def paced(
    environment: dict[str, str], *, per_min: int, seconds: int = SECONDS, workers: int = 1
) -> dict[str, Any]:
    """Submit signals at an even pace to a desk of their own and return what was added."""
    with desk(environment, workers=workers) as running:
        return _part(running, "submit", count=per_min * seconds // 60, pause_s=60 / per_min)


def _part(
    environment: dict[str, str], part: str, *, count: int, pause_s: float = 0.0
) -> dict[str, Any]:
    """Run the measuring half in a process of its own, with the desk's environment."""
    command = [sys.executable, "-m", "benchmarks.language_models", "--part", part]
    command += ["--count", str(count), "--pause-s", str(pause_s)]
    answer = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True)
    figures: dict[str, Any] = json.loads(answer.stdout)
    return figures


def _inside(options: argparse.Namespace) -> None:
    """Submit signals at a pace, wait for the last decision, and print what Lens added."""
    import django

    django.setup()
    if options.part != "report":
        _name_prices()
    from signals import services
    from signals.types import Direction, EventType, SignalDraft, Submission

    price_usd = _price_usd()

    def submit(source: str, number: int) -> None:
        now = datetime.now(UTC)
        draft = SignalDraft(
            event_type=EventType.OPEN_SIGNAL,
            symbol="BTC",
            symbol_given="BTC",
            direction=Direction.LONG,
            entry_price=price_usd,
            size=Decimal(1),
            liquidation_price=None,
            ts_utc=now,
            source=source,
        )
        owner = f"bench-{number}"
        services.submit_signals(submissions=[Submission(draft=draft, owner=owner)], now=now)

    if options.part == "submit":
        for number in range(WARM_UP):
            submit("warm-up", number)
        _wait_for(source="warm-up", signals=WARM_UP)
    spent_ms = _worker_cpu_ms()
    started = time.perf_counter()
    for number in range(0 if options.part == "report" else options.count):
        submit("bench", number)
        time.sleep(max(0.0, (number + 1) * options.pause_s - (time.perf_counter() - started)))
    if options.part == "freeze":
        _freeze(options.count)
        sys.stdout.write("{}")
        return
    _wait_for(source="bench", signals=options.count)
    spent_ms = _worker_cpu_ms() - spent_ms
    figures = _figures(expected=options.count, is_paced=options.part == "submit")
    if options.part == "submit":
        figures["worker_cpu_ms_per_signal"] = round(spent_ms / options.count, 1)
    sys.stdout.write(json.dumps(figures))


def _price_usd() -> Decimal:
    """Return the simulated market's price: a stop beyond the entry would make an answer invalid."""
    import asyncio

    from markets.providers.simulated import Simulated

    quote = Simulated(name="simulated").quote(symbol="BTC", as_of=datetime.now(UTC))
    return Decimal(round(asyncio.run(quote).mid))


def _name_prices() -> None:
    """Give every model a price, so that each call is reserved and settled as paid calls are."""
    from evaluation.models import ModelCard, Price

    for number in range(MODELS):
        card = ModelCard.objects.create(
            provider="compatible", model_id=f"bench-m{number}", structured="json_schema"
        )
        usd = Decimal(USD_PER_MILLION)
        Price.objects.create(card=card, valid_from="2026-01-01", input_usd=usd, output_usd=usd)


def _freeze(count: int) -> None:
    """Gather the facts of all signals, as a worker would, and leave the models to a worker."""
    import asyncio

    from enrichment.jobs import ENRICH
    from pipeline.services import claim
    from pipeline.stage import Finished, perform, settle_all

    claims = claim(stage=ENRICH, limit=count, worker="benchmark")
    works = ENRICH.load([each.subject for each in claims])

    async def gather() -> list[Any]:
        return await asyncio.gather(*(perform(ENRICH, works[each.subject]) for each in claims))

    results = asyncio.run(gather())
    settle_all(
        [
            Finished(ENRICH, each, works[each.subject], result)
            for each, result in zip(claims, results, strict=True)
        ]
    )


def _wait_for(*, source: str, signals: int) -> None:
    from decisions.models import Decision

    end = time.monotonic() + 60
    rows = Decision.objects.filter(source=source, published_at__isnull=False)
    while rows.exclude(model="jury").count() < signals * MODELS and time.monotonic() < end:
        time.sleep(0.2)


def _figures(*, expected: int, is_paced: bool) -> dict[str, Any]:
    from decisions.models import Decision
    from enrichment.models import Enrichment
    from evaluation.models import Attempt

    took_ms = _took_ms()
    frozen = dict(Enrichment.objects.values_list("event_id", "created_at"))
    rows = Decision.objects.filter(source="bench", published_at__isnull=False)
    added, whole, begins, ends = [], [], [], []
    cost = Decimal(0)
    for row in rows.exclude(model="jury").select_related("signal"):
        attempt = Attempt.objects.get(
            evaluation__signal=row.signal, evaluation__model=row.model, status="ok"
        )
        vendor_ms = took_ms[attempt.request_id]
        added.append((row.published_at - frozen[row.event_id]) / MILLISECOND - vendor_ms)  # type: ignore[operator]
        whole.append((row.published_at - row.signal.received_at) / MILLISECOND - vendor_ms)  # type: ignore[operator]
        begins.append(attempt.started_at)
        ends.append(attempt.started_at + timedelta(milliseconds=attempt.latency_ms))
        cost += attempt.cost_usd or 0
    if is_paced:
        times = {
            "added_p50_ms": _share(added, 0.50),
            "added_p95_ms": _share(added, 0.95),
            "whole_p50_ms": _share(whole, 0.50),
            "whole_p95_ms": _share(whole, 0.95),
        }
    else:
        span_ms = (max(ends) - min(begins)) / MILLISECOND
        times = {"calls_span_against_one": round(span_ms / LATENCY_MS, 3)}
    return {
        "decisions": len(added),
        "expected": expected * MODELS,
        **times,
        "cost_usd": str(cost),
        "worker_peak_rss_mb": max((_rss_mb(pid) for pid in _workers()), default=None),
    }


def _workers() -> list[int]:
    """Return the process ids of the desk's workers."""
    from pipeline.models import Heartbeat

    names = Heartbeat.objects.filter(kind="worker").values_list("name", flat=True)
    return [int(name.rpartition("-")[2]) for name in names]


def _worker_cpu_ms() -> float:
    """Return what the workers have spent of their processors so far, all threads together."""
    return sum(map(_cpu_ms, _workers()))


def _cpu_ms(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) * 1000 / os.sysconf("SC_CLK_TCK")


def _took_ms() -> dict[str, float]:
    """Return how long each call took at the vendors, by its request id."""
    with urlopen(os.environ[LEDGER], timeout=30) as answer:  # noqa: S310  loopback
        calls = json.load(answer)["calls"]
    return {call["request_id"]: call["took_ms"] for call in calls if call["took_ms"] is not None}


def _share(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))], 1)


def _rss_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    peak = next(line for line in lines if line.startswith("VmHWM"))
    return round(int(peak.split()[1]) / 1024, 1)


def table(figures: dict[str, Any]) -> str:
    """Return the figures as text."""
    lines = [f"{figures['models']} models"]
    for name, part in figures.items():
        if isinstance(part, dict):
            lines += ["", name, *(f"  {key:<24}{value}" for key, value in part.items())]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
