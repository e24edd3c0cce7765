"""The back office of the signals room: what came in, and stopping what is under way."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from pipeline.browsing import (
    Between,
    Browsed,
    IndexedValues,
    Question,
    ask,
    badge,
    reason_form,
    short_id,
)
from pipeline.types import InvalidRequest
from signals import services
from signals.models import Hold, Hook, HookRefusal, Replay, Signal
from signals.types import OPEN_STATUSES, SignalEnded

if TYPE_CHECKING:
    AnyForm = forms.ModelForm[Any]
else:
    AnyForm = forms.ModelForm

CANCELLED_AT_ONCE = 500


@admin.register(Signal)
class SignalAdmin(Browsed):
    """Signals as they were accepted, and where they stand."""

    list_display = (
        "shown_id",
        "state",
        "symbol",
        "event_type",
        "direction",
        "entry_price",
        "source",
        "origin",
        "received_at",
    )
    list_display_links = ("shown_id",)
    list_filter = (
        "status",
        ("symbol", IndexedValues),
        ("received_at", Between),
    )
    ordering = ("-id",)
    search_ids = {"sig": "event_id"}
    search_words = ("symbol", "source")
    search_help_text = "The beginning of an id (sig_1a2b or 1a2b), a symbol, or a whole source"
    change_form_template = "admin/signals/signal/change_form.html"
    actions = ("cancel",)

    @admin.display(description="signal", ordering="id")
    def shown_id(self, signal: Signal) -> str:
        return short_id("sig", signal.event_id)

    @admin.display(description="status", ordering="status")
    def state(self, signal: Signal) -> SafeString:
        return badge(signal.status)

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        """Whether this person may stop signals."""
        return request.user.has_perm("signals.cancel")

    @admin.action(description="Cancel", permissions=["cancel"])
    def cancel(self, request: HttpRequest, chosen: QuerySet[Signal]) -> HttpResponse | None:
        """Ask why, and stop those of the chosen signals that are under way."""
        rows = list(chosen.order_by("id")[: CANCELLED_AT_ONCE + 1])
        if len(rows) > CANCELLED_AT_ONCE:
            text = f"At most {CANCELLED_AT_ONCE} signals at a time."
            self.message_user(request, text, messages.ERROR)
            return None
        return self._cancel(request, rows, back=request.get_full_path())

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        cancel = path("<int:pk>/cancel/", wrap(self.cancel_one), name="signal_cancel")
        return [cancel, *super().get_urls()]

    def cancel_one(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Ask why, and stop one signal."""
        if not self.has_cancel_permission(request):
            raise PermissionDenied
        signal = Signal.objects.filter(pk=pk).first()
        if signal is None:
            raise Http404
        back = reverse("admin:signals_signal_change", args=[pk])
        return self._cancel(request, [signal], back=back)

    def _cancel(self, request: HttpRequest, rows: list[Signal], *, back: str) -> HttpResponse:
        form = reason_form(request)
        if form.is_valid():
            reason = form.cleaned_data["reason"]
            done = sum(self._stopped(request, signal, reason=reason) for signal in rows)
            text = f"{done} of {len(rows)} cancelled; the others had ended already."
            self.message_user(request, f"{done} cancelled." if done == len(rows) else text)
            return HttpResponseRedirect(back)
        under_way = sum(signal.status in OPEN_STATUSES for signal in rows)
        question = Question(
            title="Cancel signals",
            told=[
                f"{under_way} of {len(rows)} are under way and will be cancelled.",
                "Nothing more is judged or published of them. Cancelling cannot be undone.",
            ],
            submit=f"Cancel {under_way}",
            is_dangerous=True,
            back=back,
        )
        chosen = request.POST.getlist(ACTION_CHECKBOX_NAME)
        return ask(request, self.admin_site, question, form=form, chosen=chosen)

    @staticmethod
    def _stopped(request: HttpRequest, signal: Signal, *, reason: str) -> bool:
        try:
            services.cancel(
                event_id=signal.event_id,
                actor=request.user.get_username(),
                reason=reason,
                now=datetime.now(UTC),
            )
        except SignalEnded:
            return False
        return True

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Offer to cancel what is under way."""
        signal: Signal | None = kwargs.get("obj")
        under_way = signal is not None and signal.status in OPEN_STATUSES
        context["may_cancel"] = under_way and self.has_cancel_permission(request)
        answer: HttpResponse = super().render_change_form(request, context, *args, **kwargs)
        return answer


@admin.register(Replay)
class ReplayAdmin(Browsed):
    """Recordings that were run through the house."""

    list_display = ("id", "symbol", "every_s", "candles_path", "created_at")
    ordering = ("-created_at",)
    search_words = ("symbol",)


class HoldForm(AnyForm):
    """What is to be held, and why."""

    def clean(self) -> dict[str, Any]:
        """Refuse a hold on nothing in words."""
        given: dict[str, Any] = super().clean() or {}
        if not any(given.get(name) for name in ("event_id", "source", "symbol", "since", "until")):
            raise forms.ValidationError("A hold must name a signal, a source, a symbol or a time.")
        return given


@admin.register(Hold)
class HoldAdmin(Browsed):
    """Legal holds: what must not be purged, why, and until when somebody said so."""

    list_display = ("shown", "state", "reason", "placed_by", "placed_at", "lifted_by", "lifted_at")
    ordering = ("-id",)
    actions = ("lift",)
    form = HoldForm
    placed = ("event_id", "source", "symbol", "since", "until", "reason")

    @admin.display(description="hold")
    def shown(self, row: Hold) -> str:
        return str(row)

    @admin.display(description="state")
    def state(self, row: Hold) -> SafeString:
        return badge("in force" if row.lifted_at is None else "lifted")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        del obj
        return request.user.has_perm("signals.add_hold")

    def has_lift_permission(self, request: HttpRequest) -> bool:
        """Whether this person may lift holds."""
        return request.user.has_perm("signals.change_hold")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        return list(self.placed) if obj is None else super().get_fields(request, obj)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        return [] if obj is None else super().get_readonly_fields(request, obj)

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the form again, with what is wrong with a hold, above it."""
        try:
            return super().add_view(request, form_url, extra_context)
        except InvalidRequest as refused:
            self.message_user(request, str(refused), messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())

    def save_model(self, request: HttpRequest, obj: Hold, form: Any, change: bool) -> None:
        """Place a hold; one that stands is never changed, only lifted."""
        del form, change
        services.place_hold(hold=obj, actor=request.user.get_username(), now=datetime.now(UTC))

    @admin.action(description="Lift…", permissions=["lift"])
    def lift(self, request: HttpRequest, chosen: QuerySet[Hold]) -> HttpResponse | None:
        """Ask why, and let what the holds named be purged again."""
        form = reason_form(request)
        rows = list(chosen.filter(lifted_at=None))
        if form.is_valid():
            for hold in rows:
                services.lift_hold(
                    hold=hold,
                    actor=request.user.get_username(),
                    reason=form.cleaned_data["reason"],
                    now=datetime.now(UTC),
                )
            self.message_user(request, f"{len(rows)} lifted.")
            return None
        question = Question(
            title="Lift legal holds",
            told=[str(hold) for hold in rows],
            submit=f"Lift {len(rows)}",
            is_dangerous=True,
            back=request.get_full_path(),
        )
        ids = request.POST.getlist(ACTION_CHECKBOX_NAME)
        return ask(request, self.admin_site, question, form=form, chosen=ids)


@admin.register(Hook)
class HookAdmin(Browsed):
    """Webhooks; they are made on Connect and set on a page of their own, which tries a sample."""

    list_display = ("name", "state", "kind", "source", "hint", "last_used_at", "page")
    list_filter = ("is_active", "kind")
    ordering = ("name",)
    search_ids = {"hook": "id"}
    search_words = ("name", "source")
    search_help_text = "The beginning of an id, a whole name or a whole source"
    hidden = ("slug_sha256",)
    actions = ("switch_on", "switch_off")

    @admin.display(description="state", ordering="is_active")
    def state(self, hook: Hook) -> SafeString:
        return badge("on" if hook.is_active else "off")

    @admin.display(description="address ends in")
    def hint(self, hook: Hook) -> str:
        return f"…{hook.slug_hint}"

    @admin.display(description="mapping")
    def page(self, hook: Hook) -> SafeString:
        return format_html('<a href="/webhooks/{}">open and try it</a>', hook.pk)

    def has_manage_permission(self, request: HttpRequest) -> bool:
        """Whether this person may switch webhooks."""
        return request.user.has_perm("signals.manage_hooks")

    @admin.action(description="Switch on", permissions=["manage"])
    def switch_on(self, request: HttpRequest, chosen: QuerySet[Hook]) -> None:
        """Let the chosen webhooks take messages."""
        self._switch(request, chosen, is_active=True)

    @admin.action(description="Switch off", permissions=["manage"])
    def switch_off(self, request: HttpRequest, chosen: QuerySet[Hook]) -> None:
        """Let the chosen webhooks answer that they take no messages."""
        self._switch(request, chosen, is_active=False)

    def _switch(self, request: HttpRequest, chosen: QuerySet[Hook], *, is_active: bool) -> None:
        rows = list(chosen.exclude(is_active=is_active))
        for hook in rows:
            actor = f"user:{request.user.get_username()}"
            now = datetime.now(UTC)
            services.switch_hook(hook=hook, is_active=is_active, actor=actor, now=now)
        self.message_user(request, f"{len(rows)} switched {'on' if is_active else 'off'}.")


@admin.register(HookRefusal)
class HookRefusalAdmin(Browsed):
    """Messages to webhooks that were no signals, with the exact complaint."""

    list_display = ("at", "hook", "code", "complaint", "address")
    list_filter = (("hook", admin.RelatedOnlyFieldListFilter),)
    list_select_related = ("hook",)
    ordering = ("-id",)
    search_words = ("code",)
    search_help_text = "A whole code of a refusal"
