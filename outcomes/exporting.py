"""Scored decisions as files: CSV that no spreadsheet takes for formulas, or Parquet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from importlib.util import find_spec
from io import BytesIO
from typing import Any
from uuid import UUID

from outcomes import queries
from pipeline.exporting import csv_line, harmless
from pipeline.parsing import time_text
from pipeline.types import LensError

COLUMNS = (
    *("scope", "event_id", "run", "model", "variant", "prompt_version", "source", "symbol"),
    *("regime", "event_type", "side", "at", "known_at", "decision", "followed", "abstained"),
    *("p_raw", "p", "calibration_version", "base_rate", "won", "net_r", "cost_usd", "latency_ms"),
)
PARQUET_ROWS = 50_000
PARQUET = "application/vnd.apache.parquet"
CSV = "text/csv; charset=utf-8"


class ParquetMissing(LensError):
    """The library that writes Parquet is not installed."""

    code = "PARQUET_UNAVAILABLE"
    http_status = 501


def has_parquet() -> bool:
    """Say whether the library that writes Parquet is installed."""
    return find_spec("pyarrow") is not None


def as_csv(wanted: queries.Wanted) -> Iterator[str]:
    """Yield a header and one line for each scored decision, oldest outcome first."""
    yield csv_line(COLUMNS)
    for row in queries.iterate_scores(wanted, columns=COLUMNS):
        yield csv_line([harmless(_cell(value)) for value in row])


def as_parquet(wanted: queries.Wanted) -> bytes:
    """Return the scored decisions as one Parquet file.

    :raises ParquetMissing: if pyarrow is not installed.
    """
    try:
        import pyarrow as arrow  # noqa: PLC0415  # optional: CSV needs nothing
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError as error:
        raise ParquetMissing(
            "Parquet needs pyarrow: pip install pyarrow, or ask for csv"
        ) from error
    kinds = {
        **dict.fromkeys(COLUMNS, arrow.string()),
        **dict.fromkeys(("run", "calibration_version"), arrow.int64()),
        **dict.fromkeys(("followed", "won"), arrow.bool_()),
        **dict.fromkeys(("at", "known_at"), arrow.timestamp("us", tz="UTC")),
        **dict.fromkeys(
            ("p_raw", "p", "base_rate", "net_r", "cost_usd", "latency_ms"), arrow.float64()
        ),
    }
    schema = arrow.schema([(name, kinds[name]) for name in COLUMNS])
    written = BytesIO()
    with parquet.ParquetWriter(written, schema) as writer:
        for rows in _parts(queries.iterate_scores(wanted, columns=COLUMNS)):
            columns = [[_plain(value) for value in column] for column in zip(*rows, strict=True)]
            writer.write_table(arrow.table(columns, schema=schema))
    return written.getvalue()


def _parts(rows: Iterator[Sequence[Any]]) -> Iterator[list[Sequence[Any]]]:
    part: list[Sequence[Any]] = []
    for row in rows:
        part.append(row)
        if len(part) == PARQUET_ROWS:
            yield part
            part = []
    if part:
        yield part


def _plain(value: Any) -> Any:
    if isinstance(value, UUID):
        return str(value)
    return float(value) if isinstance(value, Decimal) else value


def _cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return time_text(value)
    if isinstance(value, date | UUID):
        return str(value)
    return value
