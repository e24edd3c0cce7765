"""The trail as files: one line of CSV or JSON for one line of the trail."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from io import StringIO
from typing import Any

from pipeline.chaining import line_hash
from pipeline.models import AuditEvent
from pipeline.parsing import time_text

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
    rows = AuditEvent.objects.all()
    if since is not None:
        rows = rows.filter(at__gte=since)
    if until is not None:
        rows = rows.filter(at__lt=until)
    return rows.order_by("id").iterator(chunk_size=AT_ONCE)


def as_csv(lines: Iterable[AuditEvent]) -> Iterator[str]:
    """Yield a header and the lines as CSV that no spreadsheet takes for formulas."""
    yield csv_line(COLUMNS)
    for line in lines:
        told = _told(line)
        details = json.dumps(told["details"], ensure_ascii=False, sort_keys=True)
        yield csv_line([harmless(part) for part in (told | {"details": details}).values()])


def as_jsonl(lines: Iterable[AuditEvent]) -> Iterator[str]:
    """Yield the lines as JSON, one object each."""
    for line in lines:
        yield json.dumps(_told(line), ensure_ascii=False) + "\n"


FORMATS = {"csv": as_csv, "jsonl": as_jsonl}


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
