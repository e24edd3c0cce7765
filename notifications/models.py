"""Where decisions are sent, what was sent, and what each attempt came to."""

from __future__ import annotations

from uuid import uuid4

from django.db import models
from django.db.models import Q

from decisions.models import Decision
from notifications.types import DeliveryStatus
from pipeline.sealing import SealedTextField


class Endpoint(models.Model):
    """An address of somebody's program that published decisions are sent to.

    Everything up to ``after_seq`` has been looked at. Until ``former_until`` the secret before the
    present one signs too, so that a receiver can change over.
    """

    id = models.UUIDField(primary_key=True, default=uuid4)
    name = models.CharField(max_length=100)
    url = models.CharField(max_length=500)
    judges = models.JSONField(default=list)
    only_follow = models.BooleanField(default=False)
    secret = SealedTextField()
    former_secret = SealedTextField(null=True)
    former_until = models.DateTimeField(null=True)
    is_active = models.BooleanField(default=True)
    off_reason = models.CharField(max_length=300, blank=True, default="")
    given_up_in_row = models.PositiveIntegerField(default=0)
    after_seq = models.PositiveBigIntegerField(default=0)
    created_at = models.DateTimeField()
    created_by = models.CharField(max_length=100)

    class Meta:
        permissions = [
            ("manage_endpoints", "Can make, change and switch endpoints"),
            ("resend", "Can have deliveries sent again"),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({'on' if self.is_active else 'off'})"


class Delivery(models.Model):
    """One decision for one endpoint; its body is what was decided on, byte by byte."""

    id = models.UUIDField(primary_key=True, default=uuid4)
    endpoint = models.ForeignKey(Endpoint, on_delete=models.CASCADE, db_index=False)
    decision = models.ForeignKey(Decision, null=True, on_delete=models.CASCADE)
    kind = models.CharField(max_length=32)
    body = models.TextField()
    status = models.CharField(max_length=9, choices=DeliveryStatus, default=DeliveryStatus.PENDING)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_at = models.DateTimeField()
    lease_until = models.DateTimeField(null=True)
    created_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name_plural = "deliveries"
        constraints = [
            models.UniqueConstraint(
                fields=["endpoint", "decision"], name="one_delivery_per_endpoint_and_decision"
            ),
        ]
        indexes = [
            models.Index(
                fields=["next_at"],
                name="pending_delivery",
                condition=Q(status=DeliveryStatus.PENDING),
            ),
            models.Index(fields=["endpoint", "-created_at", "-id"], name="delivery_by_endpoint"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} to {self.endpoint_id} ({self.status})"


class DeliveryAttempt(models.Model):
    """One sending of one delivery: what went out, and what came back."""

    delivery = models.ForeignKey(Delivery, on_delete=models.CASCADE, related_name="trail")
    number = models.PositiveSmallIntegerField()
    at = models.DateTimeField()
    duration_ms = models.FloatField()
    headers = models.JSONField()
    status = models.PositiveSmallIntegerField(null=True)
    answer = models.TextField(blank=True, default="")
    error = models.TextField(blank=True, default="")

    def __str__(self) -> str:
        return f"attempt {self.number} of {self.delivery_id}"
