"""Health: one sentence, the pipeline as boxes, what it leans on, and the switches."""

from __future__ import annotations

from datetime import UTC, datetime

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST, require_safe

from lens_site.pages.access import person
from lens_site.pages.acting import actor_of, back_to, faults_by_field
from lens_site.pages.condition import WINDOW, Condition, examine
from pipeline import services
from pipeline.types import InvalidRequest, NotFound

PLACE = "/status"


@require_safe
@person("pipeline.view_heartbeat")
def health(request: HttpRequest) -> HttpResponse:
    """Show how the house is doing."""
    return _page(request)


@require_POST
@person("pipeline.pause")
def throw(request: HttpRequest, name: str) -> HttpResponse:
    """Pause a part of the house, or let it go on, with a reason."""
    act = services.resume if request.POST.get("to") == "resume" else services.pause
    try:
        act(
            name=name,
            actor=actor_of(request),
            reason=request.POST.get("reason", ""),
            now=datetime.now(UTC),
        )
    except NotFound as error:
        raise Http404 from error
    except InvalidRequest as error:
        fault = next(iter(faults_by_field(error).values()))
        return _page(request, fault=(name, fault), status=400)
    return back_to(PLACE)


STATIONS = {
    "enrich": _lazy("Gathering facts"),
    "evaluate": _lazy("Asking models"),
    "jury": _lazy("The jury"),
    "publish": _lazy("Publishing"),
    "whole": _lazy("The way from end to end"),
}


def sentence(found: Condition, *, now: datetime) -> tuple[str, str]:
    """Return in one sentence what matters most now, and how bad that is."""
    if found.missing:
        kinds = _(" and no ").join(found.missing)
        return "bad", _(
            "No {kinds} has reported for 15 seconds: signals are accepted and stored, and wait"
            " until one runs again. ./lens up starts what is missing."
        ).format(kinds=kinds)
    paused = [row for row in found.switches if row.is_paused]
    if paused:
        return "warn", _(
            "{names} paused by {actor}: {reason}. Nothing that arrives is lost."
        ).format(
            names=_(" and ").join(row.name for row in paused),
            actor=paused[0].actor,
            reason=paused[0].reason,
        )
    return _about_outside(found, now=now) or _about_work(found)


def _about_outside(found: Condition, *, now: datetime) -> tuple[str, str] | None:
    down = [each for each in found.dependencies if not each.is_ok]
    if down:
        return "warn", f"{down[0].name}: {down[0].said}."
    if any(each.name == settings.PROVIDER_PRIMARY for each in found.failing_providers):
        each = next(one for one in found.failing_providers if one.name == settings.PROVIDER_PRIMARY)
        return "bad", _(
            "The market {name} is not answering ({reason}): signals wait for it and become dead"
            " letters if it stays away. Nothing is lost."
        ).format(name=each.name, reason=each.reason)
    failing = [row for row in found.failing_models if row.open_until and row.open_until > now]
    if failing:
        names = ", ".join(row.name for row in failing)
        return "warn", _(
            "{names}: failing ({fault}); other models decide without it, nothing is lost."
        ).format(names=names, fault=failing[0].last_fault)
    return None


def _about_work(found: Condition) -> tuple[str, str]:
    stuck = [box for box in found.boxes if box.is_stuck]
    if stuck:
        return "bad", _("{station} does not keep up: {n} waiting, the oldest {s} s.").format(
            station=STATIONS[stuck[0].key], n=stuck[0].waiting, s=round(stuck[0].oldest_s or 0)
        )
    failing = [box for box in found.boxes if box.is_failing]
    if failing:
        box = failing[-1]
        return "warn", _(
            "{station}: {n} of {total} failed within 15 minutes; they wait as dead letters."
        ).format(station=STATIONS[box.key], n=box.failed, total=box.done + box.failed)
    slow = [box for box in found.boxes if box.is_slow]
    if slow:
        return "warn", _("{station} misses its target; signals are judged nevertheless.").format(
            station=STATIONS[slow[0].key]
        )
    if found.letters:
        told = ngettext(
            "All well, and {n} dead letter waits for somebody.",
            "All well, and {n} dead letters wait for somebody.",
            found.letters,
        )
        return "good", told.format(n=found.letters)
    return "good", _("All well.")


def _page(
    request: HttpRequest, *, fault: tuple[str, str] | None = None, status: int = 200
) -> HttpResponse:
    now = datetime.now(UTC)
    found = examine(now=now)
    tone, said = sentence(found, now=now)
    shown = {
        "found": found,
        "tone": tone,
        "said": said,
        "now": now,
        "window_min": WINDOW.total_seconds() / 60,
        "budget": settings.LLM_BUDGET_USD_PER_DAY,
        "provider": settings.PROVIDER_PRIMARY,
        "may_pause": request.user.has_perm("pipeline.pause"),
        "fault": dict([fault]) if fault else {},
    }
    return render(request, "health.html", shown, status=status)


urlpatterns = [
    path("status", health, name="status"),
    path("status/switches/<slug:name>", throw),
]
