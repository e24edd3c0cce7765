"""Rows of the people who log in and of the programs that hold keys."""

from __future__ import annotations

import base64
from datetime import datetime

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.db.models import F, Q

from pipeline.sealing import SealedTextField


class User(AbstractUser):
    """A person who logs in to the pages; programs hold keys instead."""


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    """Keys, narrowed."""

    def live(self, *, now: datetime) -> ApiKeyQuerySet:
        """Keep the keys that open the door at ``now``."""
        not_expired = Q(expires_at__isnull=True) | Q(expires_at__gt=now)
        return self.filter(not_expired, revoked_at__isnull=True)


class ApiKey(models.Model):
    """One key of one program; its secret is kept only as an HMAC under a pepper."""

    id = models.CharField(primary_key=True, max_length=8, editable=False)
    name = models.CharField(max_length=100)
    owner = models.CharField(max_length=8, editable=False)
    secret_hmac = models.CharField(max_length=64, editable=False)
    pepper_version = models.PositiveSmallIntegerField(editable=False)
    scopes = models.JSONField(default=list)
    address_list = models.JSONField(default=list, blank=True)
    rate_per_min = models.PositiveIntegerField(null=True, blank=True)
    burst = models.PositiveIntegerField(null=True, blank=True)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    rotated_from = models.OneToOneField(
        "self", null=True, blank=True, on_delete=models.PROTECT, related_name="successor"
    )
    last_used_at = models.DateTimeField(null=True, blank=True)
    last_used_address = models.GenericIPAddressField(null=True, blank=True)
    last_listened_at = models.DateTimeField(null=True, blank=True)

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        verbose_name = "API key"
        permissions = [("manage_keys", "Can issue, rotate and revoke API keys")]
        constraints = [
            models.CheckConstraint(condition=~Q(name=""), name="access_key_has_name"),
            models.CheckConstraint(
                condition=Q(expires_at__isnull=True) | Q(expires_at__gte=F("created_at")),
                name="access_key_expires_after_creation",
            ),
            models.CheckConstraint(
                condition=Q(rate_per_min__isnull=True) | Q(rate_per_min__gte=1),
                name="access_key_rate_positive",
            ),
            models.CheckConstraint(
                condition=Q(burst__isnull=True) | Q(burst__gte=1),
                name="access_key_burst_positive",
            ),
            models.CheckConstraint(
                condition=Q(rotated_from__isnull=True) | ~Q(rotated_from=F("id")),
                name="access_key_not_its_own_origin",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.id})"


class SignInLink(models.Model):
    """A link that signs one person in once, soon after it was printed; kept as a digest."""

    token_sha256 = models.CharField(primary_key=True, max_length=64, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"link for {self.user_id} until {self.expires_at:%H:%M:%S}"


class SecondFactor(models.Model):
    """What a person proves themselves with beside the password: the secret of an app, sealed.

    ``mark`` is what a session keeps that has shown it: with another factor old sessions end.
    """

    user = models.OneToOneField(User, on_delete=models.CASCADE, related_name="second_factor")
    secret = SealedTextField(editable=False)
    mark = models.CharField(max_length=16, editable=False)
    last_step = models.BigIntegerField(default=-1, editable=False)
    failures = models.PositiveIntegerField(default=0, editable=False)
    failed_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField()
    confirmed_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"second factor of user {self.user_id}"

    @property
    def base32(self) -> str:
        """The secret as people type it into an app."""
        return base64.b32encode(bytes.fromhex(self.secret)).decode()


class RecoveryCode(models.Model):
    """One code that opens the door once when the app is lost; only its hash is kept."""

    factor = models.ForeignKey(SecondFactor, on_delete=models.CASCADE)
    digest = models.CharField(max_length=64, editable=False)
    used_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["factor", "digest"], name="one_recovery_code_each"),
        ]

    def __str__(self) -> str:
        return f"recovery code {self.pk}"
