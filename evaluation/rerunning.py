"""Judging stored cases again under another model or prompt, at a price that is known before.

Nothing of it is a decision and nothing is published: the evaluations go through the queue like
any others, under a trail of their own, and end in a comparison.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import transaction

from enrichment.models import Enrichment
from evaluation import queries, spending
from evaluation.evaluators.base import Evaluator, LanguageModel
from evaluation.models import Evaluation, ModelCard, PromptVersion, Rerun
from evaluation.prompting import render, text_of
from evaluation.queries import Selection
from evaluation.types import ALL_MODELS, EvaluationKind
from pipeline import services as pipeline
from signals.models import Signal

STAGE = "evaluate"
"""The stage whose workers judge again, the one that judges first."""

STARTED = "RERUN_STARTED"
REQUESTED = "REEVALUATION_REQUESTED"
"""The line of an evaluation's own trail that keeps the hashes of what the model is given."""

BATCH = 200  # evaluations stored in one transaction
PER_S = 20
"""How many fall due in a second, so that live signals always find a worker with room."""

CHARACTERS_PER_TOKEN = 3.0
"""A careful guess: English prose has about 4 characters to a token in vendors' own rules of
thumb, figures and JSON have fewer, and an estimate should rather be too high.
"""

PER_PRICE = 1_000_000  # tokens that a price is of
VERSION_DIGITS_MAX = 9
PLAYED = "replay"  # of LLM_RECORDING: calls are played from recordings and cost nothing


class RerunRefused(Exception):
    """What was asked for cannot be judged again; nothing was stored."""


class FactsChanged(RerunRefused):
    """Frozen facts are no longer what their hash says, so no comparison would be fair."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What judging again will cost; amounts are None where the price is not known.

    ``usd`` is for one call a signal: ``tokens_in`` is guessed from the length of the rendered
    prompts, ``tokens_out`` is the most that the answers may have. ``worst_usd`` is what is
    reserved on the way, with every call repeated and repaired; ``left_usd`` is what the day's
    budget still has for all models together, None if it has no limit.
    """

    calls: int
    tokens_in: int = 0
    tokens_out: int = 0
    usd: Decimal | None = Decimal(0)
    worst_usd: Decimal | None = Decimal(0)
    left_usd: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A rerun before anything of it is stored.

    ``contaminated`` counts the signals from before the end of the model's knowledge, of which it
    may remember how they ended; None if its cutoff is not known.
    """

    model: str
    prompt: PromptVersion | None
    cutoff: str | None
    signal_ids: Sequence[int]
    contaminated: int | None
    estimate: Estimate


@dataclass(frozen=True, slots=True)
class _Stored:
    """One stored case with the row it came from."""

    signal: Signal
    facts: Enrichment


def plan_named(
    *,
    selection: Selection,
    evaluators: Mapping[str, Evaluator],
    model: str,
    prompt: str,
    now: datetime,
) -> Plan:
    """Return what judging again would mean, by the names that people use.

    ``prompt`` is ``name@version``, ``name`` for its version in force, or empty for the version
    in force of the model's own prompt.

    :raises RerunRefused: if a name stands for nothing, and as :func:`plan_rerun` does.
    """
    evaluator = evaluators.get(model)
    if evaluator is None:
        known = ", ".join(evaluators)
        raise RerunRefused(f"no model is called {model!r}; AI_MODELS names {known}")
    found = _find_prompt(evaluator, prompt)
    return plan_rerun(selection=selection, evaluator=evaluator, prompt=found, now=now)


def _find_prompt(evaluator: Evaluator, given: str) -> PromptVersion | None:
    if not given and not isinstance(evaluator, LanguageModel):
        return None
    asked = given or queries.prompt_name_of(model=evaluator.name)
    name, at, version = asked.partition("@")
    if not at:
        found = queries.get_active_prompt(name=name)
    elif version.isascii() and version.isdigit() and len(version) < VERSION_DIGITS_MAX:
        found = queries.get_prompt(name=name, version=int(version))
    else:
        found = None
    if found is None:
        raise RerunRefused(f"there is no prompt {asked!r}; write name or name@version: judge@1")
    return found


def plan_rerun(
    *, selection: Selection, evaluator: Evaluator, prompt: PromptVersion | None, now: datetime
) -> Plan:
    """Return what judging the selected signals again would mean; stores nothing.

    :raises RerunRefused: if nothing is selected, a named signal has no frozen facts, or the
        model and the prompt do not go together.
    :raises FactsChanged: if frozen facts do not match their hash.
    """
    is_language = isinstance(evaluator, LanguageModel)
    if prompt is not None and not is_language:
        raise RerunRefused(f"{evaluator.name} reads no prompt: it judges by numbers alone")
    if prompt is None and is_language:
        raise RerunRefused(f"{evaluator.name} needs a prompt")
    signal_ids = queries.list_enriched_ids(selection=selection)
    _demand(signal_ids, selection)
    card = (
        queries.get_card(provider=evaluator.provider, model_id=evaluator.model_id)
        if isinstance(evaluator, LanguageModel)
        else None
    )
    cutoff = _cutoff(card) if is_language else ""
    contaminated, lengths = 0, []
    for stored in _stored(signal_ids):
        contaminated += bool(is_contaminated(ts_utc=stored.signal.ts_utc, cutoff=cutoff))
        lengths.append(_characters(prompt, stored) if prompt else 0)
    return Plan(
        model=evaluator.name,
        prompt=prompt,
        cutoff=cutoff,
        signal_ids=signal_ids,
        contaminated=None if cutoff is None else contaminated,
        estimate=_estimate(evaluator, card, lengths=lengths, day=now.date()),
    )


def _demand(signal_ids: Sequence[int], selection: Selection) -> None:
    wanted = len(set(selection.event_ids))
    if wanted and len(signal_ids) < min(wanted, selection.limit):
        missing = wanted - len(signal_ids)
        raise RerunRefused(
            f"{missing} of the {wanted} named signals do not exist or have no frozen facts"
        )
    if not signal_ids:
        raise RerunRefused("no stored signal with frozen facts is among those asked for")


def _cutoff(card: ModelCard | None) -> str | None:
    return (card.knowledge_cutoff if card else "") or None


def is_contaminated(*, ts_utc: datetime, cutoff: str | None) -> bool | None:
    """Say whether a model that knows the world up to ``cutoff`` may know how a signal ended.

    ``cutoff`` is a day, a month or a year (all of it is known), empty for a model that
    remembers nothing, None if it is not known; then the answer is None, too.
    """
    if cutoff is None:
        return None
    return bool(cutoff) and ts_utc.date().isoformat()[: len(cutoff)] <= cutoff


def _stored(signal_ids: Sequence[int]) -> Iterator[_Stored]:
    """Yield the stored cases in batches' worth of memory.

    :raises FactsChanged: at the first whose payload does not match its hash.
    """
    for start in range(0, len(signal_ids), BATCH):
        batch = queries.list_enriched(signal_ids=signal_ids[start : start + BATCH])
        for signal, facts in batch:
            if payload_sha256(facts) != facts.payload_sha256:
                raise FactsChanged(
                    f"the frozen facts of signal {signal.event_id} do not match their hash"
                )
            yield _Stored(signal, facts)


def payload_sha256(facts: Enrichment) -> str:
    """Return the hash of a frozen payload as it is stored now."""
    return hashlib.sha256(facts.payload.encode()).hexdigest()


def _characters(prompt: PromptVersion, stored: _Stored) -> int:
    """Return how long the prompt of one case is; 0 if it cannot be shown to a model at all."""
    case = queries.case_of(stored.signal, stored.facts)
    try:
        rendered = render(text_of(prompt), case=case, base_rate=None)
    except (KeyError, TypeError, ValueError):
        return 0
    return len(rendered.system) + len(rendered.user)


def _estimate(
    evaluator: Evaluator, card: ModelCard | None, *, lengths: Sequence[int], day: date
) -> Estimate:
    calls = len(lengths)
    if not isinstance(evaluator, LanguageModel):
        return Estimate(calls=calls)
    tokens_in = sum(math.ceil(each / CHARACTERS_PER_TOKEN) for each in lengths)
    tokens_out = calls * evaluator.max_tokens
    if settings.LLM_RECORDING == PLAYED:
        return Estimate(calls=calls, tokens_in=tokens_in, tokens_out=tokens_out)
    price = None if card is None else queries.get_price(card=card, day=day)
    if price is None:
        return Estimate(
            calls=calls, tokens_in=tokens_in, tokens_out=tokens_out, usd=None, worst_usd=None
        )
    usd = (tokens_in * price.input_usd + tokens_out * price.output_usd) / PER_PRICE
    most = [
        spending.worst_case(price=price, characters=each, max_tokens=evaluator.max_tokens)
        for each in lengths
    ]
    return Estimate(
        calls=calls,
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        usd=usd.quantize(spending.EXACT),
        worst_usd=sum((each for each in most if each is not None), Decimal(0)),
        left_usd=_left(day),
    )


def _left(day: date) -> Decimal | None:
    limit: Decimal | None = settings.LLM_BUDGET_USD_PER_DAY
    account = spending.spent_on(day).get(ALL_MODELS)
    if limit is None or account is None:
        return limit
    return limit - account.reserved_usd - account.spent_usd


def estimate_text(*, plan: Plan) -> str:
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


def budget_text(*, plan: Plan) -> str:
    """Return a warning if the day's budget may not suffice, or nothing."""
    estimate = plan.estimate
    if estimate.left_usd is None or estimate.usd is None or estimate.usd <= estimate.left_usd:
        return ""
    return (
        f"Of today's budget ${estimate.left_usd:.2f} are left (LLM_BUDGET_USD_PER_DAY): what does"
        " not fit will abstain, and so will the models that are asked about live signals."
    )


def contamination_text(*, plan: Plan) -> str:
    """Return a warning if the model may know how some signals ended, or nothing."""
    if plan.contaminated is None:
        return "It is not known up to when this model knows the world: it may remember outcomes."
    if not plan.contaminated:
        return ""
    return (
        f"{plan.contaminated} of them are from before the end of the model's knowledge"
        f" ({plan.cutoff}): it may remember how they ended."
    )


def texts_of(*, plan: Plan) -> list[str]:
    """Return what people are told before they agree: cost, then what to beware of."""
    texts = (estimate_text, contamination_text, budget_text)
    return [text for each in texts if (text := each(plan=plan))]


def mark_of(*, plan: Plan) -> str:
    """Return what an estimate was of: nobody agrees to one and is given another."""
    prompt = f"{plan.prompt.name}@{plan.prompt.version}" if plan.prompt else ""
    return f"{plan.model} {prompt} {plan.estimate.usd}"


def start_rerun(*, plan: Plan, actor: str, now: datetime) -> Rerun:
    """Open one evaluation a signal for the workers and return what they belong to.

    Each batch is stored whole or not at all, so stopping on the way leaves a smaller rerun.

    :raises FactsChanged: if frozen facts are no longer what they were.
    """
    rerun = Rerun(
        model=plan.model,
        prompt_name=plan.prompt.name if plan.prompt else "",
        prompt_version=plan.prompt.version if plan.prompt else None,
        signals=len(plan.signal_ids),
        estimate_usd=plan.estimate.usd,
        created_at=now,
        created_by=actor,
    )
    with transaction.atomic():
        rerun.save(force_insert=True)
        pipeline.record_act(
            trace=rerun.id,
            actor=actor,
            verb=STARTED,
            object=f"rerun:{rerun.id}",
            after=_told(plan),
            at=now,
        )
    for start in range(0, len(plan.signal_ids), BATCH):
        batch = list(_stored(plan.signal_ids[start : start + BATCH]))
        with transaction.atomic(), pipeline.trail():
            _open(batch, rerun=rerun, cutoff=plan.cutoff, first=start, now=now)
    return rerun


def _told(plan: Plan) -> dict[str, Any]:
    return {
        "model": plan.model,
        "prompt": f"{plan.prompt.name}@{plan.prompt.version}" if plan.prompt else "",
        "prompt_sha256": plan.prompt.sha256 if plan.prompt else "",
        "signals": len(plan.signal_ids),
        "cutoff": plan.cutoff,
    }


def _open(
    batch: Sequence[_Stored], *, rerun: Rerun, cutoff: str | None, first: int, now: datetime
) -> None:
    rows = [
        Evaluation(
            signal=stored.signal,
            run=stored.signal.run,
            kind=EvaluationKind.REPLAY,
            rerun=rerun,
            model=rerun.model,
            created_at=now,
        )
        for stored in batch
    ]
    Evaluation.objects.bulk_create(rows)
    for row, stored in zip(rows, batch, strict=True):
        pipeline.record(
            trace=queries.trace_of(row),
            verb=REQUESTED,
            actor=rerun.created_by,
            at=now,
            run=row.run,
            rerun=str(rerun.id),
            event_id=str(stored.signal.event_id),
            payload_sha256=stored.facts.payload_sha256,
            facts_sha256=stored.facts.facts_sha256,
            contaminated=is_contaminated(ts_utc=stored.signal.ts_utc, cutoff=cutoff),
        )
    pipeline.open_runs(
        pipeline.Opening(
            stage=STAGE,
            subject=row.id,
            trace=queries.trace_of(row),
            run=row.run,
            attempts_max=settings.LEASE_LOSSES_MAX,
            due_at=now + timedelta(seconds=(first + place) // PER_S),
        )
        for place, row in enumerate(rows)
    )
