"""Questions that are fixed when a decision is made, what the market answered, and the scores.

Rows carry ids, never foreign keys into other rooms: scores outlive the signals they are of.
"""

from __future__ import annotations

from uuid import uuid4

from django.db import models
from django.db.models import Q

from outcomes.types import (
    DEFINITION,
    SCOPE_CHARS,
    AuditStatus,
    CanaryStatus,
    EntryRule,
    ExperimentKind,
    ExperimentStatus,
    LevelBasis,
    OutcomeStatus,
    Resolution,
)


def _price() -> models.DecimalField:  # type: ignore[type-arg]
    return models.DecimalField(max_digits=20, decimal_places=8, null=True)


class Question(models.Model):
    """Target before stop within the horizon, after costs: one for a signal, one for a decision.

    Written in the transaction that decides, hashed, and never changed. ``model`` is empty for the
    signal's own question, by which all models are scored; a decision's own follows its plan.
    Target and stop are empty only where nothing was known of the market by then; the tracker sets
    them, once, from candles that had closed at ``opens_at`` (basis ``CANDLES``).
    """

    id = models.UUIDField(primary_key=True, default=uuid4)
    scope = models.CharField(max_length=SCOPE_CHARS)
    event_id = models.UUIDField()
    run = models.PositiveSmallIntegerField()
    model = models.CharField(max_length=64, blank=True, default="")
    revision = models.PositiveSmallIntegerField(default=0)
    decision_id = models.UUIDField(null=True)
    decision = models.CharField(max_length=12, blank=True, default="")
    prompt_version = models.CharField(max_length=64, blank=True, default="")

    event_type = models.CharField(max_length=12)
    symbol = models.CharField(max_length=20)
    source = models.CharField(max_length=100)
    side = models.CharField(max_length=5)
    regime = models.CharField(max_length=16, blank=True, default="")
    market = models.CharField(max_length=64)
    replay_id = models.UUIDField(null=True)
    candle_s = models.PositiveIntegerField(default=60)

    asked_at = models.DateTimeField()
    opens_at = models.DateTimeField()
    entry_rule = models.CharField(max_length=6, choices=EntryRule)
    entry_price = models.DecimalField(max_digits=20, decimal_places=8)
    entry_within_s = models.PositiveIntegerField()
    horizon_s = models.PositiveIntegerField()
    target_price = _price()
    stop_price = _price()
    basis = models.CharField(max_length=7, choices=LevelBasis)
    atr = models.FloatField(null=True)
    costs = models.JSONField()
    definition = models.PositiveSmallIntegerField(default=DEFINITION)
    sha256 = models.CharField(max_length=64, blank=True, default="")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["event_id", "run", "model", "revision"], name="one_question_per_decision"
            ),
        ]
        indexes = [models.Index(fields=["asked_at"], name="question_by_time")]

    def __str__(self) -> str:
        return f"{self.model or 'signal'} on {self.event_id}: {self.side} {self.symbol}"


class Outcome(models.Model):
    """What the market answered to one question, and how far it has been followed until then.

    ``seen_until`` is the close of the last candle that was taken into account; ``known_at`` the
    market's time at which the answer was known, which is what decides whether a later decision
    could have learnt from it. Both are of the candles, ``resolved_at`` is of our clock.
    """

    question = models.OneToOneField(Question, primary_key=True, on_delete=models.CASCADE)
    scope = models.CharField(max_length=SCOPE_CHARS)
    market = models.CharField(max_length=64)
    symbol = models.CharField(max_length=20)
    status = models.CharField(max_length=12, choices=OutcomeStatus, default=OutcomeStatus.OPEN)
    opens_at = models.DateTimeField()
    seen_until = models.DateTimeField()
    waiting_since = models.DateTimeField(null=True)
    entered_at = models.DateTimeField(null=True)
    bars = models.PositiveIntegerField(default=0)

    resolution = models.CharField(max_length=10, choices=Resolution, blank=True, default="")
    won = models.BooleanField(null=True)
    ambiguous = models.BooleanField(default=False)
    gapped = models.BooleanField(default=False)
    exit_at = models.DateTimeField(null=True)
    exit_price = models.FloatField(null=True)
    known_at = models.DateTimeField(null=True)
    gross_r = models.FloatField(null=True)
    cost_r = models.FloatField(null=True)
    net_r = models.FloatField(null=True)
    mfe_r = models.FloatField(default=0.0)
    mae_r = models.FloatField(default=0.0)
    decay_r = models.JSONField(default=dict)
    control_r = models.JSONField(default=list)
    reason = models.CharField(max_length=200, blank=True, default="")
    resolved_at = models.DateTimeField(null=True)
    scored_at = models.DateTimeField(null=True)
    appraised_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(
                fields=["market", "symbol"],
                name="unappraised_outcome",
                condition=Q(status="RESOLVED", appraised_at=None),
            ),
            models.Index(
                fields=["market", "symbol", "seen_until"],
                name="open_outcome",
                condition=Q(status="OPEN"),
            ),
            models.Index(
                fields=["scope", "known_at"],
                name="unscored_outcome",
                condition=Q(status__in=["RESOLVED", "UNRESOLVABLE"], scored_at=None),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.question_id}: {self.resolution or self.status}"


class Score(models.Model):
    """What one model said of one signal beside what the market answered; abstentions included.

    ``p`` is how probable the model held it that following is right, as it was published
    (calibrated), ``p_raw`` as the model said it; both are empty where it abstained. Every model is
    scored by the signal's own question, so that scores of two models can be paired. ``variant`` is
    empty for what was published, else the experiment in whose shadow it was said.
    """

    scope = models.CharField(max_length=SCOPE_CHARS)
    event_id = models.UUIDField()
    run = models.PositiveSmallIntegerField()
    model = models.CharField(max_length=64)
    variant = models.CharField(max_length=64, blank=True, default="")
    prompt_version = models.CharField(max_length=64, blank=True, default="")
    source = models.CharField(max_length=100)
    symbol = models.CharField(max_length=20)
    regime = models.CharField(max_length=16, blank=True, default="")
    event_type = models.CharField(max_length=12)
    side = models.CharField(max_length=5)
    at = models.DateTimeField()
    day = models.DateField()
    known_at = models.DateTimeField()

    decision = models.CharField(max_length=12, blank=True, default="")
    followed = models.BooleanField(default=False)
    abstained = models.CharField(max_length=20, blank=True, default="")
    p_raw = models.FloatField(null=True)
    p = models.FloatField(null=True)
    bin = models.SmallIntegerField(null=True)
    calibration_version = models.PositiveIntegerField(null=True)
    base_rate = models.FloatField(null=True)
    won = models.BooleanField()
    net_r = models.FloatField()
    cost_usd = models.DecimalField(max_digits=18, decimal_places=10, null=True)
    latency_ms = models.FloatField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["event_id", "run", "model", "variant"], name="one_score_per_model"
            ),
        ]
        indexes = [
            models.Index(
                fields=["scope", "event_type", "model", "day", "bin", "won"], name="score_bins"
            ),
            models.Index(fields=["scope", "source", "model", "known_at"], name="score_by_source"),
        ]

    def __str__(self) -> str:
        return f"{self.model} on {self.event_id}: {self.p}"


class ScoreDay(models.Model):
    """Sums of one day's scores of one model, prompt, source, symbol and regime.

    Everything that a scoreboard shows is a quotient of such sums, and a day is the block by which
    its intervals are drawn. The model is empty for the signals themselves. Beside the row of each
    group stand one of the whole day (``ALL`` in place of what divides it) and one by each prompt,
    source, symbol and regime alone, with ``bins``: how often each probability was stated and how
    often it came true, by its thousandth.
    """

    scope = models.CharField(max_length=SCOPE_CHARS)
    model = models.CharField(max_length=64)
    variant = models.CharField(max_length=64, blank=True, default="")
    prompt_version = models.CharField(max_length=64, blank=True, default="")
    source = models.CharField(max_length=100)
    symbol = models.CharField(max_length=20)
    regime = models.CharField(max_length=16, blank=True, default="")
    event_type = models.CharField(max_length=12)
    day = models.DateField()

    asked = models.PositiveIntegerField(default=0)
    n = models.PositiveIntegerField(default=0)
    wins = models.PositiveIntegerField(default=0)
    followed = models.PositiveIntegerField(default=0)
    followed_wins = models.PositiveIntegerField(default=0)
    followed_r = models.FloatField(default=0.0)
    ignored_r = models.FloatField(default=0.0)
    plan_r = models.FloatField(default=0.0)
    plans = models.PositiveIntegerField(default=0)
    p = models.FloatField(default=0.0)
    brier = models.FloatField(default=0.0)
    brier_raw = models.FloatField(default=0.0)
    brier_base = models.FloatField(default=0.0)
    log_loss = models.FloatField(default=0.0)
    skill = models.FloatField(default=0.0)
    skill_sq = models.FloatField(default=0.0)
    cost_usd = models.DecimalField(max_digits=20, decimal_places=10, default=0)
    latency_ms = models.FloatField(default=0.0)
    bins = models.JSONField(default=dict)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=[
                    "scope",
                    "model",
                    "variant",
                    "prompt_version",
                    "source",
                    "symbol",
                    "regime",
                    "event_type",
                    "day",
                ],
                name="one_sum_per_day",
            ),
        ]
        indexes = [
            models.Index(fields=["scope", "day"], name="score_day_by_day"),
            models.Index(
                fields=["scope", "source", "symbol", "regime", "prompt_version", "day"],
                name="score_day_by_division",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model} on {self.day}: {self.n}"


class CalibrationMap(models.Model):
    """One version of what a stated confidence is worth, fitted on outcomes known before a moment.

    ``source`` is empty for the map of all sources together; ``knots`` are the points between
    which probabilities are mapped straight, empty for identity.
    """

    scope = models.CharField(max_length=SCOPE_CHARS)
    model = models.CharField(max_length=64)
    prompt_version = models.CharField(max_length=64, blank=True, default="")
    source = models.CharField(max_length=100, blank=True, default="")
    version = models.PositiveIntegerField()
    knots = models.JSONField()
    n = models.PositiveIntegerField()
    fitted_until = models.DateTimeField()
    is_active = models.BooleanField(default=False)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["scope", "model", "prompt_version", "source", "version"],
                name="one_map_per_version",
            ),
            models.UniqueConstraint(
                fields=["scope", "model", "prompt_version", "source"],
                condition=Q(is_active=True),
                name="one_active_map",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model} v{self.version} (n {self.n})"


class WeightSet(models.Model):
    """One version of what each model's voice counts in the jury, and why.

    ``weights`` holds for each model its weight, its number of scored decisions, its mean skill
    with its standard deviation, and the sentence that explains it.
    """

    scope = models.CharField(max_length=SCOPE_CHARS)
    version = models.PositiveIntegerField()
    weights = models.JSONField()
    correlations = models.JSONField(default=dict)
    effective_models = models.FloatField(null=True)
    n = models.PositiveIntegerField()
    fitted_until = models.DateTimeField()
    is_active = models.BooleanField(default=False)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["scope", "version"], name="one_weight_set_per_version"),
            models.UniqueConstraint(
                fields=["scope"], condition=Q(is_active=True), name="one_active_weight_set"
            ),
        ]

    def __str__(self) -> str:
        return f"weights v{self.version} of {self.scope} (n {self.n})"


class Experiment(models.Model):
    """A challenger that judges a sampled share of the signals in the shadow of the champion.

    ``expected`` keeps what was said beforehand about how many decisions it will take, ``evidence``
    the confidence sequence on the paired Brier difference as it stands.
    """

    name = models.CharField(max_length=64, unique=True)
    kind = models.CharField(max_length=6, choices=ExperimentKind)
    champion = models.CharField(max_length=64)
    challenger = models.CharField(max_length=64)
    prompt_name = models.CharField(max_length=64, blank=True, default="")
    prompt_version = models.PositiveIntegerField(null=True)
    rerun_id = models.UUIDField(null=True)
    share_pct = models.PositiveSmallIntegerField()
    alpha = models.FloatField(default=0.05)
    status = models.CharField(
        max_length=8, choices=ExperimentStatus, default=ExperimentStatus.RUNNING
    )
    expected = models.JSONField(default=dict)
    evidence = models.JSONField(default=dict)
    created_at = models.DateTimeField()
    created_by = models.CharField(max_length=100)
    ended_at = models.DateTimeField(null=True)
    ended_by = models.CharField(max_length=100, blank=True, default="")
    why = models.CharField(max_length=200, blank=True, default="")

    class Meta:
        permissions = [
            ("experiment", "Can have challengers judge beside, and stop them"),
            ("promote_challenger", "Can put a proven challenger in force"),
        ]

    def __str__(self) -> str:
        return f"{self.name}: {self.challenger} against {self.champion} ({self.status})"


class GoldenSignal(models.Model):
    """A stored case that every model judges daily, to see whether it still says the same."""

    event_id = models.UUIDField(unique=True)
    note = models.CharField(max_length=200, blank=True, default="")
    created_at = models.DateTimeField()
    created_by = models.CharField(max_length=100)

    class Meta:
        permissions = [
            ("choose_golden", "Can choose golden signals, and accept what a model says of them now")
        ]

    def __str__(self) -> str:
        return f"golden {self.event_id}"


class Canary(models.Model):
    """One model's answers to the golden signals on one day, beside those of the last steady day."""

    day = models.DateField()
    model = models.CharField(max_length=64)
    status = models.CharField(max_length=8, choices=CanaryStatus, default=CanaryStatus.ASKED)
    rerun_id = models.UUIDField()
    model_version = models.CharField(max_length=128, blank=True, default="")
    version_before = models.CharField(max_length=128, blank=True, default="")
    answers = models.JSONField(default=dict)
    compared = models.PositiveSmallIntegerField(default=0)
    changed = models.PositiveSmallIntegerField(default=0)
    mean_p = models.FloatField(null=True)
    mean_p_before = models.FloatField(null=True)
    reason = models.CharField(max_length=200, blank=True, default="")
    created_at = models.DateTimeField()
    judged_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name_plural = "canaries"
        constraints = [
            models.UniqueConstraint(fields=["day", "model"], name="one_canary_per_day_and_model"),
        ]

    def __str__(self) -> str:
        return f"{self.model} on {self.day}: {self.status}"


class BiasAudit(models.Model):
    """Stored cases judged as they are, mirrored, shuffled and paraphrased, and what changed."""

    id = models.UUIDField(primary_key=True, default=uuid4)
    model = models.CharField(max_length=64)
    status = models.CharField(max_length=5, choices=AuditStatus, default=AuditStatus.ASKED)
    cases = models.PositiveIntegerField()
    result = models.JSONField(default=dict)
    created_at = models.DateTimeField()
    created_by = models.CharField(max_length=100)
    ended_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"bias audit of {self.model} on {self.cases} cases ({self.status})"


class Alert(models.Model):
    """Something about the models that an operator should look at; one open row a matter.

    It closes when the matter is over. Until then somebody may acknowledge it: it stays in the list
    and calls nobody any more.
    """

    kind = models.CharField(max_length=32)
    subject = models.CharField(max_length=128)
    message = models.CharField(max_length=300)
    opened_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)
    closed_by = models.CharField(max_length=100, blank=True, default="")
    acknowledged_at = models.DateTimeField(null=True)
    acknowledged_by = models.CharField(max_length=100, blank=True, default="")
    why = models.CharField(max_length=200, blank=True, default="")

    class Meta:
        permissions = [("acknowledge_alert", "Can acknowledge alerts")]
        constraints = [
            models.UniqueConstraint(
                fields=["kind", "subject"],
                condition=Q(closed_at=None),
                name="one_open_alert_per_matter",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind}: {self.subject}"
