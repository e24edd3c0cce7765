"""The list of all signals, and the search box."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Literal
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe
from pydantic import BaseModel, Field

from decisions import queries as decisions
from lens_site.pages import words
from lens_site.pages.access import person
from lens_site.pages.asking import asked
from lens_site.pages.rows import COLUMNS, has_many_models, rows_of
from pipeline import queries as pipeline
from signals import queries
from signals.types import Origin, SignalStatus

PAGE_ROWS = 30
ID = re.compile(r"(sig_|dec_|dlq_)?([0-9a-f]{6,32})", re.IGNORECASE)
KEY = re.compile(r"key_([0-9a-z]{8})", re.IGNORECASE)
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
    """Lead to what the search box asked for: what has such an id, else the list, filtered."""
    text = request.GET.get("q", "").strip()[:100]
    place = _place_of(text)
    if place:
        return HttpResponseRedirect(place)
    return HttpResponseRedirect(f"/signals?{urlencode(_meant(text))}" if text else "/signals")


def _place_of(text: str) -> str:
    """Return the page of the one thing whose id begins so, or "" if there is none or several.

    Digits alone may be the id of anything; a prefix says of what.
    """
    key = KEY.fullmatch(text)
    if key is not None:
        return f"/keys#key-{key[1].lower()}"
    found = ID.fullmatch(text.replace("-", ""))
    if found is None:
        return ""
    kind, digits = (found[1] or "").lower(), found[2].lower()
    for name, places in PLACES.items():
        if kind in ("", name):
            leads = places(digits)
            if len(leads) == 1:
                return leads[0]
    return ""


def _signals_at(digits: str) -> list[str]:
    rows = queries.find_by_beginning(digits=digits, limit=2)
    return [f"/signals/{row.event_id}" for row in rows]


def _decisions_at(digits: str) -> list[str]:
    rows = decisions.find_by_beginning(digits=digits, limit=2)
    return [f"/signals/{row.event_id}" for row in rows]


def _letters_at(digits: str) -> list[str]:
    rows = pipeline.find_letters_by_beginning(digits=digits, limit=2)
    return [f"/dead-letters/{row.id}" for row in rows]


PLACES: Mapping[str, Callable[[str], list[str]]] = {
    "sig_": _signals_at,
    "dec_": _decisions_at,
    "dlq_": _letters_at,
}


def _meant(text: str) -> dict[str, str]:
    """Return what a text most likely means: a status, a symbol that has signals, or a source."""
    upper = text.upper()
    if upper in SignalStatus.values:
        return {"status": upper}
    if SYMBOL.fullmatch(upper) and queries.list_signals(filters={"symbol": upper}).exists():
        return {"symbol": upper}
    return {"source": text}
