"""The back office of the outcomes room: what came of signals, and what tries models out."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString

from outcomes import queries, services
from outcomes.models import (
    Alert,
    BiasAudit,
    CalibrationMap,
    Canary,
    Experiment,
    GoldenSignal,
    Outcome,
    Question,
    ScoreDay,
    WeightSet,
)
from outcomes.types import CanaryStatus, ExperimentStatus
from pipeline import browsing
from pipeline.browsing import Browsed, IndexedValues, ask, badge, reason_form, short_id
from pipeline.types import LensError

Act = Callable[..., object]


@admin.register(Question)
class QuestionAdmin(Browsed):
    """What is asked of the market for each signal and each decision; fixed and hashed."""

    list_display = ("shown_id", "shown_signal", "model", "symbol", "side", "basis", "asked_at")
    list_display_links = ("shown_id",)
    ordering = ("-asked_at",)
    search_ids = {"que": "id", "sig": "event_id"}
    search_help_text = "The beginning of an id (que_1a2b, sig_1a2b)"

    @admin.display(description="question")
    def shown_id(self, row: Question) -> str:
        return short_id("que", row.id)

    @admin.display(description="signal")
    def shown_signal(self, row: Question) -> str:
        return short_id("sig", row.event_id)


@admin.register(Outcome)
class OutcomeAdmin(Browsed):
    """How far each question has been followed, and what the market answered."""

    list_display = ("shown_id", "state", "symbol", "scope", "net_r", "seen_until", "known_at")
    list_display_links = ("shown_id",)
    list_select_related = ("question",)
    ordering = ("-question__asked_at",)
    search_ids = {"que": "question_id", "sig": "question__event_id"}
    search_help_text = "The beginning of an id (que_1a2b, sig_1a2b)"

    @admin.display(description="question")
    def shown_id(self, row: Outcome) -> str:
        return short_id("que", row.question_id)

    @admin.display(description="status")
    def state(self, row: Outcome) -> SafeString:
        return badge(row.resolution or row.status)


@admin.register(ScoreDay)
class ScoreDayAdmin(Browsed):
    """Sums of days, of which scoreboards are made; they outlive the signals."""

    list_display = ("day", "model", "variant", "source", "symbol", "regime", "n", "wins", "brier")
    list_filter = (("scope", IndexedValues),)
    ordering = ("-id",)


@admin.register(CalibrationMap)
class CalibrationMapAdmin(Browsed):
    """Versions of what a stated confidence is worth."""

    list_display = ("model", "prompt_version", "source", "version", "n", "is_active", "created_at")
    list_filter = ("is_active",)
    ordering = ("-id",)
    search_words = ("model", "source")


@admin.register(WeightSet)
class WeightSetAdmin(Browsed):
    """Versions of what each voice counts in the jury, and why."""

    list_display = ("scope", "version", "n", "effective_models", "is_active", "created_at")
    list_filter = ("is_active",)
    ordering = ("-id",)


class Tried(Browsed):
    """Rows about which something can be done, with a reason, from their list."""

    def _ask_and_do(
        self,
        request: HttpRequest,
        question: browsing.Question,
        act: Act,
        *,
        permission: str,
    ) -> HttpResponse:
        """Ask why, do it, and go back to the list; what cannot be done is told there."""
        if not request.user.has_perm(permission):
            raise PermissionDenied
        form = reason_form(request)
        if not form.is_valid():
            return ask(request, self.admin_site, question, form=form)
        try:
            act(
                actor=request.user.get_username(),
                why=form.cleaned_data["reason"][:200],
                now=datetime.now(UTC),
            )
        except LensError as refused:
            self.message_user(request, str(refused), messages.ERROR)
        else:
            self.message_user(request, f"{question.title}: done.", messages.SUCCESS)
        return HttpResponseRedirect(question.back)

    def _back(self) -> str:
        return reverse(f"admin:outcomes_{self.opts.model_name}_changelist")


def _chosen(request: HttpRequest, rows: QuerySet[Any], admin_: Tried) -> Any:
    """Return the one row that an action was chosen for; None, and a word, unless it is one."""
    found = list(rows[:2])
    if len(found) == 1:
        return found[0]
    admin_.message_user(request, "Choose exactly one.", messages.ERROR)
    return None


@admin.register(Experiment)
class ExperimentAdmin(Tried):
    """Challengers in the shadow: what was said beforehand, what they have shown."""

    list_display = ("name", "state", "champion", "challenger", "share_pct", "pairs", "created_at")
    list_filter = ("status",)
    ordering = ("-id",)
    search_words = ("name",)
    actions = ("promote", "stop")

    @admin.display(description="status", ordering="status")
    def state(self, row: Experiment) -> SafeString:
        is_open = row.status == ExperimentStatus.RUNNING
        return badge(row.evidence.get("standing", "OPEN") if is_open else row.status)

    @admin.display(description="pairs")
    def pairs(self, row: Experiment) -> int:
        return int(row.evidence.get("n", 0))

    def has_promote_permission(self, request: HttpRequest) -> bool:
        """Whether this person may put a challenger in force."""
        return request.user.has_perm("outcomes.promote_challenger")

    def has_stop_permission(self, request: HttpRequest) -> bool:
        """Whether this person may end experiments."""
        return request.user.has_perm("outcomes.experiment")

    @admin.action(description="Promote the challenger…", permissions=["promote"])
    def promote(self, request: HttpRequest, chosen: QuerySet[Any]) -> HttpResponse | None:
        """Lead to the page that asks before a challenger is put in force."""
        row = _chosen(request, chosen, self)
        return row and HttpResponseRedirect(reverse("admin:experiment_promote", args=[row.pk]))

    @admin.action(description="Stop…", permissions=["stop"])
    def stop(self, request: HttpRequest, chosen: QuerySet[Any]) -> HttpResponse | None:
        """Lead to the page that asks before an experiment is ended."""
        row = _chosen(request, chosen, self)
        return row and HttpResponseRedirect(reverse("admin:experiment_stop", args=[row.pk]))

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("<int:pk>/promote/", wrap(self.promote_one), name="experiment_promote"),
            path("<int:pk>/stop/", wrap(self.stop_one), name="experiment_stop"),
            *super().get_urls(),
        ]

    def promote_one(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Say what the evidence is, ask why, and put the challenger in force if it is proven."""
        row = self._seen(pk)
        question = browsing.Question(
            title=f"Promote {row.challenger}",
            told=[
                _evidence(row),
                f"{row.prompt_name} v{row.prompt_version} judges live signals from then on."
                if row.prompt_name
                else f"Name {row.challenger} in AI_MODELS and restart: then it decides.",
            ],
            submit="Promote",
            back=self._back(),
        )
        return self._ask_and_do(
            request,
            question,
            lambda **given: services.promote_challenger(name=row.name, **given),
            permission="outcomes.promote_challenger",
        )

    def stop_one(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Ask why, and leave the champion in force."""
        row = self._seen(pk)
        question = browsing.Question(
            title=f"Stop {row.name}",
            told=[_evidence(row), f"{row.champion} stays in force. What was shown is kept."],
            submit="Stop",
            is_dangerous=True,
            back=self._back(),
        )
        return self._ask_and_do(
            request,
            question,
            lambda **given: services.stop_experiment(name=row.name, **given),
            permission="outcomes.experiment",
        )

    @staticmethod
    def _seen(pk: int) -> Experiment:
        row = Experiment.objects.filter(pk=pk).first()
        if row is None:
            raise Http404
        return row


def _evidence(row: Experiment) -> str:
    found = row.evidence
    if not found.get("n"):
        return "No pair of decisions has come to an outcome yet."
    return (
        f"Over {found['n']} pairs {row.challenger} gains {found['mean_gain']:+.4f} in Brier score,"
        f" which lies between {found['low']:+.4f} and {found['high']:+.4f}: {found['standing']}."
    )


class GoldenForm(forms.ModelForm):  # type: ignore[type-arg]  # subscripted only when checked
    """A stored signal, and why it was chosen."""

    class Meta:
        model = GoldenSignal
        fields = ("event_id", "note")

    def clean_event_id(self) -> UUID:
        """Refuse in words what no model could judge."""
        event_id: UUID = self.cleaned_data["event_id"]
        if not queries.is_judged(event_id=event_id):
            raise forms.ValidationError("That signal is not here, or has no frozen facts.")
        return event_id


@admin.register(GoldenSignal)
class GoldenSignalAdmin(Browsed):
    """Signals that every model judges daily; no purge takes them."""

    form = GoldenForm
    list_display = ("shown_signal", "note", "created_by", "created_at")
    ordering = ("-id",)
    search_ids = {"sig": "event_id"}
    actions = ("drop",)

    @admin.display(description="signal")
    def shown_signal(self, row: GoldenSignal) -> str:
        return short_id("sig", row.event_id)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        del obj
        return self.has_drop_permission(request)

    def has_drop_permission(self, request: HttpRequest) -> bool:
        """Whether this person may choose golden signals."""
        return request.user.has_perm("outcomes.choose_golden")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        return ["event_id", "note"] if obj is None else super().get_fields(request, obj)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        return [] if obj is None else super().get_readonly_fields(request, obj)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        del form, change
        row = services.add_golden(
            event_id=obj.event_id,
            note=obj.note,
            actor=request.user.get_username(),
            now=datetime.now(UTC),
        )
        obj.pk, obj._state.adding = row.pk, False

    @admin.action(description="Drop: judge it daily no longer", permissions=["drop"])
    def drop(self, request: HttpRequest, chosen: QuerySet[GoldenSignal]) -> None:
        """Take the chosen signals out."""
        for row in chosen:
            services.drop_golden(
                event_id=row.event_id,
                actor=request.user.get_username(),
                now=datetime.now(UTC),
            )


@admin.register(Canary)
class CanaryAdmin(Tried):
    """What each model said of the golden signals, day by day."""

    list_display = ("day", "model", "state", "changed", "compared", "mean_p", "reason")
    list_filter = ("status",)
    ordering = ("-day", "model")
    search_words = ("model",)
    actions = ("accept",)

    @admin.display(description="status", ordering="status")
    def state(self, row: Canary) -> SafeString:
        return badge(row.status)

    def has_accept_permission(self, request: HttpRequest) -> bool:
        """Whether this person may accept what a model says now."""
        return request.user.has_perm("outcomes.choose_golden")

    @admin.action(description="Accept what it says now…", permissions=["accept"])
    def accept(self, request: HttpRequest, chosen: QuerySet[Any]) -> HttpResponse | None:
        """Lead to the page that asks before later days are held to a drift."""
        row = _chosen(request, chosen.filter(status=CanaryStatus.DRIFTED), self)
        return row and HttpResponseRedirect(reverse("admin:canary_accept", args=[row.model]))

    def get_urls(self) -> list[URLPattern]:
        accept = path("<str:model>/accept/", self.admin_site.admin_view(self.accept_one))
        accept.name = "canary_accept"
        return [accept, *super().get_urls()]

    def accept_one(self, request: HttpRequest, model: str) -> HttpResponse:
        """Ask why, and hold later days to what the model says now."""
        row = queries.latest_canary(model=model)
        if row is None:
            raise Http404
        question = browsing.Question(
            title=f"Accept what {model} says now",
            told=[f"On {row.day}: {row.reason}.", "Later days are held to that."],
            submit="Accept",
            back=self._back(),
        )
        return self._ask_and_do(
            request,
            question,
            lambda **given: services.accept_canary(model=model, **given),
            permission="outcomes.choose_golden",
        )


@admin.register(BiasAudit)
class BiasAuditAdmin(Browsed):
    """Cases told otherwise, and what changed in the answers."""

    list_display = ("model", "status", "cases", "created_by", "created_at", "ended_at")
    ordering = ("-created_at",)
    search_words = ("model",)


@admin.register(Alert)
class AlertAdmin(Tried):
    """What about the models needs a look; it closes when its matter is over."""

    list_display = ("kind", "subject", "state", "message", "opened_at", "acknowledged_by", "why")
    list_filter = ("kind", ("closed_at", admin.EmptyFieldListFilter))
    ordering = ("-id",)
    search_words = ("subject",)
    actions = ("acknowledge",)

    @admin.display(description="state")
    def state(self, row: Alert) -> SafeString:
        if row.closed_at is not None:
            return badge("closed")
        return badge("open" if row.acknowledged_at is None else "acknowledged")

    def has_acknowledge_permission(self, request: HttpRequest) -> bool:
        """Whether this person may acknowledge alerts."""
        return request.user.has_perm("outcomes.acknowledge_alert")

    @admin.action(description="Acknowledge…", permissions=["acknowledge"])
    def acknowledge(self, request: HttpRequest, chosen: QuerySet[Any]) -> HttpResponse | None:
        """Lead to the page that asks what somebody makes of an alert."""
        row = _chosen(request, chosen, self)
        return row and HttpResponseRedirect(reverse("admin:alert_acknowledge", args=[row.pk]))

    def get_urls(self) -> list[URLPattern]:
        acknowledge = path("<int:pk>/acknowledge/", self.admin_site.admin_view(self.see_one))
        acknowledge.name = "alert_acknowledge"
        return [acknowledge, *super().get_urls()]

    def see_one(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Ask what is made of an alert, and note it."""
        row = Alert.objects.filter(pk=pk).first()
        if row is None:
            raise Http404
        question = browsing.Question(
            title=f"Acknowledge {row.kind.lower()} of {row.subject}",
            told=[row.message, "It calls nobody any more, and closes when the matter is over."],
            submit="Acknowledge",
            back=self._back(),
        )
        return self._ask_and_do(
            request,
            question,
            lambda **given: services.acknowledge_alert(alert_id=row.pk, **given),
            permission="outcomes.acknowledge_alert",
        )
