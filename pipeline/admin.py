"""The back office of the conveyor: its work, its dead letters, its switches and programs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, date, datetime
from typing import Any

from asgiref.sync import sync_to_async
from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseRedirect,
    StreamingHttpResponse,
)
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString

from pipeline import exporting, queries, retention, services
from pipeline.browsing import (
    Between,
    Browsed,
    IndexedValues,
    Question,
    ReasonForm,
    ask,
    badge,
    reason_form,
    short_id,
)
from pipeline.models import AuditEvent, Chain, DeadLetter, Heartbeat, Purge, StageRun, Switch
from pipeline.types import REASON_MAX_CHARS, LetterStatus, RetryPreview, SwitchName
from pipeline.verifying import proof_of

LETTERS = "admin:pipeline_deadletter_changelist"
SWITCHES = "admin:pipeline_switch_changelist"
TRAIL = "admin:pipeline_auditevent_changelist"
PREVIEW_SIGNALS = 500


@admin.register(StageRun)
class StageRunAdmin(Browsed):
    """Units of work: what was done for each signal, by whom and with what end."""

    list_display = (
        "id",
        "stage",
        "state",
        "shown_trace",
        "run",
        "attempts",
        "losses",
        "worker",
        "code",
        "next_at",
        "finished_at",
    )
    list_filter = ("status", ("stage", IndexedValues), ("created_at", Between))
    ordering = ("-id",)
    search_ids = {"sig": "trace"}
    search_help_text = "The beginning of a signal's id (sig_1a2b or 1a2b)"
    change_list_template = "admin/pipeline/stagerun/change_list.html"

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Put how deep each stage is above the list: the queue, as the database knows it."""
        shown = {"depths": queries.list_depths(), **(extra_context or {})}
        return super().changelist_view(request, shown)

    @admin.display(description="status", ordering="status")
    def state(self, row: StageRun) -> SafeString:
        return badge(row.status)

    @admin.display(description="signal")
    def shown_trace(self, row: StageRun) -> str:
        return short_id("sig", row.trace)


class RetryForm(forms.Form):
    """Why dead letters are retried, if there is anything to say."""

    reason = forms.CharField(
        required=False,
        max_length=REASON_MAX_CHARS,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text="What was mended; the trail keeps it.",
    )


@admin.register(DeadLetter)
class DeadLetterAdmin(Browsed):
    """Work that failed for good: by what it died of, to be retried or closed with a note."""

    list_display = (
        "shown_id",
        "state",
        "stage",
        "code",
        "reason",
        "shown_trace",
        "attempts",
        "retry_count",
        "created_at",
    )
    list_display_links = ("shown_id",)
    list_filter = ("status", "stage", ("created_at", Between))
    ordering = ("-created_at",)
    search_ids = {"dlq": "id", "sig": "trace"}
    search_words = ("fingerprint", "code")
    search_help_text = "The beginning of an id (dlq_1a2b, sig_1a2b), a code, or a fingerprint"
    change_list_template = "admin/pipeline/deadletter/change_list.html"
    change_form_template = "admin/pipeline/deadletter/change_form.html"
    actions = ("retry", "resolve")

    @admin.display(description="letter", ordering="created_at")
    def shown_id(self, row: DeadLetter) -> str:
        return short_id("dlq", row.id)

    @admin.display(description="status", ordering="status")
    def state(self, row: DeadLetter) -> SafeString:
        return badge(row.status)

    @admin.display(description="signal")
    def shown_trace(self, row: DeadLetter) -> str:
        return short_id("sig", row.trace)

    def has_requeue_permission(self, request: HttpRequest) -> bool:
        """Whether this person may have dead letters retried or closed."""
        return request.user.has_perm("pipeline.requeue")

    @admin.action(description="Retry", permissions=["requeue"])
    def retry(self, request: HttpRequest, chosen: QuerySet[DeadLetter]) -> HttpResponse:
        """Show what a retry comes to, and begin once that is agreed to."""
        return self._retry(request, chosen)

    @admin.action(description="Resolve with a note", permissions=["requeue"])
    def resolve(self, request: HttpRequest, chosen: QuerySet[DeadLetter]) -> HttpResponse:
        """Ask for a note, and close the letters."""
        return self._resolve(request, chosen)

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("groups/<slug:mark>/retry/", wrap(self.retry_group), name="letters_retry"),
            path("groups/<slug:mark>/resolve/", wrap(self.resolve_group), name="letters_resolve"),
            path("<uuid:pk>/retry/", wrap(self.retry_one), name="letter_retry"),
            path("<uuid:pk>/resolve/", wrap(self.resolve_one), name="letter_resolve"),
            *super().get_urls(),
        ]

    def retry_group(self, request: HttpRequest, mark: str) -> HttpResponse:
        """Retry the open letters that died of the same."""
        return self._retry(request, self._named(request, fingerprint=mark))

    def resolve_group(self, request: HttpRequest, mark: str) -> HttpResponse:
        """Close the open letters that died of the same."""
        return self._resolve(request, self._named(request, fingerprint=mark, status="OPEN"))

    def retry_one(self, request: HttpRequest, pk: Any) -> HttpResponse:
        """Retry one letter."""
        return self._retry(request, self._named(request, id=pk))

    def resolve_one(self, request: HttpRequest, pk: Any) -> HttpResponse:
        """Close one letter."""
        return self._resolve(request, self._named(request, id=pk))

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Put what open letters have in common above the list of them."""
        now = datetime.now(UTC)
        groups = [
            {"group": each, "happening": each.is_still_happening(now=now)}
            for each in queries.group_letters()
        ]
        shown = {"groups": groups, "may_requeue": self.has_requeue_permission(request)}
        return super().changelist_view(request, {**(extra_context or {}), **shown})

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Offer to retry or close what is not closed."""
        letter: DeadLetter | None = kwargs.get("obj")
        context["may_requeue"] = letter is not None and self.has_requeue_permission(request)
        context["letter"] = letter
        answer: HttpResponse = super().render_change_form(request, context, *args, **kwargs)
        return answer

    def _named(self, request: HttpRequest, **wanted: Any) -> QuerySet[DeadLetter]:
        if not self.has_requeue_permission(request):
            raise PermissionDenied
        rows = queries.list_dead_letters(filters=wanted)
        if not rows.exists():
            raise Http404
        return rows

    def _retry(self, request: HttpRequest, letters: QuerySet[DeadLetter]) -> HttpResponse:
        form, now = reason_form(request, RetryForm), datetime.now(UTC)
        back = reverse(LETTERS)
        if form.is_valid():
            done = services.retry_letters(
                letters=letters,
                actor=request.user.get_username(),
                now=now,
                reason=form.cleaned_data["reason"],
            )
            text = f"{done} retried." if done else "None of them was open any more."
            self.message_user(request, text, messages.SUCCESS if done else messages.WARNING)
            return HttpResponseRedirect(back)
        told = services.preview_retry(letters=letters, now=now)
        question = Question(
            title="Retry dead letters",
            told=_sentences(told),
            warned=_warnings(told),
            submit=f"Retry {told.letters}",
            back=back,
        )
        return self._asked(request, question, form)

    def _resolve(self, request: HttpRequest, letters: QuerySet[DeadLetter]) -> HttpResponse:
        form, back = reason_form(request, ReasonForm), reverse(LETTERS)
        if form.is_valid():
            done = services.resolve_letters(
                letters=letters,
                actor=request.user.get_username(),
                note=form.cleaned_data["reason"],
                at=datetime.now(UTC),
            )
            self.message_user(request, f"{done} resolved.", messages.SUCCESS)
            return HttpResponseRedirect(back)
        count = letters.exclude(status=LetterStatus.RESOLVED).count()
        question = Question(
            title="Resolve dead letters",
            told=[f"{count} will be closed without being run again.", "The note stays with them."],
            submit=f"Resolve {count}",
            is_dangerous=True,
            back=back,
        )
        return self._asked(request, question, form)

    def _asked(self, request: HttpRequest, question: Question, form: forms.Form) -> HttpResponse:
        chosen = request.POST.getlist(ACTION_CHECKBOX_NAME)
        return ask(request, self.admin_site, question, form=form, chosen=chosen)


def _sentences(told: RetryPreview) -> Sequence[str]:
    lines = [f"{told.letters} are open and will be run again, the oldest first."]
    if told.left:
        lines.append(f"{told.left} more are left for another time: one retry takes up so many.")
    if told.not_open:
        lines.append(f"{told.not_open} are not open and are left alone.")
    unpriced = ", ".join(told.cost.unpriced)
    cost = f"Asking the models again will cost about ${told.cost.usd:.4f}, by their latest costs"
    if not told.cost.usd and not unpriced:
        return [*lines, "Asking the models again costs nothing: they calculate here."]
    lines.append(f"{cost}; what {unpriced} will cost is not known." if unpriced else f"{cost}.")
    return lines


def _warnings(told: RetryPreview) -> Sequence[str]:
    if not told.stale:
        return ()
    return (
        f"{told.stale} of them are stale: the validity of their signals has passed. Retried, they"
        " end as EXPIRED and no model is asked.",
    )


@admin.register(Switch)
class SwitchAdmin(Browsed):
    """What is halted, by whom and why; halting and resuming."""

    change_list_template = "admin/pipeline/switch/change_list.html"

    def has_pause_permission(self, request: HttpRequest) -> bool:
        """Whether this person may halt and resume."""
        return request.user.has_perm("pipeline.pause")

    def get_urls(self) -> list[URLPattern]:
        throw = path("<slug:name>/throw/", self.admin_site.admin_view(self.throw))
        throw.name = "switch_throw"
        return [throw, *super().get_urls()]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show every switch, also those that nobody has ever thrown."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        context = {
            **self.admin_site.each_context(request),
            **(extra_context or {}),
            "title": "Switches",
            "opts": self.opts,
            "switches": queries.list_switches(),
            "may_pause": self.has_pause_permission(request),
        }
        return TemplateResponse(request, "admin/pipeline/switch/change_list.html", context)

    def throw(self, request: HttpRequest, name: str) -> HttpResponse:
        """Ask why, and pause or resume."""
        if not self.has_pause_permission(request):
            raise PermissionDenied
        if name not in SwitchName.values:
            raise Http404
        form, halted = reason_form(request), queries.is_paused(name)
        if form.is_valid():
            act = services.resume if halted else services.pause
            act(
                name=name,
                actor=request.user.get_username(),
                reason=form.cleaned_data["reason"],
                now=datetime.now(UTC),
            )
            return HttpResponseRedirect(reverse(SWITCHES))
        question = Question(
            title=f"{'Resume' if halted else 'Pause'} {name}",
            told=[SwitchName(name).label],
            submit="Resume" if halted else "Pause",
            is_dangerous=not halted,
            back=reverse(SWITCHES),
        )
        return ask(request, self.admin_site, question, form=form)


@admin.register(Heartbeat)
class HeartbeatAdmin(Browsed):
    """Programs that report: workers and conductors."""

    list_display = ("name", "kind", "state", "version", "started_at", "seen_at")
    list_filter = ("kind",)
    ordering = ("kind", "name")
    search_words = ("name",)

    @admin.display(description="state")
    def state(self, row: Heartbeat) -> SafeString:
        alive = datetime.now(UTC) - row.seen_at < Heartbeat.STALE_AFTER
        return badge("running" if alive else "silent")


@admin.register(AuditEvent)
class AuditEventAdmin(Browsed):
    """The trail: who did what to what, from what to what, and whether it is what was sealed."""

    list_display = ("id", "at", "verb", "actor", "object", "shown_trace", "request_id")
    list_filter = (("at", Between),)
    ordering = ("-id",)
    search_ids = {"sig": "trace"}
    search_words = ("object",)
    search_help_text = "The beginning of a signal's id (sig_1a2b), or a whole object (key:1a2b3c4d)"
    change_list_template = "admin/pipeline/auditevent/change_list.html"

    @admin.display(description="signal")
    def shown_trace(self, row: AuditEvent) -> str:
        return "" if row.trace is None else short_id("sig", row.trace)

    @admin.display(description="proof")
    def proof(self, row: AuditEvent) -> SafeString:
        """Compare the line with the seal that holds it, now."""
        number, state = proof_of(row)
        return badge(state) if number is None else badge(f"{state} {number}")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        return [*super().get_fields(request, obj), "proof"]

    def get_urls(self) -> list[URLPattern]:
        export = path("export/", self.admin_site.admin_view(self.export), name="trail_export")
        return [export, *super().get_urls()]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        context = {**(extra_context or {}), "chain": Chain.objects.filter(id=1).first()}
        return super().changelist_view(request, context)

    def export(self, request: HttpRequest) -> HttpResponseBase:
        """Hand over the lines of some days as a file."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        form = ExportForm(request.GET)
        if not form.is_valid():
            self.message_user(
                request, "Give a format and, if any, days as 2026-01-31.", messages.ERROR
            )
            return HttpResponseRedirect(reverse(TRAIL))
        wanted = form.cleaned_data
        kind = wanted["format"]
        batches = exporting.list_batches(
            since=_midnight(wanted["since"]), until=_midnight(wanted["until"])
        )
        return StreamingHttpResponse(
            _streamed(kind, batches, is_async=hasattr(request, "scope")),
            content_type="text/csv" if kind == "csv" else "application/jsonl",
            headers={"Content-Disposition": f'attachment; filename="trail.{kind}"'},
        )


Batches = Iterator[list[AuditEvent]]


def _streamed(kind: str, batches: Batches, *, is_async: bool) -> Iterator[str] | AsyncIterator[str]:
    """Return the file piece by piece, so that no more than a batch is ever held in memory.

    An asynchronous server would take a plain iterator whole before it sends the first byte.
    """
    return _pieces_later(kind, batches) if is_async else _pieces(kind, batches)


def _pieces(kind: str, batches: Batches) -> Iterator[str]:
    yield exporting.header(kind)
    for batch in batches:
        yield exporting.written(kind, batch)


async def _pieces_later(kind: str, batches: Batches) -> AsyncIterator[str]:
    pieces = _pieces(kind, batches)
    while (piece := await sync_to_async(lambda: next(pieces, None))()) is not None:
        yield piece


class ExportForm(forms.Form):
    """Which lines of the trail are wanted, and how."""

    format = forms.ChoiceField(choices=[(name, name) for name in exporting.FORMATS])
    since = forms.DateField(required=False)
    until = forms.DateField(required=False)


def _midnight(day: date | None) -> datetime | None:
    return None if day is None else datetime(day.year, day.month, day.day, tzinfo=UTC)


@admin.register(Purge)
class PurgeAdmin(Browsed):
    """What purges have removed and kept, and what the next one would."""

    list_display = (
        "id",
        "status",
        "actor",
        "cutoff",
        "started_at",
        "finished_at",
        "removed",
        "kept",
    )
    ordering = ("-id",)
    change_list_template = "admin/pipeline/purge/change_list.html"

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show beside the list what is past its time, as far as a first look counts it."""
        now = datetime.now(UTC)
        told = next(retention.rehearse(now=now, at_once=PREVIEW_SIGNALS))
        context = {
            **(extra_context or {}),
            "due": told,
            "rows": sorted((+told.removed).items()),
            "kept": sorted(told.kept.items()),
            "cutoff": retention.cutoff_at(now),
        }
        return super().changelist_view(request, context)
