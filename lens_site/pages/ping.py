"""Trying a language model out: what it costs first, then what a few small requests showed."""

from __future__ import annotations

from datetime import UTC, datetime

from asgiref.sync import async_to_sync
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path
from django.views.decorators.http import require_http_methods

from evaluation import probing, services
from evaluation.probing import Plan, ProbeRefused
from lens_site.pages.access import person
from lens_site.pages.acting import actor_of, back_to, is_first_time, once_token
from pipeline.services import record_act


@require_http_methods(["GET", "HEAD", "POST"])
@person("evaluation.switch_model")
def ping(request: HttpRequest, name: str) -> HttpResponse:
    """Say what trying a model out costs at most, and do it once that is agreed to."""
    evaluator = services.evaluators().get(name)
    if evaluator is None:
        raise Http404
    now = datetime.now(UTC)
    try:
        plan = probing.plan_probe(evaluator=evaluator, now=now)
    except ProbeRefused as refused:
        return _page(request, name, fault=str(refused))
    if request.method != "POST":
        return _page(request, name, plan=plan)
    if is_first_time(request):
        _try_out(plan, actor=actor_of(request), now=now)
    return back_to(f"/models/{name}#probe")


def _try_out(plan: Plan, *, actor: str, now: datetime) -> None:
    """Send the requests, keep what they showed, and write down who had them sent."""
    probed = async_to_sync(probing.probe)(plan, now=now)
    probing.record_probe(plan=plan, probed=probed, now=now)
    record_act(
        verb="PROBED",
        actor=actor,
        object=f"model:{plan.evaluator.name}",
        at=now,
        after={
            "calls": probed.calls,
            "cost_usd": None if probed.cost_usd is None else str(probed.cost_usd),
        },
    )


def _page(
    request: HttpRequest, name: str, *, plan: Plan | None = None, fault: str = ""
) -> HttpResponse:
    shown = {
        "name": name,
        "plan": plan,
        "requests": probing.REQUESTS,
        "fault": fault,
        "once": once_token(request) if plan else "",
    }
    return render(request, "models/ping.html", shown, status=400 if fault else 200)


urlpatterns = [path("models/<str:name>/ping", ping)]
