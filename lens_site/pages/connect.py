"""Connect: from nothing to one's own first decision, in the language of one's choice."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from asgiref.sync import async_to_sync
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import path
from django.views.decorators.http import require_POST, require_safe

from access import services as access
from decisions import deliberation as decisions
from decisions.types import JURY
from evaluation import queries as evaluation
from evaluation.types import EvaluationStatus
from lens_site.pages import keys, snippets
from lens_site.pages.access import person
from lens_site.pages.acting import actor_of, back_to, base_url, is_first_time, once_token
from markets.services import (
    BadMarketData,
    MarketDataUnavailable,
    UnknownInstrument,
    market_named,
)
from signals import queries, services
from signals.mapping import STARTERS
from signals.models import Hook, Signal
from signals.types import OPEN_STATUSES, HookDraft, HookKind, SignalStatus

PLACE = "/connect"
OWNERS = "connect_owners"
OWNERS_KEPT = 10
QUOTE_WITHIN_S = 4.0
SYMBOL = "BTC"
HOOK_TO_COME = "https://…/hooks/…"


@require_safe
@person()
def connect(request: HttpRequest) -> HttpResponse:
    """Show how to send a first signal, what became of it, and how to listen."""
    return _page(request)


@person("access.manage_keys")
def key(request: HttpRequest) -> HttpResponse:
    """Issue a key and show the page with it in every snippet, this once."""
    if request.method != "POST" or not is_first_time(request):
        return back_to(PLACE)
    now = datetime.now(UTC)
    fresh, plain = access.issue_key(
        draft=keys.draft_for_connect(), actor=actor_of(request), now=now
    )
    _follow(request, fresh.owner)
    return _page(request, plain=plain)


@person("signals.manage_hooks")
def webhook(request: HttpRequest) -> HttpResponse:
    """Make a webhook and show the page with its address, this once."""
    kind = request.POST.get("kind", "")
    if request.method != "POST" or kind not in HookKind.values or not is_first_time(request):
        return back_to(PLACE)
    draft = HookDraft(
        name=f"{HookKind(kind).label} webhook",
        kind=HookKind(kind),
        source=kind,
        mapping=STARTERS[kind],
    )
    hook, slug = services.create_hook(draft=draft, actor=actor_of(request), now=datetime.now(UTC))
    _follow(request, hook.owner)
    return _page(request, hook=hook, slug=slug)


@require_safe
@person()
def first(request: HttpRequest) -> HttpResponse:
    """Show what came in since the page was opened: nothing yet, a signal, or a complaint."""
    after = request.GET.get("after", "")
    owners: list[str] = request.session.get(OWNERS, [])
    mark = int(after) if after.isdecimal() and len(after) < 19 else 0
    signal = queries.first_live_after(row_id=mark, owners=owners)
    shown: dict[str, Any] = {"after": mark, "signal": signal}
    if signal is None:
        shown["complaint"] = queries.latest_complaint(owners=owners, now=datetime.now(UTC))
    else:
        shown |= _became(signal)
    return render(request, "connect/first.html", shown)


@require_POST
@person()
def listened(request: HttpRequest) -> HttpResponse:
    """Hear from the tester that the keys made here have heard something."""
    access.note_tried_out(owners=request.session.get(OWNERS, []), now=datetime.now(UTC))
    return HttpResponse(status=204)


@require_safe
@person()
def quote(request: HttpRequest) -> HttpResponse:
    """Answer with the market's present price, for the snippets; or with why there is none.

    Both are answers of a page that works: browsers would tell of an error status in red.
    """
    del request
    try:
        mid = async_to_sync(_mid)()
    except (MarketDataUnavailable, BadMarketData, UnknownInstrument, TimeoutError) as error:
        why = str(error) or f"no answer within {QUOTE_WITHIN_S:.0f} s"
        return JsonResponse({"provider": settings.PROVIDER_PRIMARY, "why": why[:200]})
    return JsonResponse({"provider": settings.PROVIDER_PRIMARY, "symbol": SYMBOL, "mid": mid})


async def _mid() -> float:
    async with asyncio.timeout(QUOTE_WITHIN_S):
        found = await market_named(settings.PROVIDER_PRIMARY).quote(
            symbol=SYMBOL, as_of=datetime.now(UTC)
        )
    return found.mid


def _follow(request: HttpRequest, owner: str) -> None:
    owners = [each for each in request.session.get(OWNERS, []) if each != owner]
    request.session[OWNERS] = [*owners, owner][-OWNERS_KEPT:]


def _became(signal: Signal) -> dict[str, Any]:
    """Return what has become of a signal so far."""
    judged = evaluation.list_evaluations(signal=signal)
    words = decisions.list_of_signal(event_id=signal.event_id)
    silent = [row for row in judged if row.status == EvaluationStatus.ABSTAINED]
    return {
        "decisions": sorted(words, key=lambda row: (row.model == JURY, row.model)),
        "silent": silent,
        "waiting_for": [row.model for row in judged if row.status == EvaluationStatus.PENDING],
        "is_open": signal.status in OPEN_STATUSES,
        "is_good": signal.status == SignalStatus.PUBLISHED,
    }


def _page(
    request: HttpRequest, *, plain: str = "", hook: Hook | None = None, slug: str = ""
) -> HttpResponse:
    url = base_url(request)
    hook_url = f"{url}/hooks/{slug}" if slug else HOOK_TO_COME
    values = {"URL": url, "KEY": plain or snippets.KEY_TO_COME, "HOOK": hook_url}
    user = request.user
    can = {
        "key": user.has_perm("access.manage_keys"),
        "hook": user.has_perm("signals.manage_hooks"),
        "see_hooks": user.has_perm("signals.view_hook"),
    }
    chosen = hook.kind if hook else ""
    shown = {
        "tabs": [(tab, snippets.filled(tab.text, values)) for tab in snippets.TABS],
        "chosen": "webhook" if chosen == HookKind.GENERIC else chosen or "curl",
        "listen": snippets.filled(snippets.LISTEN, values),
        "plain": plain,
        "hook": hook,
        "hook_url": hook_url if slug else "",
        "hooks": queries.list_hooks() if can["see_hooks"] else [],
        "can": can,
        "once": once_token(request),
        "after": queries.latest_row_id(),
        "provider": settings.PROVIDER_PRIMARY,
        "is_loopback": request.get_host().split(":")[0] in {"127.0.0.1", "localhost"},
    }
    return render(request, "connect/page.html", shown)


urlpatterns = [
    path("connect", connect, name="connect"),
    path("connect/key", key),
    path("connect/webhook", webhook),
    path("connect/first", first),
    path("connect/listened", listened),
    path("connect/quote", quote),
]
