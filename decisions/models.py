"""Follow or ignore: what is published to subscribers."""

from __future__ import annotations

from uuid import uuid4

from django.db import models
from django.db.models import Q

from decisions.types import JURY
from signals.models import Signal
from signals.types import Origin

FIRST_RULING = Q(model=JURY, origin=Origin.LIVE, run=1, revision=1)
LATER_RULING = Q(model=JURY, origin=Origin.LIVE) & (Q(run__gt=1) | Q(revision__gt=1))
"""The jury's first word on a live signal, and its words after that."""


class Decision(models.Model):
    """One model's, or the jury's, published advice on one signal; once numbered, never changed.

    What subscribers filter by is copied here from the signal, so that the feed reads one table.
    ``seq`` is given by the publisher in commit order and stays NULL for replays.
    """

    id = models.UUIDField(primary_key=True, default=uuid4)
    seq = models.PositiveBigIntegerField(null=True, unique=True)
    signal = models.ForeignKey(Signal, on_delete=models.CASCADE)
    event_id = models.UUIDField()
    run = models.PositiveSmallIntegerField()
    model = models.CharField(max_length=64)
    revision = models.PositiveSmallIntegerField(default=1)

    origin = models.CharField(max_length=6, choices=Origin)
    simulated = models.BooleanField(default=False)
    symbol = models.CharField(max_length=20)
    event_type = models.CharField(max_length=12)
    source = models.CharField(max_length=100)

    decision = models.CharField(max_length=12)
    confidence = models.FloatField()
    confidence_raw = models.FloatField()
    calibration = models.JSONField(null=True)
    entry_plan = models.JSONField(null=True)
    risk_plan = models.JSONField(null=True)
    size_pct = models.FloatField()
    reasons = models.JSONField()
    invalidation = models.TextField(null=True)  # noqa: DJ001  the contract shows null
    expires_at = models.DateTimeField(null=True)
    policy_adjustments = models.JSONField(default=list)
    model_meta = models.JSONField()
    jury = models.JSONField(null=True)
    economics = models.JSONField(null=True)

    evaluated_at = models.DateTimeField()
    published_at = models.DateTimeField(null=True)
    withheld = models.CharField(max_length=16, blank=True, default="")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["signal", "model", "run", "revision"],
                name="one_decision_per_model_run_revision",
            ),
        ]
        indexes = [
            models.Index(
                fields=["evaluated_at"],
                name="unpublished_decision",
                condition=Q(published_at=None, withheld=""),
            ),
            models.Index(
                fields=["-published_at", "-id"],
                name="replayed_decision_by_time",
                condition=Q(seq=None),
            ),
            models.Index(
                fields=["model", "symbol", "-evaluated_at"],
                name="followed_decision",
                condition=Q(decision__in=["FOLLOW_ENTER", "FOLLOW_EXIT"]),
            ),
            models.Index(fields=["event_id"], name="decision_by_event"),
            models.Index(fields=["symbol", "-seq"], name="decision_by_symbol"),
            models.Index(fields=["model", "-seq"], name="decision_by_model"),
            models.Index(
                fields=["model", "decision", "-signal", "confidence"], name="decision_by_word"
            ),
            models.Index(
                fields=["published_at", "model", "origin", "run", "revision", "decision"],
                name="first_ruling",
                condition=FIRST_RULING,
            ),
            models.Index(
                fields=["published_at", "model"], name="later_ruling", condition=LATER_RULING
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model} {self.decision} {self.symbol} (seq {self.seq})"


class PublicationHead(models.Model):
    """The last number given out; its one row is what publishers take turns at.

    From ``complete_from`` on every number is stored; before it, purges or a restore left holes.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    head = models.PositiveBigIntegerField(default=0)
    complete_from = models.PositiveBigIntegerField(default=1)

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(id=1), name="one_publication_head")]

    def __str__(self) -> str:
        return f"published up to {self.head}"


class ConfidenceMap(models.Model):
    """What one model's stated probability is worth by now; given to this room by those who score.

    ``source`` is empty for all sources together. ``knots`` are (stated, calibrated).
    """

    scope = models.CharField(max_length=43)
    model = models.CharField(max_length=64)
    prompt_version = models.CharField(max_length=64, blank=True, default="")
    source = models.CharField(max_length=100, blank=True, default="")
    version = models.PositiveIntegerField()
    n = models.PositiveIntegerField()
    knots = models.JSONField()
    installed_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["scope", "model", "prompt_version", "source"],
                name="one_confidence_map_in_force",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model} v{self.version} (n {self.n})"


class VoiceWeights(models.Model):
    """What each model's voice counts in the jury by now, with the reasons; one row a scope."""

    scope = models.CharField(max_length=43, primary_key=True)
    version = models.PositiveIntegerField()
    weights = models.JSONField()
    effective_models = models.FloatField(null=True)
    installed_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"weights v{self.version} of {self.scope}"
