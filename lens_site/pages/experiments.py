"""Experiments: challengers in the shadow, golden signals, bias audits, and their alerts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil
from typing import Any
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path
from django.views.decorators.http import require_POST, require_safe

from decisions.types import LIVE
from evaluation import queries as evaluation
from evaluation import services as evaluators
from lens_site.pages.access import person
from lens_site.pages.acting import actor_of, back_to, faults_by_field
from outcomes import queries, services
from outcomes.models import Canary
from outcomes.types import CanaryStatus
from pipeline.types import LensError

PLACE = "/experiments"
DAYS_SHOWN = 7
AUDITS_SHOWN = 10
SHARE_PCT = 20
MODEL, PROMPT = "model", "prompt"

Act = Callable[[HttpRequest, datetime], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """After how many decisions a difference shows, and how many days that is at today's pace."""

    gain: str
    decisions: int | None
    days: int | None


@require_safe
@person("outcomes.view_experiment")
def experiments(request: HttpRequest) -> HttpResponse:
    """Show what is tried out, and what models said of the golden signals."""
    return _page(request)


@require_POST
@person("outcomes.experiment")
def start(request: HttpRequest) -> HttpResponse:
    """Have a challenger judge beside the champion."""

    def act(request: HttpRequest, now: datetime) -> None:
        champion = request.POST.get("champion", "")
        challenger, prompt = _challenger(request.POST.get("challenger", ""), champion)
        services.start_experiment(
            name=request.POST.get("name", "").strip(),
            champion=champion,
            challenger=challenger,
            prompt=prompt,
            share_pct=_number(request.POST.get("share_pct", "")),
            actor=actor_of(request),
            now=now,
        )

    return _acted(request, act)


@require_POST
@person("outcomes.promote_challenger")
def promote(request: HttpRequest, name: str) -> HttpResponse:
    """Put a proven challenger in force."""
    return _acted(request, lambda request, now: _end(services.promote_challenger, request, name))


@require_POST
@person("outcomes.experiment")
def stop(request: HttpRequest, name: str) -> HttpResponse:
    """Leave the champion in force."""
    return _acted(request, lambda request, now: _end(services.stop_experiment, request, name))


@require_POST
@person("outcomes.choose_golden")
def add_golden(request: HttpRequest) -> HttpResponse:
    """Have every model judge a stored signal daily."""
    return _acted(
        request,
        lambda request, now: services.add_golden(
            event_id=_event_id(request.POST.get("event_id", "")),
            note=request.POST.get("note", "").strip()[:200],
            actor=actor_of(request),
            now=now,
        ),
    )


@require_POST
@person("outcomes.choose_golden")
def drop_golden(request: HttpRequest, event_id: UUID) -> HttpResponse:
    """Have a signal judged daily no longer."""
    return _acted(
        request,
        lambda request, now: services.drop_golden(
            event_id=event_id, actor=actor_of(request), now=now
        ),
    )


@require_POST
@person("outcomes.choose_golden")
def accept(request: HttpRequest, model: str) -> HttpResponse:
    """Take what a model says since it drifted for its new custom."""
    return _acted(
        request,
        lambda request, now: services.accept_canary(
            model=model, actor=actor_of(request), why=request.POST.get("why", ""), now=now
        ),
    )


@require_POST
@person("outcomes.acknowledge_alert")
def acknowledge(request: HttpRequest, alert_id: int) -> HttpResponse:
    """Note that somebody has seen an alert."""
    return _acted(
        request,
        lambda request, now: services.acknowledge_alert(
            alert_id=alert_id, actor=actor_of(request), why=request.POST.get("why", ""), now=now
        ),
    )


def _end(act: Callable[..., object], request: HttpRequest, name: str) -> None:
    act(
        name=name,
        actor=actor_of(request),
        why=request.POST.get("why", "").strip()[:200],
        now=datetime.now(UTC),
    )


def _acted(request: HttpRequest, act: Act) -> HttpResponse:
    """Do it and lead back; what cannot be done is told at the top of the page."""
    try:
        act(request, datetime.now(UTC))
    except LensError as error:
        told = "; ".join(f"{field} {fault}" for field, fault in faults_by_field(error).items())
        fault = told if error.errors else error.detail
        return _page(request, fault=fault, status=error.http_status)
    return back_to(PLACE)


def _challenger(chosen: str, champion: str) -> tuple[str, tuple[str, int] | None]:
    """Return the model and the prompt that an entry of the list of challengers stands for."""
    kind, _colon, rest = chosen.partition(":")
    name, _at, version = rest.partition("@")
    if kind == PROMPT:
        return champion, (name, _number(version))
    return name, None


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0


def _event_id(text: str) -> UUID:
    try:
        return UUID(text.strip())
    except ValueError:
        return UUID(int=0)  # no signal has it, and that is what the page says


def _page(request: HttpRequest, *, fault: str = "", status: int = 200) -> HttpResponse:
    now = datetime.now(UTC)
    pace = queries.count_ended_a_day(scope=LIVE, until=now.date())
    canaries = queries.list_canaries(days=DAYS_SHOWN)
    known = evaluators.evaluators()
    shown: dict[str, Any] = {
        "fault": fault,
        "alerts": queries.list_open_alerts(),
        "experiments": queries.list_experiments(),
        "waits": _waits(pace),
        "pace": pace,
        "champions": settings.AI_MODELS,
        "models": [(f"{MODEL}:{name}", name) for name in known],
        "prompts": _prompts(known),
        "share_pct": SHARE_PCT,
        "golden": queries.list_golden(),
        "canaries": canaries,
        "latest": _latest(canaries),
        "audits": queries.list_audits(limit=AUDITS_SHOWN),
        "may_experiment": request.user.has_perm("outcomes.experiment"),
        "may_promote": request.user.has_perm("outcomes.promote_challenger"),
        "may_choose": request.user.has_perm("outcomes.choose_golden"),
        "may_acknowledge": request.user.has_perm("outcomes.acknowledge_alert"),
    }
    return render(request, "experiments.html", shown, status=status)


def _waits(pace: float | None) -> list[Wait]:
    return [
        Wait(
            gain=gain,
            decisions=decisions,
            days=ceil(decisions / pace * 100 / SHARE_PCT) if decisions and pace else None,
        )
        for gain, decisions in services.expectation().items()
    ]


def _prompts(known: Mapping[str, object]) -> list[tuple[str, str]]:
    """Return the versions that are not in force, of the prompts that models are asked with."""
    vendors = [name for name in known if "PROVIDER" in settings.EVALUATORS.get(name, {})]
    names = sorted({evaluation.prompt_name_of(model=name) for name in vendors})
    return [
        (
            f"{PROMPT}:{row.name}@{row.version}",
            f"{row.name} v{row.version}",
        )
        for name in names
        for row in evaluation.list_prompt_versions(name=name)
        if row.status != row.Status.ACTIVE
    ]


def _latest(canaries: list[Canary]) -> Mapping[str, Canary]:
    """Return each model's last judged day, which may be accepted if it is a drift."""
    found: dict[str, Canary] = {}
    for row in canaries:
        if row.status != CanaryStatus.ASKED:
            found.setdefault(row.model, row)
    return found


urlpatterns = [
    path("experiments", experiments, name="experiments"),
    path("experiments/start", start),
    path("experiments/<str:name>/promote", promote),
    path("experiments/<str:name>/stop", stop),
    path("experiments/golden/add", add_golden),
    path("experiments/golden/<uuid:event_id>/drop", drop_golden),
    path("experiments/golden/<str:model>/accept", accept),
    path("experiments/alerts/<int:alert_id>/acknowledge", acknowledge),
]
