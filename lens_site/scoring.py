"""Following and scoring a replay to its end, at once: its whole recording is there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from rich.table import Table

from decisions.types import REPLAY
from lens_site.refusal import Refused
from lens_site.terminal import table_of
from markets.services import close_markets
from outcomes import queries, services
from outcomes.queries import Scoreboard
from outcomes.standing import Figure, Standing
from outcomes.tracker import Tracker
from pipeline.worker import DatabaseThread
from signals.models import Replay

BATCH = 500


class NoSuchReplay(Refused):
    """No replay has that id."""


def scope_of_replay(replay: Replay) -> str:
    """Return to which statistics a replay belongs: its own."""
    return f"{REPLAY}{replay.id}"


def settle_replay(replay: Replay, *, now: datetime) -> dict[str, int]:
    """Answer every question of a replay and score it as it would have learnt; return the ends.

    Doing it again, or after a break anywhere, goes on where it stopped.
    """
    asyncio.run(_follow(replay, now=now))
    scope = scope_of_replay(replay)
    hindsight = services.Hindsight(scope=scope, now=now)
    while services.tally(scope=scope, now=now, limit=BATCH, forecaster=hindsight):
        pass
    return queries.count_by_status(scope=scope)


async def _follow(replay: Replay, *, now: datetime) -> None:
    database = DatabaseThread()
    try:
        tracker = Tracker(database=database, replay=replay)
        await tracker.look(now=now)
        await tracker.appraise(now=now)
    finally:
        await close_markets()
        await database.close()


def write_answers(replay: Replay, path: Path) -> int:
    """Write how a replay's signals ended, for judges of known character; return how many."""
    answers = queries.list_answers(scope=scope_of_replay(replay))
    path.write_text(json.dumps(answers, indent=0, sort_keys=True), "utf-8")
    return len(answers)


def tables(board: Scoreboard, ends: dict[str, int]) -> list[Table]:
    """Return outcomes and scoreboard for people."""
    rows = [_row(each) for each in board.standings]
    rows += [(f"({each.model})", *_row(each)[1:]) for each in board.baselines]
    columns = ("model", "n", "Brier", "as stated", "skill against base rate", "as stated", "AUC")
    advice = ("model", "follows", "hit rate", "R followed", "R ignored", "ECE")
    return [
        table_of("Outcomes", ("ended as", "signals"), sorted(ends.items())),
        table_of("Scoreboard", columns, [row[:7] for row in rows]),
        table_of("Advice", advice, [(row[0], *row[7:]) for row in rows]),
    ]


def _row(each: Standing) -> tuple[str | int, ...]:
    return (
        each.model,
        f"{each.n} too few" if each.is_too_few else each.n,
        _text(each.brier.value),
        _text(each.brier_raw),
        _ranged(each.skill),
        _ranged(each.skill_raw),
        _text(each.auc),
        each.followed,
        _text(each.hit_rate.value),
        _ranged(each.followed_r),
        _text(each.ignored_r.value),
        _text(each.ece),
    )


def lines(board: Scoreboard, marginal: dict[str, float]) -> Sequence[str]:
    """Return in sentences what the scoreboard says of the jury."""
    told = []
    if board.verdict is not None:
        head = "The jury beats its best member" if board.verdict.is_better else "The jury does not"
        tail = "" if board.verdict.is_better else f" beat {board.verdict.best}"
        told.append(f"{head}{tail}: {board.verdict.why}.")
    if marginal:
        worth = ", ".join(f"{name} {value:+.4f}" for name, value in sorted(marginal.items()))
        told.append(f"Brier that the jury would lose without each: {worth}.")
    return told


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _ranged(figure: Figure) -> str:
    if figure.interval is None:
        return _text(figure.value)
    low, high = figure.interval
    return f"{_text(figure.value)} ({low:.3f} to {high:.3f})"
