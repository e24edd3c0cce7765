"""Models: who answers how fast, how often, for how much, and how far they agree; their switches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import path
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST, require_safe

from decisions.types import JURY, LIVE
from evaluation import admission
from evaluation import queries as evaluation
from evaluation.models import ModelCard, ModelState
from evaluation.queries import Answered
from evaluation.types import ALL_MODELS
from lens_site.pages import spread, standings, words
from lens_site.pages.access import person
from lens_site.pages.acting import actor_of, back_to
from lens_site.pages.model_history import history_of, hours_of
from lens_site.pages.reliability import Plot, plot_of
from lens_site.pages.standings import Agreement, Standing
from outcomes import exporting
from outcomes import queries as outcomes
from outcomes.standing import threshold_in_words

PLACE = "/models"
SPLIT_SHOWN = 10
DIVISIONS = {
    "prompt_version": _("prompt"),
    "source": _("source"),
    "symbol": _("symbol"),
    "regime": _("regime"),
}
FINDINGS = {
    "schema": _("answers in the form that is asked for"),
    "truncation": _("says so when an answer is cut off"),
    "seed": _("takes a seed"),
    "temperature": _("takes a temperature"),
}
WINDOWS = ("7", "30", "90", "365")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One model: how it stands, whether it may be asked, and what it cost today."""

    standing: Standing
    state: ModelState | None
    provider: str
    model_id: str
    is_open: bool
    spent_usd: float | None

    @property
    def is_enabled(self) -> bool:
        """Whether nobody has switched it off."""
        return self.state is None or self.state.is_enabled

    @property
    def is_language_model(self) -> bool:
        """Whether a vendor answers, so that it has a switch, a breaker and a budget."""
        return bool(self.provider)


@require_safe
@person("evaluation.view_evaluation")
def models(request: HttpRequest) -> HttpResponse:
    """Show every model that is asked."""
    now = datetime.now(UTC)
    answers = {
        name: evaluation.list_answered(model=name, limit=standings.ROWS_A_MODEL)
        for name in settings.AI_MODELS
    }
    rows = _rows(answers, now)
    names = [row.standing.model for row in rows]
    said = standings.newest_words()
    pairs = standings.agreements(models=[*names, JURY], said=said)
    everyone = evaluation.get_model_state(name=ALL_MODELS)
    shown = {
        "rows": rows,
        "names": [*names, JURY],
        "matrix": _matrix([*names, JURY], pairs),
        "split": [
            (signal, _sides(words_said))
            for signal, words_said in standings.disagreements(
                models=names, said=said, limit=SPLIT_SHOWN
            )
        ],
        "everyone": everyone,
        "is_safe_mode": bool(everyone and everyone.open_until and everyone.open_until > now),
        "spent_usd": evaluation.spent_on(day=now.date()).get(ALL_MODELS, 0.0),
        "budget_usd": settings.LLM_BUDGET_USD_PER_DAY,
        "shadows": settings.SHADOW_MODELS,
        "has_language_models": any(row.is_language_model for row in rows),
        "rows_max": standings.ROWS_A_MODEL,
        "few": standings.FEW,
        "may_switch": request.user.has_perm("evaluation.switch_model"),
        **_board(request, now),
        "marginal": outcomes.get_leave_one_out(scope=LIVE),
        "weights": outcomes.latest_weights(scope=LIVE),
        "alerts": outcomes.list_open_alerts(),
        "plot": _plot(JURY),
        "has_parquet": exporting.has_parquet(),
        **_coverage(JURY),
        **_charts(answers, now),
    }
    return render(request, "models/list.html", shown)


@require_safe
@person("evaluation.view_evaluation")
def export(request: HttpRequest) -> HttpResponseBase:
    """Hand out every scored live decision as a file."""
    wanted = outcomes.wanted(scope=LIVE)
    if request.GET.get("file") == "parquet" and exporting.has_parquet():
        answer: HttpResponseBase = HttpResponse(exporting.as_parquet(wanted), exporting.PARQUET)
        answer["Content-Disposition"] = 'attachment; filename="scores.parquet"'
        return answer
    answer = StreamingHttpResponse(exporting.as_csv(wanted), content_type=exporting.CSV)
    answer["Content-Disposition"] = 'attachment; filename="scores.csv"'
    return answer


@require_safe
@person("evaluation.view_evaluation")
def model(request: HttpRequest, name: str) -> HttpResponse:
    """Show one model in full."""
    return _page(request, name)


@require_POST
@person("evaluation.switch_model")
def switch(request: HttpRequest, name: str) -> HttpResponse:
    """Switch a model on or off, with a reason."""
    if name not in {*settings.AI_MODELS, ALL_MODELS}:
        raise Http404
    why = request.POST.get("why", "").strip()
    if not why and name != ALL_MODELS:
        return _page(request, name, faults={"why": "say why; it stays with the switch"}, status=400)
    admission.switch(
        name=name,
        is_enabled=request.POST.get("to") == "on",
        actor=actor_of(request),
        why=why,
        now=datetime.now(UTC),
    )
    return back_to(PLACE if name == ALL_MODELS else f"{PLACE}/{name}")


Answers = Mapping[str, Sequence[Answered]]


def _rows(answers: Answers, now: datetime) -> list[Row]:
    """Return a row for each model, with what all of them need read once."""
    states = {row.name: row for row in evaluation.list_model_states()}
    spent = evaluation.spent_on(day=now.date())
    return [
        _row(standings.standing_of(model=name, rows=rows), states.get(name), spent, now)
        for name, rows in answers.items()
    ]


def _row(
    standing: Standing, state: ModelState | None, spent: Mapping[str, float], now: datetime
) -> Row:
    plug = settings.EVALUATORS.get(standing.model, {})
    return Row(
        standing=standing,
        state=state,
        provider=str(plug.get("PROVIDER", "")),
        model_id=str(plug.get("OPTIONS", {}).get("model_id", "")),
        is_open=bool(state and state.open_until and state.open_until > now),
        spent_usd=spent.get(standing.model),
    )


def _sides(said: Mapping[str, str]) -> dict[words.Words, list[str]]:
    """Return who said what, the larger side first."""
    sides: dict[words.Words, list[str]] = {}
    for name, decision in sorted(said.items()):
        sides.setdefault(words.phrase(words.ACTIONS, decision), []).append(name)
    return dict(sorted(sides.items(), key=lambda side: -len(side[1])))


def _matrix(
    names: list[str], pairs: Mapping[tuple[str, str], Agreement]
) -> list[tuple[str, list[Agreement | None]]]:
    return [
        (one, [pairs.get((one, other)) or pairs.get((other, one)) for other in names])
        for one in names
    ]


def _page(
    request: HttpRequest,
    name: str,
    *,
    faults: Mapping[str, str] | None = None,
    status: int = 200,
) -> HttpResponse:
    if name not in settings.AI_MODELS:
        raise Http404
    now = datetime.now(UTC)
    rows = evaluation.list_answered(model=name, limit=standings.ROWS_A_MODEL, with_prompts=True)
    [row] = _rows({name: rows}, now)
    card = evaluation.get_card(provider=row.provider, model_id=row.model_id)
    shown: dict[str, Any] = {
        "row": row,
        "prompt": evaluation.prompt_name_of(model=name) if row.is_language_model else "",
        "card": card,
        "latest": evaluation.list_latest(model=name, limit=20),
        "budget_usd": settings.LLM_BUDGET_USD_PER_DAY,
        "may_switch": request.user.has_perm("evaluation.switch_model") and row.is_language_model,
        "findings": _findings(card),
        "faults": faults or {},
        "rows_max": standings.ROWS_A_MODEL,
        "history": history_of(rows=rows, now=now),
        "plot": _plot(name),
        **_coverage(name),
    }
    return render(request, "models/model.html", shown, status=status)


def _findings(card: ModelCard | None) -> list[tuple[words.Words, Mapping[str, Any]]]:
    """Return what the last trial of a model showed."""
    told = card.probe if card else {}
    return [(said, told[name]) for name, said in FINDINGS.items() if name in told]


def _board(request: HttpRequest, now: datetime) -> dict[str, Any]:
    """Return the scoreboard as it was asked for: divided by what, over how many days."""
    given = request.GET
    by = given["by"] if given.get("by") in DIVISIONS else ""
    days = int(given["days"]) if given.get("days") in WINDOWS else 0
    symbol = given.get("symbol", "").strip().upper()[:20]
    board = outcomes.get_scoreboard(
        scope=LIVE,
        by=("model", by) if by else ("model",),
        since=now.date() - timedelta(days=days) if days else None,
        filters={"symbol": symbol} if symbol else None,
    )
    return {
        "board": board,
        "by": by,
        "days": days,
        "symbol": symbol,
        "divisions": DIVISIONS,
        "windows": [int(each) for each in WINDOWS],
    }


def _charts(answers: Answers, now: datetime) -> dict[str, Any]:
    """Return what is drawn of cost, time and faults, each beside the table that says the same."""
    spreads = spread.spreads_of(answers)
    hours = hours_of(rows=chain.from_iterable(answers.values()), now=now)
    return {
        "spreads": spreads,
        "spread_chart": spread.chart_of_spreads(spreads),
        "dots": spread.DOTS_A_MODEL,
        "hours": hours,
        "hours_chart": spread.chart_of_hours(hours),
    }


def _plot(name: str) -> Plot:
    return plot_of(name, outcomes.get_reliability(outcomes.wanted(scope=LIVE), model=name))


def _coverage(name: str) -> dict[str, Any]:
    curve = outcomes.get_risk_coverage(outcomes.wanted(scope=LIVE), model=name)
    return {"curve": curve, "advice": threshold_in_words(curve, model=name)}


urlpatterns = [
    path("models", models, name="models"),
    path("scores/export", export),
    path("models/<str:name>", model, name="model"),
    path("models/<str:name>/switch", switch),
]
