"""Reading evaluations."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db.models import (
    Count,
    Exists,
    Max,
    OuterRef,
    Prefetch,
    Q,
    QuerySet,
    Subquery,
    Sum,
    prefetch_related_objects,
)
from django.db.models.fields.json import KT

from enrichment.models import Enrichment
from evaluation.models import (
    Attempt,
    Evaluation,
    ModelCard,
    ModelState,
    Price,
    PromptVersion,
    Rerun,
    SourceRating,
    Spend,
)
from evaluation.types import ALL_MODELS, Case, EvaluationStatus, Opinion
from evaluation.variations import PLAIN, varied
from pipeline.models import AuditEvent, DeadLetter, StageRun
from pipeline.prepared import Prepared
from pipeline.types import Batch, ExpectedCost, LetterStatus
from signals.models import Signal
from signals.types import Direction, Origin, SignalStatus

FIRST_PROMPT = "judge"
STAGE = "evaluate"
COSTS_LOOKED_AT = 100

ACTIVE_PROMPT: Prepared[PromptVersion] = Prepared(
    lambda given: PromptVersion.objects.filter(
        name=given(PromptVersion, "name"), status=PromptVersion.Status.ACTIVE
    )
)
CARDS: Prepared[ModelCard] = Prepared(
    lambda given: ModelCard.objects.filter(
        model_id__in=given.each(ModelCard, "model_id", name="models")
    )
)
RATES: Prepared[SourceRating] = Prepared(
    lambda given: SourceRating.objects.filter(
        source__in=given.each(SourceRating, "source", name="sources")
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """One case for one model.

    ``refusal`` is the abstention of a model that may not be asked, ``kept`` the answer that it has
    given to a worker which did not live to write it down.
    """

    evaluation: Evaluation
    enrichment: Enrichment
    case: Case
    prices: tuple[Price, ...] = ()
    refusal: Opinion | None = None
    kept: Opinion | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One finished evaluation, with its last call and the tokens of all of them."""

    evaluation: Evaluation
    enrichment: Enrichment
    attempt: Attempt | None = None
    tokens: int | None = None


def list_assignments(ids: Sequence[UUID]) -> Mapping[UUID, Assignment]:
    """Return the cases of those evaluations that still wait for a verdict.

    A stored case is judged again whatever has become of its signal since.
    """
    is_wanted = Q(signal__status=SignalStatus.ENRICHED) | Q(rerun__isnull=False)
    waiting = Evaluation.objects.filter(
        is_wanted, id__in=ids, status=EvaluationStatus.PENDING
    ).select_related("signal", "rerun")
    rows = list(waiting)
    found = Enrichment.objects.filter(event_id__in={row.signal.event_id for row in rows})
    enrichments = {(facts.event_id, facts.run): facts for facts in found}
    return {
        row.id: Assignment(
            evaluation=row,
            enrichment=enrichments[row.signal.event_id, row.run],
            case=varied(
                case_of(row.signal, enrichments[row.signal.event_id, row.run]),
                row.rerun.variation if row.rerun else PLAIN,
            ),
        )
        for row in rows
        if (row.signal.event_id, row.run) in enrichments
    }


def trace_of(evaluation: Evaluation) -> UUID:
    """Return whose trail tells of an evaluation: its signal's, or its own if it is a rerun's.

    A signal's life ends its open work and tells subscribers of its abstentions; neither may
    reach the cases that are only judged again.
    """
    return evaluation.signal.event_id if evaluation.rerun_id is None else evaluation.id


def case_of(signal: Signal, enrichment: Enrichment) -> Case:
    """Return the frozen case of one signal, as every model gets it."""
    return Case(
        event_id=signal.event_id,
        event_type=signal.event_type,
        symbol=signal.symbol,
        side=str(Direction(signal.direction).side),
        entry_price=float(signal.entry_price),
        payload=enrichment.payload,
        facts=enrichment.facts,
        constraints=enrichment.constraints,
        as_of=enrichment.as_of,
    )


def as_stored(case: Case) -> Case:
    """Return a case that was just frozen as it will be read back."""
    return replace(
        case,
        facts=json.loads(json.dumps(case.facts)),
        constraints=json.loads(json.dumps(case.constraints)),
    )


def list_evaluations(*, signal: Signal) -> list[Evaluation]:
    """Return the evaluations of one signal's present run, by model, with their attempts.

    What came of judging it again is no part of its life and is left out.
    """
    attempts = Prefetch("attempts", queryset=Attempt.objects.order_by("number"))
    rows = Evaluation.objects.filter(signal=signal, run=signal.run, rerun=None)
    rows = rows.select_related("signal").prefetch_related(attempts)
    return list(rows.order_by("model"))


class Stand(NamedTuple):
    """Where one model stands with a signal."""

    model: str
    status: str
    outcome: str


def list_of_signals(*, signals: Collection[Signal]) -> dict[int, list[Stand]]:
    """Return by signal where each model stands on its present run; plain rows, for lists."""
    runs = {signal.id: signal.run for signal in signals}
    rows = Evaluation.objects.filter(signal__in=list(runs), rerun=None)
    found: dict[int, list[Stand]] = {signal_id: [] for signal_id in runs}
    columns = ("signal_id", "run", *Stand._fields)
    for signal_id, run, *stand in rows.order_by("signal_id", "model").values_list(*columns):
        if run == runs[signal_id]:
            found[signal_id].append(Stand(*stand))
    return found


def list_judged_again_of(*, signal: Signal) -> list[Evaluation]:
    """Return what came of judging one signal again, newest rerun first."""
    rows = Evaluation.objects.filter(signal=signal, rerun__isnull=False).select_related("rerun")
    return list(rows.order_by("-rerun__created_at", "model"))


def get_spend(*, day: date) -> Spend | None:
    """Return what all language models together have cost on a day."""
    return Spend.objects.filter(day=day, model=ALL_MODELS).first()


def get_evaluation(*, evaluation_id: UUID) -> Evaluation | None:
    """Return one evaluation with its attempts."""
    attempts = Prefetch("attempts", queryset=Attempt.objects.order_by("number"))
    rows = Evaluation.objects.select_related("signal").prefetch_related(attempts)
    return rows.filter(id=evaluation_id).first()


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which stored signals are meant, by the ids given or by everything else that is said.

    Times are of the signals themselves, ``until`` not included; of too many the newest count.
    """

    event_ids: tuple[UUID, ...] = ()
    source: str = ""
    symbol: str = ""
    since: datetime | None = None
    until: datetime | None = None
    replay_id: UUID | None = None
    limit: int = 100

    def lookups(self) -> dict[str, object]:
        """Return what is said as column look-ups."""
        said: dict[str, object] = {
            "event_id__in": self.event_ids,
            "source": self.source,
            "symbol": self.symbol.upper(),
            "ts_utc__gte": self.since,
            "ts_utc__lt": self.until,
            "replay_id": self.replay_id,
        }
        return {column: value for column, value in said.items() if value}


def list_enriched_ids(*, selection: Selection) -> list[int]:
    """Return the row ids of the selected signals whose facts are frozen, oldest first."""
    frozen = Enrichment.objects.filter(event_id=OuterRef("event_id"), run=OuterRef("run"))
    rows = Signal.objects.filter(Exists(frozen), **selection.lookups()).order_by("-id")
    return sorted(rows.values_list("id", flat=True)[: selection.limit])


def list_enriched(*, signal_ids: Sequence[int]) -> list[tuple[Signal, Enrichment]]:
    """Return signals with the facts of their present run, in the order of the ids."""
    signals = Signal.objects.in_bulk(list(signal_ids))
    found = Enrichment.objects.filter(event_id__in=[each.event_id for each in signals.values()])
    facts = {(row.event_id, row.run): row for row in found}
    rows = [signals[signal_id] for signal_id in signal_ids if signal_id in signals]
    return [(row, facts[row.event_id, row.run]) for row in rows if (row.event_id, row.run) in facts]


def get_rerun(*, rerun_id: UUID) -> Rerun | None:
    """Return one rerun."""
    return Rerun.objects.filter(id=rerun_id).first()


def list_reruns(*, limit: int) -> list[Rerun]:
    """Return the latest reruns, newest first."""
    return list(Rerun.objects.order_by("-created_at", "-id")[:limit])


def list_judged_again(*, rerun_id: UUID, limit: int, after_signal: int = 0) -> list[Evaluation]:
    """Return the evaluations of a rerun after the row of a signal, in the order of the signals."""
    rows = Evaluation.objects.filter(rerun_id=rerun_id, signal_id__gt=after_signal)
    return list(rows.select_related("signal").order_by("signal_id")[:limit])


def count_judged_again(*, rerun_id: UUID) -> dict[str, int]:
    """Return how many evaluations of a rerun stand where."""
    rows = Evaluation.objects.filter(rerun_id=rerun_id).values_list("status")
    return dict(rows.annotate(n=Count("id")).order_by())


def list_live(*, model: str, signal_ids: Collection[int]) -> list[Evaluation]:
    """Return what one model made of signals when they were judged for decisions."""
    rows = Evaluation.objects.filter(model=model, signal_id__in=signal_ids, rerun=None)
    return list(rows)


def get_card(*, provider: str, model_id: str) -> ModelCard | None:
    """Return what is known of a vendor's model."""
    return ModelCard.objects.filter(provider=provider, model_id=model_id).first()


def get_price(*, card: ModelCard, day: date) -> Price | None:
    """Return what the model's tokens cost on a day; None if nobody knows."""
    rows = Price.objects.filter(card=card, valid_from__lte=day)
    return rows.order_by("-valid_from").first()


def prompt_name_of(*, model: str) -> str:
    """Return the name of the prompt that a language model is given unless told otherwise."""
    return str(settings.EVALUATORS.get(model, {}).get("PROMPT") or FIRST_PROMPT)


def get_active_prompt(*, name: str) -> PromptVersion | None:
    """Return the version of a prompt that live signals are judged with."""
    return next(iter(ACTIVE_PROMPT.rows(name=name)), None)


def get_prompt(*, name: str, version: int) -> PromptVersion | None:
    """Return one version of a prompt, whatever it may be used for."""
    return PromptVersion.objects.filter(name=name, version=version).first()


def get_prompt_before(*, prompt: PromptVersion) -> PromptVersion | None:
    """Return what a version is compared with first: the active one, or the one before it."""
    others = PromptVersion.objects.filter(name=prompt.name).exclude(id=prompt.id)
    active = others.filter(status=PromptVersion.Status.ACTIVE).first()
    return active or others.filter(version__lt=prompt.version).order_by("-version").first()


def list_prompt_versions(*, name: str) -> list[PromptVersion]:
    """Return every version of a prompt, newest first."""
    return list(PromptVersion.objects.filter(name=name).order_by("-version"))


def list_prompts(*, limit: int) -> list[PromptVersion]:
    """Return the newest versions of all prompts, by name and then the newest first."""
    newest = PromptVersion.objects.order_by("-id")[:limit]
    return sorted(newest, key=lambda each: (each.name, -each.version))


def latest_case(*, event_id: UUID | None = None) -> Case | None:
    """Return the frozen case of a signal's present run, or of the newest signal that has one."""
    wanted = Selection(event_ids=(event_id,) if event_id else (), limit=1)
    found = list_enriched(signal_ids=list_enriched_ids(selection=wanted))
    return next((case_of(signal, enrichment) for signal, enrichment in found), None)


def list_cards(*, wanted: Collection[tuple[str, str]]) -> dict[tuple[str, str], ModelCard]:
    """Return the cards of vendors' models with their prices, by provider and model id."""
    rows = CARDS.rows(models={model_id for _, model_id in wanted})
    prefetch_related_objects(rows, "prices")
    return {(row.provider, row.model_id): row for row in rows}


def list_model_states() -> list[ModelState]:
    """Return what is known of every model that was ever switched or asked."""
    return list(ModelState.objects.order_by("name"))


def get_model_state(*, name: str) -> ModelState | None:
    """Return the switch and the health of one model, or of all together under ``*``."""
    return ModelState.objects.filter(name=name).first()


def list_latest(*, model: str, limit: int) -> list[Evaluation]:
    """Return what a model made of the latest signals, newest first, reruns left out."""
    rows = Evaluation.objects.filter(model=model, rerun=None, finished_at__isnull=False)
    return list(rows.select_related("signal").order_by("-finished_at")[:limit])


class Answered(NamedTuple):
    """How one live signal ended with a model, without all that was said."""

    finished_at: datetime
    status: str
    outcome: str
    action: str | None
    latency_ms: float | None
    cost_usd: Decimal | None
    model_version: str
    prompt: str | None = None


def list_answered(*, model: str, limit: int, with_prompts: bool = False) -> list[Answered]:
    """Return how the newest live signals ended with a model, newest first.

    Of twice as many rows at most: where demo or replays lie thick, fewer live ones are found.
    """
    rows = Evaluation.objects.filter(model=model, rerun=None, finished_at__isnull=False)
    columns = ("finished_at", "status", "outcome", KT("verdict__action"), "latency_ms", "cost_usd")
    asked: tuple[Any, ...] = ("signal__origin", *columns, "model_version")
    if with_prompts:
        attempts = Attempt.objects.filter(evaluation=OuterRef("pk")).order_by("-number")
        asked = (*asked, Subquery(attempts.values("prompt_version")[:1]))
    newest = rows.order_by("-finished_at").values_list(*asked)
    found: list[Answered] = []
    usual = limit + limit // 5
    for first, last in ((0, usual), (usual, 2 * limit)):
        page = list(newest[first:last])
        found += [Answered(*row[1:]) for row in page if row[0] == Origin.LIVE]
        if len(found) >= limit or len(page) < last - first:
            break
    return found[:limit]


def spent_on(*, day: date) -> dict[str, float]:
    """Return what each model has cost on a day, in US dollars, reservations included."""
    rows = Spend.objects.filter(day=day).values_list("model", "spent_usd", "reserved_usd")
    return {model: float(spent + reserved) for model, spent, reserved in rows}


def count_attempts(*, evaluation: Evaluation) -> tuple[int, Decimal]:
    """Return how many calls have been written down for an evaluation, and what they cost."""
    rows = Attempt.objects.filter(evaluation=evaluation)
    found = rows.aggregate(latest=Max("number"), paid=Sum("cost_usd"))
    return found["latest"] or 0, found["paid"] or Decimal(0)


def count_tokens(*, evaluation: Evaluation) -> tuple[int | None, int | None]:
    """Return the tokens read and written by the calls that are written down."""
    rows = Attempt.objects.filter(evaluation=evaluation, tokens_in__isnull=False)
    total = rows.aggregate(read=Sum("tokens_in"), written=Sum("tokens_out"))
    return total["read"], total["written"]


def expected_cost(*, letters: Sequence[DeadLetter]) -> ExpectedCost:
    """Return what retrying dead letters will cost, by what their models cost lately.

    A dead evaluation asks its own model again; any other work has the signal judged anew by all.
    Models that calculate here cost nothing.
    """
    vendors = [name for name, plug in settings.EVALUATORS.items() if "PROVIDER" in plug]
    subjects = [letter.subject for letter in letters if letter.stage == STAGE]
    alone = Evaluation.objects.filter(id__in=subjects, model__in=vendors)
    calls = Counter(alone.values_list("model", flat=True))
    calls.update({name: len(letters) - len(subjects) for name in vendors})
    asked = {name: count for name, count in calls.items() if count}
    costs = {name: _mean_cost(model=name) for name in asked}
    return ExpectedCost(
        usd=sum((asked[name] * cost for name, cost in costs.items() if cost), Decimal(0)),
        unpriced=tuple(name for name, cost in costs.items() if cost is None),
    )


def _mean_cost(*, model: str) -> Decimal | None:
    """Return what the model's latest priced evaluations cost on average."""
    rows = Evaluation.objects.filter(model=model, cost_usd__isnull=False, finished_at__isnull=False)
    costs = list(rows.order_by("-finished_at").values_list("cost_usd", flat=True)[:COSTS_LOOKED_AT])
    known = [cost for cost in costs if cost is not None]
    return sum(known, Decimal(0)) / len(known) if known else None


def list_source_rates(*, sources: Collection[str]) -> dict[tuple[str, str], SourceRating]:
    """Return how often sources' signals won of late, by source and kind of signal."""
    rows = RATES.rows(sources=sources)
    return {(row.source, row.event_type): row for row in rows}


def rows_to_purge(*, batch: Batch) -> list[QuerySet[Any]]:
    """Return the judgements of signals that are being purged, and the trails of their reruns."""
    mine = Evaluation.objects.filter(signal_id__in=batch.signals)
    reruns = list(mine.filter(rerun__isnull=False).values_list("id", flat=True))
    return [
        StageRun.objects.filter(trace__in=reruns),
        DeadLetter.objects.filter(trace__in=reruns),
        AuditEvent.objects.filter(trace__in=reruns),
        Attempt.objects.filter(evaluation__in=mine),
        mine,
    ]


def list_in_hand(*, batch: Batch) -> Mapping[str, Collection[int]]:
    """Return signals of which somebody still works on a rerun, or has to."""
    reruns = Evaluation.objects.filter(signal_id__in=batch.signals, rerun__isnull=False)
    pending = reruns.filter(status=EvaluationStatus.PENDING)
    unresolved = DeadLetter.objects.exclude(status=LetterStatus.RESOLVED).values("trace")
    return {
        "unfinished": set(pending.values_list("signal_id", flat=True)),
        "open dead letter": set(
            reruns.filter(id__in=unresolved).values_list("signal_id", flat=True)
        ),
    }


def leftovers(*, cutoff: datetime, now: datetime, limit: int) -> list[QuerySet[Any]]:
    """Return reruns of which no judgement is left, with their trails."""
    del now
    empty = Rerun.objects.filter(created_at__lt=cutoff, evaluation=None)
    ids = list(empty.values_list("id", flat=True)[:limit])
    return [AuditEvent.objects.filter(trace__in=ids), Rerun.objects.filter(id__in=ids)]
