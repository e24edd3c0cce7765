"""The HTTP door of evaluations: what a model was given, what it answered, what it cost."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from access.auth import identity_of, scope
from access.types import Scope
from evaluation import queries
from evaluation.serializers import EvaluationAnswer, evaluation_json
from pipeline.types import NotFound


class EvaluationView(APIView):
    """``/evaluations/{id}``: one model's judgement of one signal."""

    permission_classes = [scope(Scope.DECISIONS_READ)]

    @extend_schema(
        operation_id="get_evaluation",
        tags=["evaluations"],
        summary="One model's judgement of one signal, with every attempt",
        description="Prompts and raw answers are shown to keys with scope `ops` only.",
        responses=EvaluationAnswer,
    )
    def get(self, request: Request, evaluation_id: UUID) -> Response:
        evaluation = queries.get_evaluation(evaluation_id=evaluation_id)
        if evaluation is None:
            raise NotFound(f"there is no evaluation {evaluation_id}")
        shown: dict[str, Any] = evaluation_json(
            evaluation, with_texts=identity_of(request).allows(Scope.OPS)
        )
        return Response(shown)
