"""Rows of the conveyor. They carry ids, never foreign keys: the trail outlives what it tells of."""

from __future__ import annotations

from datetime import timedelta
from typing import Self
from uuid import uuid4

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from pipeline.types import LetterStatus, PurgeStatus, RunStatus, SwitchName

UNFINISHED = (RunStatus.PENDING, RunStatus.RUNNING)


class StageRuns(models.QuerySet["StageRun"]):
    """Selections of units of work, by the database's clock."""

    def unfinished(self) -> Self:
        return self.filter(status__in=UNFINISHED)

    def due(self, *, losses_max: int) -> Self:
        """Select what may be claimed: waiting and due, or left behind by a dead worker."""
        waiting = Q(status=RunStatus.PENDING, next_at__lte=Now())
        return self.filter(
            waiting | LEFT_BEHIND, ~_lost(losses_max), attempts__lt=F("attempts_max")
        )

    def suspect(self, *, losses_max: int) -> Self:
        """Select work that may be what kills its workers: one more death and it is buried."""
        return self.filter(_lost(losses_max - 1))

    def exhausted(self, *, losses_max: int) -> Self:
        """Select what no worker may claim again although nobody holds it."""
        return self.filter(
            Q(status=RunStatus.PENDING) | LEFT_BEHIND,
            Q(attempts__gte=F("attempts_max")) | _lost(losses_max),
        )


HELD_OR_COSTLY = Q(status=RunStatus.RUNNING) | Q(status=RunStatus.PENDING, losses__gt=0)
"""What may have cost a worker its life: few rows, beside all those that only wait."""

LEFT_BEHIND = Q(status=RunStatus.RUNNING, lease_until__lt=Now())


def _lost(times: int) -> Q:
    """Match work that has cost workers their lives so often, the present one included."""
    return Q(status=RunStatus.PENDING, losses__gte=times) | Q(
        status=RunStatus.RUNNING, losses__gte=times - 1
    )


class StageRun(models.Model):
    """One unit of work: a stage's duty towards one subject, claimed by lease and token."""

    stage = models.CharField(max_length=32)
    subject = models.UUIDField()
    trace = models.UUIDField()
    run = models.PositiveSmallIntegerField(default=1)
    status = models.CharField(max_length=8, choices=RunStatus, default=RunStatus.PENDING)
    attempts = models.PositiveSmallIntegerField(default=0)
    attempts_max = models.PositiveSmallIntegerField()
    losses = models.PositiveSmallIntegerField(default=0)
    token = models.PositiveIntegerField(default=0)
    next_at = models.DateTimeField(db_default=Now())
    lease_until = models.DateTimeField(null=True)
    worker = models.CharField(max_length=64, blank=True, default="")
    code = models.CharField(max_length=64, blank=True, default="")
    reason = models.TextField(blank=True, default="")
    request_id = models.CharField(max_length=64, blank=True, default="", db_default="")
    created_at = models.DateTimeField(db_default=Now())
    claimed_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    objects = StageRuns.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["stage", "subject", "run"], name="one_run_per_stage_and_subject"
            ),
        ]
        indexes = [
            models.Index(
                fields=["stage", "next_at"],
                name="unfinished_by_stage",
                condition=Q(status__in=[RunStatus.PENDING, RunStatus.RUNNING]),
            ),
            models.Index(fields=["stage"], name="held_or_costly_run", condition=HELD_OR_COSTLY),
            models.Index(fields=["trace"], name="run_by_trace"),
            models.Index(fields=["-id"], name="failed_run", condition=Q(status=RunStatus.FAILED)),
        ]

    def __str__(self) -> str:
        return f"{self.stage} of {self.subject} (run {self.run}, {self.status})"


class AuditEvent(models.Model):
    """One line of the append-only trail; a signal's timeline is its lines in order."""

    trace = models.UUIDField(null=True)
    run = models.PositiveSmallIntegerField(default=1)
    at = models.DateTimeField()
    verb = models.CharField(max_length=32)
    actor = models.CharField(max_length=100)
    object = models.CharField(max_length=100, blank=True, default="", db_default="")
    request_id = models.CharField(max_length=64, blank=True, default="", db_default="")
    details = models.JSONField(default=dict)

    class Meta:
        indexes = [
            models.Index(fields=["trace", "id"], name="audit_by_trace"),
            models.Index(fields=["object", "-id"], name="act_by_object", condition=~Q(object="")),
        ]

    def __str__(self) -> str:
        return f"{self.verb} by {self.actor} at {self.at:%Y-%m-%d %H:%M:%S}"


class Seal(models.Model):
    """A stretch of the trail that can no longer be changed unseen.

    ``lines`` holds id and hash of each line, in order; ``hash`` covers them and the seal before.
    Lines that are purged stay here as ids and hashes.
    """

    number = models.PositiveBigIntegerField(primary_key=True)
    previous = models.CharField(max_length=64)
    hash = models.CharField(max_length=64)
    sealed_at = models.DateTimeField()
    first_id = models.PositiveBigIntegerField()
    last_id = models.PositiveBigIntegerField()
    count = models.PositiveIntegerField()
    lines = models.BinaryField()

    class Meta:
        indexes = [models.Index(fields=["last_id"], name="seal_by_last_line")]

    def __str__(self) -> str:
        return f"seal {self.number} over {self.count} lines"


class Chain(models.Model):
    """Where sealing stands; its one row is what sealers take turns at.

    Every line up to ``settled_id`` is sealed, and no line with such an id can come any more.
    ``barrier`` names who was writing when ``barrier_id`` was the last line. Within a transaction
    that purges, lines up to ``removing_upto`` may be deleted.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    settled_id = models.PositiveBigIntegerField(default=0)
    barrier_id = models.PositiveBigIntegerField(default=0)
    barrier = models.JSONField(default=list)
    trimmed_number = models.PositiveBigIntegerField(default=0)
    removing_upto = models.PositiveBigIntegerField(default=0)
    verified_at = models.DateTimeField(null=True)
    verified_seals = models.PositiveBigIntegerField(default=0)
    findings = models.JSONField(default=list)

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(id=1), name="one_chain")]

    def __str__(self) -> str:
        return f"sealed up to line {self.settled_id}"


class Purge(models.Model):
    """One passage of removing what is past its time; ``place`` is how far it has come.

    What it removed is told in the trail, batch by batch, in the transactions that removed it.
    """

    status = models.CharField(max_length=8, choices=PurgeStatus, default=PurgeStatus.RUNNING)
    actor = models.CharField(max_length=100)
    cutoff = models.DateTimeField()
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)
    place_at = models.DateTimeField(null=True)
    place_id = models.PositiveBigIntegerField(default=0)
    removed = models.JSONField(default=dict)
    kept = models.JSONField(default=dict)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["status"], condition=Q(status="RUNNING"), name="one_purge_at_a_time"
            ),
        ]

    def __str__(self) -> str:
        return f"purge of what ended before {self.cutoff:%Y-%m-%d %H:%M:%S} ({self.status})"


class DeadLetter(models.Model):
    """Work that failed for good and waits for an operator."""

    id = models.UUIDField(primary_key=True, default=uuid4)
    trace = models.UUIDField()
    stage = models.CharField(max_length=32)
    subject = models.UUIDField()
    run = models.PositiveSmallIntegerField(default=1)
    status = models.CharField(max_length=8, choices=LetterStatus, default=LetterStatus.OPEN)
    code = models.CharField(max_length=64)
    reason = models.TextField()
    fingerprint = models.CharField(max_length=64)
    attempts = models.PositiveSmallIntegerField()
    retry_count = models.PositiveSmallIntegerField(default=0)
    created_at = models.DateTimeField()
    resolved_at = models.DateTimeField(null=True)
    resolved_by = models.CharField(max_length=100, blank=True, default="")
    note = models.TextField(blank=True, default="")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["stage", "subject"], name="one_letter_per_stage_and_subject"
            ),
        ]
        permissions = [("requeue", "Can have dead letters retried or resolved")]
        indexes = [
            models.Index(fields=["status", "-created_at"], name="letter_by_status"),
            models.Index(fields=["trace"], name="letter_by_trace"),
        ]

    def __str__(self) -> str:
        return f"{self.stage} of {self.subject}: {self.code} ({self.status})"


class Heartbeat(models.Model):
    """The last sign of life of one running program."""

    name = models.CharField(max_length=64, primary_key=True)
    kind = models.CharField(max_length=16)
    version = models.CharField(max_length=32)
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField()

    STALE_AFTER = timedelta(seconds=15)

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


class Switch(models.Model):
    """Whether one part of the house is halted, and who halted it, when and why."""

    name = models.CharField(max_length=16, primary_key=True, choices=SwitchName)
    is_paused = models.BooleanField(default=False)
    reason = models.CharField(max_length=500, blank=True, default="")
    actor = models.CharField(max_length=100, blank=True, default="")
    since = models.DateTimeField(null=True)

    class Meta:
        verbose_name_plural = "switches"
        permissions = [
            ("pause", "Can pause and resume intake and publishing"),
            ("purge", "Can purge old rows"),
        ]

    def __str__(self) -> str:
        return f"{self.name} {'paused' if self.is_paused else 'running'}"


class Meter(models.Model):
    """One series of a metric: how often, how much in all, and how often within which bound.

    It counts on when the rows that it was counted from are purged.
    """

    name = models.CharField(max_length=64)
    labels = models.CharField(max_length=300)
    count = models.PositiveBigIntegerField(default=0)
    total = models.FloatField(default=0)
    buckets = models.JSONField(default=list)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["name", "labels"], name="one_meter_per_series"),
        ]

    def __str__(self) -> str:
        return f"{self.name}{self.labels}"


class MeterPlace(models.Model):
    """How far one table has been counted; its row is what counting programs take turns at."""

    name = models.CharField(max_length=32, primary_key=True)
    upto = models.PositiveBigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.name} counted up to {self.upto}"
