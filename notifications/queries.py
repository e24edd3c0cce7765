"""Reading endpoints and what was sent to them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Count, QuerySet

from notifications.models import Delivery, DeliveryAttempt, Endpoint
from pipeline.types import Batch


def list_endpoints() -> list[Endpoint]:
    """Return every endpoint, by name."""
    return list(Endpoint.objects.order_by("name", "id"))


def get_endpoint(*, endpoint_id: UUID) -> Endpoint | None:
    """Return one endpoint."""
    return Endpoint.objects.filter(id=endpoint_id).first()


def list_deliveries(*, endpoint: Endpoint, before: datetime | None = None) -> QuerySet[Delivery]:
    """Select what was or is to be sent to an endpoint, newest first."""
    rows = Delivery.objects.filter(endpoint=endpoint)
    if before is not None:
        rows = rows.filter(created_at__lt=before)
    return rows.select_related("decision").order_by("-created_at", "-id")


def get_delivery(*, delivery_id: UUID) -> Delivery | None:
    """Return one delivery with its endpoint."""
    rows = Delivery.objects.select_related("endpoint", "decision")
    return rows.filter(id=delivery_id).first()


def list_attempts(*, delivery: Delivery) -> list[DeliveryAttempt]:
    """Return what each sending came to, newest first."""
    return list(DeliveryAttempt.objects.filter(delivery=delivery).order_by("-id"))


def count_pending() -> dict[UUID, int]:
    """Return how many deliveries wait, by endpoint."""
    rows = Delivery.objects.filter(status="PENDING").values_list("endpoint")
    return dict(rows.annotate(n=Count("id")).order_by())


def rows_to_purge(*, batch: Batch) -> list[QuerySet[Any]]:
    """Return what was sent about signals that are being purged."""
    mine = Delivery.objects.filter(decision__signal_id__in=batch.signals)
    return [DeliveryAttempt.objects.filter(delivery__in=mine), mine]


def leftovers(*, cutoff: datetime, now: datetime, limit: int) -> list[QuerySet[Any]]:
    """Return tests of endpoints that are past their time."""
    del now
    old = Delivery.objects.filter(decision=None, created_at__lt=cutoff)
    ids: Sequence[UUID] = list(old.values_list("id", flat=True)[:limit])
    return [
        DeliveryAttempt.objects.filter(delivery__in=ids),
        Delivery.objects.filter(id__in=ids),
    ]
