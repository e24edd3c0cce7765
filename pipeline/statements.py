"""Statements that are sent for every piece of work, written by hand.

Composing them anew each time took longer than the database took to run them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import groupby
from typing import Any

import orjson
from django.db import DEFAULT_DB_ALIAS, connection, connections, models
from django.db.models.expressions import DatabaseDefault

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

HELD: Mapping[str, str] = {
    "sqlite": (
        "INSERT INTO pipeline_stagerun ({names}, lease_until, claimed_at)"
        " VALUES ({places}, {later}, {clock}) RETURNING id, subject"
    ),
    "postgresql": (
        "INSERT INTO pipeline_stagerun ({names}, lease_until, claimed_at)"
        " SELECT {names}, {later}, {clock}"
        " FROM json_populate_recordset(NULL::pipeline_stagerun, %s::json) RETURNING id, subject"
    ),
}
"""Work that somebody holds from the moment it is there."""

INSERT: Mapping[str, str] = {
    "sqlite": "INSERT INTO {table} ({names}) VALUES ({places}){conflict}",
    "postgresql": (
        "INSERT INTO {table} ({names})"
        " SELECT {names} FROM json_populate_recordset(NULL::{table}, %s::json){conflict}"
    ),
}
PLAIN = (models.CharField, models.TextField, models.IntegerField, models.BooleanField)
"""Columns whose values a database takes as they are."""

Query = tuple[str, Sequence[Any]]
"""A statement and its values."""

_held = threading.local()


@contextmanager
def together() -> Iterator[None]:
    """Hold back what :func:`insert` is given, and send all of it at the end in one message.

    Until then nobody reads it, not even this transaction.
    """
    _held.messages = []
    try:
        yield
        messages, _held.messages = _held.messages, None
        if messages:
            _run(";".join(statement for statement, _ in messages), [each for _, each in messages])
    finally:
        _held.messages = None


def insert(
    rows: Sequence[Any], *, into: type[models.Model] | None = None, ignore_conflicts: bool = False
) -> None:
    """Store new rows of one table, without reading back the keys that the database gives them.

    Columns that a row leaves to the database's default are left to it. Rows are of the table's
    model, or of anything that has columns of it as attributes: the others get the model's default.
    """
    for left_out, alike in _alike(rows, into):
        model: type[models.Model] = into or type(alike[0])
        statement, columns = _insert_into(model, left_out, ignore_conflicts)
        if connection.vendor != "postgresql":
            run_each(statement, [_values(row, columns) for row in alike])
        elif (held := getattr(_held, "messages", None)) is not None:
            held.append((statement, _records(alike, columns)))
        else:
            _run(statement, [_records(alike, columns)])


def insert_missing(
    rows: Sequence[models.Model], *, tell: str, then: Query
) -> tuple[set[Any], list[tuple[Any, ...]]]:
    """Store new rows that no row of the table conflicts with; return that column of those.

    The rows, at least one, leave the same columns to the database. ``then`` is asked when they are
    stored, in the same message where that can be done, and sees what others have committed by
    then. Its rows are returned beside.
    """
    model: type[models.Model] = type(rows[0])
    statement, columns = _insert_into(model, _left_out(rows[0], model), True)
    told = column_of(model, tell)
    statement += f" RETURNING {connection.ops.quote_name(_name_of(told))}"
    if connection.vendor == "postgresql":
        asked = [(statement, [_records(rows, columns)])]
    else:
        asked = [(statement, _values(row, columns)) for row in rows]
    *stored, answer = _read_all([*asked, then])
    return {told.to_python(value) for each in stored for (value,) in each}, answer


def _alike(
    rows: Sequence[Any], into: type[models.Model] | None
) -> list[tuple[tuple[str, ...], list[Any]]]:
    """Return rows in heaps that leave the same columns to the database, with these columns."""
    if not rows:
        return []
    model: type[models.Model] = into or type(rows[0])
    heaps = groupby(rows, key=lambda row: _left_out(row, model))
    return [(left_out, list(heap)) for left_out, heap in heaps]


def _left_out(row: Any, model: type[models.Model]) -> tuple[str, ...]:
    return tuple(name for name in _optional(model) if _is_left(getattr(row, name, None)))


def _is_left(value: Any) -> bool:
    return value is None or isinstance(value, DatabaseDefault)


@cache
def _optional(model: type[models.Model]) -> list[str]:
    """Name the columns that the database fills in where it is given nothing."""
    key = model._meta.pk
    return [
        each.attname for each in model._meta.concrete_fields if each is key or each.has_db_default()
    ]


@cache
def _insert_into(
    model: type[models.Model], left_out: tuple[str, ...], ignore_conflicts: bool
) -> tuple[str, list[models.Field[Any, Any]]]:
    names, places, columns = _columns_of(model, left_out)
    statement = INSERT[connection.vendor].format(
        table=connection.ops.quote_name(model._meta.db_table),
        names=names,
        places=places,
        conflict=" ON CONFLICT DO NOTHING" if ignore_conflicts else "",
    )
    return statement, columns


@cache
def _columns_of(
    model: type[models.Model], left_out: tuple[str, ...]
) -> tuple[str, str, list[models.Field[Any, Any]]]:
    """Return the names of the columns and the places of their values, as SQL, and the columns."""
    columns = [each for each in model._meta.concrete_fields if each.attname not in left_out]
    names = ", ".join(connection.ops.quote_name(_name_of(column)) for column in columns)
    return names, ", ".join(["%s"] * len(columns)), columns


def _records(rows: Sequence[Any], columns: Sequence[models.Field[Any, Any]]) -> str:
    """Return rows as the JSON text that one parameter of a statement carries."""
    named = [(column.column, column.attname, _default(column)) for column in columns]
    told = [{name: getattr(row, place, default) for name, place, default in named} for row in rows]
    return orjson.dumps(told, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def _values(row: Any, columns: Sequence[models.Field[Any, Any]]) -> list[Any]:
    database = connections[DEFAULT_DB_ALIAS]
    return [
        value
        if (value := getattr(row, column.attname, _default(column))) is None
        or isinstance(column, PLAIN)
        else column.get_db_prep_save(value, database)
        for column in columns
    ]


@cache
def _default(column: models.Field[Any, Any]) -> Any:
    return None if column.has_db_default() else column.get_default()


def take(*, due: tuple[str, tuple[Any, ...]], lease_s: float, worker: str) -> list[tuple[Any, ...]]:
    """Claim what ``due`` selects, a statement with its values, and return what ``TAKE`` tells.

    The order is that of the rows, not of the selection.
    """
    selection, chosen = due
    statement = TAKE.format(
        due=selection, later=LATER[connection.vendor], clock=CLOCK[connection.vendor]
    )
    return read(statement, [*chosen, lease_s, worker])


def insert_held(rows: Sequence[Any], *, into: type[models.Model], lease_s: float) -> list[Any]:
    """Store new work under a lease that begins now, and return the keys of its rows, in order.

    The rows leave the same columns to the database, and each has a subject of its own.
    """
    left_out = (*_left_out(rows[0], into), "lease_until", "claimed_at")
    names, places, columns = _columns_of(into, left_out)
    vendor = connection.vendor
    statement = HELD[vendor].format(
        names=names, places=places, later=LATER[vendor], clock=CLOCK[vendor]
    )
    if vendor == "postgresql":
        told = read(statement, [lease_s, _records(rows, columns)])
    else:
        told = [read(statement, [*_values(row, columns), lease_s])[0] for row in rows]
    keys = {column_of(into, "subject").to_python(subject): key for key, subject in told}
    return [keys[row.subject] for row in rows]


def end(held: Sequence[tuple[int, int]]) -> set[int]:
    """Mark work as done whose row still has our token; return the ids of which that is true."""
    if not held:
        return set()
    statement = END.format(clock=CLOCK[connection.vendor], held=", ".join(["(%s, %s)"] * len(held)))
    return {row[0] for row in read(statement, [value for pair in held for value in pair])}


def update_each(rows: Sequence[models.Model], *, fields: Sequence[str]) -> None:
    """Write these fields of every row, each by its key, with one statement sent for all."""
    if not rows:
        return
    database = connections[DEFAULT_DB_ALIAS]  # itself: its proxy costs more than most columns
    statement, columns = _update_of(type(rows[0]), tuple(fields))
    values = [
        [column.get_db_prep_save(getattr(row, column.attname), database) for column in columns]
        for row in rows
    ]
    run_each(statement, values)


def run_each(statement: str, values: Sequence[Sequence[Any]]) -> None:
    """Send one statement for each list of values, prepared once."""
    with connection.cursor() as cursor:
        cursor.executemany(statement, values)


def stored(model: type[models.Model], field: str, value: Any) -> Any:
    """Return a value of a column as the database takes it."""
    return column_of(model, field).get_db_prep_save(value, connection)


@cache
def _update_of(
    model: type[models.Model], fields: tuple[str, ...]
) -> tuple[str, list[models.Field[Any, Any]]]:
    columns = [column_of(model, name) for name in fields]
    key = model._meta.pk
    quote = connection.ops.quote_name
    values = ", ".join(f"{quote(_name_of(column))} = %s" for column in columns)
    table = quote(model._meta.db_table)
    statement = f"UPDATE {table} SET {values} WHERE {quote(_name_of(key))} = %s"  # noqa: S608
    return statement, [*columns, key]


@cache
def column_of(model: type[models.Model], name: str) -> models.Field[Any, Any]:
    """Return the field of that name.

    :raises TypeError: if it has no column.
    """
    column = model._meta.get_field(name)
    if not isinstance(column, models.Field):
        raise TypeError(f"{name} is no column of {model.__name__}")
    return column


def _name_of(column: models.Field[Any, Any]) -> str:
    return str(column.column)


def _run(statement: str, values: Sequence[Any]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


def _read_all(queries: Sequence[Query]) -> list[list[tuple[Any, ...]]]:
    """Return the rows of each query, asked in one message where that can be done."""
    if connection.vendor != "postgresql":
        return [read(statement, values) for statement, values in queries]
    with connection.cursor() as cursor:
        values = [value for _, each in queries for value in each]
        cursor.execute(";".join(statement for statement, _ in queries), values)
        answers = [list(cursor.fetchall())]
        while cursor.nextset():
            answers.append(list(cursor.fetchall()))
        return answers


def read(statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Return the rows that a statement answers with, as the database has them."""
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return list(cursor.fetchall())
