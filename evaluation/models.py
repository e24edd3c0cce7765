"""What each model made of each signal."""

from __future__ import annotations

from uuid import uuid4

from django.db import models

from evaluation.types import AttemptStatus, EvaluationStatus
from signals.models import Signal


def _choices(words: type[EvaluationStatus] | type[AttemptStatus]) -> list[tuple[str, str]]:
    return [(str(word), str(word)) for word in words]


class Evaluation(models.Model):
    """One model's judgement of one run of one signal."""

    id = models.UUIDField(primary_key=True, default=uuid4)
    signal = models.ForeignKey(Signal, on_delete=models.CASCADE)
    run = models.PositiveSmallIntegerField()
    model = models.CharField(max_length=64)
    model_version = models.CharField(max_length=64, blank=True, default="")
    status = models.CharField(
        max_length=9, choices=_choices(EvaluationStatus), default=EvaluationStatus.PENDING
    )
    outcome = models.CharField(
        max_length=20, choices=_choices(AttemptStatus), blank=True, default=""
    )
    reason = models.TextField(blank=True, default="")
    verdict = models.JSONField(null=True)
    latency_ms = models.FloatField(null=True)
    created_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["signal", "model", "run"], name="one_evaluation_per_model_and_run"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model} on {self.signal_id} ({self.status})"


class Attempt(models.Model):
    """One call of a model; kept also when it failed, for that is what is paid for."""

    evaluation = models.ForeignKey(Evaluation, on_delete=models.CASCADE, related_name="attempts")
    number = models.PositiveSmallIntegerField()
    status = models.CharField(max_length=20, choices=_choices(AttemptStatus))
    started_at = models.DateTimeField()
    latency_ms = models.FloatField()
    error = models.TextField(blank=True, default="")
    model_requested = models.CharField(max_length=128, blank=True, default="")
    model_reported = models.CharField(max_length=128, blank=True, default="")
    request_id = models.CharField(max_length=128, blank=True, default="")
    parameters = models.JSONField(default=dict)
    prompt_version = models.CharField(max_length=64, blank=True, default="")
    prompt_sha256 = models.CharField(max_length=64, blank=True, default="")
    prompt = models.TextField(blank=True, default="")
    answer = models.TextField(blank=True, default="")
    tokens_in = models.PositiveIntegerField(null=True)
    tokens_cached = models.PositiveIntegerField(null=True)
    tokens_out = models.PositiveIntegerField(null=True)
    tokens_reasoning = models.PositiveIntegerField(null=True)
    cost_usd = models.DecimalField(max_digits=12, decimal_places=6, null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["evaluation", "number"], name="one_attempt_per_number"),
        ]

    def __str__(self) -> str:
        return f"attempt {self.number} of {self.evaluation_id} ({self.status})"
