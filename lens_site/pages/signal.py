"""The page of one signal: what was asked, what was known, what each model said, what came of it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.template import TemplateDoesNotExist
from django.template.loader import get_template
from django.utils import timezone
from django.views.decorators.http import require_safe

from decisions import queries as decisions
from decisions.models import Decision
from decisions.types import JURY
from enrichment import queries as enrichment
from evaluation import queries as evaluation
from lens_site.api import signal_detail
from lens_site.pages import anatomy, candles, words
from lens_site.pages.access import may_read_texts, person
from lens_site.pages.notes import HOURS, mutes_of
from lens_site.pages.prompt_diffs import diffs_of
from lens_site.pages.rows import drift_bps, rows_of
from markets.services import BadMarketData, MarketDataUnavailable, UnknownInstrument
from outcomes import queries as outcomes
from pipeline import queries as pipeline
from signals import queries as signals
from signals.models import Mute, Signal
from signals.services import NOTE_MAX_CHARS
from signals.types import MuteKind

OUTCOME = "outcomes/_signal.html"


@require_safe
@person()
def signal_page(request: HttpRequest, event_id: UUID) -> HttpResponse:
    """Show everything that is known of one signal."""
    now = timezone.now()
    signal = _found(event_id)
    facts = enrichment.get_enrichment(event_id=event_id, run=signal.run)
    decided = _decided(signal)
    ruling = _ruling(decided)
    lines = pipeline.list_timeline(trace=event_id)
    letters = list(pipeline.list_dead_letters(filters={"trace": event_id}))
    shown = anatomy.cards(evaluation.list_evaluations(signal=signal), decided=decided)
    [row] = rows_of([signal], now=now)
    older, newer = signals.get_neighbours(signal=signal)
    context: dict[str, Any] = {
        "signal": signal,
        "row": row,
        "facts": facts,
        "ruling": ruling,
        "rulings": [each for each in decided if each.model == JURY],
        "plan": candles.plan_of(signal, facts=facts, ruling=ruling),
        "timeframes": candles.timeframes_of(facts),
        "drift_bps": drift_bps(facts.payload if facts else ""),
        "steps": anatomy.timeline(signal, lines=lines, letters=letters),
        "chips": anatomy.quality(facts),
        "cards": shown,
        "differences": anatomy.differences(shown),
        "gates": [
            (gate, words.phrase(words.GATES, gate["gate"])) for gate in _gates(signal, facts)
        ],
        "status_words": words.phrase(words.STATUSES, signal.status),
        "judged_again": evaluation.list_judged_again_of(signal=signal),
        "lines": lines,
        "runs": pipeline.list_runs(trace=event_id),
        "letters": letters,
        "older": older,
        "newer": newer,
        "with_texts": may_read_texts(request.user),
        "prompt_diffs": diffs_of(
            attempt.prompt_version for card in shown for attempt in card.attempts
        )
        if may_read_texts(request.user)
        else {},
        "outcomes": outcomes.list_of_event(event_id=event_id),
        "outcome_template": _outcome_template(),
        "notes": signals.list_notes(signal=signal),
        "notes_max": NOTE_MAX_CHARS,
        "mutes": [each for each in mutes_of(request, now=now) if _concerns(each, signal)],
        "mute_hours": HOURS,
        "now": now,
    }
    return render(request, "signal.html", context)


@require_safe
@person()
def signal_candles(request: HttpRequest, event_id: UUID) -> HttpResponse:
    """Answer with the candles of one timeframe around the signal, for its chart.

    Or with why there are none: the chart says so, and browsers would tell of an error in red.
    """
    signal = _found(event_id)
    facts = enrichment.get_enrichment(event_id=event_id, run=signal.run)
    known = candles.timeframes_of(facts)
    timeframe = request.GET.get("timeframe", known[0])
    if timeframe not in known:
        raise Http404
    try:
        told = candles.chart_json(
            signal,
            facts=facts,
            ruling=_ruling(_decided(signal)),
            timeframe=timeframe,
            now=timezone.now(),
        )
    except (MarketDataUnavailable, BadMarketData, UnknownInstrument) as error:
        return JsonResponse({"why": str(error)})
    return JsonResponse(told)


@require_safe
@person()
def signal_json(request: HttpRequest, event_id: UUID) -> HttpResponse:
    """Answer with what ``GET /api/v1/signals/{event_id}`` answers to keys."""
    detail = signal_detail(_found(event_id), with_texts=may_read_texts(request.user))
    return JsonResponse(detail, json_dumps_params={"indent": 2})


def _concerns(mute: Mute, signal: Signal) -> bool:
    own = {MuteKind.SOURCE: signal.source, MuteKind.SYMBOL: signal.symbol}
    return own[MuteKind(mute.kind)] == mute.value


def _found(event_id: UUID) -> Signal:
    signal = signals.get_signal(event_id=event_id)
    if signal is None:
        raise Http404
    return signal


def _decided(signal: Signal) -> list[Decision]:
    return decisions.list_of_signals(signals=[signal])[signal.id]


def _ruling(decided: list[Decision]) -> Decision | None:
    return next((each for each in decided if each.model == JURY), None)


def _gates(signal: Signal, facts: Any) -> list[dict[str, Any]]:
    """Return the gates in their order; of a signal refused without facts, the one that refused."""
    if facts is not None and facts.gates:
        return list(facts.gates)
    return [{**signal.reason, "passed": False}] if signal.reason.get("gate") else []


def _outcome_template() -> str:
    try:
        get_template(OUTCOME)
    except TemplateDoesNotExist:
        return ""
    return OUTCOME
