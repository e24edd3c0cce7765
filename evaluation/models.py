"""What each model made of each signal."""

from __future__ import annotations

from uuid import uuid4

from django.db import models
from django.db.models import Q

from evaluation.types import AttemptStatus, EvaluationKind, EvaluationStatus
from signals.models import Signal


def _choices(
    words: type[EvaluationStatus] | type[EvaluationKind] | type[AttemptStatus],
) -> list[tuple[str, str]]:
    return [(str(word), str(word)) for word in words]


class Evaluation(models.Model):
    """One model's judgement of one run of one signal."""

    id = models.UUIDField(primary_key=True, default=uuid4)
    signal = models.ForeignKey(Signal, on_delete=models.CASCADE)
    run = models.PositiveSmallIntegerField()
    kind = models.CharField(
        max_length=6, choices=_choices(EvaluationKind), default=EvaluationKind.LIVE
    )
    rerun = models.ForeignKey("Rerun", null=True, on_delete=models.CASCADE, db_index=False)
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
    grounding_score = models.FloatField(null=True)
    ungrounded = models.JSONField(default=list)
    reserved_usd = models.DecimalField(max_digits=18, decimal_places=10, null=True)
    reserved_on = models.DateField(null=True)
    cost_usd = models.DecimalField(max_digits=18, decimal_places=10, null=True)
    created_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["signal", "model", "run"],
                condition=Q(rerun=None),
                name="one_evaluation_per_model_and_run",
            ),
            models.UniqueConstraint(
                fields=["signal", "model", "rerun"],
                condition=Q(rerun__isnull=False),
                name="one_evaluation_per_model_and_rerun",
            ),
        ]
        indexes = [
            models.Index(fields=["model", "-finished_at"], name="evaluation_by_model"),
            models.Index(fields=["status", "outcome", "-signal"], name="evaluation_by_end"),
            models.Index(
                fields=["rerun"], name="evaluation_by_rerun", condition=Q(rerun__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model} on {self.signal_id} ({self.status})"


class Rerun(models.Model):
    """One judging again of stored cases under another model or prompt; never published."""

    id = models.UUIDField(primary_key=True, default=uuid4)
    model = models.CharField(max_length=64)
    prompt_name = models.CharField(max_length=64, blank=True, default="")
    prompt_version = models.PositiveIntegerField(null=True)
    variation = models.CharField(max_length=10, blank=True, default="")
    signals = models.PositiveIntegerField()
    estimate_usd = models.DecimalField(max_digits=18, decimal_places=10, null=True)
    created_at = models.DateTimeField()
    created_by = models.CharField(max_length=100)

    def __str__(self) -> str:
        return f"rerun of {self.signals} signals with {self.model}"


class PromptVersion(models.Model):
    """One version of a prompt; once a model was given it, it is never edited."""

    class Status(models.TextChoices):
        """What a version may be used for."""

        DRAFT = "DRAFT"
        ACTIVE = "ACTIVE"
        RETIRED = "RETIRED"

    name = models.CharField(max_length=64)
    version = models.PositiveIntegerField()
    system = models.TextField()
    user = models.TextField()
    sha256 = models.CharField(max_length=64)
    status = models.CharField(max_length=7, choices=Status, default=Status.DRAFT)
    used_at = models.DateTimeField(null=True)
    note = models.CharField(max_length=200, blank=True, default="")
    created_at = models.DateTimeField()
    created_by = models.CharField(max_length=100)

    class Meta:
        permissions = [("promote_prompt", "Can have live signals judged with a version")]
        constraints = [
            models.UniqueConstraint(fields=["name", "version"], name="one_prompt_per_version"),
            models.UniqueConstraint(
                fields=["name"], condition=Q(status="ACTIVE"), name="one_active_prompt_per_name"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} v{self.version} ({self.status})"


class ModelCard(models.Model):
    """What is known of one vendor's model; shipped as data, corrected by operators and probes."""

    provider = models.CharField(max_length=32)
    model_id = models.CharField(max_length=128)
    api = models.CharField(max_length=16)
    structured = models.CharField(max_length=16)
    supports_seed = models.BooleanField(default=False)
    supports_temperature = models.BooleanField(default=False)
    effort = models.CharField(max_length=16, blank=True, default="")
    context_tokens = models.PositiveIntegerField(null=True)
    output_tokens = models.PositiveIntegerField(null=True)
    knowledge_cutoff = models.CharField(max_length=10, blank=True, default="")
    retire_on = models.DateField(null=True)
    source = models.CharField(max_length=200, blank=True, default="")
    probed_at = models.DateTimeField(null=True)
    probe = models.JSONField(default=dict)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["provider", "model_id"], name="one_card_per_provider_and_model"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.provider} {self.model_id}"


class Price(models.Model):
    """What a model's tokens cost from a day on, in US dollars per million."""

    card = models.ForeignKey(ModelCard, on_delete=models.CASCADE, related_name="prices")
    valid_from = models.DateField()
    input_usd = models.DecimalField(max_digits=10, decimal_places=4)
    cached_usd = models.DecimalField(max_digits=10, decimal_places=4, null=True)
    cache_write_usd = models.DecimalField(max_digits=10, decimal_places=4, null=True)
    output_usd = models.DecimalField(max_digits=10, decimal_places=4)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["card", "valid_from"], name="one_price_per_day"),
        ]

    def __str__(self) -> str:
        return f"{self.input_usd} in, {self.output_usd} out from {self.valid_from}"


class ModelState(models.Model):
    """Whether one model (or all of them, under the name ``*``) may be asked, and its health."""

    name = models.CharField(max_length=64, primary_key=True)
    is_enabled = models.BooleanField(default=True)
    changed_by = models.CharField(max_length=100, blank=True, default="")
    why = models.CharField(max_length=200, blank=True, default="")
    changed_at = models.DateTimeField(null=True)
    faults_in_row = models.PositiveIntegerField(default=0)
    open_until = models.DateTimeField(null=True)
    last_fault = models.CharField(max_length=200, blank=True, default="")
    last_ok_at = models.DateTimeField(null=True)
    reported_model = models.CharField(max_length=128, blank=True, default="")

    class Meta:
        permissions = [("switch_model", "Can switch models on and off")]

    def __str__(self) -> str:
        return self.name


class Spend(models.Model):
    """What one model has cost on one day, what is reserved for calls under way included."""

    day = models.DateField()
    model = models.CharField(max_length=64)
    reserved_usd = models.DecimalField(max_digits=20, decimal_places=10, default=0)
    spent_usd = models.DecimalField(max_digits=20, decimal_places=10, default=0)
    calls = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["day", "model"], name="one_spend_per_day_and_model"),
        ]

    def __str__(self) -> str:
        return f"{self.model} on {self.day}: {self.spent_usd} USD"


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
    tokens_cache_write = models.PositiveIntegerField(null=True)
    tokens_out = models.PositiveIntegerField(null=True)
    tokens_reasoning = models.PositiveIntegerField(null=True)
    cost_usd = models.DecimalField(max_digits=18, decimal_places=10, null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["evaluation", "number"], name="one_attempt_per_number"),
        ]
        indexes = [
            models.Index(fields=["-id"], name="failed_attempt", condition=~Q(status="OK")),
        ]

    def __str__(self) -> str:
        return f"attempt {self.number} of {self.evaluation_id} ({self.status})"


class SourceRating(models.Model):
    """How often a source's signals won of late, as those who score them last told this room."""

    source = models.CharField(max_length=100)
    event_type = models.CharField(max_length=12)
    frac = models.FloatField()
    n = models.PositiveIntegerField()
    told_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["source", "event_type"], name="one_rate_per_source"),
        ]

    def __str__(self) -> str:
        return f"{self.source} {self.event_type}: {self.frac:.3f} of {self.n}"
