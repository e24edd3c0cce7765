"""A scoreboard over a million scored decisions on PostgreSQL, and a recount beside Polars.

Run: ``python -m benchmarks.scores``; ``--decisions 20000`` for a quick look. It starts a private
PostgreSQL, fills it, and prints one JSON object.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.frame import Figure, Skipped
from launcher.postgres import find_binaries, private_postgres

MODELS = ("", "jury", "ensemble", "rules", "chatgpt", "claude", "gemini", "deepseek", "local")
"""The first stands for the signals themselves."""

DAYS = 365
FIRST = date(2026, 1, 1)
SOURCES, SYMBOLS, REGIMES = 5, 8, ("up", "down", "range")
COLUMNS = (
    "scope, event_id, run, model, variant, prompt_version, source, symbol, regime, event_type,"
    " side, at, day, known_at, decision, followed, abstained, p_raw, p, bin, base_rate, won, net_r,"
    " cost_usd, latency_ms"
)
ROLL_UP = """
INSERT INTO outcomes_scoreday (scope, model, variant, prompt_version, source, symbol, regime,
    event_type, day, asked, n, wins, followed, followed_wins, followed_r, ignored_r, plan_r, plans,
    p, brier, brier_raw, brier_base, log_loss, skill, skill_sq, cost_usd, latency_ms, bins)
SELECT scope, model, variant, prompt_version, source, symbol, regime, event_type, day, count(*),
    count(*), count(*) FILTER (WHERE won), count(*) FILTER (WHERE followed),
    count(*) FILTER (WHERE followed AND won), coalesce(sum(net_r) FILTER (WHERE followed), 0),
    coalesce(sum(net_r) FILTER (WHERE NOT followed), 0), 0, 0, sum(p), sum((p - won::int) ^ 2),
    sum((p_raw - won::int) ^ 2), sum((base_rate - won::int) ^ 2),
    sum(-ln(CASE WHEN won THEN greatest(p, 1e-6) ELSE greatest(1 - p, 1e-6) END)),
    sum((base_rate - won::int) ^ 2 - (p - won::int) ^ 2),
    sum(((base_rate - won::int) ^ 2 - (p - won::int) ^ 2) ^ 2),
    coalesce(sum(cost_usd), 0), coalesce(sum(latency_ms), 0), '{}'
FROM outcomes_score GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9
"""
WIDER_DAYS = """
WITH stated AS (
    SELECT scope, model, variant, {columns}, event_type, day, bin, count(*) AS n,
        count(*) FILTER (WHERE won) AS wins
    FROM outcomes_score GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
), binned AS (
    SELECT scope, model, variant, prompt_version, source, symbol, regime, event_type, day,
        jsonb_object_agg(bin::text, jsonb_build_array(n, wins)) AS bins
    FROM stated GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9
), added AS (
    SELECT scope, model, variant, {columns}, event_type, day, {added}
    FROM outcomes_scoreday AS part WHERE bins = '{{}}' GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9
)
INSERT INTO outcomes_scoreday (scope, model, variant, prompt_version, source, symbol, regime,
    event_type, day, {sums}, bins)
SELECT scope, model, variant, prompt_version, source, symbol, regime, event_type, day, {sums}, bins
FROM added JOIN binned
    USING (scope, model, variant, prompt_version, source, symbol, regime, event_type, day)
"""
"""Fills what is summed beside each group: the day by one thing alone, or the whole day."""

DIVIDING = ("prompt_version", "source", "symbol", "regime")
SUMS = (
    *("asked", "n", "wins", "followed", "followed_wins", "followed_r", "ignored_r", "plan_r"),
    *("plans", "p", "brier", "brier_raw", "brier_base", "log_loss", "skill", "skill_sq"),
    *("cost_usd", "latency_ms"),
)


def figures(*, quick: bool) -> list[Figure]:
    """Return how long boards and a recount take, beside Polars on the same rows."""
    told = measure(decisions=20_000 if quick else 1_000_000, rounds=3 if quick else 5)
    ours, theirs = told["recount"], told["recount_polars"]
    again = told["board_remembered"]
    return [
        Figure(target="P13", what="scoreboard", unit="ms", samples=again, at_most=10),
        Figure(target="P13", what="scoreboard, worked out anew", unit="ms", samples=told["board"]),
        Figure(
            target="P13",
            what="full recount",
            unit="ms",
            samples=ours,
            against="Polars",
            baseline=theirs,
            at_most=3,
        ),
        Figure(
            target="P13",
            what="jury without each in turn",
            unit="ms",
            samples=told["leave_one_out"],
            at_most=300,
        ),
    ]


def main() -> None:
    """Fill, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--decisions", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    told = measure(decisions=chosen.decisions, rounds=chosen.rounds)
    shown = {
        name: round(median(found), 1) if isinstance(found, list) else found
        for name, found in told.items()
    }
    sys.stdout.write(json.dumps(shown, indent=1) + "\n")


def measure(*, decisions: int, rounds: int) -> dict[str, Any]:
    """Return sizes, and the times of every task in milliseconds."""
    binaries = find_binaries()
    if binaries is None:
        raise Skipped("no initdb on PATH or in /usr/lib/postgresql/*/bin")
    with (
        tempfile.TemporaryDirectory(prefix="lens-bench-") as name,
        private_postgres(binaries, Path(name)) as address,
    ):
        os.environ["DATABASE_URL"] = address
        os.environ["DJANGO_SETTINGS_MODULE"] = "lens_site.settings"
        columns = made_up(np.random.default_rng(1), signals=decisions // len(MODELS))
        return {**filled(columns), **boards(rounds), **recounts(columns)}


def made_up(rng: np.random.Generator, *, signals: int) -> dict[str, Any]:
    """Return scored decisions of every model on so many signals, as columns."""
    count = signals * len(MODELS)
    signal = np.tile(np.arange(signals), len(MODELS))
    truth = rng.beta(3.0, 4.0, size=signals)
    won = rng.random(signals) < truth
    noise = np.repeat(np.linspace(0.05, 0.3, len(MODELS)), signals)
    p = np.round(np.clip(truth[signal] + rng.normal(size=count) * noise, 0.01, 0.99), 3)
    return {
        "model": np.repeat(np.arange(len(MODELS)), signals),
        "signal": signal,
        "day": (np.arange(signals) * DAYS // signals)[signal],
        "source": rng.integers(0, SOURCES, size=signals)[signal],
        "symbol": rng.integers(0, SYMBOLS, size=signals)[signal],
        "regime": rng.integers(0, len(REGIMES), size=signals)[signal],
        "p": p,
        "won": won[signal],
        "net_r": np.where(won, 1.9, -1.1)[signal],
    }


def filled(columns: dict[str, Any]) -> dict[str, Any]:
    """Write the decisions and their daily sums into a fresh database."""
    import django
    from django.core.management import call_command
    from django.db import connection

    django.setup()
    call_command("migrate", verbosity=0)
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")
        with cursor.copy(f"COPY outcomes_score ({COLUMNS}) FROM STDIN") as copy:
            for chunk in lines(columns):
                copy.write(chunk)
        began = time.perf_counter()
        cursor.execute(ROLL_UP)
        added = ", ".join(f"sum(part.{name}) AS {name}" for name in SUMS)
        for kept in ("", *DIVIDING):
            columns_ = ", ".join(
                name if name == kept else f"'*'::varchar AS {name}" for name in DIVIDING
            )
            cursor.execute(WIDER_DAYS.format(columns=columns_, sums=", ".join(SUMS), added=added))
        rolled_s = time.perf_counter() - began
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE outcomes_score")
        cursor.execute("VACUUM ANALYZE outcomes_scoreday")
        cursor.execute("SELECT count(*) FROM outcomes_scoreday")
        days = cursor.fetchone()[0]
    return {"decisions": int(columns["p"].size), "daily_sums": days, "sum_in_sql_s": rolled_s}


def lines(columns: dict[str, Any], *, size: int = 20_000) -> Any:
    """Yield the rows of ``COPY``, some at a time."""
    total = columns["p"].size
    picked = [columns[name].tolist() for name in columns]
    midnight = [
        datetime.combine(FIRST + timedelta(days=day), datetime.min.time(), UTC)
        for day in range(DAYS)
    ]
    for start in range(0, total, size):
        text = io.StringIO()
        for row in zip(*(values[start : start + size] for values in picked), strict=True):
            model, signal, day, source, symbol, regime, p, won, net_r = row
            at = midnight[day].isoformat()
            followed = p >= 0.5
            text.write(
                f"live\t00000000-0000-4000-8000-{signal:012d}\t1\t{MODELS[model]}\t\tv1"
                f"\tsource-{source}\tSYM{symbol}\t{REGIMES[regime]}\tOPEN_SIGNAL\tLONG\t{at}"
                f"\t{FIRST + timedelta(days=day)}\t{at}"
                f"\t{'FOLLOW_ENTER' if followed else 'IGNORE'}\t{followed}\t\t{p}\t{p}"
                f"\t{round(p * 1000)}\t0.43\t{won}\t{net_r}\t0.001\t900\n"
            )
        yield text.getvalue()


def boards(rounds: int) -> dict[str, Any]:
    """Return how long the scoreboards take from the daily sums, and once they are remembered."""
    from outcomes.queries import (
        BOARDS,
        get_leave_one_out,
        get_reliability,
        get_risk_coverage,
        get_scoreboard,
        wanted,
    )

    since = FIRST + timedelta(days=DAYS - 30)
    kinds: dict[str, Callable[[], object]] = {
        "board": lambda: get_scoreboard(scope="live"),
        "board_30_days": lambda: get_scoreboard(scope="live", since=since),
        "board_one_source": lambda: get_scoreboard(scope="live", filters={"source": "source-3"}),
        "board_by_source_30_days": lambda: get_scoreboard(
            scope="live", by=("model", "source"), since=since
        ),
        "board_by_source": lambda: get_scoreboard(scope="live", by=("model", "source")),
        "board_by_symbol": lambda: get_scoreboard(scope="live", by=("model", "symbol")),
        "board_source_and_symbol": lambda: get_scoreboard(
            scope="live", filters={"source": "source-3", "symbol": "SYM1"}
        ),
        "leave_one_out": lambda: get_leave_one_out(scope="live"),
        "reliability": lambda: get_reliability(wanted(scope="live"), model="jury"),
        "risk_coverage": lambda: get_risk_coverage(wanted(scope="live"), model="jury"),
    }

    def anew(kind: Callable[[], object]) -> Callable[[], object]:
        def task() -> object:
            BOARDS.forget()
            return kind()

        return task

    again = times_of(kinds["board"], rounds + 1)
    found = {name: times_of(anew(kind), rounds) for name, kind in kinds.items()}
    return found | {"board_remembered": again}


def recounts(columns: dict[str, Any]) -> dict[str, Any]:
    """Return how long a full recount takes with our numbers, and with Polars, of the same rows."""
    import polars

    frame = polars.DataFrame({name: columns[name] for name in ("model", "p", "won", "net_r")})
    return {
        "recount": times_of(lambda: recount(columns), 3),
        "recount_polars": times_of(lambda: recount_in_polars(frame), 3),
    }


def recount(columns: dict[str, Any]) -> list[tuple[float, ...]]:
    """Return every model's scores from all rows."""
    from quant.scores import auc, brier, following, log_loss

    found: list[tuple[float, ...]] = []
    for model in range(len(MODELS)):
        part = columns["model"] == model
        p, won, net_r = (columns[name][part] for name in ("p", "won", "net_r"))
        earned = following(p >= 0.5, won, net_r)
        found.append((brier(p, won), log_loss(p, won), auc(p, won), earned.mean_r_followed))
    return found


def recount_in_polars(frame: Any) -> Any:
    """Return the same with Polars."""
    import polars

    p, won = polars.col("p"), polars.col("won")
    kept = p.clip(1e-6, 1 - 1e-6)
    ranked = p.rank("average")
    wins, losses = won.sum(), (~won).sum()
    return frame.group_by("model").agg(
        ((p - won.cast(polars.Float64)) ** 2).mean().alias("brier"),
        (-polars.when(won).then(kept).otherwise(1 - kept).log()).mean().alias("log_loss"),
        ((ranked.filter(won).sum() - wins * (wins + 1) / 2) / (wins * losses)).alias("auc"),
        polars.col("net_r").filter(p >= 0.5).mean().alias("mean_r_followed"),
    )


def times_of(task: Callable[[], object], rounds: int) -> list[float]:
    """Return how long a task takes each time, in milliseconds."""
    took = []
    for _ in range(rounds):
        began = time.perf_counter()
        task()
        took.append((time.perf_counter() - began) * 1_000)
    return took


if __name__ == "__main__":
    main()
