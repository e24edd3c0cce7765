"""The HTTP door of enrichments: the frozen facts that a signal was judged by."""

from __future__ import annotations

from uuid import UUID

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from access.auth import scope
from access.types import Scope
from enrichment import queries
from enrichment.serializers import EXAMPLE, EnrichmentAnswer, enrichment_json
from pipeline.types import NotFound


class EnrichmentView(APIView):
    """``/signals/{event_id}/enrichment``: what was known when the signal was judged."""

    permission_classes = [scope(Scope.SIGNALS_READ)]

    @extend_schema(
        operation_id="get_signal_enrichment",
        tags=["signals"],
        summary="The frozen facts that a signal was judged by, of its latest run",
        description="Also there for a signal that a gate refused, with what was known by then.",
        responses=EnrichmentAnswer,
        examples=[OpenApiExample("Facts around a long on BTC", value=EXAMPLE, response_only=True)],
    )
    def get(self, request: Request, event_id: UUID) -> Response:
        del request
        row = queries.get_enrichment(event_id=event_id)
        if row is None:
            raise NotFound(f"there is no enrichment of a signal {event_id}, or not yet")
        return Response(enrichment_json(row))
