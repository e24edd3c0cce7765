"""Having stored signals judged again: who judges, under which prompt, and waiting for the end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from rich.table import Table

from evaluation import queries, rerunning, services
from evaluation.models import Rerun
from evaluation.queries import Selection
from evaluation.rerunning import Plan, RerunRefused
from evaluation.types import EvaluationStatus
from lens_site.desk import require_programs
from lens_site.progress import Surroundings
from lens_site.refusal import Refused
from lens_site.rerun_diff import Totals
from lens_site.terminal import table_of

LOOK_EVERY_S = 0.2
PROGRAMS_EVERY = timedelta(seconds=5)


class NoRerun(Refused):
    """What was asked for cannot be judged again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a rerun has come."""

    total: int
    done: int


def plan_rerun(*, selection: Selection, model: str, prompt: str, now: datetime) -> Plan:
    """Return what judging the selection again with a model of the house would mean.

    :raises NoRerun: if the model or the prompt is not known, or nothing can be judged.
    """
    try:
        return rerunning.plan_named(
            selection=selection,
            evaluators=services.evaluators(),
            model=model,
            prompt=prompt,
            now=now,
        )
    except RerunRefused as refused:
        raise NoRerun("this cannot be judged again", why=str(refused)) from refused


def count_done(rerun: Rerun) -> int:
    """Return how many evaluations of a rerun have come to an end."""
    counts = queries.count_judged_again(rerun_id=rerun.id)
    return sum(count for status, count in counts.items() if status != EvaluationStatus.PENDING)


def follow(rerun: Rerun, *, lent: Surroundings[Progress]) -> None:
    """Wait until every signal has been judged again; stopping that stops no worker.

    :raises NobodyAtWork: when the last worker or the conductor falls silent on the way.
    """
    looked_at = lent.now()
    while True:
        done = count_done(rerun)
        lent.tell(Progress(total=rerun.signals, done=done))
        if done >= rerun.signals:
            return
        if lent.now() - looked_at >= PROGRAMS_EVERY:
            looked_at = lent.now()
            require_programs(now=looked_at)
        lent.pause(LOOK_EVERY_S)


def tables(totals: Totals) -> list[Table]:
    """Return a rerun in figures for people."""
    counted = [
        ("same answer", totals.same),
        ("different answer", totals.different),
        ("nothing to compare with", totals.new),
        ("not answered yet", totals.pending),
        ("abstained now", totals.abstained),
        ("may remember the outcome", totals.contaminated),
        ("not known whether it may", totals.contamination_unknown),
        ("same input, by its hash", totals.inputs_same),
        ("asked", totals.asked),
    ]
    pairs = [(f"{before} -> {after}", count) for (before, after), count in totals.pairs.items()]
    return [
        table_of("Judged again", ("", "signals"), counted),
        *([table_of("Answers", ("before -> now", "signals"), pairs)] if pairs else []),
    ]
