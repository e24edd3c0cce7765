"""Sources: who sends signals, what becomes of them, and what the gates refuse."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path
from django.views.decorators.http import require_safe

from decisions.types import LIVE
from lens_site.pages import standings
from lens_site.pages.access import person
from outcomes import queries as outcomes
from quant.sourcecards import DECAY_MINUTES


@require_safe
@person("signals.view_signal")
def sources(request: HttpRequest) -> HttpResponse:
    """Show every source of the newest signals."""
    rows, looked_at = standings.source_standings()
    shown = {
        "rows": rows,
        "looked_at": looked_at,
        "rows_max": standings.ROWS,
        "few": standings.FEW,
        "cards": outcomes.get_source_cards(scope=LIVE),
        "minutes_shown": DECAY_MINUTES,
    }
    return render(request, "sources.html", shown)


urlpatterns = [path("sources", sources, name="sources")]
