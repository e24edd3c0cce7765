"""What crosses the notifications room: what an endpoint wants, how a delivery stands."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import TextChoices

DECISION, TEST = "decision.published", "test"
"""What a delivery tells of, as its body says it."""


class DeliveryStatus(TextChoices):
    """Where one delivery stands."""

    PENDING = "PENDING"
    DELIVERED = "DELIVERED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointDraft:
    """What somebody wants sent where."""

    name: str
    url: str
    judges: tuple[str, ...] = ()
    only_follow: bool = False
