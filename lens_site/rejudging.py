"""Having stored signals judged again: who judges, under which prompt, and waiting for the end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from rich.table import Table

from evaluation import queries, rerunning, services
from evaluation.models import PromptVersion, Rerun
from evaluation.queries import Selection
from evaluation.rerunning import Plan, RerunRefused
from evaluation.types import EvaluationStatus
from lens_site.desk import require_programs
from lens_site.progress import Surroundings
from lens_site.rerun_diff import Totals
from lens_site.terminal import Refused, table_of

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

    ``prompt`` is ``name@version``, ``name`` for its version in force, or empty for the model's
    own prompt.

    :raises NoRerun: if the model or the prompt is not known, or nothing can be judged.
    """
    evaluator = services.evaluators().get(model)
    if evaluator is None:
        known = ", ".join(services.evaluators())
        raise NoRerun(f"no model is called {model!r}", todo=f"AI_MODELS names: {known}")
    try:
        return rerunning.plan_rerun(
            selection=selection, evaluator=evaluator, prompt=_prompt(model, prompt), now=now
        )
    except RerunRefused as refused:
        raise NoRerun("there is nothing to judge again", why=str(refused)) from refused


def _prompt(model: str, given: str) -> PromptVersion | None:
    name, _, version = given.partition("@")
    if not given:
        if "PROVIDER" not in settings.EVALUATORS.get(model, {}):
            return None
        name = queries.prompt_name_of(model=model)
    if not version:
        found = queries.get_active_prompt(name=name)
    else:
        number = int(version) if version.isascii() and version.isdigit() else 0
        found = queries.get_prompt(name=name, version=number)
    if found is None:
        asked = given or name
        raise NoRerun(
            f"there is no prompt {asked!r}", todo="write it as name or name@version: judge@1"
        )
    return found


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


def estimate_text(plan: Plan) -> str:
    """Return in a sentence what a rerun will cost."""
    estimate = plan.estimate
    calls = f"{estimate.calls} signal" + ("s" if estimate.calls != 1 else "")
    if not estimate.tokens_out:
        return f"{calls}, at no cost: {plan.model} calculates here"
    tokens = f"about {estimate.tokens_in} tokens in and up to {estimate.tokens_out} out"
    if estimate.usd is None or estimate.worst_usd is None:
        return f"{calls}, {tokens}; no price is on record, so the cost is not known"
    return (
        f"{calls}, {tokens}: about ${estimate.usd:.4f}, at most ${estimate.worst_usd:.4f} if every"
        " call must be repeated"
    )


def budget_text(plan: Plan) -> str:
    """Return a warning if the day's budget may not suffice, or nothing."""
    estimate = plan.estimate
    if estimate.left_usd is None or estimate.usd is None or estimate.usd <= estimate.left_usd:
        return ""
    return (
        f"Of today's budget ${estimate.left_usd:.2f} are left (LLM_BUDGET_USD_PER_DAY): what does"
        " not fit will abstain, and so will the models that are asked about live signals."
    )


def contamination_text(plan: Plan) -> str:
    """Return a warning if the model may know how some signals ended, or nothing."""
    if plan.contaminated is None:
        return "It is not known up to when this model knows the world: it may remember outcomes."
    if not plan.contaminated:
        return ""
    return (
        f"{plan.contaminated} of them are from before the end of the model's knowledge"
        f" ({plan.cutoff}): it may remember how they ended."
    )


def tables(totals: Totals) -> list[Table]:
    """Return a rerun in figures for people."""
    counted = [
        ("same answer", totals.same),
        ("different answer", totals.different),
        ("nothing to compare with", totals.new),
        ("not answered yet", totals.pending),
        ("abstained now", totals.abstained),
        ("may remember the outcome", totals.contaminated),
        ("same input, by its hash", totals.inputs_same),
        ("asked", totals.asked),
    ]
    pairs = [(f"{before} -> {after}", count) for (before, after), count in totals.pairs.items()]
    return [
        table_of("Judged again", ("", "signals"), counted),
        *([table_of("Answers", ("before -> now", "signals"), pairs)] if pairs else []),
    ]
