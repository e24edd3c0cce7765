"""One webhook: what it makes of a message, what it refused, and how it is set."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path
from django.views.decorators.http import require_POST, require_safe

from access.serializers import KeyBody, parse_body
from lens_site.pages import snippets
from lens_site.pages.access import person
from lens_site.pages.acting import (
    actor_of,
    back_to,
    base_url,
    faults_by_field,
    is_first_time,
    once_token,
    words_of,
)
from pipeline.types import FieldError, InvalidRequest, LensError
from signals import queries, services
from signals.mapping import FORM, Understood, parse_mapping, read_message, understand
from signals.models import Hook
from signals.types import HookDraft, HookKind, UnusableMapping

SAID = {
    "saved": "Saved. It counts from the next message on.",
    "on": "It is on.",
    "off": "It is off.",
}
SHOWN = (
    "event_type",
    "symbol",
    "direction",
    "entry_price",
    "size",
    "liquidation_price",
    "stop_price",
    "target_price",
    "ts_utc",
    "source",
    "valid_for_s",
    "timeframe",
    "notes",
)


@require_safe
@person("signals.view_hook")
def webhook(request: HttpRequest, hook_id: UUID) -> HttpResponse:
    """Show a webhook."""
    return _page(request, _hook(hook_id))


@require_POST
@person("signals.manage_hooks")
def change(request: HttpRequest, hook_id: UUID) -> HttpResponse:
    """Set a webhook anew."""
    hook = _hook(hook_id)
    try:
        draft = _draft(request, kind=HookKind(hook.kind))
        services.change_hook(hook=hook, draft=draft, actor=actor_of(request), now=datetime.now(UTC))
    except (UnusableMapping, InvalidRequest) as error:
        faults = _mapping_faults(error)
        return _page(request, hook, typed=request.POST, faults=faults, status=400)
    return back_to(f"/webhooks/{hook_id}", said="saved")


@require_POST
@person("signals.manage_hooks")
def preview(request: HttpRequest, hook_id: UUID) -> HttpResponse:
    """Show what the webhook would make of a sample, under the mapping as it is typed."""
    hook = _hook(hook_id)
    shown: dict[str, Any] = {}
    try:
        found = _understood(request, hook, now=datetime.now(UTC))
        shown["rows"] = [
            (name, getattr(found.draft, name))
            for name in SHOWN
            if getattr(found.draft, name) not in (None, "")
        ]
        shown["once_key"] = found.once_key
    except LensError as error:
        shown |= {"error": error, "is_mapping": isinstance(error, UnusableMapping)}
    return render(request, "connect/preview.html", shown)


@require_POST
@person("signals.manage_hooks")
def rotate(request: HttpRequest, hook_id: UUID) -> HttpResponse:
    """Give a webhook a new address and show it this once."""
    hook = _hook(hook_id)
    if not is_first_time(request):
        return back_to(f"/webhooks/{hook_id}")
    slug = services.rotate_hook(hook=hook, actor=actor_of(request), now=datetime.now(UTC))
    return _page(request, hook, url=f"{base_url(request)}/hooks/{slug}")


@require_POST
@person("signals.manage_hooks")
def switch(request: HttpRequest, hook_id: UUID) -> HttpResponse:
    """Switch a webhook on or off."""
    is_on = request.POST.get("to") == "on"
    services.switch_hook(
        hook=_hook(hook_id), is_active=is_on, actor=actor_of(request), now=datetime.now(UTC)
    )
    return back_to(f"/webhooks/{hook_id}", said="on" if is_on else "off")


def _hook(hook_id: UUID) -> Hook:
    hook = queries.get_hook(hook_id=hook_id)
    if hook is None:
        raise Http404
    return hook


def _typed_mapping(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise UnusableMapping(
            "the mapping is not JSON", (FieldError("mapping", "json", f"not JSON: {error}"),)
        ) from error


def _draft(request: HttpRequest, *, kind: HookKind) -> HookDraft:
    given = request.POST
    checked = parse_body(
        KeyBody,
        {
            "name": given.get("name", ""),
            "scopes": ["signals:write"],
            "addresses": words_of(given.get("addresses", "")),
        },
    )
    source = given.get("source", "").strip()
    if not source.isprintable() or not 1 <= len(source) <= 100:
        text = "must be 1 to 100 printable characters"
        raise InvalidRequest(text, (FieldError("source", "invalid", text),))
    return HookDraft(
        name=checked.name,
        kind=kind,
        source=source,
        mapping=_typed_mapping(given.get("mapping", "")),
        addresses=tuple(checked.addresses),
    )


def _understood(request: HttpRequest, hook: Hook, *, now: datetime) -> Understood:
    rules = parse_mapping(_typed_mapping(request.POST.get("mapping", "")))
    sample = request.POST.get("sample", "").strip()
    message = read_message(
        sample.encode(),
        content_type="application/json" if sample.startswith(("{", "[")) else FORM,
        max_bytes=settings.HOOK_BODY_MAX_BYTES,
    )
    source = request.POST.get("source", "").strip() or hook.source
    return understand(message, rules=rules, source=source, now=now)


def _mapping_faults(error: LensError) -> Mapping[str, str]:
    if isinstance(error, UnusableMapping):
        told = "; ".join(f"{fault.field}: {fault.message}" for fault in error.errors)
        return {"mapping": told or error.detail}
    return faults_by_field(error)


def _page(
    request: HttpRequest,
    hook: Hook,
    *,
    url: str = "",
    typed: Any = None,
    faults: Mapping[str, str] | None = None,
    status: int = 200,
) -> HttpResponse:
    can_see = request.user.has_perm("signals.view_hookrefusal")
    may_manage = request.user.has_perm("signals.manage_hooks")
    given = typed or {
        "name": hook.name,
        "source": hook.source,
        "addresses": ", ".join(hook.address_list),
        "mapping": json.dumps(hook.mapping, indent=2, ensure_ascii=False),
        "sample": snippets.sample(HookKind(hook.kind)),
    }
    shown = {
        "hook": hook,
        "url": url,
        "given": given,
        "faults": faults or {},
        "said": SAID.get(request.GET.get("said", "")),
        "may_manage": may_manage,
        "once": once_token(request) if may_manage else "",
        "refusals": queries.list_refusals(hook=hook) if can_see else None,
        "kept": settings.HOOK_REFUSALS_KEPT,
    }
    return render(request, "connect/webhook.html", shown, status=status)


urlpatterns = [
    path("webhooks/<uuid:hook_id>", webhook, name="webhook"),
    path("webhooks/<uuid:hook_id>/change", change),
    path("webhooks/<uuid:hook_id>/preview", preview),
    path("webhooks/<uuid:hook_id>/rotate", rotate),
    path("webhooks/<uuid:hook_id>/switch", switch),
]
