"""What a language model needs before it is asked: permission, a prompt, its card, and money.

All of it is read and reserved for a whole batch at once. What a model lacks makes an abstention
of it, without a call.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.conf import settings
from django.db import transaction

from evaluation import authoring, cards, keeping, queries, spending
from evaluation.admission import Turnstile
from evaluation.evaluators.base import Evaluator, LanguageModel
from evaluation.models import Evaluation, Price, PromptVersion
from evaluation.prompting import BaseRate, PromptText, render, text_of
from evaluation.queries import Assignment
from evaluation.types import AttemptStatus, Card, Opinion, Rendered
from signals.types import Origin

REPLAY = "replay"
UNSHOWABLE = (json.JSONDecodeError, KeyError, TypeError, ValueError)
RATE_LEAST = 30  # signals of a source that must have ended before its base rate is told


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    """What holds for one language model in a whole batch."""

    model: LanguageModel
    terms: str
    card: Card
    prices: tuple[Price, ...]


Briefed = dict[UUID, Assignment]


def brief(
    assignments: Mapping[UUID, Assignment],
    *,
    evaluators: Mapping[str, Evaluator],
    now: datetime,
    may_be_answered: bool = False,
) -> Briefed:
    """Return the assignments with all that language models need, or with what refuses them.

    Models that judge by numbers need nothing and are returned as they are. Of work that
    ``may_be_answered`` already, kept answers are looked for: those need no permission and no money.
    """
    known = _knowledge(assignments.values(), evaluators)
    asking = [key for key, each in assignments.items() if each.evaluation.model in known]
    kept = keeping.look_up(asking) if may_be_answered and asking else {}
    turnstile = Turnstile(models=known, now=now)
    prompts = _Prompts(rates=_rates(assignments.values()) if known else {})
    briefed: Briefed = {}
    for key, assignment in assignments.items():
        name = assignment.evaluation.model
        if name not in evaluators:
            gone = f"{name} is no longer among AI_MODELS"
            briefed[key] = _refused(assignment, AttemptStatus.DISABLED, gone)
        elif name not in known:
            briefed[key] = assignment
        else:
            briefed[key] = _answered(assignment, known[name], prompts, kept.get(key)) or _admitted(
                assignment, known[name], turnstile, prompts
            )
    asked = {
        key: briefed[key]
        for key in asking
        if briefed[key].refusal is None and briefed[key].kept is None
    }
    authoring.mark_used(prompts=prompts.first_used(asked.values()), now=now)
    return briefed | _paid_for(asked, known, now=now)


class _Prompts:
    """The stored prompts that a batch uses: each is read once, and rendered once for a case.

    ``rates`` are the base rates of the batch's sources.
    """

    def __init__(self, *, rates: Mapping[tuple[str, str], BaseRate]) -> None:
        self._rates = rates
        self._rows: dict[tuple[str, int | None], PromptVersion | None] = {}
        self._texts: dict[tuple[str, int], PromptText] = {}
        self._fresh: set[tuple[str, int]] = set()
        self._rendered: dict[tuple[object, ...], Rendered] = {}

    def text_for(self, evaluation: Evaluation) -> PromptText | str:
        """Return the prompt of one evaluation, or in one sentence why there is none."""
        name, version = _wanted_prompt(evaluation)
        if (name, version) not in self._rows:
            self._rows[name, version] = (
                queries.get_active_prompt(name=name)
                if version is None
                else queries.get_prompt(name=name, version=version)
            )
        row = self._rows[name, version]
        if row is None:
            which = "active version" if version is None else f"version {version}"
            return f"there is no {which} of the prompt {name!r}"
        text = self._texts[row.name, row.version] = text_of(row)
        if row.used_at is None:
            self._fresh.add((row.name, row.version))
        return text

    def base_rate_for(self, assignment: Assignment) -> BaseRate | None:
        """Return how often the source's signals won, unless that is not known or not fair.

        What is replayed or judged again would be told its own future.
        """
        signal = assignment.evaluation.signal
        if not _is_of_now(assignment):
            return None
        return self._rates.get((signal.source, signal.event_type))

    def render(self, text: PromptText, assignment: Assignment) -> Rendered:
        """Return the prompt for a case; models that are asked about one case share it."""
        case = assignment.case
        rate, payload = self.base_rate_for(assignment), assignment.enrichment.payload_sha256
        key = (text.name, text.version, case.event_id, payload, rate)
        if key not in self._rendered:
            self._rendered[key] = render(text, case=case, base_rate=rate)
        return self._rendered[key]

    def first_used(self, assignments: Iterable[Assignment]) -> list[PromptText]:
        """Return those of the prompts that these carry which no model was ever given.

        What a model was given once the database refuses to change, so it is what was read.
        """
        shown = {
            (prompt.name, prompt.version)
            for prompt in (assignment.case.prompt for assignment in assignments)
            if prompt is not None
        }
        return [self._texts[key] for key in sorted(shown & self._fresh)]


def _is_of_now(assignment: Assignment) -> bool:
    evaluation = assignment.evaluation
    is_live = evaluation.signal.origin == Origin.LIVE and evaluation.rerun_id is None
    return is_live and not assignment.enrichment.simulated


def _rates(assignments: Iterable[Assignment]) -> dict[tuple[str, str], BaseRate]:
    """Return the base rates of a batch's sources of which enough signals have ended."""
    sources = {each.evaluation.signal.source for each in assignments if _is_of_now(each)}
    rows = queries.list_source_rates(sources=sources) if sources else {}
    return {
        key: BaseRate(frac=row.frac, n=row.n) for key, row in rows.items() if row.n >= RATE_LEAST
    }


def _wanted_prompt(evaluation: Evaluation) -> tuple[str, int | None]:
    rerun = evaluation.rerun
    if rerun is not None and rerun.prompt_name:
        return rerun.prompt_name, rerun.prompt_version
    return queries.prompt_name_of(model=evaluation.model), None


def _knowledge(
    assignments: Iterable[Assignment], evaluators: Mapping[str, Evaluator]
) -> dict[str, Knowledge]:
    names = {assignment.evaluation.model for assignment in assignments}
    asked = {name: evaluators[name] for name in sorted(names & set(evaluators))}
    models = {name: each for name, each in asked.items() if isinstance(each, LanguageModel)}
    if not models:
        return {}
    rows = queries.list_cards(wanted={(each.provider, each.model_id) for each in models.values()})
    return {
        name: Knowledge(
            model=each,
            terms=asked[name].terms,
            card=cards.card_of(
                row := rows.get((each.provider, each.model_id)),
                provider=each.provider,
                model_id=each.model_id,
            ),
            prices=tuple(row.prices.all()) if row is not None else (),
        )
        for name, each in models.items()
    }


def _admitted(
    assignment: Assignment, known: Knowledge, turnstile: Turnstile, prompts: _Prompts
) -> Assignment:
    evaluation = assignment.evaluation
    prompt = prompts.text_for(evaluation)
    if isinstance(prompt, str):
        return _refused(assignment, AttemptStatus.STALE_INPUT, prompt)
    refusal = turnstile.refusal(evaluation.model)
    if refusal is not None:
        return _refused(assignment, refusal.status, refusal.reason)
    try:
        return _posed(assignment, known, prompts.render(prompt, assignment))
    except UNSHOWABLE as error:
        reason = f"the frozen case cannot be shown to a model: {error}"
        return _refused(assignment, AttemptStatus.STALE_INPUT, reason)


def _posed(assignment: Assignment, known: Knowledge, prompt: Rendered) -> Assignment:
    case = replace(assignment.case, prompt=prompt, card=known.card)
    return replace(assignment, case=case, prices=known.prices)


def _answered(
    assignment: Assignment, known: Knowledge, prompts: _Prompts, kept: bytes | None
) -> Assignment | None:
    """Return the assignment with the answer that is kept of it, if that is what would be asked."""
    prompt = prompts.text_for(assignment.evaluation) if kept is not None else ""
    if kept is None or isinstance(prompt, str):
        return None
    try:
        posed = _posed(assignment, known, prompts.render(prompt, assignment))
    except UNSHOWABLE:
        return None
    opinion = keeping.read(kept, assignment=posed, terms=known.terms)
    return None if opinion is None else replace(posed, kept=opinion)


def _paid_for(
    asked: Mapping[UUID, Assignment], known: Mapping[str, Knowledge], *, now: datetime
) -> Briefed:
    """Return the assignments with their money reserved, or refused where there is none.

    What a lost worker reserved for an evaluation is still held by it and is used again.
    """
    if settings.LLM_RECORDING == REPLAY:
        return dict(asked)
    wanted: list[tuple[UUID, Decimal]] = []
    refused: Briefed = {}
    for key, assignment in asked.items():
        if assignment.evaluation.reserved_usd is not None:
            continue
        amount = _worst_case(assignment, known, now=now)
        most = settings.LLM_BUDGET_USD_PER_DECISION
        if amount is not None and most is not None and amount > most:
            reason = f"may cost {amount} USD; LLM_BUDGET_USD_PER_DECISION is {most}"
            refused[key] = _refused(assignment, AttemptStatus.OVER_BUDGET, reason)
        elif amount is not None:
            wanted.append((key, amount))
    if wanted:
        refused |= _reserved(asked, wanted, now=now)
    return dict(asked) | refused


def _reserved(
    asked: Mapping[UUID, Assignment], wanted: Sequence[tuple[UUID, Decimal]], *, now: datetime
) -> Briefed:
    refused: Briefed = {}
    held: list[Evaluation] = []
    limit = settings.LLM_BUDGET_USD_PER_DAY
    amounts = [(asked[key].evaluation.model, amount) for key, amount in wanted]
    with transaction.atomic():
        granted = spending.reserve(asked=amounts, day=now.date(), limit=limit)
        for (key, amount), is_granted in zip(wanted, granted, strict=True):
            evaluation = asked[key].evaluation
            if is_granted:
                evaluation.reserved_usd, evaluation.reserved_on = amount, now.date()
                held.append(evaluation)
            else:
                reason = f"{amount} USD more would exceed LLM_BUDGET_USD_PER_DAY of {limit}"
                refused[key] = _refused(asked[key], AttemptStatus.OVER_BUDGET, reason)
        spending.hold(held)
    return refused


def _worst_case(
    assignment: Assignment, known: Mapping[str, Knowledge], *, now: datetime
) -> Decimal | None:
    knowledge, prompt = known[assignment.evaluation.model], assignment.case.prompt
    return spending.worst_case(
        price=spending.price_on(knowledge.prices, now.date()),
        characters=_length(prompt),
        max_tokens=knowledge.model.max_tokens,
    )


def _length(prompt: Rendered | None) -> int:
    return 0 if prompt is None else len(prompt.system) + len(prompt.user)


def _refused(assignment: Assignment, status: AttemptStatus, reason: str) -> Assignment:
    opinion = Opinion(verdict=None, status=status, attempts=(), reason=reason)
    return replace(assignment, refusal=opinion)
