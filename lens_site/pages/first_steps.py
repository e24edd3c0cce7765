"""The first steps on a fresh desk: they tick themselves, and the demo that goes with them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST, require_safe

from access import queries as access
from lens_site.pages.access import person
from lens_site.pages.acting import actor_of, back_to
from signals import queries, services

MAY_CLEAR = "access.manage_keys"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing to do once."""

    key: str
    words: str | Promise
    href: str
    is_done: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstSteps:
    """The strip above the pages of a fresh desk."""

    steps: tuple[Step, ...]
    has_demo: bool
    is_running: bool
    may_clear: bool


def first_steps(request: HttpRequest) -> FirstSteps | None:
    """Return the strip, or None once it was cleared away, or on a desk that had no demo."""
    if not request.user.is_authenticated:
        return None
    feed = queries.get_demo_feed()
    if feed is None or feed.dismissed_at is not None:
        return None
    asks_models = any(plug.get("PROVIDER") for plug in settings.EVALUATORS.values())
    return FirstSteps(
        steps=(
            Step(
                key="send",
                words=_("Send your own"),
                href="/connect",
                is_done=queries.has_live_signals(),
            ),
            Step(key="model", words=_("Add a model key"), href="/models#add", is_done=asks_models),
            Step(
                key="listen",
                words=_("Listen"),
                href="/connect#listen",
                is_done=access.has_listeners(),
            ),
        ),
        has_demo=bool(queries.list_demo_ids(limit=1)),
        is_running=feed.stopped_at is None and feed.sent < settings.DEMO_FEED_SIGNALS,
        may_clear=request.user.has_perm(MAY_CLEAR),
    )


@require_safe
@person()
def strip(request: HttpRequest) -> HttpResponse:
    """Show the strip alone, as it is now."""
    return render(request, "parts/first_steps.html")


@require_POST
@person(MAY_CLEAR)
def stop(request: HttpRequest) -> HttpResponse:
    """Make no more demo signals; those that are there stay."""
    services.stop_demo_feed(actor=actor_of(request), now=datetime.now(UTC))
    return back_to("/board")


@require_POST
@person(MAY_CLEAR)
def clear(request: HttpRequest) -> HttpResponse:
    """Stop the demo, take its signals away with all that hangs on them, and hide the strip."""
    services.clear_demo(actor=actor_of(request), now=datetime.now(UTC))
    return back_to("/board")


urlpatterns = [
    path("demo/steps", strip),
    path("demo/stop", stop),
    path("demo/clear", clear),
]
