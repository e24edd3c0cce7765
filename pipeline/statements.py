"""Statements that are sent for every piece of work, written by hand.

Composing them anew each time took longer than the database took to run them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from django.db import connection, models

CLOCK: Mapping[str, str] = {
    "sqlite": "STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'NOW')",
    "postgresql": "STATEMENT_TIMESTAMP()",
}
"""The database's own clock, as Django's ``Now`` has it."""

LATER: Mapping[str, str] = {
    "sqlite": "STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'NOW', '+' || %s || ' seconds')",
    "postgresql": "STATEMENT_TIMESTAMP() + MAKE_INTERVAL(secs => %s)",
}
"""So many seconds from now, by the same clock."""

TAKE = """
WITH due AS MATERIALIZED ({due})
UPDATE pipeline_stagerun SET
    losses = losses + CASE WHEN status = 'RUNNING' THEN 1 ELSE 0 END,
    status = 'RUNNING', token = token + 1, attempts = attempts + 1,
    lease_until = {later}, claimed_at = {clock}, worker = %s
WHERE id IN (SELECT id FROM due)
RETURNING id, stage, subject, trace, run, token, attempts, request_id, next_at
"""

END = """
UPDATE pipeline_stagerun
SET status = 'DONE', finished_at = {clock}, lease_until = NULL, code = '', reason = ''
WHERE status = 'RUNNING' AND (id, token) IN (VALUES {held})
RETURNING id
"""


def take(*, due: models.QuerySet[Any], lease_s: float, worker: str) -> list[tuple[Any, ...]]:
    """Claim what ``due`` selects and return what ``TAKE`` tells of each.

    The order is that of the rows, not of the selection.
    """
    selection, chosen = due.query.sql_with_params()
    statement = TAKE.format(
        due=selection, later=LATER[connection.vendor], clock=CLOCK[connection.vendor]
    )
    return _rows(statement, [*chosen, lease_s, worker])


def end(held: Sequence[tuple[int, int]]) -> set[int]:
    """Mark work as done whose row still has our token; return the ids of which that is true."""
    if not held:
        return set()
    statement = END.format(clock=CLOCK[connection.vendor], held=", ".join(["(%s, %s)"] * len(held)))
    return {row[0] for row in _rows(statement, [value for pair in held for value in pair])}


def update_each(rows: Sequence[models.Model], *, fields: Sequence[str]) -> None:
    """Write these fields of every row, each by its key, with one statement sent for all."""
    if not rows:
        return
    statement, columns = _update_of(type(rows[0]), tuple(fields))
    values = [
        [column.get_db_prep_save(getattr(row, column.attname), connection) for column in columns]
        for row in rows
    ]
    run_each(statement, values)


def run_each(statement: str, values: Sequence[Sequence[Any]]) -> None:
    """Send one statement for each list of values, prepared once."""
    with connection.cursor() as cursor:
        cursor.executemany(statement, values)


def stored(model: type[models.Model], field: str, value: Any) -> Any:
    """Return a value of a column as the database takes it."""
    return _column(model, field).get_db_prep_save(value, connection)


@cache
def _update_of(
    model: type[models.Model], fields: tuple[str, ...]
) -> tuple[str, list[models.Field[Any, Any]]]:
    columns = [_column(model, name) for name in fields]
    key = model._meta.pk
    quote = connection.ops.quote_name
    values = ", ".join(f"{quote(_name_of(column))} = %s" for column in columns)
    table = quote(model._meta.db_table)
    statement = f"UPDATE {table} SET {values} WHERE {quote(_name_of(key))} = %s"  # noqa: S608
    return statement, [*columns, key]


@cache
def _column(model: type[models.Model], name: str) -> models.Field[Any, Any]:
    column = model._meta.get_field(name)
    if not isinstance(column, models.Field):
        raise TypeError(f"{name} is no column of {model.__name__}")
    return column


def _name_of(column: models.Field[Any, Any]) -> str:
    return str(column.column)


def _rows(statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return list(cursor.fetchall())
