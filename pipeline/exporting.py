"""The trail as files: one line of CSV or JSON for one line of the trail."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from io import StringIO
from typing import Any

from django.db.models import QuerySet

from pipeline.chaining import line_hash
from pipeline.models import AuditEvent
from pipeline.parsing import time_text
from pipeline.queries import CLOCKS_APART, first_id

COLUMNS = (
    "id",
    "at",
    "verb",
    "actor",
    "object",
    "trace",
    "run",
    "request_id",
    "details",
    "sha256",
)
FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")
AT_ONCE = 2_000


def list_lines(
    *, since: datetime | None = None, until: datetime | None = None
) -> Iterator[AuditEvent]:
    """Yield the trail in order, from ``since`` on and before ``until``."""
    for batch in list_batches(since=since, until=until):
        yield from batch


def list_batches(
    *, since: datetime | None = None, until: datetime | None = None
) -> Iterator[list[AuditEvent]]:
    """Yield the same in batches, each read when it is asked for: no cursor is held meanwhile."""
    rows = _within(since, until).order_by("id")
    place = 0
    while batch := list(rows.filter(id__gt=place)[:AT_ONCE]):
        yield batch
        place = batch[-1].id


def _within(since: datetime | None, until: datetime | None) -> QuerySet[AuditEvent]:
    """Select lines by their time; their ids, which rise with it, say where these lie."""
    rows = AuditEvent.objects.all()
    if since is not None:
        first = first_id(AuditEvent, "at", at=since - CLOCKS_APART)
        rows = rows.none() if first is None else rows.filter(id__gte=first, at__gte=since)
    if until is not None:
        beyond = first_id(AuditEvent, "at", at=until + CLOCKS_APART)
        rows = rows.filter(at__lt=until, **({} if beyond is None else {"id__lt": beyond}))
    return rows


def header(kind: str) -> str:
    """Return what stands above the lines of a file."""
    return csv_line(COLUMNS) if kind == "csv" else ""


def written(kind: str, lines: Iterable[AuditEvent]) -> str:
    """Return lines of the trail as lines of a file."""
    return "".join(map(WRITERS[kind], lines))


def _as_csv(line: AuditEvent) -> str:
    """Return a line as CSV that no spreadsheet takes for formulas."""
    told = _told(line)
    details = json.dumps(told["details"], ensure_ascii=False, sort_keys=True)
    return csv_line([harmless(part) for part in (told | {"details": details}).values()])


def _as_jsonl(line: AuditEvent) -> str:
    """Return a line as one JSON object."""
    return json.dumps(_told(line), ensure_ascii=False) + "\n"


WRITERS: dict[str, Callable[[AuditEvent], str]] = {"csv": _as_csv, "jsonl": _as_jsonl}
FORMATS = tuple(sorted(WRITERS))


def harmless(value: Any) -> Any:
    """Return a cell that is shown as it is: text that would be a formula gets a quote in front."""
    if isinstance(value, str) and value.startswith(FORMULA_SIGNS):
        return f"'{value}"
    return value


def _told(line: AuditEvent) -> dict[str, Any]:
    return {
        "id": line.id,
        "at": time_text(line.at),
        "verb": line.verb,
        "actor": line.actor,
        "object": line.object,
        "trace": None if line.trace is None else str(line.trace),
        "run": line.run,
        "request_id": line.request_id,
        "details": line.details,
        "sha256": line_hash(line),
    }


def csv_line(cells: Iterable[Any]) -> str:
    """Return cells as one line of CSV."""
    written = StringIO()
    csv.writer(written).writerow(cells)
    return written.getvalue()
