"""Deliveries: where decisions are sent, what was sent, and what each attempt came to."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path
from django.views.decorators.http import require_POST, require_safe

from decisions.types import JURY
from lens_site.pages.access import person
from lens_site.pages.acting import actor_of, back_to, faults_by_field, is_first_time, once_token
from notifications import queries, services
from notifications.models import Delivery, Endpoint
from notifications.types import DeliveryStatus, EndpointDraft
from pipeline.types import InvalidRequest

PLACE = "/deliveries"
PAGE_ROWS = 50
SAID = {
    "saved": "Saved. It counts from the next decision on.",
    "on": "It is on: what is published from now on is sent.",
    "off": "It is off: what is published meanwhile is not sent later either.",
    "test": "A test is on its way; its row below tells what came of it.",
    "resent": "It is sent again, under the same id.",
    "waiting": "It waits already; nothing was changed.",
}


@require_safe
@person("notifications.view_endpoint")
def endpoints(request: HttpRequest) -> HttpResponse:
    """Show every endpoint, and to who may the form for a new one."""
    return _list(request)


@person("notifications.manage_endpoints")
def new(request: HttpRequest) -> HttpResponse:
    """Make an endpoint and show its secret in this one answer."""
    if request.method != "POST" or not is_first_time(request):
        return back_to(PLACE)
    try:
        endpoint, secret = services.create_endpoint(
            draft=_draft(request), actor=actor_of(request), now=datetime.now(UTC)
        )
    except InvalidRequest as error:
        return _list(request, faults=faults_by_field(error), status=400)
    return _page(request, endpoint, secret=secret)


@require_safe
@person("notifications.view_endpoint")
def endpoint(request: HttpRequest, endpoint_id: UUID) -> HttpResponse:
    """Show one endpoint and what was sent to it, newest first."""
    return _page(request, _endpoint(endpoint_id))


@require_POST
@person("notifications.manage_endpoints")
def change(request: HttpRequest, endpoint_id: UUID) -> HttpResponse:
    """Set an endpoint anew."""
    found = _endpoint(endpoint_id)
    try:
        services.change_endpoint(
            endpoint=found, draft=_draft(request), actor=actor_of(request), now=datetime.now(UTC)
        )
    except InvalidRequest as error:
        return _page(request, found, faults=faults_by_field(error), status=400)
    return back_to(f"{PLACE}/{endpoint_id}", said="saved")


@require_POST
@person("notifications.manage_endpoints")
def rotate(request: HttpRequest, endpoint_id: UUID) -> HttpResponse:
    """Give an endpoint another secret and show it this once."""
    found = _endpoint(endpoint_id)
    if not is_first_time(request):
        return back_to(f"{PLACE}/{endpoint_id}")
    secret = services.rotate_secret(endpoint=found, actor=actor_of(request), now=datetime.now(UTC))
    return _page(request, found, secret=secret)


@require_POST
@person("notifications.manage_endpoints")
def switch(request: HttpRequest, endpoint_id: UUID) -> HttpResponse:
    """Switch an endpoint on or off."""
    is_on = request.POST.get("to") == "on"
    services.switch_endpoint(
        endpoint=_endpoint(endpoint_id),
        is_active=is_on,
        actor=actor_of(request),
        now=datetime.now(UTC),
    )
    return back_to(f"{PLACE}/{endpoint_id}", said="on" if is_on else "off")


@require_POST
@person("notifications.resend")
def test(request: HttpRequest, endpoint_id: UUID) -> HttpResponse:
    """Have something harmless sent, once."""
    found = _endpoint(endpoint_id)
    if is_first_time(request):
        services.send_test(endpoint=found, actor=actor_of(request), now=datetime.now(UTC))
    return back_to(f"{PLACE}/{endpoint_id}", said="test")


@require_safe
@person("notifications.view_delivery")
def delivery(request: HttpRequest, delivery_id: UUID) -> HttpResponse:
    """Show one delivery: what it says, and every attempt with headers and answer."""
    found = _delivery(delivery_id)
    shown = {
        "delivery": found,
        "attempts": queries.list_attempts(delivery=found),
        "may_resend": request.user.has_perm("notifications.resend")
        and found.status != DeliveryStatus.PENDING,
        "said": SAID.get(request.GET.get("said", "")),
    }
    return render(request, "deliveries/delivery.html", shown)


@require_POST
@person("notifications.resend")
def resend(request: HttpRequest, delivery_id: UUID) -> HttpResponse:
    """Have a delivery sent again."""
    done = services.resend(
        delivery=_delivery(delivery_id), actor=actor_of(request), now=datetime.now(UTC)
    )
    said = "resent" if done else "waiting"
    return back_to(f"{PLACE}/sent/{delivery_id}", said=said)


def _draft(request: HttpRequest) -> EndpointDraft:
    given = request.POST
    known = {JURY, *settings.AI_MODELS}
    return EndpointDraft(
        name=given.get("name", "").strip(),
        url=given.get("url", "").strip(),
        judges=tuple(name for name in given.getlist("judges") if name in known),
        only_follow=given.get("only_follow") == "on",
    )


def _endpoint(endpoint_id: UUID) -> Endpoint:
    found = queries.get_endpoint(endpoint_id=endpoint_id)
    if found is None:
        raise Http404
    return found


def _delivery(delivery_id: UUID) -> Delivery:
    found = queries.get_delivery(delivery_id=delivery_id)
    if found is None:
        raise Http404
    return found


def _moment(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text.replace(" ", "+"))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _list(
    request: HttpRequest, *, faults: Mapping[str, str] | None = None, status: int = 200
) -> HttpResponse:
    may_manage = request.user.has_perm("notifications.manage_endpoints")
    shown = {
        "endpoints": queries.list_endpoints(),
        "pending": queries.count_pending(),
        "may_manage": may_manage,
        "given": request.POST if faults else None,
        "judges": [JURY, *settings.AI_MODELS],
        "faults": faults or {},
        "once": once_token(request) if may_manage else "",
    }
    return render(request, "deliveries/list.html", shown, status=status)


def _page(
    request: HttpRequest,
    endpoint: Endpoint,
    *,
    secret: str = "",
    faults: Mapping[str, str] | None = None,
    status: int = 200,
) -> HttpResponse:
    before = _moment(request.GET.get("before", ""))
    found = list(queries.list_deliveries(endpoint=endpoint, before=before)[: PAGE_ROWS + 1])
    page = found[:PAGE_ROWS]
    may_manage = request.user.has_perm("notifications.manage_endpoints")
    may_resend = request.user.has_perm("notifications.resend")
    shown: dict[str, Any] = {
        "endpoint": endpoint,
        "secret": secret,
        "deliveries": page,
        "next_before": page[-1].created_at if len(found) > PAGE_ROWS else None,
        "judges": [JURY, *settings.AI_MODELS],
        "chosen": endpoint.judges or [JURY],
        "faults": faults or {},
        "may_manage": may_manage,
        "may_resend": may_resend,
        "said": SAID.get(request.GET.get("said", "")),
        "once": once_token(request) if may_resend else "",
        "once_more": once_token(request) if may_manage else "",
    }
    return render(request, "deliveries/endpoint.html", shown, status=status)


urlpatterns = [
    path("deliveries", endpoints, name="deliveries"),
    path("deliveries/new", new),
    path("deliveries/sent/<uuid:delivery_id>", delivery),
    path("deliveries/sent/<uuid:delivery_id>/again", resend),
    path("deliveries/<uuid:endpoint_id>", endpoint),
    path("deliveries/<uuid:endpoint_id>/change", change),
    path("deliveries/<uuid:endpoint_id>/rotate", rotate),
    path("deliveries/<uuid:endpoint_id>/switch", switch),
    path("deliveries/<uuid:endpoint_id>/test", test),
]
