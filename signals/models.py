"""The signals themselves."""

from __future__ import annotations

from uuid import uuid4

from django.db import models
from django.db.models import Q

from signals.types import (
    OPEN_STATUSES,
    Direction,
    EventType,
    HookKind,
    MuteKind,
    Origin,
    SignalStatus,
)


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
            models.Index(
                fields=["terminal_at", "id"],
                name="signal_by_end",
                condition=Q(terminal_at__isnull=False),
            ),
            models.Index(fields=["symbol", "-id"], name="signal_by_symbol"),
            models.Index(fields=["source", "-id"], name="signal_by_source"),
            models.Index(fields=["status", "-id"], name="signal_by_status"),
            models.Index(fields=["replay", "status"], name="signal_by_replay"),
            models.Index(
                fields=["received_at", "origin"],
                name="live_by_arrival",
                condition=Q(origin=Origin.LIVE),
            ),
            models.Index(
                fields=["received_at", "origin"],
                name="demo_by_arrival",
                condition=Q(origin=Origin.DEMO),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.symbol} {self.direction} {self.event_id}"


class Note(models.Model):
    """What a person wrote about a signal; it is never changed, and goes with the signal."""

    signal = models.ForeignKey(Signal, on_delete=models.CASCADE)
    text = models.TextField()
    author = models.CharField(max_length=100)
    at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.author} on {self.signal_id}"


class Mute(models.Model):
    """A source or a symbol that gives no notice, to one person or to all; judging goes on.

    ``person`` is empty for the whole desk, ``until`` for as long as nobody takes it off.
    """

    kind = models.CharField(max_length=6, choices=MuteKind)
    value = models.CharField(max_length=100)
    person = models.CharField(max_length=150, blank=True, default="")
    until = models.DateTimeField(null=True, blank=True)
    muted_by = models.CharField(max_length=100)
    muted_at = models.DateTimeField()

    class Meta:
        permissions = [("mute_desk", "Can mute sources and symbols for the whole desk")]
        constraints = [
            models.UniqueConstraint(
                fields=["kind", "value", "person"], name="one_mute_per_matter_and_person"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.value} for {self.person or 'everybody'}"


class Hook(models.Model):
    """An address for programs that cannot send what we ask for; its slug is a secret."""

    id = models.UUIDField(primary_key=True, default=uuid4, editable=False)
    name = models.CharField(max_length=100)
    kind = models.CharField(max_length=11, choices=HookKind)
    slug_sha256 = models.CharField(max_length=64, unique=True, editable=False)
    slug_hint = models.CharField(max_length=4, editable=False)
    owner = models.CharField(max_length=64, unique=True, editable=False)
    source = models.CharField(max_length=100)
    mapping = models.JSONField(default=dict)
    address_list = models.JSONField(default=list, blank=True)
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(editable=False)
    created_by = models.CharField(max_length=100, editable=False)
    last_used_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        verbose_name = "webhook"
        permissions = [("manage_hooks", "Can make, change and switch webhooks")]

    def __str__(self) -> str:
        return f"{self.name} ({self.kind}, …{self.slug_hint})"


class HookRefusal(models.Model):
    """A message that was no signal, kept for a while so that its sender can be set right."""

    hook = models.ForeignKey(Hook, on_delete=models.CASCADE, related_name="refusals")
    at = models.DateTimeField()
    address = models.GenericIPAddressField(null=True)
    content_type = models.CharField(max_length=100, blank=True, default="")
    body = models.TextField(blank=True, default="")
    code = models.CharField(max_length=32)
    complaint = models.TextField()
    faults = models.JSONField(default=list)

    class Meta:
        verbose_name = "refused message"
        indexes = [models.Index(fields=["hook", "-id"], name="refusal_by_hook")]

    def __str__(self) -> str:
        return f"{self.code} at {self.at:%Y-%m-%d %H:%M:%S}"


class DemoFeed(models.Model):
    """The demo signals of a fresh desk: how many there were, and whether more are wanted."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    started_at = models.DateTimeField()
    sent = models.PositiveIntegerField(default=0)
    next_at = models.DateTimeField()
    stopped_at = models.DateTimeField(null=True)
    stopped_by = models.CharField(max_length=100, blank=True, default="")
    dismissed_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(id=1), name="one_demo_feed")]

    def __str__(self) -> str:
        return f"demo feed, {self.sent} sent"


class SpentKey(models.Model):
    """An idempotency key that outlives its purged signal, so that it cannot make another soon."""

    owner = models.CharField(max_length=64)
    idempotency_key = models.CharField(max_length=255)
    body_sha256 = models.CharField(max_length=64, blank=True, default="")
    event_id = models.UUIDField()
    received_at = models.DateTimeField()
    until = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["owner", "idempotency_key"], name="one_spent_key_per_owner_and_key"
            ),
        ]
        indexes = [models.Index(fields=["until"], name="spent_key_by_end")]

    def __str__(self) -> str:
        return f"{self.idempotency_key} of {self.owner} until {self.until:%Y-%m-%d %H:%M}"


class Hold(models.Model):
    """A legal hold: signals that meet all that it names are not purged until it is lifted."""

    event_id = models.UUIDField(null=True, blank=True)
    source = models.CharField(max_length=100, blank=True, default="")
    symbol = models.CharField(max_length=20, blank=True, default="")
    since = models.DateTimeField(null=True, blank=True)
    until = models.DateTimeField(null=True, blank=True)
    reason = models.CharField(max_length=500)
    placed_by = models.CharField(max_length=100)
    placed_at = models.DateTimeField()
    lifted_by = models.CharField(max_length=100, blank=True, default="")
    lifted_at = models.DateTimeField(null=True, blank=True)
    lift_reason = models.CharField(max_length=500, blank=True, default="")

    class Meta:
        verbose_name = "legal hold"
        constraints = [
            models.CheckConstraint(
                condition=Q(event_id__isnull=False)
                | ~Q(source="")
                | ~Q(symbol="")
                | Q(since__isnull=False)
                | Q(until__isnull=False),
                name="hold_names_something",
            ),
        ]

    def __str__(self) -> str:
        named = [self.event_id, self.source, self.symbol]
        told = [str(part) for part in named if part]
        if self.since or self.until:
            told.append(f"{self.since or 'the beginning'} to {self.until or 'the end'}")
        return f"hold on {', '.join(told)}"
