"""Dead letters: work that failed for good, by what it died of; run it again, or close it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import path
from django.views.decorators.http import require_POST, require_safe

from lens_site.pages.access import person
from lens_site.pages.acting import actor_of, back_to, faults_by_field, is_first_time, once_token
from lens_site.pages.advice import Advice, advice_on
from pipeline import queries, services
from pipeline.models import DeadLetter
from pipeline.queries import LetterGroup
from pipeline.types import InvalidRequest, LetterStatus
from signals import queries as signals
from signals.models import Signal

PLACE = "/dead-letters"
PAGE_ROWS = 50
SPARK_HOURS = 24
SPARK_LETTERS_MAX = 1_000
CHOSEN_MAX = 500
REQUEUE, RESOLVE = "requeue", "resolve"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One hour of a sparkline: where it stands and how high, in a box of 100 by 24."""

    x: float
    y: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One group with what is advised against it, and its last day hour by hour."""

    group: LetterGroup
    advice: Advice
    is_still_happening: bool
    bars: tuple[Bar, ...]


@require_safe
@person("pipeline.view_deadletter")
def letters(request: HttpRequest) -> HttpResponse:
    """Show what failed for good, by what it died of."""
    status = _status(request)
    now = datetime.now(UTC)
    groups = queries.group_letters(status=status)
    shown = {
        "status": status,
        "statuses": LetterStatus,
        "groups": [_shown(group, status=status, now=now) for group in groups],
        "total": sum(group.count for group in groups),
        "may_act": request.user.has_perm("pipeline.requeue"),
        "said": _said(request),
        "closed_at": _undoable(request.GET.get("closed_at", ""), now=now),
        "once": once_token(request) if request.GET.get("closed_at") else "",
        "since": signals.first_received_at() if not groups else None,
    }
    return render(request, "dead_letters/groups.html", shown)


@require_safe
@person("pipeline.view_deadletter")
def group(request: HttpRequest, fingerprint: str) -> HttpResponse:
    """Show the letters of one group, newest first."""
    status = _status(request)
    rows = queries.list_dead_letters(filters={"fingerprint": fingerprint, "status": status})
    before = request.GET.get("before", "")
    if before:
        rows = rows.filter(created_at__lt=_moment(before))
    found = list(rows[: PAGE_ROWS + 1])
    if not found and not before:
        raise Http404
    page = found[:PAGE_ROWS]
    shown = {
        "fingerprint": fingerprint,
        "status": status,
        "letters": _with_signals(page),
        "first": page[0] if page else None,
        "advice": advice_on(code=page[0].code, reason=page[0].reason) if page else None,
        "next_before": page[-1].created_at.isoformat() if len(found) > PAGE_ROWS else "",
        "may_act": request.user.has_perm("pipeline.requeue") and status == LetterStatus.OPEN,
    }
    return render(request, "dead_letters/group.html", shown)


@require_safe
@person("pipeline.view_deadletter")
def letter(request: HttpRequest, letter_id: UUID) -> HttpResponse:
    """Show one letter in full, with every piece of work of its signal; nothing is cut."""
    found = queries.get_dead_letter(letter_id=letter_id)
    if found is None:
        raise Http404
    may_act = request.user.has_perm("pipeline.requeue")
    shown: dict[str, Any] = {
        "letter": found,
        "advice": advice_on(code=found.code, reason=found.reason),
        "signal": signals.get_signal(event_id=found.trace),
        "runs": queries.list_runs(trace=found.trace),
        "timeline": queries.list_timeline(trace=found.trace),
        "may_act": may_act and found.status == LetterStatus.OPEN,
        "may_undo": may_act and _can_reopen(found, now=datetime.now(UTC)),
    }
    if shown["may_undo"]:
        shown["once"] = once_token(request)
    return render(request, "dead_letters/letter.html", shown)


@require_POST
@person("pipeline.requeue")
def ask(request: HttpRequest) -> HttpResponse:
    """Show what requeueing or closing the chosen letters would come to, and ask once."""
    return _ask(request)


@require_POST
@person("pipeline.requeue")
def act(request: HttpRequest) -> HttpResponse:
    """Do what was asked for, once."""
    if not is_first_time(request):
        return back_to(PLACE, done="before")
    chosen, now, actor = _chosen(request), datetime.now(UTC), actor_of(request)
    wanted = chosen.filter(status=LetterStatus.OPEN).count()
    if request.POST.get("action") == RESOLVE:
        try:
            done = services.resolve_letters(
                letters=chosen, actor=actor, note=request.POST.get("note", ""), at=now
            )
        except InvalidRequest as error:
            return _ask(request, fault=next(iter(faults_by_field(error).values())))
        return back_to(PLACE, done="closed", n=str(done), closed_at=now.isoformat())
    done = services.retry_letters(letters=chosen, actor=actor, now=now)
    return back_to(PLACE, done="requeued", n=str(done), left=str(max(0, wanted - done)))


@require_POST
@person("pipeline.requeue")
def undo(request: HttpRequest) -> HttpResponse:
    """Open again what was closed by mistake: one letter, or all of one act."""
    if not is_first_time(request):
        return back_to(PLACE, done="before")
    closed_at = request.POST.get("closed_at", "")
    filters = {"resolved_at": _moment(closed_at)} if closed_at else {"id": _letter_id(request)}
    done = services.reopen_letters(
        letters=queries.list_dead_letters(filters=filters),
        actor=actor_of(request),
        now=datetime.now(UTC),
    )
    return back_to(PLACE, done="reopened", n=str(done))


@require_safe
@person("pipeline.view_deadletter")
def export(request: HttpRequest) -> HttpResponseBase:
    """Hand out the letters of a state as lines of JSON, nothing cut."""
    rows = queries.list_dead_letters(filters={"status": _status(request)}).values()
    lines = (json.dumps(row, default=str) + "\n" for row in rows.iterator(chunk_size=500))
    answer = StreamingHttpResponse(lines, content_type="application/x-ndjson")
    answer["Content-Disposition"] = 'attachment; filename="dead-letters.jsonl"'
    return answer


def _letter_id(request: HttpRequest) -> UUID:
    try:
        return UUID(request.POST.get("letter", ""))
    except ValueError as error:
        raise Http404 from error


def _can_reopen(letter: DeadLetter, *, now: datetime) -> bool:
    return (
        letter.status == LetterStatus.RESOLVED
        and letter.resolved_by != services.HOUSE
        and letter.resolved_at is not None
        and letter.resolved_at > now - timedelta(seconds=settings.LETTER_UNDO_S)
    )


def _undoable(closed_at: str, *, now: datetime) -> datetime | None:
    """Return when the act that led here closed letters, if that can still be undone."""
    at = _moment(closed_at) if closed_at else None
    return at if at and now - at < timedelta(seconds=settings.LETTER_UNDO_S) else None


def _ask(request: HttpRequest, *, fault: str = "") -> HttpResponse:
    action = request.POST.get("action", REQUEUE)
    chosen = _chosen(request)
    preview = services.preview_retry(letters=chosen, now=datetime.now(UTC))
    shown = {
        "action": action if action in (REQUEUE, RESOLVE) else REQUEUE,
        "preview": preview,
        "fingerprint": request.POST.get("fingerprint", ""),
        "ids": request.POST.getlist("letter")[:CHOSEN_MAX],
        "count": preview.letters + preview.left,
        "fault": fault,
        "once": once_token(request),
    }
    return render(request, "dead_letters/ask.html", shown, status=400 if fault else 200)


def _chosen(request: HttpRequest) -> QuerySet[DeadLetter]:
    """Select what the form names: letters one by one, or a whole group.

    :raises Http404: if it names nothing that is an id.
    """
    fingerprint = request.POST.get("fingerprint", "")
    if fingerprint:
        filters: dict[str, Any] = {"fingerprint": fingerprint, "status": LetterStatus.OPEN}
        return queries.list_dead_letters(filters=filters)
    try:
        ids = [UUID(each) for each in request.POST.getlist("letter")[:CHOSEN_MAX]]
    except ValueError as error:
        raise Http404 from error
    return queries.list_dead_letters(filters={"id__in": ids})


def _shown(group: LetterGroup, *, status: LetterStatus, now: datetime) -> Shown:
    return Shown(
        group=group,
        advice=advice_on(code=group.code, reason=group.reason),
        is_still_happening=status == LetterStatus.OPEN and group.is_still_happening(now=now),
        bars=_bars(group, status=status, now=now),
    )


def _bars(group: LetterGroup, *, status: LetterStatus, now: datetime) -> tuple[Bar, ...]:
    """Return the last day of a group, hour by hour; of very many letters the newest count."""
    filters = {
        "fingerprint": group.fingerprint,
        "status": status,
        "created_at__gt": now - timedelta(hours=SPARK_HOURS),
    }
    rows = queries.list_dead_letters(filters=filters).values_list("created_at", flat=True)
    counts = [0] * SPARK_HOURS
    for at in rows[:SPARK_LETTERS_MAX]:
        ago = int((now - at).total_seconds() // 3_600)
        counts[SPARK_HOURS - 1 - min(max(ago, 0), SPARK_HOURS - 1)] += 1
    most, width = max(counts), 100 / SPARK_HOURS
    if not most:
        return ()
    heights = [max(2.0, 24 * count / most) if count else 0.0 for count in counts]
    return tuple(
        Bar(x=round(place * width, 2), y=round(24 - height, 2), height=round(height, 2))
        for place, height in enumerate(heights)
        if height
    )


def _with_signals(rows: list[DeadLetter]) -> list[tuple[DeadLetter, Signal | None]]:
    found = signals.list_signals(filters={"event_id__in": {row.trace for row in rows}})
    by_id = {signal.event_id: signal for signal in found}
    return [(row, by_id.get(row.trace)) for row in rows]


def _status(request: HttpRequest) -> LetterStatus:
    given = request.GET.get("status", "").upper()
    return LetterStatus(given) if given in LetterStatus.values else LetterStatus.OPEN


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text.replace(" ", "+"))
    except ValueError as error:
        raise Http404 from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _said(request: HttpRequest) -> dict[str, Any]:
    """Return what the act that led here came to: a word and counts, never a stranger's text."""
    given = request.GET
    counts = {name: given.get(name, "") for name in ("n", "left")}
    return {
        "done": given.get("done", ""),
        **{name: int(text) for name, text in counts.items() if text.isdecimal() and len(text) < 9},
    }


urlpatterns = [
    path("dead-letters", letters, name="dead_letters"),
    path("dead-letters/ask", ask),
    path("dead-letters/act", act),
    path("dead-letters/undo", undo),
    path("dead-letters/export", export),
    path("dead-letters/group/<slug:fingerprint>", group),
    path("dead-letters/<uuid:letter_id>", letter, name="dead_letter"),
]
