"""Open questions that one core follows over one more closed minute, and over a recording.

Run: ``python -m benchmarks.tracker``; ``--questions`` and ``--minutes`` change the size.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import numpy as np

from benchmarks.frame import REPEATS, Figure
from quant.lifecycle import (
    MINUTE_MS,
    Bar,
    Fill,
    Question,
    Recording,
    advance,
    begin,
    follow_many,
)
from quant.types import Bars, Side

START_MS = 1_735_689_600_000


def figures(*, quick: bool) -> list[Figure]:
    """Return the time of one minute of all questions, which must be far below a minute."""
    questions = 1_000 if quick else 10_000
    told = [
        measure(questions=questions, minutes=5 if quick else 30)
        for _ in range(1 if quick else REPEATS)
    ]
    return [
        Figure(
            target="outcomes",
            what=f"a minute of {questions:,} open questions",
            unit="ms",
            samples=[each["minute_p50_ms"] for each in told],
            at_most=1_000,
        ),
        Figure(
            target="outcomes",
            what="a day's recording of them",
            unit="s",
            samples=[each["recording_s"] for each in told],
        ),
    ]


def main() -> None:
    """Print how long one minute of all questions takes, and a whole recording of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=10_000)
    parser.add_argument("--minutes", type=int, default=30)
    chosen = parser.parse_args()
    told = measure(questions=chosen.questions, minutes=chosen.minutes)
    sys.stdout.write(json.dumps(told, indent=1) + "\n")


def measure(*, questions: int, minutes: int) -> dict[str, float]:
    """Return both times."""
    rng = np.random.default_rng(1)
    bars = walk(rng, minutes=minutes + 1_440)
    asked = [ask(rng, bars) for _ in range(questions)]
    return {**live(asked, bars, minutes), **bulk(asked, bars)}


def walk(rng: np.random.Generator, *, minutes: int) -> Bars:
    """Return bars of a market that moves by about 0.05 % a minute."""
    close = 50_000.0 * np.exp(np.cumsum(rng.normal(scale=0.0005, size=minutes)))
    opened = np.concatenate(([50_000.0], close[:-1]))
    high, low = np.maximum(opened, close) * 1.0002, np.minimum(opened, close) * 0.9998
    times = START_MS + MINUTE_MS * np.arange(minutes, dtype=np.int64)
    return Bars(times, opened, high, low, close, np.ones(minutes), 60)


def ask(rng: np.random.Generator, bars: Bars) -> Question:
    """Return a question whose levels are far enough to stay open for a while."""
    side = Side.LONG if rng.random() < 0.5 else Side.SHORT
    entry = float(bars.open[0])
    return Question(
        side=side,
        entry=entry,
        target=entry * (1.0 + 0.04 * side.sign),
        stop=entry * (1.0 - 0.03 * side.sign),
        asked_ms=START_MS,
        horizon_ms=1_440 * MINUTE_MS,
        fill=Fill.AT_ONCE,
    )


def live(questions: list[Question], bars: Bars, minutes: int) -> dict[str, float]:
    """Return how long each closed minute took, all questions being open."""
    recording, tracks, took = Recording.of(bars), [begin(each) for each in questions], []
    for place in range(minutes):
        bar: Bar = recording.at(place)
        began = time.perf_counter()
        tracks = [advance(*pair, bar) for pair in zip(questions, tracks, strict=True)]
        took.append(time.perf_counter() - began)
    still = sum(not track.status.is_final for track in tracks)
    p50, worst = float(np.median(took)), max(took)
    return {"open_at_end": still, "minute_p50_ms": p50 * 1e3, "minute_max_ms": worst * 1e3}


def bulk(questions: list[Question], bars: Bars) -> dict[str, float]:
    """Return how long all questions took over the whole recording."""
    recording = Recording.of(bars)
    began = time.perf_counter()
    follow_many(questions, recording)
    return {"recording_bars": len(bars), "recording_s": time.perf_counter() - began}


if __name__ == "__main__":
    main()
