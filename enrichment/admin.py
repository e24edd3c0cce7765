"""The back office of the enrichment room: the rules are written here, the facts are only read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from difflib import unified_diff
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString

from enrichment import authoring, queries, services
from enrichment.authoring import Activation, RulesRefused
from enrichment.drafting import BadText, read_text, written
from enrichment.models import Enrichment, FeatureProfile, Policy
from enrichment.policy import TradingPolicy, constraints_for, parse_policy
from enrichment.profiles import Profile
from enrichment.services import BadPolicy, Tried
from enrichment.types import BadDefinition
from markets.services import BadMarketData, MarketDataUnavailable
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

NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
SYMBOLS_SHOWN = ("BTC", "ETH", "SOL", "DOGE")


@admin.register(Enrichment)
class EnrichmentAdmin(Browsed):
    """The frozen facts around signals."""

    list_display = (
        "id",
        "shown_signal",
        "run",
        "profile",
        "profile_version",
        "policy_version",
        "provider",
        "simulated",
        "as_of",
        "duration_ms",
    )
    list_filter = (("profile", IndexedValues), ("created_at", Between))
    ordering = ("-id",)
    search_ids = {"sig": "event_id"}
    search_help_text = "The beginning of a signal's id (sig_1a2b or 1a2b)"

    @admin.display(description="signal")
    def shown_signal(self, row: Enrichment) -> str:
        return short_id("sig", row.event_id)

    def get_queryset(self, request: HttpRequest) -> Any:
        rows = super().get_queryset(request)
        match = request.resolver_match
        is_list = match is not None and str(match.url_name).endswith("_changelist")
        return rows.defer("payload", "facts", "provenance") if is_list else rows


@dataclass(kw_only=True)
class Edited:
    """What the editor shows: a text, what is wrong with it or what it comes to."""

    name: str
    text: str
    line: int | None = None
    fault: str = ""
    definition: Mapping[str, Any] | None = None
    resolved: Profile | TradingPolicy | None = None
    difference: str = ""
    shown: dict[str, Any] = field(default_factory=dict)

    @property
    def numbered(self) -> list[tuple[int, str]]:
        """The lines with their numbers, to find the faulty one."""
        return list(enumerate(self.text.splitlines(), start=1))


class RulesAdmin(Browsed):
    """Versions of rules: a text is checked, tried, stored as the next version, put in force."""

    change_list_template = "admin/enrichment/rules_list.html"
    change_form_template = "admin/enrichment/rules_form.html"

    @admin.display(description="state", ordering="is_active")
    def state(self, row: Any) -> SafeString:
        return badge("in force" if row.is_active else "not in force")

    def may_write(self, request: HttpRequest) -> bool:
        """Whether this person may store versions."""
        meta = self.opts
        return request.user.has_perm(f"{meta.app_label}.add_{meta.model_name}")

    def may_activate(self, request: HttpRequest) -> bool:
        """Whether this person may put versions in force."""
        return request.user.has_perm("enrichment.activate_rules")

    def get_urls(self) -> list[URLPattern]:
        wrap, name = self.admin_site.admin_view, self.opts.model_name
        return [
            path("edit/", wrap(self.edit), name=f"{name}_edit"),
            path("<int:pk>/activate/", wrap(self.activate), name=f"{name}_activate"),
            *super().get_urls(),
        ]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Offer to write a version."""
        shown = {"edit_url": self._url("edit") if self.may_write(request) else ""}
        return super().changelist_view(request, {**(extra_context or {}), **shown})

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Show the version as text, and offer what can be done with it."""
        row = kwargs["obj"]
        if self.may_write(request):
            context["edit_url"] = f"{self._url('edit')}?from={row.pk}"
        if self.may_activate(request) and not row.is_active:
            context["activate_url"] = self._url("activate", row.pk)
        answer: HttpResponse = super().render_change_form(request, context, *args, **kwargs)
        return answer

    def edit(self, request: HttpRequest) -> HttpResponse:
        """Check a text, try it on a recorded signal, or store it as the next version."""
        if not self.may_write(request):
            raise PermissionDenied
        edited = self._given(request)
        if request.method == "POST":
            self._check(edited)
            if edited.resolved is not None and "save" in request.POST:
                return self._save(request, edited)
            if edited.resolved is not None and "try" in request.POST:
                self._try(request, edited)
        context = {
            **self.admin_site.each_context(request),
            "title": f"Write a {self.opts.verbose_name}",
            "opts": self.opts,
            "edited": edited,
            "event_id": request.POST.get("event_id", ""),
            "is_checked": request.method == "POST",
            **self._more(edited),
        }
        return TemplateResponse(request, f"admin/enrichment/{self.opts.model_name}.html", context)

    def activate(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Tell what putting a version in force comes to, ask why, and do it."""
        if not self.may_activate(request):
            raise PermissionDenied
        row = self.model._default_manager.filter(pk=pk).first()
        if row is None:
            raise Http404
        back = reverse(f"admin:enrichment_{self.opts.model_name}_change", args=[pk])
        form = reason_form(request)
        if form.is_valid():
            try:
                self._activated(row, request, reason=form.cleaned_data["reason"])
            except (RulesRefused, BadDefinition) as refused:
                self.message_user(request, str(refused), messages.ERROR)
            else:
                self.message_user(request, f"{row} is in force.", messages.SUCCESS)
            return HttpResponseRedirect(back)
        question = Question(
            title=f"Put {row} in force",
            told=_told(self._preview(row)),
            submit="Put in force",
            back=back,
        )
        return ask(request, self.admin_site, question, form=form)

    def _url(self, verb: str, *args: Any) -> str:
        return reverse(f"admin:{self.opts.model_name}_{verb}", args=args)

    def _given(self, request: HttpRequest) -> Edited:
        """Return what was sent, or the version that the writing starts from."""
        if request.method == "POST":
            text = request.POST.get("text", "").replace("\r\n", "\n")
            return Edited(name=request.POST.get("name", "").strip(), text=text)
        wanted = request.GET.get("from", "")
        row = None
        if wanted.isascii() and wanted.isdigit() and len(wanted) < 10:
            row = self.model._default_manager.filter(pk=int(wanted)).first()
        row = row or self.model._default_manager.filter(is_active=True).order_by("pk").first()
        if row is None:
            return Edited(name="", text="")
        return Edited(name=getattr(row, "name", ""), text=written(row.definition))

    def _check(self, edited: Edited) -> None:
        """Say what is wrong with the text and where, or what it comes to."""
        try:
            text = read_text(edited.text)
        except BadText as bad:
            edited.line, edited.fault = bad.line, bad.fault
            return
        edited.definition = text.definition
        try:
            edited.resolved = self._resolved(edited)
        except BadDefinition as bad:
            edited.line, edited.fault = text.line_of(bad.path), str(bad).removeprefix(": ")
            return
        edited.difference = self._difference(edited)

    def _save(self, request: HttpRequest, edited: Edited) -> HttpResponse:
        row = self._stored(edited, actor=request.user.get_username(), now=datetime.now(UTC))
        text = f"{row} is stored. It is not in force until it is put in force."
        self.message_user(request, text, messages.SUCCESS)
        url = reverse(f"admin:enrichment_{self.opts.model_name}_change", args=[row.pk])
        return HttpResponseRedirect(url)

    def _try(self, request: HttpRequest, edited: Edited) -> None:
        raise NotImplementedError

    def _more(self, edited: Edited) -> dict[str, Any]:
        del edited
        return {}

    def _resolved(self, edited: Edited) -> Profile | TradingPolicy:
        raise NotImplementedError

    def _difference(self, edited: Edited) -> str:
        raise NotImplementedError

    def _stored(self, edited: Edited, *, actor: str, now: datetime) -> Any:
        raise NotImplementedError

    def _preview(self, row: Any) -> Activation:
        raise NotImplementedError

    def _activated(self, row: Any, request: HttpRequest, *, reason: str) -> None:
        raise NotImplementedError


def _told(coming: Activation) -> list[str]:
    before = f"version {coming.before}" if coming.before else "nothing"
    lines = [
        f"Version {coming.version} takes the place of {before} within 5 s. Signals that were judged"
        " keep the version that they were judged by.",
        f"Of the {coming.looked_at} latest signals {coming.judged} had facts by these rules.",
    ]
    if coming.extending:
        lines.append(f"What extends it changes too: {', '.join(coming.extending)}.")
    if coming.differing:
        counts = ", ".join(f"{count} of {symbol}" for symbol, count in coming.differing.items())
        lines.append(f"Other constraints would have held for {counts}.")
    return lines


def _lines_that_differ(before: str, after: str, *, names: tuple[str, str]) -> str:
    return "\n".join(
        unified_diff(before.splitlines(), after.splitlines(), *names, lineterm="", n=2)
    )


@admin.register(FeatureProfile)
class FeatureProfileAdmin(RulesAdmin):
    """Versions of feature profiles."""

    list_display = ("name", "version", "state", "created_by", "created_at")
    list_filter = ("name", "is_active")
    ordering = ("name", "-version")
    search_words = ("name",)

    def _resolved(self, edited: Edited) -> Profile:
        if not NAME.fullmatch(edited.name):
            fault = "a name is small letters, digits and _, and begins with a letter"
            raise BadDefinition("", f"{fault}, was {edited.name!r}")
        return authoring.check_profile(name=edited.name, definition=edited.definition or {})

    def _difference(self, edited: Edited) -> str:
        active = next((r for r in queries.list_active_profiles() if r.name == edited.name), None)
        return _against(active, edited)

    def _stored(self, edited: Edited, *, actor: str, now: datetime) -> FeatureProfile:
        return authoring.draft_profile(
            name=edited.name, definition=edited.definition or {}, actor=actor, now=now
        )

    def _preview(self, row: FeatureProfile) -> Activation:
        return authoring.preview_profile_activation(profile=row)

    def _activated(self, row: FeatureProfile, request: HttpRequest, *, reason: str) -> None:
        authoring.activate_profile(
            profile=row,
            actor=request.user.get_username(),
            now=datetime.now(UTC),
            reason=reason,
        )

    def _more(self, edited: Edited) -> dict[str, Any]:
        """Show what the profile is with everything that it extends."""
        if not isinstance(edited.resolved, Profile):
            return {}
        needs = services.needs_for(edited.resolved)
        return {"profile": edited.resolved, "requests": _requests(needs)}

    def _try(self, request: HttpRequest, edited: Edited) -> None:
        """Gather the facts around a recorded signal, and beside them those of what is in force."""
        given = request.POST.get("event_id", "").strip()
        try:
            signal = queries.latest_judged(event_id=UUID(given) if given else None)
        except ValueError:
            edited.shown["fault"] = "That is not an event_id."
            return
        if signal is None:
            edited.shown["fault"] = "There is no such signal with facts."
            return
        now = datetime.now(UTC)
        in_force = services.current_rules(now=now).profiles.get(edited.name)
        try:
            tried = services.try_profile(signal=signal, profile=_profile(edited), now=now)
            before = (
                services.try_profile(signal=signal, profile=in_force, now=now) if in_force else None
            )
        except (MarketDataUnavailable, BadMarketData, BadPolicy) as error:
            edited.shown["fault"] = f"The facts cannot be had now: {error}"
            return
        edited.shown |= _compared(tried, before) | {"signal": signal}


def _profile(edited: Edited) -> Profile:
    if not isinstance(edited.resolved, Profile):
        raise TypeError("the text was not resolved")
    return edited.resolved


def _against(active: FeatureProfile | Policy | None, edited: Edited) -> str:
    before = written(active.definition) if active else ""
    named = str(active) if active else "nothing"
    return _lines_that_differ(
        before, written(edited.definition or {}), names=(f"{named}, in force", "this text")
    )


def _requests(needs: Any) -> list[str]:
    """Return what is asked of the market, one request a line."""
    core = [
        f"{count} candles of {key}{'' if key in needs.core else ', for the models'}"
        for key, count in needs.candles.items()
    ]
    book = ["the order book"] if needs.book else []
    derivatives = ["funding, open interest and marks"] if needs.derivatives else []
    return ["the price", *core, *book, *derivatives]


def _compared(tried: Tried, before: Tried | None) -> dict[str, Any]:
    facts = tried.facts
    after_text = _pretty(facts.payload)
    before_text = _pretty(before.facts.payload) if before else ""
    return {
        "facts": facts,
        "payload": after_text,
        "bytes": len(facts.payload.encode()),
        "took_ms": tried.took_ms,
        "weight": facts.provider_weight,
        "flags": {kind: paths for kind, paths in facts.quality_flags.items() if paths},
        "payload_difference": _lines_that_differ(
            before_text, after_text, names=("in force", "this text")
        ),
    }


def _pretty(payload: str) -> str:
    return json.dumps(json.loads(payload), indent=2, ensure_ascii=False)


@admin.register(Policy)
class PolicyAdmin(RulesAdmin):
    """Versions of the trading policy."""

    list_display = ("version", "state", "created_by", "created_at")
    ordering = ("-version",)
    list_filter = ("is_active",)

    def _resolved(self, edited: Edited) -> TradingPolicy:
        return parse_policy(edited.definition or {}, version=0)

    def _difference(self, edited: Edited) -> str:
        return _against(queries.get_active_policy(), edited)

    def _stored(self, edited: Edited, *, actor: str, now: datetime) -> Policy:
        return authoring.draft_policy(definition=edited.definition or {}, actor=actor, now=now)

    def _preview(self, row: Policy) -> Activation:
        return authoring.preview_policy_activation(policy=row)

    def _activated(self, row: Policy, request: HttpRequest, *, reason: str) -> None:
        authoring.activate_policy(
            policy=row, actor=request.user.get_username(), now=datetime.now(UTC), reason=reason
        )

    def _more(self, edited: Edited) -> dict[str, Any]:
        """Show what holds for every symbol that is named, and for those that are not."""
        if not isinstance(edited.resolved, TradingPolicy):
            return {}
        policy = edited.resolved
        symbols = [*dict.fromkeys([*SYMBOLS_SHOWN, *policy.symbols])]
        rows = [("every other", policy.everywhere)]
        rows += [(each, constraints_for(policy, symbol=each)) for each in symbols]
        names = list(policy.everywhere)
        return {
            "names": names,
            "rows": [(symbol, [held[name] for name in names]) for symbol, held in rows],
        }

    def _try(self, request: HttpRequest, edited: Edited) -> None:
        """Count the latest signals whose constraints would be others."""
        del request
        policy = Policy(version=0, definition=dict(edited.definition or {}))
        edited.shown["coming"] = authoring.preview_policy_activation(policy=policy)
