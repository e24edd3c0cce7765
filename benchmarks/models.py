"""The targets of language models: many calls at once, what is added, and how much is sustained.

What is measured, and how, is told by :mod:`benchmarks.language_models`; the baseline is the
pipeline of ``benchmarks/baselines/textbook.py``.
"""

from __future__ import annotations

from typing import Any

from benchmarks.baselines.textbook import textbook
from benchmarks.desk import fake_vendors
from benchmarks.frame import REPEATS, Figure
from benchmarks.language_models import LATENCY_MS, MODELS, crowd, model_environment, paced

FAST_MS = 500
SECONDS = 20
CROWDED = {"EVALUATE_CONCURRENCY": "1200"}
Told = dict[str, list[dict[str, Any]]]


def figures(*, quick: bool) -> list[Figure]:
    """Return what is added, how many wait at once, and how much a whole desk sustains."""
    told: Told = {}
    for _ in range(1 if quick else REPEATS):
        for name, found in _once(quick=quick).items():
            told.setdefault(name, []).append(found)

    def figure(what: str, run: str, column: str, unit: str = "ms", **more: Any) -> Figure:
        samples = [float(each[column]) for each in told[run]]
        return Figure(what=what, unit=unit, samples=samples, **more)

    textbook_ms = [float(each["added_p95_ms"]) for each in told["textbook"]]
    lost = [each["expected"] - each["decisions"] for run in told.values() for each in run]
    crowds = ("200 at once", "1,000 at once")
    return [
        figure(
            "200 calls of 2 s at once, in calls",
            crowds[0],
            "calls_span_against_one",
            "",
            target="P3",
            at_most=1.25,
        ),
        figure(
            "a worker's memory, 1,000 calls in flight",
            crowds[1],
            "worker_peak_rss_mb",
            "MB",
            target="P3",
            at_most=200,
        ),
        figure(
            "50 signals/s, models of 2 s: added to them, p95",
            "sustained",
            "whole_p95_ms",
            target="P4",
            at_most=600,
        ),
        figure("added at 20/s, p95", "20/s", "added_p95_ms", target="P6", at_most=25),
        figure(
            "added at 20/s, p95",
            "20/s",
            "added_p95_ms",
            target="P6",
            against="textbook at 2/s",
            baseline=textbook_ms,
            at_most=0.1,
        ),
        figure("added at 100/s, p95", "100/s", "added_p95_ms", target="P6", at_most=100),
        Figure(target="P6", what="decisions missing", unit="", samples=[sum(lost)], at_most=0),
    ]


def _once(*, quick: bool) -> dict[str, dict[str, Any]]:
    """Return one repeat of every run."""
    found: dict[str, dict[str, Any]] = {}
    seconds = 3 if quick else SECONDS
    with fake_vendors(latency_ms=LATENCY_MS) as vendors:
        environment = model_environment(vendors, count=MODELS) | CROWDED
        for name, calls in (("200 at once", 200), ("1,000 at once", 200 if quick else 1_000)):
            found[name] = crowd(environment, calls=calls)
        per_min = 300 if quick else 3_000
        found["sustained"] = paced(environment, per_min=per_min, seconds=seconds, workers=2)
    with fake_vendors(latency_ms=FAST_MS) as vendors:
        environment = model_environment(vendors, count=MODELS) | CROWDED
        for name, per_min in (("20/s", 1_200), ("100/s", 1_200 if quick else 6_000)):
            found[name] = paced(environment, per_min=per_min, seconds=seconds)
        found["textbook"] = textbook(vendors, latency_ms=FAST_MS, models=MODELS, seconds=seconds)
    return found
