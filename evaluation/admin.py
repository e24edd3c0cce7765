"""The back office of the evaluation room: prompts are written here, trails are only read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import PermissionDenied
from django.db.models import DecimalField, Field, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString

from evaluation import admission, authoring, cards, queries, rerunning, services
from evaluation.evaluators.base import LanguageModel
from evaluation.models import (
    Attempt,
    Evaluation,
    ModelCard,
    ModelState,
    Price,
    PromptVersion,
    Rerun,
    Spend,
)
from evaluation.prompting import BadPrompt, difference, prompt_text, render, text_of
from evaluation.queries import Selection
from evaluation.rerunning import Plan, RerunRefused
from evaluation.types import ALL_MODELS, AttemptStatus, EvaluationStatus
from pipeline.browsing import (
    Audited,
    Between,
    Browsed,
    IndexedValues,
    Question,
    ReadOnly,
    ask,
    badge,
    reason_form,
    short_id,
)

if TYPE_CHECKING:
    AnyAdmin = admin.ModelAdmin[Any]
    AnyInline = admin.TabularInline[Any, Any]
    AnyForm = forms.ModelForm[Any]
else:
    AnyAdmin, AnyInline, AnyForm = admin.ModelAdmin, admin.TabularInline, forms.ModelForm

FIRST_PROMPT = "judge"
RERUN_MAX = 500  # signals that one click has judged again
TEMPLATES = "admin/evaluation/promptversion"
DECISIONS = "decisions"
STRUCTURED = ("json_schema", "json_object", "none")


class PromptForm(AnyForm):
    """A draft; its texts keep the rules of prompts, or the form says which they break."""

    class Meta:
        model = PromptVersion
        fields = ("name", "system", "user", "note")

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or {}
        if {"system", "user"} <= set(given):
            try:
                prompt_text(
                    name=given.get("name", self.instance.name),
                    version=1,
                    system=given["system"],
                    user=given["user"],
                )
            except BadPrompt as error:
                self.add_error(error.part if error.part in self.fields else None, error.fault)
        return given


@admin.register(PromptVersion)
class PromptVersionAdmin(AnyAdmin):
    """Versions of prompts: a draft is written, compared, previewed and promoted."""

    form = PromptForm
    list_display = ("name", "version", "status", "used_at", "created_by", "created_at", "note")
    list_filter = ("name", "status")
    search_fields = ("name", "note", "sha256")
    ordering = ("name", "-version")
    actions = ("promote",)
    change_form_template = f"{TEMPLATES}/change_form.html"
    kept = ("name", "version", "status", "sha256", "used_at", "created_at", "created_by")

    def get_fields(self, request: HttpRequest, obj: PromptVersion | None = None) -> tuple[str, ...]:
        del request
        written = ("system", "user", "note")
        return ("name", *written) if obj is None else (*self.kept, *written)

    def get_readonly_fields(
        self, request: HttpRequest, obj: PromptVersion | None = None
    ) -> tuple[str, ...]:
        del request
        return () if obj is None else self.kept

    def has_change_permission(self, request: HttpRequest, obj: PromptVersion | None = None) -> bool:
        is_draft = obj is None or (obj.status == obj.Status.DRAFT and obj.used_at is None)
        return is_draft and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        del request, obj
        return False

    def has_promote_permission(self, request: HttpRequest) -> bool:
        """Whether this person may say what live signals are judged with."""
        return request.user.has_perm("evaluation.promote_prompt")

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Begin a draft with what the active version says."""
        given = super().get_changeform_initial_data(request)
        active = queries.get_active_prompt(name=str(given.get("name", FIRST_PROMPT)))
        if active is None:
            return given
        return {"name": active.name, "system": active.system, "user": active.user, **given}

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        written: dict[str, Any] = {
            **{name: form.cleaned_data[name] for name in ("system", "user", "note")},
            "actor": request.user.get_username(),
            "now": datetime.now(UTC),
        }
        if change:
            authoring.revise_draft(prompt=obj, **written)
            return
        row = authoring.add_prompt_version(name=form.cleaned_data["name"], **written)
        obj.pk, obj.version, obj.sha256 = row.pk, row.version, row.sha256
        obj._state.adding = False

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Tell who saves a draft that a model was given meanwhile, and change nothing."""
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except authoring.PromptRefused as error:
            self.message_user(request, str(error), messages.ERROR)
            return HttpResponseRedirect(request.path)

    @admin.action(
        description="Promote: judge live signals with this version", permissions=["promote"]
    )
    def promote(self, request: HttpRequest, queryset: QuerySet[PromptVersion]) -> None:
        """Make the one chosen version active."""
        chosen = list(queryset)
        if len(chosen) != 1:
            self.message_user(request, "Choose exactly one version.", messages.ERROR)
            return
        try:
            row = authoring.promote_prompt(
                name=chosen[0].name,
                version=chosen[0].version,
                actor=request.user.get_username(),
                now=datetime.now(UTC),
            )
        except authoring.PromptRefused as error:
            self.message_user(request, str(error), messages.ERROR)
            return
        self.message_user(request, f"{row} judges live signals from now on.", messages.SUCCESS)

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("<int:pk>/change/promote/", wrap(self.promote_one), name="prompt_promote"),
            path("<int:pk>/change/preview/", wrap(self.preview), name="prompt_preview"),
            path("<int:pk>/change/diff/", wrap(self.diff), name="prompt_diff"),
            *super().get_urls(),
        ]

    def promote_one(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Tell what promoting comes to, and do it once that is agreed to."""
        if not self.has_promote_permission(request):
            raise PermissionDenied
        prompt = self._seen(request, pk)
        active = queries.get_active_prompt(name=prompt.name)
        form = reason_form(request, forms.Form)
        if form.is_valid():
            self.promote(request, PromptVersion.objects.filter(pk=pk))
            return HttpResponseRedirect(reverse("admin:evaluation_promptversion_changelist"))
        vendors = [name for name, plug in settings.EVALUATORS.items() if "PROVIDER" in plug]
        models = [name for name in vendors if queries.prompt_name_of(model=name) == prompt.name]
        question = Question(
            title=f"Promote {prompt.name} v{prompt.version}",
            told=[
                f"It takes the place of {active or 'nothing'} for live signals.",
                f"It is the prompt of {', '.join(models) or 'no model that is wired'}.",
            ],
            submit="Promote",
            back="../",
        )
        return ask(request, self.admin_site, question, form=form)

    def preview(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Show what a model would be given for a recorded signal."""
        prompt = self._seen(request, pk)
        event_id = request.GET.get("event_id", "").strip()
        shown: dict[str, Any] = {"event_id": event_id}
        try:
            case = queries.latest_case(event_id=UUID(event_id) if event_id else None)
        except ValueError:
            shown["fault"] = "That is not an event_id."
        else:
            if case is None:
                shown["fault"] = "There is no such signal with facts."
            else:
                rendered = render(text_of(prompt), case=case, base_rate=None)
                shown |= {
                    "case": case,
                    "rendered": rendered,
                    "characters": len(rendered.system) + len(rendered.user),
                }
        return self._page(request, "preview", prompt, shown)

    def diff(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Show how a version differs from another of its name."""
        prompt = self._seen(request, pk)
        wanted = request.GET.get("against", "")
        against = (
            queries.get_prompt(name=prompt.name, version=int(wanted))
            if wanted.isascii() and wanted.isdigit() and len(wanted) < 10
            else queries.get_prompt_before(prompt=prompt)
        )
        versions = queries.list_prompt_versions(name=prompt.name)
        shown: dict[str, Any] = {
            "against": against,
            "others": [row for row in versions if row.pk != prompt.pk],
            "difference": difference(text_of(against), text_of(prompt)) if against else "",
        }
        return self._page(request, "diff", prompt, shown)

    def _seen(self, request: HttpRequest, pk: int) -> PromptVersion:
        prompt: PromptVersion | None = self.get_object(request, str(pk))
        if prompt is None:
            raise Http404
        if not self.has_view_permission(request, prompt):
            raise PermissionDenied
        return prompt

    def _page(
        self, request: HttpRequest, name: str, prompt: PromptVersion, shown: dict[str, Any]
    ) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": f"{name.capitalize()} of {prompt}",
            "prompt": prompt,
            **shown,
        }
        return TemplateResponse(request, f"{TEMPLATES}/{name}.html", context)


class NullsMayBeEmpty:
    """Leaves empty what is not known: unknown is no number. No amount is below nothing."""

    def formfield_for_dbfield(
        self, db_field: Field[Any, Any], request: HttpRequest, **kwargs: Any
    ) -> Any:
        if isinstance(db_field, DecimalField):
            kwargs |= {"min_value": 0, "widget": forms.NumberInput({"class": "vIntegerField"})}
        field = super().formfield_for_dbfield(db_field, request, **kwargs)  # type: ignore[misc]
        if field is not None and db_field.null:
            field.required = False
        return field


class ModelCardForm(AnyForm):
    """A card; a word that no adapter knows would silently mean less than was meant."""

    class Meta:
        model = ModelCard
        fields = "__all__"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        known = {
            "provider": sorted(cards.shipped()["defaults"]),
            "api": sorted({DECISIONS, *(each["api"] for each in _defaults())}),
            "structured": STRUCTURED,
        }
        for name, words in known.items():
            self.fields[name] = forms.ChoiceField(choices=[(word, word) for word in words])


def _defaults() -> Iterable[Mapping[str, Any]]:
    defaults: Mapping[str, Mapping[str, Any]] = cards.shipped()["defaults"]
    return defaults.values()


class PriceInline(NullsMayBeEmpty, AnyInline):
    """A model's prices beside its card."""

    model = Price
    extra = 0


@admin.register(ModelCard)
class ModelCardAdmin(NullsMayBeEmpty, Audited):
    """What is known of vendors' models; probes write it too."""

    form = ModelCardForm
    list_display = ("provider", "model_id", "api", "structured", "retire_on", "probed_at")
    list_filter = ("provider", "structured")
    search_fields = ("model_id",)
    ordering = ("provider", "model_id")
    readonly_fields = ("probed_at", "probe")
    inlines = (PriceInline,)


@admin.register(Price)
class PriceAdmin(NullsMayBeEmpty, Audited):
    """Prices by model and day; past days keep what was paid then."""

    list_display = (
        "card",
        "valid_from",
        "input_usd",
        "cached_usd",
        "cache_write_usd",
        "output_usd",
    )
    list_filter = ("card__provider",)
    list_select_related = ("card",)
    ordering = ("card", "-valid_from")


@admin.register(ModelState)
class ModelStateAdmin(Browsed):
    """Switches and health of the models; switching one, or all under ``*``, on and off."""

    def has_switch_permission(self, request: HttpRequest) -> bool:
        """Whether this person may switch models."""
        return request.user.has_perm("evaluation.switch_model")

    def get_urls(self) -> list[URLPattern]:
        switch = path("<str:name>/switch/", self.admin_site.admin_view(self.switch))
        switch.name = "model_switch"
        return [switch, *super().get_urls()]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show every model that is wired, also those that were never asked."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        known = admission.list_states()
        context = {
            **self.admin_site.each_context(request),
            **(extra_context or {}),
            "title": "Model states",
            "opts": self.opts,
            "states": [known.get(name) or ModelState(name=name) for name in self._names()],
            "may_switch": self.has_switch_permission(request),
            "now": datetime.now(UTC),
        }
        return TemplateResponse(request, "admin/evaluation/modelstate/change_list.html", context)

    def switch(self, request: HttpRequest, name: str) -> HttpResponse:
        """Ask why, and switch one model on or off."""
        if not self.has_switch_permission(request):
            raise PermissionDenied
        if name not in self._names():
            raise Http404
        state = admission.list_states().get(name)
        goes_on = state is not None and not state.is_enabled
        form, back = reason_form(request), reverse("admin:evaluation_modelstate_changelist")
        if form.is_valid():
            admission.switch(
                name=name,
                is_enabled=goes_on,
                actor=request.user.get_username(),
                why=form.cleaned_data["reason"],
                now=datetime.now(UTC),
            )
            return HttpResponseRedirect(back)
        verb = f"Switch {'all language models' if name == ALL_MODELS else name}"
        question = Question(
            title=f"{verb} {'on' if goes_on else 'off'}",
            told=[
                "It is asked again." if goes_on else "It abstains from now on, with your reason."
            ],
            submit=f"Switch {'on' if goes_on else 'off'}",
            is_dangerous=not goes_on,
            back=back,
        )
        return ask(request, self.admin_site, question, form=form)

    @staticmethod
    def _names() -> list[str]:
        known = services.evaluators().items()
        return [ALL_MODELS, *(name for name, each in known if isinstance(each, LanguageModel))]


@admin.register(Spend)
class SpendAdmin(Browsed):
    """What each model cost on each day."""

    list_display = ("day", "model", "spent_usd", "reserved_usd", "calls")
    list_filter = ("model",)
    ordering = ("-day", "model")


class AttemptInline(ReadOnly, AnyInline):
    """The calls of one evaluation; what was said in them is on the page of each."""

    model = Attempt
    extra = 0
    ordering = ("number",)
    show_change_link = True
    fields = (
        "number",
        "status",
        "started_at",
        "latency_ms",
        "model_reported",
        "tokens_in",
        "tokens_out",
        "cost_usd",
        "error",
    )


class RerunForm(forms.Form):
    """Which model judges again, and under which prompt."""

    model = forms.ChoiceField()
    prompt = forms.CharField(
        required=False,
        max_length=100,
        help_text="name or name@version; empty is the version in force of the model's own prompt",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        names = [(name, name) for name in services.evaluators()]
        self.fields["model"] = forms.ChoiceField(choices=names)


def _planned(event_ids: tuple[UUID, ...], given: Mapping[str, str]) -> Plan:
    return rerunning.plan_named(
        selection=Selection(event_ids=event_ids, limit=RERUN_MAX),
        evaluators=services.evaluators(),
        model=given["model"],
        prompt=given["prompt"],
        now=datetime.now(UTC),
    )


class CameTo(admin.SimpleListFilter):
    """Filters evaluations by their end, in words that one index knows."""

    title = "what it came to"
    parameter_name = "end"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the states, and every cause of an abstention."""
        del request, model_admin
        causes = [each for each in AttemptStatus if each != AttemptStatus.OK]
        return [
            *((str(each), str(each).capitalize()) for each in EvaluationStatus),
            *((f"{EvaluationStatus.ABSTAINED}.{each}", f"– {each}") for each in causes),
        ]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[Evaluation]
    ) -> QuerySet[Evaluation]:
        """Return the evaluations that ended so."""
        del request
        status, _, outcome = (self.value() or "").partition(".")
        if not status:
            return queryset
        rows = queryset.filter(status=status)
        return rows.filter(outcome=outcome) if outcome else rows


@admin.register(Evaluation)
class EvaluationAdmin(Browsed):
    """What models made of signals, the newest signal's first."""

    list_display = (
        "shown_id",
        "state",
        "model",
        "outcome",
        "signal",
        "kind",
        "latency_ms",
        "cost_usd",
        "created_at",
    )
    list_display_links = ("shown_id",)
    list_filter = (
        CameTo,
        ("model", IndexedValues),
        ("signal__received_at", Between),
    )
    list_select_related = ("signal",)
    ordering = ("-signal",)
    search_ids = {"eva": "id", "sig": "signal__event_id"}
    search_help_text = "The beginning of an id (eva_1a2b, sig_1a2b or 1a2b)"
    inlines = (AttemptInline,)
    actions = ("judge_again",)

    @admin.display(description="evaluation", ordering="signal")
    def shown_id(self, row: Evaluation) -> str:
        return short_id("eva", row.id)

    @admin.display(description="status", ordering="status")
    def state(self, row: Evaluation) -> SafeString:
        return badge(row.status)

    def has_rerun_permission(self, request: HttpRequest) -> bool:
        """Whether this person may have models asked again, which costs money."""
        return request.user.has_perm("evaluation.add_rerun")

    @admin.action(description="Judge these signals again", permissions=["rerun"])
    def judge_again(
        self, request: HttpRequest, chosen: QuerySet[Evaluation]
    ) -> HttpResponse | None:
        """Ask which model, show what it would cost, and begin once that is agreed to."""
        signals = chosen.order_by("signal").values_list("signal__event_id", flat=True).distinct()
        ids = tuple(signals[: RERUN_MAX + 1])
        if len(ids) > RERUN_MAX:
            text = f"at most {RERUN_MAX} signals at a time; ./lens reevaluate takes more"
            self.message_user(request, text, messages.ERROR)
            return None
        form = RerunForm(request.POST if "model" in request.POST else None)
        plan = None
        if form.is_valid():
            try:
                plan = _planned(ids, form.cleaned_data)
                if "agreed" in request.POST and request.POST.get("priced") == rerunning.mark_of(
                    plan=plan
                ):
                    rerun = rerunning.start_rerun(
                        plan=plan, actor=str(request.user), now=datetime.now(UTC)
                    )
                    return HttpResponseRedirect(f"/reruns/{rerun.id}")
            except RerunRefused as refused:
                form.add_error(None, str(refused))
        context = {
            **self.admin_site.each_context(request),
            "title": "Judge again",
            "form": form,
            "count": len(ids),
            "chosen": request.POST.getlist(ACTION_CHECKBOX_NAME),
            "across": request.POST.get("select_across", "0"),
            "told": rerunning.texts_of(plan=plan) if plan else (),
            "priced": rerunning.mark_of(plan=plan) if plan else "",
        }
        return TemplateResponse(request, "admin/evaluation/evaluation/judge_again.html", context)


@admin.register(Attempt)
class AttemptAdmin(Browsed):
    """Every call of a model, with what it was given and what came back."""

    list_display = (
        "id",
        "state",
        "model_requested",
        "shown_evaluation",
        "started_at",
        "latency_ms",
        "tokens_in",
        "tokens_out",
        "cost_usd",
    )
    list_filter = ("status", ("started_at", Between))
    ordering = ("-id",)
    search_ids = {"eva": "evaluation", "sig": "evaluation__signal__event_id"}
    search_help_text = "The beginning of an evaluation's or a signal's id (eva_1a2b, sig_1a2b)"

    @admin.display(description="status", ordering="status")
    def state(self, row: Attempt) -> SafeString:
        return badge(row.status)

    @admin.display(description="evaluation")
    def shown_evaluation(self, row: Attempt) -> str:
        return short_id("eva", row.evaluation_id)


@admin.register(Rerun)
class RerunAdmin(Browsed):
    """Judgings again of stored cases; each has a page that shows what differs."""

    def view_on_site(self, obj: Rerun) -> str:
        return f"/reruns/{obj.id}"

    list_display = ("id", "model", "prompt_name", "prompt_version", "signals", "created_at")
    list_filter = ("model", "prompt_name")
    ordering = ("-created_at",)
