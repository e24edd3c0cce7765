"""Finding out what a vendor's model does, with the user's own key and four small requests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, cast

from django.conf import settings

from evaluation import cards, queries, spending
from evaluation.evaluators.base import CallFailed, Evaluator
from evaluation.evaluators.llm import LLM, Completion, Request
from evaluation.evaluators.vendor_policy import VendorPolicy
from evaluation.models import ModelCard, Price
from evaluation.parsing import ANSWER_SCHEMA
from evaluation.types import Attempt, AttemptStatus, Card

SYSTEM = "You judge trading signals. Answer with one JSON object in the form that is asked for."
USER = "A trial without facts: judge a long signal on ASSET at 100, stop 98, target 104, as json."
EVENT = "OPEN_SIGNAL"
FEW_TOKENS = 16  # the least that every vendor accepts as a limit, and too few for an answer
SEED = 7
TEMPERATURE = 0.5
SEEDLESS = ("responses", "messages", "decisions")
"""APIs that have no seed to send."""

COLDLESS = ("messages", "decisions")
"""APIs that have no temperature to send."""

REQUESTS = 4


class ProbeRefused(Exception):
    """The model may not be called, so nothing was sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What probing a model would send and cost at most; None is not known."""

    evaluator: LLM
    card: Card
    prices: tuple[Price, ...]
    most_usd: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one request showed; ``held`` is None if it was not sent or showed nothing."""

    held: bool | None
    note: str

    def as_json(self) -> dict[str, Any]:
        """Return the finding as it is kept on the card."""
        return {"held": self.held, "note": self.note}


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """What probing a model showed, and what it cost."""

    findings: Mapping[str, Finding]
    reported: str
    calls: int
    cost_usd: Decimal | None


def plan_probe(*, evaluator: Evaluator, now: datetime) -> Plan:
    """Return what probing would cost at most.

    :raises ProbeRefused: if there is no vendor to call, or policy or settings forbid it.
    """
    if not isinstance(evaluator, LLM):
        raise ProbeRefused("it calculates here, so there is no vendor to try")
    refusal = VendorPolicy.from_setting(settings.LLM_POLICY).refusal(
        provider=evaluator.provider, model_id=evaluator.model_id, base_url=evaluator.base_url
    )
    if refusal:
        raise ProbeRefused(refusal)
    if settings.LLM_RECORDING == "replay":
        raise ProbeRefused("LLM_RECORDING is replay, so no vendor is called")
    key = (evaluator.provider, evaluator.model_id)
    row = queries.list_cards(wanted={key}).get(key)
    prices = () if row is None else tuple(row.prices.all())
    price = spending.price_on(prices, now.date())
    most = spending.worst_case(
        price=price,
        characters=len(SYSTEM) + len(USER) + len(json.dumps(ANSWER_SCHEMA(EVENT))),
        max_tokens=evaluator.max_tokens,
    )
    card = cards.card_of(row, provider=evaluator.provider, model_id=evaluator.model_id)
    return Plan(evaluator=evaluator, card=card, prices=prices, most_usd=most)


async def probe(plan: Plan, *, now: datetime) -> Probed:
    """Send the requests one after another and return what each showed."""
    answers: list[Completion | CallFailed] = []
    ask = _Asking(plan, answers)
    schema = _of_schema(await ask(plan.evaluator.max_tokens))
    truncation = _of_truncation(await ask(FEW_TOKENS))
    seed = Finding(held=None, note="this API takes no seed")
    if plan.card.api not in SEEDLESS:
        seed = _of_wish("a seed", await ask(plan.evaluator.max_tokens, seed=SEED))
    temperature = Finding(held=None, note="this API takes no temperature")
    if plan.card.api not in COLDLESS:
        warm = await ask(plan.evaluator.max_tokens, temperature=TEMPERATURE)
        temperature = _of_wish("a temperature", warm)
    await plan.evaluator.close()
    reported = [each.model_reported for each in answers if isinstance(each, Completion)]
    costs = [spending.cost_of(_attempt(each, now), plan.prices) for each in answers]
    return Probed(
        findings={
            "schema": schema,
            "truncation": truncation,
            "seed": seed,
            "temperature": temperature,
        },
        reported=next((name for name in reversed(reported) if name), ""),
        calls=len(answers),
        cost_usd=spending.total([_attempt(each, now) for each in answers], costs),
    )


class _Asking:
    """Sends the one trial request with changes, and keeps what comes."""

    def __init__(self, plan: Plan, answers: list[Completion | CallFailed]) -> None:
        self._plan = plan
        self._answers = answers

    async def __call__(
        self, max_tokens: int, seed: int | None = None, temperature: float | None = None
    ) -> Completion | CallFailed:
        card = self._plan.card
        request = Request(
            system=SYSTEM,
            user=USER,
            schema=ANSWER_SCHEMA(EVENT),
            max_tokens=max_tokens,
            seed=seed,
            temperature=temperature,
            effort=self._plan.evaluator.effort or card.effort,
            card=replace(
                card,
                supports_seed=card.supports_seed or seed is not None,
                supports_temperature=card.supports_temperature or temperature is not None,
            ),
        )
        answer: Completion | CallFailed
        try:
            answer = await self._plan.evaluator.complete(request)
        except CallFailed as error:
            answer = error
        self._answers.append(answer)
        return answer


def _of_schema(answer: Completion | CallFailed) -> Finding:
    if isinstance(answer, CallFailed):
        return _failed(answer)
    if answer.status is not AttemptStatus.OK:
        return Finding(held=None, note=f"the answer was {answer.status}")
    wanted = set(cast(Mapping[str, Any], ANSWER_SCHEMA(EVENT)["properties"]))
    try:
        told = json.loads(answer.text)
    except json.JSONDecodeError as error:
        return Finding(held=False, note=f"the answer is no JSON: {error}")
    if not isinstance(told, dict) or set(told) != wanted:
        return Finding(held=False, note="the answer has other fields than the schema")
    return Finding(held=True, note="the answer has the fields of the schema")


def _of_truncation(answer: Completion | CallFailed) -> Finding:
    if isinstance(answer, CallFailed):
        return _failed(answer)
    if answer.status is AttemptStatus.TRUNCATED:
        return Finding(held=True, note="a cut answer is told from a whole one")
    return Finding(
        held=False, note=f"an answer within {FEW_TOKENS} tokens was passed off as {answer.status}"
    )


def _of_wish(wish: str, answer: Completion | CallFailed) -> Finding:
    if isinstance(answer, CallFailed):
        refused = answer.status is AttemptStatus.BAD_REQUEST
        return Finding(held=False, note=str(answer)[:200]) if refused else _failed(answer)
    return Finding(held=True, note=f"{wish} is accepted")


def _failed(error: CallFailed) -> Finding:
    held = False if error.status is AttemptStatus.BAD_REQUEST else None
    return Finding(held=held, note=f"{error.status}: {error}"[:200])


def _attempt(answer: Completion | CallFailed, now: datetime) -> Attempt:
    if isinstance(answer, CallFailed):
        return Attempt(status=answer.status, started_at=now, latency_ms=0.0)
    return Attempt(
        status=answer.status,
        started_at=now,
        latency_ms=0.0,
        tokens_in=answer.tokens_in,
        tokens_cached=answer.tokens_cached,
        tokens_cache_write=answer.tokens_cache_write,
        tokens_out=answer.tokens_out,
    )


def record_probe(*, plan: Plan, probed: Probed, now: datetime) -> ModelCard:
    """Keep what was found on the model's card, and count what it cost.

    Whether the model takes a seed and a temperature is corrected by what it showed; all else is
    for people to judge.
    """
    card = plan.card
    row, _ = ModelCard.objects.get_or_create(
        provider=card.provider,
        model_id=card.model_id,
        defaults={
            "api": card.api,
            "structured": card.structured,
            "supports_seed": card.supports_seed,
            "supports_temperature": card.supports_temperature,
            "effort": card.effort,
            "source": "found by a probe",
        },
    )
    row.probed_at = now
    row.probe = {name: found.as_json() for name, found in probed.findings.items()} | {
        "reported": probed.reported
    }
    seed, temperature = (probed.findings[each].held for each in ("seed", "temperature"))
    row.supports_seed = row.supports_seed if seed is None else seed
    row.supports_temperature = row.supports_temperature if temperature is None else temperature
    row.save(update_fields=["probed_at", "probe", "supports_seed", "supports_temperature"])
    spending.charge(
        model=plan.evaluator.name,
        amount=probed.cost_usd or spending.NOTHING,
        calls=probed.calls,
        day=now.date(),
    )
    return row
