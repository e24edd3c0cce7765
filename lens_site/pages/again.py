"""Judging one signal again: which model and prompt, what it would cost, and then yes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path
from django.views.decorators.http import require_http_methods
from pydantic import BaseModel, Field

from evaluation import queries as evaluation
from evaluation import rerunning, services
from evaluation.queries import Selection
from evaluation.rerunning import Plan, RerunRefused
from lens_site.pages.access import person
from lens_site.pages.acting import actor_of, back_to, is_first_time, once_token
from lens_site.pages.asking import asked
from signals import queries as signals
from signals.models import Signal

PROMPTS_SHOWN = 50

Word = Annotated[str, Field(max_length=100)]


class Wanted(BaseModel):
    """Who is to judge, as the form says it; ``priced`` is the estimate that was agreed to."""

    model: Word = ""
    prompt: Word = ""
    priced: Annotated[str, Field(max_length=300)] = ""


@require_http_methods(["GET", "HEAD", "POST"])
@person("evaluation.add_rerun")
def again(request: HttpRequest, event_id: UUID) -> HttpResponse:
    """Ask who is to judge, say what it costs, and begin once that very estimate is agreed to."""
    signal = signals.get_signal(event_id=event_id)
    if signal is None:
        raise Http404
    now = datetime.now(UTC)
    wanted = asked(Wanted, request.POST if request.method == "POST" else request.GET)
    try:
        plan = _planned(signal, wanted, now=now) if wanted.model else None
        if request.method == "POST" and plan and wanted.priced == rerunning.mark_of(plan=plan):
            if not is_first_time(request):
                return back_to(f"/signals/{event_id}")
            rerun = rerunning.start_rerun(plan=plan, actor=actor_of(request), now=now)
            return back_to(f"/reruns/{rerun.id}")
    except RerunRefused as refused:
        return _page(request, signal, wanted, fault=str(refused))
    return _page(request, signal, wanted, plan=plan)


def _planned(signal: Signal, wanted: Wanted, *, now: datetime) -> Plan:
    return rerunning.plan_named(
        selection=Selection(event_ids=(signal.event_id,), limit=1),
        evaluators=services.evaluators(),
        model=wanted.model,
        prompt=wanted.prompt,
        now=now,
    )


def _page(
    request: HttpRequest,
    signal: Signal,
    wanted: Wanted,
    *,
    plan: Plan | None = None,
    fault: str = "",
) -> HttpResponse:
    shown: dict[str, Any] = {
        "signal": signal,
        "wanted": wanted,
        "models": settings.AI_MODELS,
        "prompts": [
            (f"{each.name}@{each.version}", each)
            for each in evaluation.list_prompts(limit=PROMPTS_SHOWN)
        ],
        "plan": plan,
        "told": rerunning.texts_of(plan=plan) if plan else (),
        "priced": rerunning.mark_of(plan=plan) if plan else "",
        "once": once_token(request) if plan else "",
        "is_changed": request.method == "POST" and not fault,
        "fault": fault,
    }
    return render(request, "again.html", shown, status=400 if fault else 200)


urlpatterns = [path("signals/<uuid:event_id>/again", again)]
