"""The board: live decisions as they come, and the figures above them."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe
from pydantic import BaseModel, Field

from decisions import queries as decisions
from decisions.queries import Judged
from decisions.types import JURY
from lens_site.pages import words
from lens_site.pages.access import person
from lens_site.pages.asking import asked
from lens_site.pages.notes import muted_json, mutes_of
from lens_site.pages.rows import COLUMNS, has_many_models, rows_of
from lens_site.pages.tiles import board_tiles
from signals import queries as signals
from signals.models import Signal
from signals.types import Origin

ROWS_FIRST = 40
ROWS_ASKED_MAX = 100
SHOWN_ORIGINS = {
    "": (Origin.LIVE, Origin.DEMO),
    "live": (Origin.LIVE,),
    "demo": (Origin.DEMO,),
    "replay": (Origin.REPLAY,),
}
VERDICTS = {
    "follow": ("FOLLOW_ENTER", "FOLLOW_EXIT"),
    "ignore": ("IGNORE",),
    "hold": ("HOLD", "TIGHTEN_STOP"),
}
CONFIDENCES = (50, 60, 70, 80, 90)

Word = Annotated[str, Field(max_length=100)]


class View(BaseModel):
    """What the board is asked to show, as its URL says it."""

    symbol: Word = ""
    source: Word = ""
    model: Word = ""
    verdict: Literal["", "follow", "ignore", "hold"] = ""
    min_confidence: Annotated[int, Field(ge=0, le=100)] = 0
    origin: Literal["", "live", "demo", "replay"] = ""

    @property
    def is_judging(self) -> bool:
        """Whether only signals show that somebody has judged."""
        return bool(self.model or self.verdict or self.min_confidence)

    def newest(self, *, limit: int) -> list[Signal]:
        """Return the signals to show, newest first."""
        if not self.is_judging:
            return list(signals.list_signals(filters=self._lookups()).only(*COLUMNS)[:limit])
        found = signals.list_signals(filters={}).only(*COLUMNS)
        return self._judged().newest(found, filters=self._lookups(), limit=limit)

    def among(self, event_ids: list[UUID]) -> list[Signal]:
        """Return those of some signals that are shown, newest first."""
        lookups = self._lookups() | {"event_id__in": event_ids}
        found = signals.list_signals(filters=lookups).only(*COLUMNS)
        return list(self._judged().among(found) if self.is_judging else found)

    def _lookups(self) -> dict[str, object]:
        given = {"symbol": self.symbol.strip().upper(), "source": self.source.strip()}
        lookups: dict[str, object] = {name: value for name, value in given.items() if value}
        return lookups | {"origin__in": SHOWN_ORIGINS[self.origin]}

    def _judged(self) -> Judged:
        return Judged(
            judge=self.model or JURY,
            actions=VERDICTS.get(self.verdict, ()),
            min_confidence=self.min_confidence / 100,
        )


@require_safe
@person()
def board(request: HttpRequest) -> HttpResponse:
    """Show the board; its script goes on from the number up to which this is true."""
    now = timezone.now()
    seq = decisions.get_head()
    view = asked(View, request.GET)
    mutes = mutes_of(request, now=now)
    shown = {
        "view": view,
        "mutes": mutes,
        "muted": muted_json(mutes),
        "rows": rows_of(view.newest(limit=ROWS_FIRST), now=now),
        "is_wide": has_many_models(),
        "tiles": board_tiles(now=now),
        "seq": seq,
        "models": settings.AI_MODELS,
        "letters": words.letters(settings.AI_MODELS),
        "confidences": CONFIDENCES,
        "now": now,
    }
    return render(request, "board.html", shown)


@require_safe
@person()
def rows(request: HttpRequest) -> HttpResponse:
    """Answer with the rows of the signals asked for that the view shows, for the board's script."""
    event_ids = _ids(request.GET.getlist("id"))[:ROWS_ASKED_MAX]
    found = asked(View, request.GET).among(event_ids)
    return render(request, "parts/board_rows.html", {"rows": rows_of(found, now=timezone.now())})


@require_safe
@person()
def tiles(request: HttpRequest) -> HttpResponse:
    """Answer with the tiles as they are now."""
    return render(request, "parts/tiles.html", {"tiles": board_tiles(now=timezone.now())})


def _ids(texts: list[str]) -> list[UUID]:
    found = []
    for text in texts:
        try:
            found.append(UUID(text))
        except ValueError:
            continue
    return found
