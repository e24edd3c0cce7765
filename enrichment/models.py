"""The frozen facts around a signal, and the versioned rules they were gathered by."""

from __future__ import annotations

from django.db import models
from django.db.models import Q


class FeatureProfile(models.Model):
    """One version of a feature profile; a version is never edited, only followed by the next."""

    name = models.CharField(max_length=64)
    version = models.PositiveIntegerField()
    definition = models.JSONField()
    is_active = models.BooleanField(default=False)
    created_at = models.DateTimeField()
    created_by = models.CharField(max_length=100)

    class Meta:
        permissions = [("activate_rules", "Can put feature profiles and policies in force")]
        constraints = [
            models.UniqueConstraint(fields=["name", "version"], name="one_profile_per_version"),
            models.UniqueConstraint(
                fields=["name"], condition=Q(is_active=True), name="one_active_profile_per_name"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} v{self.version}"


class Policy(models.Model):
    """One version of the trading policy: the constraints that no model may exceed."""

    version = models.PositiveIntegerField(unique=True)
    definition = models.JSONField()
    is_active = models.BooleanField(default=False)
    created_at = models.DateTimeField()
    created_by = models.CharField(max_length=100)

    class Meta:
        verbose_name_plural = "policies"
        constraints = [
            models.UniqueConstraint(
                fields=["is_active"], condition=Q(is_active=True), name="one_active_policy"
            ),
        ]

    def __str__(self) -> str:
        return f"policy v{self.version}"


class Enrichment(models.Model):
    """What was known when a signal was judged; written once, never changed.

    ``payload`` is the exact text that language models are given; ``facts`` holds the wider
    numbers that quantitative models read. Both are frozen under their own hash.
    """

    event_id = models.UUIDField()
    run = models.PositiveSmallIntegerField()
    profile = models.CharField(max_length=64)
    profile_version = models.PositiveIntegerField()
    policy_version = models.PositiveIntegerField()
    provider = models.CharField(max_length=64)
    simulated = models.BooleanField(default=False)
    as_of = models.DateTimeField()
    payload = models.TextField()
    payload_sha256 = models.CharField(max_length=64)
    facts = models.JSONField()
    facts_sha256 = models.CharField(max_length=64)
    constraints = models.JSONField()
    quality_flags = models.JSONField()
    gates = models.JSONField()
    provenance = models.JSONField()
    duration_ms = models.PositiveIntegerField()
    provider_weight = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["event_id", "run"], name="one_enrichment_per_run"),
        ]
        indexes = [models.Index(fields=["profile", "-id"], name="enrichment_by_profile")]

    def __str__(self) -> str:
        return f"enrichment of {self.event_id} (run {self.run})"
