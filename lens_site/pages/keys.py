"""API keys: issue, rotate, revoke; a secret is shown in one answer and never again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path
from django.views.decorators.http import require_POST, require_safe

from access import queries, services
from access.models import ApiKey
from access.serializers import KeyBody, parse_body
from access.types import KeyDraft, KeyStatus, Scope
from lens_site.pages.access import person
from lens_site.pages.acting import (
    actor_of,
    back_to,
    base_url,
    faults_by_field,
    is_first_time,
    once_token,
    whole_number,
    words_of,
)
from pipeline.types import InvalidRequest, NotFound

PLACE = "/keys"
FIRST_SCOPES = (
    Scope.SIGNALS_WRITE,
    Scope.SIGNALS_READ,
    Scope.DECISIONS_READ,
    Scope.STREAM,
)
MEANINGS = {
    Scope.SIGNALS_WRITE: "send signals",
    Scope.SIGNALS_READ: "read signals and their facts",
    Scope.DECISIONS_READ: "read decisions",
    Scope.STREAM: "listen to decisions as they come",
    Scope.OPS: "dead letters and switches",
    Scope.ADMIN: "everything, keys included",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One key as the list shows it; ``calls`` None means that nobody counts just now."""

    key: ApiKey
    status: KeyStatus
    calls: int | None

    @property
    def is_live(self) -> bool:
        """Whether it opens the door."""
        return self.status is KeyStatus.ACTIVE

    @property
    def can_rotate(self) -> bool:
        """Whether it may have a successor."""
        return self.is_live and not hasattr(self.key, "successor")


@require_safe
@person("access.view_apikey")
def keys(request: HttpRequest) -> HttpResponse:
    """Show every key, and the form for a new one."""
    return _page(request)


@person("access.manage_keys")
def new(request: HttpRequest) -> HttpResponse:
    """Issue a key and show its secret in this one answer; a reload leads back to the list."""
    if request.method != "POST" or not is_first_time(request):
        return back_to(PLACE)
    now = datetime.now(UTC)
    try:
        draft = _asked(request).draft(now=now)
    except InvalidRequest as error:
        return _page(request, typed=request.POST, faults=faults_by_field(error), status=400)
    return _issued(request, *services.issue_key(draft=draft, actor=actor_of(request), now=now))


@require_POST
@person("access.manage_keys")
def rotate(request: HttpRequest, key_id: str) -> HttpResponse:
    """Give a key a successor; both open the door for a day."""
    if not is_first_time(request):
        return back_to(PLACE)
    old = _key(key_id)
    try:
        fresh = services.rotate_key(key=old, actor=actor_of(request), now=datetime.now(UTC))
    except services.KeyNotRotatable as error:
        return _page(request, faults={"form": error.detail}, status=400)
    return _issued(request, *fresh, old=old)


@require_POST
@person("access.manage_keys")
def revoke(request: HttpRequest, key_id: str) -> HttpResponse:
    """Shut a key out for good, once its prefix was typed."""
    key = _key(key_id)
    if request.POST.get("prefix", "").strip() != key.id:
        fault = f"Nothing was revoked: the prefix typed is not {key.id}."
        return _page(request, faults={"form": fault}, status=400)
    services.revoke_key(key=key, actor=actor_of(request), now=datetime.now(UTC))
    return back_to(PLACE, revoked=key.id)


def _asked(request: HttpRequest) -> KeyBody:
    given = request.POST
    return parse_body(
        KeyBody,
        {
            "name": given.get("name", ""),
            "scopes": given.getlist("scopes"),
            "expires_in_days": whole_number(given.get("expires_in_days", "")),
            "addresses": words_of(given.get("addresses", "")),
        },
    )


def _key(key_id: str) -> ApiKey:
    try:
        return queries.get_key(key_id=key_id)
    except NotFound as error:
        raise Http404 from error


def _rows(now: datetime) -> list[Row]:
    found = queries.list_keys()
    calls = queries.count_calls(owners=sorted({key.owner for key in found}), now=now)
    return [
        Row(key=key, status=queries.key_status(key=key, now=now), calls=calls.get(key.owner))
        for key in found
    ]


def _page(
    request: HttpRequest,
    *,
    typed: Any = None,
    faults: Mapping[str, str] | None = None,
    status: int = 200,
) -> HttpResponse:
    may_manage = request.user.has_perm("access.manage_keys")
    chosen = typed.getlist("scopes") if typed else [scope.value for scope in FIRST_SCOPES]
    shown = {
        "rows": _rows(datetime.now(UTC)),
        "may_manage": may_manage,
        "scopes": [(scope, MEANINGS[scope], scope.value in chosen) for scope in Scope],
        "typed": typed,
        "faults": faults or {},
        "revoked": request.GET.get("revoked", "")[:8],
        "once": once_token(request) if may_manage else "",
    }
    return render(request, "keys.html", shown, status=status)


def _issued(
    request: HttpRequest, key: ApiKey, plain: str, *, old: ApiKey | None = None
) -> HttpResponse:
    shown = {"key": key, "plain": plain, "old": old, "base_url": base_url(request)}
    return render(request, "key_issued.html", shown)


def draft_for_connect() -> KeyDraft:
    """Return the key that the Connect page hands to whoever tries Lens for the first time."""
    return KeyDraft(name="Connect page", scopes=frozenset(FIRST_SCOPES))


urlpatterns = [
    path("keys", keys, name="keys"),
    path("keys/new", new),
    path("keys/<str:key_id>/rotate", rotate),
    path("keys/<str:key_id>/revoke", revoke),
]
