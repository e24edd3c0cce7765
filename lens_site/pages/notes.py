"""What people say about signals, and what they want no notice of; decisions know neither."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from lens_site.pages.access import person
from lens_site.pages.acting import actor_of, back_to, faults_by_field
from pipeline.types import InvalidRequest
from signals import queries, services
from signals.models import Mute

HOURS = {"1": _("for an hour"), "24": _("for a day"), "": _("until I take it off")}
SETTINGS = "/settings#muted"


@require_POST
@person("signals.add_note")
def write(request: HttpRequest, event_id: UUID) -> HttpResponse:
    """Keep a note on a signal."""
    signal = queries.get_signal(event_id=event_id)
    if signal is None:
        raise Http404
    place = f"/signals/{event_id}#people"
    text = request.POST.get("text", "")
    try:
        services.write_note(
            signal=signal, text=text, actor=actor_of(request), now=datetime.now(UTC)
        )
    except InvalidRequest as error:
        detail = "; ".join(faults_by_field(error).values())
        return render(request, "error.html", {"status": 400, "detail": detail}, status=400)
    return back_to(place)


@require_POST
@person("signals.add_mute")
def mute(request: HttpRequest) -> HttpResponse:
    """Mute a source or a symbol, for oneself or, for who may, for the whole desk."""
    given, now = request.POST, datetime.now(UTC)
    is_for_all = given.get("whom") == "desk"
    if is_for_all and not request.user.has_perm("signals.mute_desk"):
        return _refused(request)
    hours = given.get("hours", "")
    kind, _colon, value = given.get("what", "").partition(":")
    wish = Mute(
        kind=kind,
        value=value,
        person="" if is_for_all else request.user.get_username(),
        until=now + timedelta(hours=int(hours)) if hours in HOURS and hours else None,
    )
    try:
        services.mute(wish=wish, actor=actor_of(request), now=now)
    except InvalidRequest as error:
        shown = {"status": 400, "detail": error.detail}
        return render(request, "error.html", shown, status=400)
    return back_to(_place(request))


@require_POST
@person("signals.add_mute")
def unmute(request: HttpRequest, mute_id: int) -> HttpResponse:
    """Take a mute off: one's own, or, for who may, the whole desk's."""
    row = queries.get_mute(mute_id=mute_id)
    if row is None:
        return back_to(_place(request))
    if row.person and row.person != request.user.get_username():
        raise Http404
    if not row.person and not request.user.has_perm("signals.mute_desk"):
        return _refused(request)
    services.unmute(row=row, actor=actor_of(request), now=datetime.now(UTC))
    return back_to(_place(request))


def mutes_of(request: HttpRequest, *, now: datetime) -> list[Mute]:
    """Return what gives no notice to whoever is signed in."""
    return queries.list_mutes(person=request.user.get_username(), now=now)


def muted_json(mutes: Sequence[Mute]) -> str:
    """Return what is muted as the board's script reads it: a list of words by their kind."""
    kinds: dict[str, list[str]] = {}
    for row in mutes:
        kinds.setdefault(row.kind.lower(), []).append(row.value)
    return json.dumps(kinds)


def _place(request: HttpRequest) -> str:
    """Return the page that the form stands on: a signal's, or that of settings."""
    try:
        return f"/signals/{UUID(request.POST.get('signal', ''))}"
    except ValueError:
        return SETTINGS


def _refused(request: HttpRequest) -> HttpResponse:
    shown = {"status": 403, "detail": "Your account cannot mute for the whole desk."}
    return render(request, "error.html", shown, status=403)


urlpatterns = [
    path("signals/<uuid:event_id>/notes", write),
    path("mutes", mute),
    path("mutes/<int:mute_id>/off", unmute),
]
