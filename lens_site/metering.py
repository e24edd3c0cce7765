"""Counting what the trail and the calls of models tell, a batch at a time, into lasting rows.

Nothing is counted where signals are taken in or judged, so counting costs them nothing. The
conductor reads on from where it stopped and adds what it read to the rows of
:mod:`pipeline.metrics`, in one transaction with the place it has come to: whatever dies in between,
no line is counted twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction

from evaluation.models import Attempt
from pipeline.metrics import Gains
from pipeline.models import AuditEvent, MeterPlace
from signals.models import Signal
from signals.types import Origin

BATCH = 1_000
LINES_SETTLE = timedelta(seconds=10)
CALLS_SETTLE = timedelta(seconds=60)
"""A row is counted when it is this old: one with a lower number may be committed after it."""

TRAIL = "trail"
CALLS = "calls"
OK = "ok"
ENDS = frozenset({"PUBLISHED", "REJECTED", "EXPIRED", "CANCELLED", "DEAD"})


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a signal's trail, with what labels are made of."""

    verb: str
    run: int
    at: datetime
    details: Mapping[str, Any]
    origin: str
    event_type: str
    received_at: datetime


def count_on(*, now: datetime) -> bool:
    """Count the next batch of lines and calls, and say whether there is more to count at once."""
    lines = _count(TRAIL, _lines, now=now)
    calls = _count(CALLS, _calls, now=now)
    return lines or calls


def count_behind() -> dict[str, int]:
    """Return how many numbers lie between each place and the newest row of its table."""
    places = dict(MeterPlace.objects.values_list("name", "upto"))
    newest = {
        TRAIL: AuditEvent.objects.order_by("-id").values_list("id", flat=True).first() or 0,
        CALLS: Attempt.objects.order_by("-id").values_list("id", flat=True).first() or 0,
    }
    return {name: max(0, last - places.get(name, 0)) for name, last in newest.items()}


def _count(name: str, read: Any, *, now: datetime) -> bool:
    with transaction.atomic():
        place, _ = MeterPlace.objects.select_for_update().get_or_create(name=name)
        gains = Gains()
        last, many = read(gains, after=place.upto, now=now)
        if last == place.upto:
            return False
        gains.write()
        place.upto = last
        place.save(update_fields=["upto"])
    return bool(many >= BATCH)


def _lines(gains: Gains, *, after: int, now: datetime) -> tuple[int, int]:
    columns = ("id", "trace", "run", "at", "verb", "details")
    rows = list(
        AuditEvent.objects.filter(id__gt=after).order_by("id").values_list(*columns)[:BATCH]
    )
    settled = rows[: _settled([row[3] for row in rows], after=LINES_SETTLE, now=now)]
    signals = _signals({row[1] for row in settled if row[1] is not None})
    for _, trace, run, at, verb, details in settled:
        if trace in signals:
            origin, event_type, received_at = signals[trace]
            _count_line(gains, Line(verb, run, at, details, origin, event_type, received_at))
    return (settled[-1][0] if settled else after), len(rows)


def _settled(times: Sequence[datetime], *, after: timedelta, now: datetime) -> int:
    """Return how many rows from the start are old enough; one from a wrong clock holds none up."""
    for index, at in enumerate(times):
        if now - after < at < now + after:
            return index
    return len(times)


def _signals(traces: Iterable[UUID]) -> dict[UUID, tuple[str, str, datetime]]:
    rows = Signal.objects.filter(event_id__in=list(traces))
    found = rows.values_list("event_id", "origin", "event_type", "received_at")
    return {event_id: (origin.lower(), kind, at) for event_id, origin, kind, at in found}


def _count_line(gains: Gains, line: Line) -> None:
    if line.verb == "RECEIVED":
        gains.count("lens_signals_received_total", origin=line.origin, event_type=line.event_type)
    elif line.verb == "ENQUEUED":
        gains.count("lens_signals_enqueued_total", origin=line.origin)
    elif line.verb == "ENRICHED":
        _count_enriched(gains, line)
    elif line.verb == "MODEL_DONE":
        _count_judged(gains, line)
    elif line.verb in ENDS:
        _count_end(gains, line)


def _count_enriched(gains: Gains, line: Line) -> None:
    profile = str(line.details.get("profile", "")).partition(" ")[0]
    gains.count("lens_signals_enriched_total", profile=profile, origin=line.origin)
    seconds = float(line.details.get("duration_ms", 0)) / 1000
    gains.observe("lens_enrichment_duration_seconds", seconds, profile=profile)
    for kind, many in line.details.get("flags", {}).items():
        gains.count("lens_enrichment_flags_total", float(many), kind=str(kind))


def _count_judged(gains: Gains, line: Line) -> None:
    model, status = str(line.details["model"]), str(line.details["status"])
    gains.count("lens_signals_evaluated_total", model=model, outcome=status)
    if status != OK:
        gains.count("lens_model_errors_total", model=model, error_type=status)
    seconds = float(line.details.get("latency_ms", 0)) / 1000
    gains.observe("lens_model_evaluation_duration_seconds", seconds, model=model)


def _count_end(gains: Gains, line: Line) -> None:
    gains.count("lens_signals_finished_total", origin=line.origin, status=line.verb.lower())
    if line.verb == "REJECTED":
        reason = str(line.details.get("gate", "other"))
        gains.count("lens_signals_rejected_total", origin=line.origin, reason=reason)
    if line.verb == "PUBLISHED":
        gains.count("lens_signals_published_total", origin=line.origin)
        if line.run == 1 and line.origin != Origin.REPLAY.lower():
            seconds = max(0.0, (line.at - line.received_at).total_seconds())
            gains.observe("lens_end_to_end_duration_seconds", seconds)


def _calls(gains: Gains, *, after: int, now: datetime) -> tuple[int, int]:
    columns = ("id", "evaluation__model", "status", "started_at", "latency_ms")
    money = ("tokens_in", "tokens_out", "cost_usd")
    made = Attempt.objects.filter(id__gt=after).order_by("id")
    rows = list(made.values_list(*columns, *money)[:BATCH])
    settled = rows[: _settled([row[3] for row in rows], after=CALLS_SETTLE, now=now)]
    for _, model, status, _, latency_ms, tokens_in, tokens_out, cost_usd in settled:
        gains.count("lens_model_calls_total", model=model, status=status)
        gains.observe("lens_model_call_duration_seconds", latency_ms / 1000, model=model)
        gains.count("lens_model_tokens_total", tokens_in or 0, model=model, direction="input")
        gains.count("lens_model_tokens_total", tokens_out or 0, model=model, direction="output")
        gains.count("lens_model_cost_usd_total", float(cost_usd or 0), model=model)
    return (settled[-1][0] if settled else after), len(rows)
