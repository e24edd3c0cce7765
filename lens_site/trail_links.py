"""Where one signal left its marks: links from any of its rows to all the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.urls import reverse

from decisions.models import Decision
from enrichment.models import Enrichment
from evaluation.models import Attempt, Evaluation
from outcomes.models import Outcome, Question
from pipeline.models import AuditEvent, DeadLetter, StageRun
from signals.models import Signal
from signals.queries import get_signal

SHOWN_ALONE = 1


@dataclass(frozen=True, slots=True)
class Link:
    """One place; ``count`` is how many rows are there."""

    words: str
    href: str
    count: int | None = None


def event_of(row: Any) -> UUID | None:
    """Return the ``event_id`` of the signal that a row belongs to, if it belongs to one."""
    if isinstance(row, Attempt):
        row = row.evaluation
    if isinstance(row, Evaluation):
        row = row.signal
    if isinstance(row, Outcome):
        row = row.question
    if isinstance(row, Signal | Decision | Enrichment | Question):
        return row.event_id
    if isinstance(row, StageRun | DeadLetter | AuditEvent):
        return row.trace
    return None


def list_links(event_id: UUID, *, user: Any) -> list[Link]:
    """Return the places that tell of one signal and that ``user`` may look at."""
    signal = get_signal(event_id=event_id)
    if signal is None:
        return []
    links = [Link("Page", f"/signals/{event_id}")]
    if user.has_perm("signals.view_signal"):
        links.append(Link("Signal", _page(Signal, signal.pk)))
    places: tuple[tuple[str, Any, dict[str, Any]], ...] = (
        ("Facts", Enrichment, {"event_id": event_id}),
        ("Evaluations", Evaluation, {"signal": signal}),
        ("Attempts", Attempt, {"evaluation__signal": signal}),
        ("Decisions", Decision, {"event_id": event_id}),
        ("Outcomes", Outcome, {"question__event_id": event_id}),
        ("Stage runs", StageRun, {"trace": event_id}),
        ("Dead letters", DeadLetter, {"trace": event_id}),
        ("Trail", AuditEvent, {"trace": event_id}),
    )
    for words, model, wanted in places:
        meta = model._meta
        may_look = user.has_perm(f"{meta.app_label}.view_{meta.model_name}")
        if may_look and admin.site.is_registered(model):
            links.append(_link(words, model, wanted, event_id))
    return links


def _link(words: str, model: Any, wanted: dict[str, Any], event_id: UUID) -> Link:
    """Lead to the row if there is one, else to the list of them."""
    keys = list(model._default_manager.filter(**wanted).values_list("pk", flat=True))
    if len(keys) == SHOWN_ALONE:
        return Link(words, _page(model, keys[0]), 1)
    return Link(words, f"{_list(model)}?q=sig_{event_id.hex}", len(keys))


def _page(model: Any, key: Any) -> str:
    meta = model._meta
    return reverse(f"admin:{meta.app_label}_{meta.model_name}_change", args=[key])


def _list(model: Any) -> str:
    meta = model._meta
    return reverse(f"admin:{meta.app_label}_{meta.model_name}_changelist")
