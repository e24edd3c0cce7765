"""Doors to what tries models out: experiments, golden signals, and the alerts they raise."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from django.urls import path
from drf_spectacular.utils import OpenApiExample, extend_schema
from pydantic import BaseModel, ConfigDict, Field
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from access.auth import identity_of, scope
from access.types import Scope
from outcomes import queries, services
from outcomes.models import Alert, Canary, Experiment, GoldenSignal
from pipeline.parsing import ReasonBody, parse_query, time_text
from pipeline.types import NotFound
from signals.api import StrictJson

Name = Annotated[str, Field(min_length=1, max_length=64)]
DAYS_SHOWN = 14


BECAUSE = [
    OpenApiExample("With a reason", request_only=True, value={"reason": "seen, it may stay"})
]


class ExperimentBody(BaseModel):
    """What is to be tried: another model, or with a prompt the champion itself under it."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    champion: Name
    challenger: Annotated[str, Field(max_length=64, description="empty: the champion")] = ""
    prompt_name: Annotated[str, Field(max_length=64)] = ""
    prompt_version: Annotated[int, Field(ge=1)] | None = None
    share_pct: Annotated[int, Field(ge=1, le=100)] = 20


class EvidenceAnswer(BaseModel):
    """What the paired decisions have shown; the interval holds however often one looks.

    `still_needed`: about how many more decisions it takes at this difference; null: not to be told.
    """

    n: int
    mean_gain: float | None
    low: float
    high: float
    standing: Literal["BETTER", "WORSE", "OPEN"]
    still_needed: int | None


class ExperimentAnswer(BaseModel):
    """One challenger in the shadow of a champion.

    `expected` was said beforehand: after how many decisions which mean difference in Brier score
    will have shown.
    """

    name: str
    kind: Literal["PROMPT", "MODEL"]
    champion: str
    challenger: str
    prompt: str | None
    share_pct: int
    status: Literal["RUNNING", "PROMOTED", "STOPPED"]
    expected: dict[str, int | None]
    evidence: EvidenceAnswer
    created_at: str
    created_by: str
    ended_at: str | None
    ended_by: str
    why: str


class ExperimentList(BaseModel):
    """Every experiment, newest first."""

    items: list[ExperimentAnswer]


class GoldenBody(BaseModel):
    """A stored signal that every model is to judge daily."""

    model_config = ConfigDict(extra="forbid")

    event_id: UUID
    note: Annotated[str, Field(max_length=200)] = ""


class GoldenAnswer(BaseModel):
    """One golden signal."""

    event_id: str
    note: str
    created_at: str
    created_by: str


class GoldenList(BaseModel):
    """The golden signals, oldest first."""

    items: list[GoldenAnswer]


class CanaryAnswer(BaseModel):
    """What one model said of the golden signals on one day, beside what it used to say."""

    day: str
    model: str
    status: Literal["ASKED", "STEADY", "DRIFTED", "ACCEPTED"]
    reason: str
    compared: int
    changed: int
    mean_p: float | None
    mean_p_before: float | None
    model_version: str
    version_before: str


class CanaryList(BaseModel):
    """The latest days, newest first."""

    items: list[CanaryAnswer]


class AlertAnswer(BaseModel):
    """Something about the models that needs a look; it closes when the matter is over."""

    id: int
    kind: str
    subject: str
    message: str
    opened_at: str
    acknowledged_at: str | None
    acknowledged_by: str
    why: str


class AlertList(BaseModel):
    """What is open, newest first."""

    items: list[AlertAnswer]


class ExperimentsView(APIView):
    """``/experiments``: list all, start one."""

    parser_classes = [StrictJson]

    def get_permissions(self) -> list[Any]:
        wanted = Scope.DECISIONS_READ if self.request.method == "GET" else Scope.OPS
        return [scope(wanted)()]

    @extend_schema(
        operation_id="list_experiments",
        tags=["experiments"],
        summary="List challengers and what they have shown",
        responses=ExperimentList,
    )
    def get(self, request: Request) -> Response:
        del request
        return Response({"items": [experiment_json(row) for row in queries.list_experiments()]})

    @extend_schema(
        operation_id="start_experiment",
        tags=["experiments"],
        summary="Have a challenger judge a share of live signals in the shadow",
        description="Nothing of it is published. `expected` of the answer says about how many"
        " decisions it will take.",
        request=ExperimentBody,
        responses={201: ExperimentAnswer},
        examples=[
            OpenApiExample(
                "Another prompt for Claude",
                request_only=True,
                value={
                    "name": "shorter-prompt",
                    "champion": "claude",
                    "prompt_name": "judge",
                    "prompt_version": 2,
                    "share_pct": 20,
                },
            )
        ],
    )
    def post(self, request: Request) -> Response:
        body = parse_query(ExperimentBody, _body(request))
        row = services.start_experiment(
            name=body.name,
            champion=body.champion,
            challenger=body.challenger or body.champion,
            prompt=(body.prompt_name, body.prompt_version or 0) if body.prompt_name else None,
            share_pct=body.share_pct,
            actor=identity_of(request).name,
            now=datetime.now(UTC),
        )
        return Response(experiment_json(row), status=201)


class ExperimentView(APIView):
    """``/experiments/{name}``: one experiment."""

    permission_classes = [scope(Scope.DECISIONS_READ)]

    @extend_schema(
        operation_id="get_experiment",
        tags=["experiments"],
        summary="One challenger and what it has shown",
        responses=ExperimentAnswer,
    )
    def get(self, request: Request, name: str) -> Response:
        del request
        row = queries.get_experiment(name=name)
        if row is None:
            raise NotFound(f"there is no experiment {name}")
        return Response(experiment_json(row))


class PromoteView(APIView):
    """``/experiments/{name}/promote``: put a proven challenger in force."""

    permission_classes = [scope(Scope.ADMIN)]
    parser_classes = [StrictJson]

    @extend_schema(
        operation_id="promote_challenger",
        tags=["experiments"],
        summary="Put a challenger in force that is proven better; anything less is refused",
        description="A prompt judges live signals from then on. A model is named in AI_MODELS by"
        " whoever runs the desk.",
        request=ReasonBody,
        responses=ExperimentAnswer,
        examples=BECAUSE,
    )
    def post(self, request: Request, name: str) -> Response:
        return _end(services.promote_challenger, request, name)


class StopView(APIView):
    """``/experiments/{name}/stop``: leave the champion in force."""

    permission_classes = [scope(Scope.OPS)]
    parser_classes = [StrictJson]

    @extend_schema(
        operation_id="stop_experiment",
        tags=["experiments"],
        summary="End an experiment and leave the champion in force",
        request=ReasonBody,
        responses=ExperimentAnswer,
        examples=BECAUSE,
    )
    def post(self, request: Request, name: str) -> Response:
        return _end(services.stop_experiment, request, name)


class GoldenView(APIView):
    """``/golden``: the golden signals."""

    parser_classes = [StrictJson]

    def get_permissions(self) -> list[Any]:
        wanted = Scope.DECISIONS_READ if self.request.method == "GET" else Scope.OPS
        return [scope(wanted)()]

    @extend_schema(
        operation_id="list_golden",
        tags=["experiments"],
        summary="List the signals that every model judges daily",
        responses=GoldenList,
    )
    def get(self, request: Request) -> Response:
        del request
        return Response({"items": [_golden_json(row) for row in queries.list_golden()]})

    @extend_schema(
        operation_id="add_golden",
        tags=["experiments"],
        summary="Have every model judge a stored signal daily",
        description="It is not purged as long as it is golden.",
        request=GoldenBody,
        responses={201: GoldenAnswer},
        examples=[
            OpenApiExample(
                "A quiet market",
                request_only=True,
                value={"event_id": "0f8fad5b-d9cb-469f-a165-70867728950e", "note": "quiet"},
            )
        ],
    )
    def post(self, request: Request) -> Response:
        body = parse_query(GoldenBody, _body(request))
        row = services.add_golden(
            event_id=body.event_id,
            note=body.note,
            actor=identity_of(request).name,
            now=datetime.now(UTC),
        )
        return Response(_golden_json(row), status=201)


class GoldenOneView(APIView):
    """``/golden/{event_id}``: one golden signal."""

    permission_classes = [scope(Scope.OPS)]

    @extend_schema(
        operation_id="drop_golden",
        tags=["experiments"],
        summary="Have a signal judged daily no longer",
        responses={204: None},
    )
    def delete(self, request: Request, event_id: UUID) -> Response:
        actor = identity_of(request).name
        services.drop_golden(event_id=event_id, actor=actor, now=datetime.now(UTC))
        return Response(status=204)


class CanariesView(APIView):
    """``/canaries``: what models said of the golden signals."""

    permission_classes = [scope(Scope.DECISIONS_READ)]

    @extend_schema(
        operation_id="list_canaries",
        tags=["experiments"],
        summary="Show day by day whether models still say the same of the golden signals",
        responses=CanaryList,
    )
    def get(self, request: Request) -> Response:
        del request
        rows = queries.list_canaries(days=DAYS_SHOWN)
        return Response({"items": [_canary_json(row) for row in rows]})


class AcceptView(APIView):
    """``/canaries/{model}/accept``: hold later days to what a model says now."""

    permission_classes = [scope(Scope.OPS)]
    parser_classes = [StrictJson]

    @extend_schema(
        operation_id="accept_canary",
        tags=["experiments"],
        summary="Take what a model says since it drifted for its new custom",
        request=ReasonBody,
        responses=CanaryAnswer,
        examples=BECAUSE,
    )
    def post(self, request: Request, model: str) -> Response:
        row = services.accept_canary(
            model=model,
            actor=identity_of(request).name,
            why=parse_query(ReasonBody, _body(request)).reason,
            now=datetime.now(UTC),
        )
        return Response(_canary_json(row))


class AlertsView(APIView):
    """``/alerts``: what about the models needs a look."""

    permission_classes = [scope(Scope.DECISIONS_READ)]

    @extend_schema(
        operation_id="list_alerts",
        tags=["experiments"],
        summary="List what about the models needs a look",
        responses=AlertList,
    )
    def get(self, request: Request) -> Response:
        del request
        return Response({"items": [_alert_json(row) for row in queries.list_open_alerts()]})


class AcknowledgeView(APIView):
    """``/alerts/{id}/acknowledge``: somebody has seen it."""

    permission_classes = [scope(Scope.OPS)]
    parser_classes = [StrictJson]

    @extend_schema(
        operation_id="acknowledge_alert",
        tags=["experiments"],
        summary="Note that an alert was seen; it calls nobody any more and closes by itself",
        request=ReasonBody,
        responses=AlertAnswer,
        examples=BECAUSE,
    )
    def post(self, request: Request, alert_id: int) -> Response:
        row = services.acknowledge_alert(
            alert_id=alert_id,
            actor=identity_of(request).name,
            why=parse_query(ReasonBody, _body(request)).reason,
            now=datetime.now(UTC),
        )
        return Response(_alert_json(row))


def experiment_json(row: Experiment) -> dict[str, Any]:
    """Return one experiment as clients see it."""
    return {
        "name": row.name,
        "kind": row.kind,
        "champion": row.champion,
        "challenger": row.challenger,
        "prompt": f"{row.prompt_name} v{row.prompt_version}" if row.prompt_name else None,
        "share_pct": row.share_pct,
        "status": row.status,
        "expected": row.expected,
        "evidence": row.evidence,
        "created_at": time_text(row.created_at),
        "created_by": row.created_by,
        "ended_at": time_text(row.ended_at),
        "ended_by": row.ended_by,
        "why": row.why,
    }


def _golden_json(row: GoldenSignal) -> dict[str, Any]:
    return {
        "event_id": str(row.event_id),
        "note": row.note,
        "created_at": time_text(row.created_at),
        "created_by": row.created_by,
    }


def _canary_json(row: Canary) -> dict[str, Any]:
    return {"day": row.day.isoformat()} | {
        name: getattr(row, name) for name in CanaryAnswer.model_fields if name != "day"
    }


def _alert_json(row: Alert) -> dict[str, Any]:
    return {
        "id": row.pk,
        "kind": row.kind,
        "subject": row.subject,
        "message": row.message,
        "opened_at": time_text(row.opened_at),
        "acknowledged_at": time_text(row.acknowledged_at),
        "acknowledged_by": row.acknowledged_by,
        "why": row.why,
    }


def _end(act: Any, request: Request, name: str) -> Response:
    """Promote or stop, with the reason that the body gives."""
    row = act(
        name=name,
        actor=identity_of(request).name,
        why=parse_query(ReasonBody, _body(request)).reason,
        now=datetime.now(UTC),
    )
    return Response(experiment_json(row))


def _body(request: Request) -> dict[str, Any]:
    return request.data if isinstance(request.data, dict) else {}


urlpatterns = [
    path("experiments", ExperimentsView.as_view()),
    path("experiments/<str:name>", ExperimentView.as_view()),
    path("experiments/<str:name>/promote", PromoteView.as_view()),
    path("experiments/<str:name>/stop", StopView.as_view()),
    path("golden", GoldenView.as_view()),
    path("golden/<uuid:event_id>", GoldenOneView.as_view()),
    path("canaries", CanariesView.as_view()),
    path("canaries/<str:model>/accept", AcceptView.as_view()),
    path("alerts", AlertsView.as_view()),
    path("alerts/<int:alert_id>/acknowledge", AcknowledgeView.as_view()),
]
