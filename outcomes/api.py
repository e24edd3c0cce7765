"""The HTTP door of outcomes and scores: what came of signals, and how models stand."""

from __future__ import annotations

from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from access.auth import scope
from access.types import Scope
from decisions.types import JURY
from outcomes import exporting, queries
from outcomes.serializers import (
    CoverageAnswer,
    ExportQuery,
    OutcomePage,
    OutcomeQuery,
    ReliabilityAnswer,
    ScoreboardAnswer,
    ScoresQuery,
    SourceCards,
    SourcesQuery,
    WindowQuery,
    bin_json,
    coverage_json,
    outcome_json,
    scoreboard_json,
)
from pipeline.parsing import parse_query
from pipeline.types import FieldError, InvalidRequest


class OutcomesView(APIView):
    """``/outcomes``: questions and what the market answered."""

    permission_classes = [scope(Scope.DECISIONS_READ)]

    @extend_schema(
        operation_id="list_outcomes",
        tags=["outcomes"],
        summary="List what came of signals, newest first",
        description="Each signal has a question that was fixed before its answer could be known:"
        " is the target reached before the stop, within the horizon? With `model` the list holds"
        " the questions of that model's own plans.",
        parameters=[OutcomeQuery],  # type: ignore[list-item]  # pydantic: unknown to the stubs
        responses=OutcomePage,
    )
    def get(self, request: Request) -> Response:
        query = parse_query(OutcomeQuery, request.query_params)
        found = queries.list_outcomes(
            scope=query.scope,
            model=query.model or "",
            filters=query.model_dump(
                include={"event_id", "source", "symbol", "status"}, exclude_none=True
            ),
            before=_place(query.cursor),
            limit=query.limit + 1,
        )
        page = found[: query.limit]
        cursor = queries.place_of(page[-1]) if len(found) > query.limit else None
        return Response({"items": [outcome_json(row) for row in page], "next_cursor": cursor})


class ScoresView(APIView):
    """``/scores``: the scoreboard."""

    permission_classes = [scope(Scope.DECISIONS_READ)]

    @extend_schema(
        operation_id="get_scores",
        tags=["outcomes"],
        summary="Show how models stand, with number and interval",
        description="Every figure is of decisions whose outcome is known. Intervals come from"
        " drawing whole days again. Baselines are judges that know nothing, on the same signals.",
        parameters=[ScoresQuery],  # type: ignore[list-item]  # pydantic: unknown to the stubs
        responses=ScoreboardAnswer,
    )
    def get(self, request: Request) -> Response:
        query = parse_query(ScoresQuery, request.query_params)
        board = queries.get_scoreboard(
            scope=query.scope,
            event_type=query.event_type,
            by=("model",) if query.by == "model" else ("model", query.by),
            since=query.since,
            until=query.until,
            filters=query.filters(),
        )
        marginal = queries.get_leave_one_out(scope=query.scope, event_type=query.event_type)
        return Response(scoreboard_json(board, marginal))


class ReliabilityView(APIView):
    """``/scores/reliability``: stated probability against what came true."""

    permission_classes = [scope(Scope.DECISIONS_READ)]

    @extend_schema(
        operation_id="get_reliability",
        tags=["outcomes"],
        summary="Show how often a model's probabilities came true",
        parameters=[WindowQuery],  # type: ignore[list-item]  # pydantic: unknown to the stubs
        responses=ReliabilityAnswer,
    )
    def get(self, request: Request) -> Response:
        query = parse_query(WindowQuery, request.query_params)
        if query.model is None:
            raise InvalidRequest(
                "model is missing", (FieldError("model", "missing", "must name a model"),)
            )
        bins = queries.get_reliability(_wanted(query), model=query.model)
        return Response({"model": query.model, "bins": [bin_json(each) for each in bins]})


class CoverageView(APIView):
    """``/scores/coverage``: how choosy to be."""

    permission_classes = [scope(Scope.DECISIONS_READ)]

    @extend_schema(
        operation_id="get_risk_coverage",
        tags=["outcomes"],
        summary="Show what following only from a probability on would have earned",
        description="Of one model, the jury if none is named, over the newest signals that a"
        " subscriber with these filters would have been sent.",
        parameters=[WindowQuery],  # type: ignore[list-item]  # pydantic: unknown to the stubs
        responses=CoverageAnswer,
    )
    def get(self, request: Request) -> Response:
        query = parse_query(WindowQuery, request.query_params)
        model = query.model or JURY
        found = queries.get_risk_coverage(_wanted(query), model=model)
        return Response(coverage_json(found, model=model))


class SourcesView(APIView):
    """``/scores/sources``: what sources are worth."""

    permission_classes = [scope(Scope.DECISIONS_READ)]

    @extend_schema(
        operation_id="get_source_cards",
        tags=["outcomes"],
        summary="Show what each source's signals have been worth, and whether chance would do",
        parameters=[SourcesQuery],  # type: ignore[list-item]  # pydantic: unknown to the stubs
        responses=SourceCards,
    )
    def get(self, request: Request) -> Response:
        query = parse_query(SourcesQuery, request.query_params)
        cards = queries.get_source_cards(scope=query.scope, event_type=query.event_type)
        return Response({"items": [card.as_json() for card in cards]})


class ExportView(APIView):
    """``/scores/export``: every scored decision."""

    permission_classes = [scope(Scope.DECISIONS_READ)]

    @extend_schema(
        operation_id="export_scores",
        tags=["outcomes"],
        summary="Take every scored decision away as CSV or Parquet",
        parameters=[ExportQuery],  # type: ignore[list-item]  # pydantic: unknown to the stubs
        responses={
            (200, "text/csv"): OpenApiResponse(OpenApiTypes.STR, "one line a decision"),
            (200, exporting.PARQUET): OpenApiResponse(OpenApiTypes.BINARY, "the same as columns"),
        },
    )
    def get(self, request: Request) -> HttpResponseBase:
        query = parse_query(ExportQuery, request.query_params)
        name = f'attachment; filename="scores.{query.file}"'
        if query.file == "parquet":
            body = exporting.as_parquet(_wanted(query))
            return HttpResponse(body, exporting.PARQUET, headers={"Content-Disposition": name})
        return StreamingHttpResponse(
            exporting.as_csv(_wanted(query)),
            content_type=exporting.CSV,
            headers={"Content-Disposition": name},
        )


def _wanted(query: WindowQuery) -> queries.Wanted:
    return queries.wanted(
        scope=query.scope,
        event_type=query.event_type,
        since=query.since,
        until=query.until,
        filters=query.filters(),
    )


def _place(cursor: str | None) -> queries.Place | None:
    try:
        return None if cursor is None else queries.read_place(cursor)
    except ValueError as error:
        text = "is not a cursor of this list; take it from next_cursor unchanged"
        raise InvalidRequest(text, (FieldError("cursor", "invalid", text),)) from error
