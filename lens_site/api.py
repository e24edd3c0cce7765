"""Doors that read across rooms: one signal in full, and what judging again changed."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from django.urls import path
from drf_spectacular.utils import extend_schema
from pydantic import BaseModel, ConfigDict, Field
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from access.auth import identity_of, scope
from access.types import Scope
from decisions import deliberation as decisions
from decisions.serializers import decision_json
from enrichment import queries as enrichment
from enrichment.models import Enrichment
from evaluation import queries as evaluation
from evaluation.serializers import evaluation_json
from lens_site import rerun_diff
from pipeline.parsing import LIMIT_DEFAULT, LIMIT_MAX, parse_query, time_text
from pipeline.types import NotFound
from signals.api import find_signal, timeline_json
from signals.models import Signal
from signals.serializers import SignalSummary, signal_json


class SignalDetail(SignalSummary):
    """One signal with everything that became of it."""

    run: int
    notes: str
    context: dict[str, Any]
    timeline: list[dict[str, Any]]
    enrichment: dict[str, Any] | None
    evaluations: list[dict[str, Any]]
    decisions: list[dict[str, Any]]


class SignalView(APIView):
    """``/signals/{event_id}``: one signal in full."""

    permission_classes = [scope(Scope.SIGNALS_READ)]

    @extend_schema(
        operation_id="get_signal",
        tags=["signals"],
        summary="One signal with its timeline, enrichment, evaluations and decisions",
        responses=SignalDetail,
    )
    def get(self, request: Request, event_id: UUID) -> Response:
        signal = find_signal(event_id)
        return Response(signal_detail(signal, with_texts=identity_of(request).allows(Scope.OPS)))


def signal_detail(signal: Signal, *, with_texts: bool) -> dict[str, Any]:
    """Return one signal with everything that became of it; prompts only when ``with_texts``."""
    facts = enrichment.get_enrichment(event_id=signal.event_id, run=signal.run)
    rows = evaluation.list_evaluations(signal=signal)
    return {
        **signal_json(signal),
        "run": signal.run,
        "notes": signal.notes,
        "context": signal.context,
        "timeline": timeline_json(signal),
        "enrichment": None if facts is None else _summary(facts),
        "evaluations": [evaluation_json(row, with_texts=with_texts) for row in rows],
        "decisions": [
            decision_json(row) for row in decisions.list_of_signal(event_id=signal.event_id)
        ],
    }


def _summary(facts: Enrichment) -> dict[str, Any]:
    return {
        "profile": facts.profile,
        "profile_version": facts.profile_version,
        "provider": facts.provider,
        "market": "SIMULATED" if facts.simulated else "REAL",
        "as_of": time_text(facts.as_of),
        "payload_sha256": facts.payload_sha256,
        "quality_flags": facts.quality_flags,
        "gates": facts.gates,
        "duration_ms": facts.duration_ms,
    }


class WordAnswer(BaseModel):
    """What one judge said of one signal; action ABSTAINED has its cause."""

    model: str
    action: str
    confidence: float | None
    size_pct: float | None
    reasons: list[str]
    cause: str


class DifferenceAnswer(BaseModel):
    """One signal of a rerun: the model's old word and its new one, both before the policy.

    `before` is the same model's first verdict, or the jury's ruling if it was not asked then.
    """

    event_id: str
    evaluation_id: str
    symbol: str
    event_type: str
    signal_direction: str
    source: str
    ts_utc: str
    run: int
    status: str
    change: Literal["SAME", "DIFFERENT", "NEW", "PENDING"]
    before: WordAnswer | None
    after: WordAnswer | None
    published: str | None
    reasons_added: list[str]
    reasons_removed: list[str]
    contaminated: bool | None
    payload_sha256: str
    input_same: bool
    grounding_score: float | None
    latency_ms: float | None
    cost_usd: str | None


class PairAnswer(BaseModel):
    """How many signals went from one answer to another."""

    before: str
    after: str
    signals: int


class TotalsAnswer(BaseModel):
    """A rerun in figures, as far as it has come."""

    asked: int
    pending: int
    same: int
    different: int
    new: int
    abstained: int
    contaminated: int
    contamination_unknown: int
    inputs_same: int
    cost_usd: str
    unpriced: int
    pairs: list[PairAnswer]


class RerunAnswer(BaseModel):
    """One judging again of stored signals."""

    id: str
    model: str
    prompt: str | None
    signals: int
    estimate_usd: str | None
    created_at: str
    created_by: str


class RerunPage(BaseModel):
    """The latest reruns, newest first."""

    items: list[RerunAnswer]


class RerunDetail(RerunAnswer):
    """One rerun, signal by signal; `totals` come with the first page."""

    totals: TotalsAnswer | None
    items: list[DifferenceAnswer]
    next_cursor: str | None


class RerunsQuery(BaseModel):
    """How many reruns to list."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=LIMIT_MAX)] = LIMIT_DEFAULT


class RerunQuery(RerunsQuery):
    """Which page of a rerun to show."""

    cursor: Annotated[str, Field(max_length=64)] | None = None


class RerunsView(APIView):
    """``/reruns``: stored signals that were judged again."""

    permission_classes = [scope(Scope.DECISIONS_READ)]

    @extend_schema(
        operation_id="list_reruns",
        tags=["reruns"],
        summary="List the latest reruns: stored signals judged again",
        parameters=[RerunsQuery],  # type: ignore[list-item]  # pydantic: unknown to the stubs
        responses=RerunPage,
    )
    def get(self, request: Request) -> Response:
        query = parse_query(RerunsQuery, request.query_params)
        rows = evaluation.list_reruns(limit=query.limit)
        return Response({"items": [rerun_diff.rerun_json(row) for row in rows]})


class RerunView(APIView):
    """``/reruns/{id}``: what came of one rerun."""

    permission_classes = [scope(Scope.DECISIONS_READ)]

    @extend_schema(
        operation_id="get_rerun",
        tags=["reruns"],
        summary="One rerun: totals, and old and new word of each signal",
        description="The model was given the very facts by which the signal was judged first;"
        " `payload_sha256` and `input_same` show it. Nothing of a rerun is ever published.",
        parameters=[RerunQuery],  # type: ignore[list-item]  # pydantic: unknown to the stubs
        responses=RerunDetail,
    )
    def get(self, request: Request, rerun_id: UUID) -> Response:
        query = parse_query(RerunQuery, request.query_params)
        rerun = evaluation.get_rerun(rerun_id=rerun_id)
        if rerun is None:
            raise NotFound(f"there is no rerun {rerun_id}")
        page = rerun_diff.page_of(rerun, cursor=query.cursor, limit=query.limit)
        totals = None if query.cursor else rerun_diff.total(rerun=rerun).as_json()
        return Response(
            {
                **rerun_diff.rerun_json(rerun),
                "totals": totals,
                "items": [each.as_json() for each in page.items],
                "next_cursor": page.next_cursor,
            }
        )


urlpatterns = [
    path("signals/<uuid:event_id>", SignalView.as_view()),
    path("reruns", RerunsView.as_view()),
    path("reruns/<uuid:rerun_id>", RerunView.as_view()),
]
