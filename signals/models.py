"""The signals themselves."""

from __future__ import annotations

from uuid import uuid4

from django.db import models
from django.db.models import Q

from signals.types import OPEN_STATUSES, Direction, EventType, Origin, SignalStatus


class Replay(models.Model):
    """One run of recorded candles through the house; its signals are never pushed."""

    id = models.UUIDField(primary_key=True, default=uuid4)
    candles_path = models.TextField()
    candles_sha256 = models.CharField(max_length=64)
    symbol = models.CharField(max_length=20)
    every_s = models.PositiveIntegerField()
    created_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"replay of {self.symbol} every {self.every_s} s"


def _price(*, null: bool = False) -> models.DecimalField:  # type: ignore[type-arg]
    return models.DecimalField(max_digits=20, decimal_places=8, null=null)


class Signal(models.Model):
    """What a sender advises, as it was accepted."""

    event_id = models.UUIDField(unique=True, default=uuid4)
    run = models.PositiveSmallIntegerField(default=1)
    status = models.CharField(max_length=9, choices=SignalStatus, default=SignalStatus.ENQUEUED)
    reason = models.JSONField(default=dict)
    origin = models.CharField(max_length=6, choices=Origin, default=Origin.LIVE)
    replay = models.ForeignKey(Replay, null=True, on_delete=models.PROTECT)

    event_type = models.CharField(max_length=12, choices=EventType)
    symbol = models.CharField(max_length=20)
    symbol_given = models.CharField(max_length=20)
    direction = models.CharField(max_length=11, choices=Direction)
    entry_price = _price()
    size = _price()
    liquidation_price = _price(null=True)
    target_price = _price(null=True)
    stop_price = _price(null=True)
    ts_utc = models.DateTimeField()
    source = models.CharField(max_length=100)
    valid_for_s = models.PositiveIntegerField(null=True)
    timeframe = models.CharField(max_length=8, blank=True, default="")
    feature_profile = models.CharField(max_length=64, blank=True, default="")
    notes = models.TextField(blank=True, default="")
    context = models.JSONField(default=dict)

    owner = models.CharField(max_length=64)
    idempotency_key = models.CharField(max_length=255, null=True)  # noqa: DJ001  NULL: none given
    body_sha256 = models.CharField(max_length=64, blank=True, default="")
    received_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True)
    terminal_at = models.DateTimeField(null=True)

    class Meta:
        permissions = [("cancel", "Can cancel signals that are under way")]
        constraints = [
            models.UniqueConstraint(
                fields=["owner", "idempotency_key"], name="one_signal_per_owner_and_key"
            ),
            models.CheckConstraint(
                condition=Q(entry_price__gt=0) & Q(size__gt=0), name="price_and_size_positive"
            ),
        ]
        indexes = [
            models.Index(
                fields=["expires_at"],
                name="open_signal_by_expiry",
                condition=Q(status__in=list(OPEN_STATUSES)),
            ),
            models.Index(fields=["symbol", "-id"], name="signal_by_symbol"),
            models.Index(fields=["source", "-id"], name="signal_by_source"),
            models.Index(fields=["status", "-id"], name="signal_by_status"),
            models.Index(fields=["replay", "status"], name="signal_by_replay"),
        ]

    def __str__(self) -> str:
        return f"{self.symbol} {self.direction} {self.event_id}"
