"""The list of all signals, and the search box."""

from __future__ import annotations

import re
from typing import Annotated, Literal
from urllib.parse import urlencode
from uuid import UUID

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe
from pydantic import BaseModel, Field

from lens_site.pages import words
from lens_site.pages.access import person
from lens_site.pages.asking import asked
from lens_site.pages.rows import COLUMNS, has_many_models, rows_of
from signals import queries
from signals.types import Origin, SignalStatus

PAGE_ROWS = 30
ID = re.compile(r"(?:sig_)?([0-9a-f]{6,32})", re.IGNORECASE)
SYMBOL = re.compile(r"[A-Z0-9][A-Z0-9/_:.-]{0,19}")

Word = Annotated[str, Field(max_length=100)]


class Wanted(BaseModel):
    """Which signals are asked for, as the URL says it; ``before`` is where a page goes on."""

    symbol: Word = ""
    source: Word = ""
    status: Literal["", *SignalStatus.values] = ""  # type: ignore[valid-type]  # the words of the rows
    origin: Literal["", "LIVE", "DEMO", "REPLAY"] = ""
    before: Annotated[int, Field(ge=1, lt=2**63)] | None = None

    def lookups(self) -> dict[str, object]:
        """Return what is said as column look-ups."""
        said: dict[str, object] = {
            "symbol": self.symbol.strip().upper(),
            "source": self.source.strip(),
            "status": self.status,
            "origin": self.origin,
            "id__lt": self.before,
        }
        return {column: value for column, value in said.items() if value}

    def address(self, *, before: int | None) -> str:
        """Return the URL of this list from another place on."""
        said = {**self.model_dump(exclude={"before"}), "before": before}
        return "?" + urlencode({name: value for name, value in said.items() if value})


@require_safe
@person()
def signal_list(request: HttpRequest) -> HttpResponse:
    """Show signals, newest first, a page at a time."""
    wanted = asked(Wanted, request.GET)
    rows = queries.list_signals(filters=wanted.lookups()).only(*COLUMNS)
    found = list(rows[: PAGE_ROWS + 1])
    page = found[:PAGE_ROWS]
    shown = {
        "wanted": wanted,
        "rows": rows_of(page, now=timezone.now()),
        "is_wide": has_many_models(),
        "older": wanted.address(before=page[-1].id) if len(found) > PAGE_ROWS else "",
        "newest": wanted.address(before=None) if wanted.before else "",
        "is_filtered": bool(wanted.lookups().keys() - {"id__lt"}),
        "statuses": words.STATUSES.items(),
        "origins": Origin.values,
    }
    return render(request, "signals.html", shown)


@require_safe
@person()
def search(request: HttpRequest) -> HttpResponse:
    """Lead to what the search box asked for: a signal by its id, else the list, filtered."""
    text = request.GET.get("q", "").strip()[:100]
    event_ids = _ids_like(text)
    if len(event_ids) == 1:
        return HttpResponseRedirect(f"/signals/{event_ids[0]}")
    return HttpResponseRedirect(f"/signals?{urlencode(_meant(text))}" if text else "/signals")


def _ids_like(text: str) -> list[UUID]:
    found = ID.fullmatch(text.replace("-", ""))
    if found is None:
        return []
    return [each.event_id for each in queries.find_by_beginning(digits=found[1].lower(), limit=2)]


def _meant(text: str) -> dict[str, str]:
    """Return what a text most likely means: a status, a symbol that has signals, or a source."""
    upper = text.upper()
    if upper in SignalStatus.values:
        return {"status": upper}
    if SYMBOL.fullmatch(upper) and queries.list_signals(filters={"symbol": upper}).exists():
        return {"symbol": upper}
    return {"source": text}
