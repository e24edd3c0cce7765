"""Migration operations that make the database itself refuse what no code of ours should do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.db.migrations.operations.base import Operation

FUNCTION = """
CREATE OR REPLACE FUNCTION {name}() RETURNS trigger AS $$
BEGIN RAISE EXCEPTION '{message}' USING ERRCODE = 'check_violation'; END
$$ LANGUAGE plpgsql
"""
POSTGRES = """
CREATE TRIGGER {name} BEFORE {event} ON {table}
FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION {name}()
"""
POSTGRES_LOOKING = """
CREATE OR REPLACE FUNCTION {name}() RETURNS trigger AS $$
BEGIN
  IF {when} THEN RAISE EXCEPTION '{message}' USING ERRCODE = 'check_violation'; END IF;
  RETURN {row};
END
$$ LANGUAGE plpgsql
"""
SQLITE = """
CREATE TRIGGER {name} BEFORE {event} ON {table} FOR EACH ROW WHEN {when}
BEGIN SELECT RAISE(ABORT, '{message}'); END
"""


class Refusal(Operation):
    """Makes a trigger. It asks for no models, whose rendering would take longer than all of it."""

    reduces_to_sql = True
    reversible = True

    def __init__(self, words: dict[str, str], *, looks: bool) -> None:
        self.words = words
        self.looks = looks

    def describe(self) -> str:
        return "Refuse {event} on {table}: {message}".format(**self.words)

    def state_forwards(self, app_label: str, state: Any) -> None:
        """Leave the models as they are."""

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any
    ) -> None:
        del app_label, from_state, to_state
        is_sqlite = schema_editor.connection.vendor == "sqlite"
        for statement in self._on_sqlite() if is_sqlite else self._on_postgres():
            schema_editor.execute(statement.format(**self.words))

    def database_backwards(
        self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any
    ) -> None:
        del app_label, from_state, to_state
        if schema_editor.connection.vendor == "sqlite":
            schema_editor.execute("DROP TRIGGER {name}".format(**self.words))
        else:
            schema_editor.execute("DROP TRIGGER {name} ON {table}".format(**self.words))
            schema_editor.execute("DROP FUNCTION {name}()".format(**self.words))

    def _on_sqlite(self) -> Iterator[str]:
        yield "DROP TRIGGER IF EXISTS {name}"
        yield SQLITE

    def _on_postgres(self) -> Iterator[str]:
        yield "DROP TRIGGER IF EXISTS {name} ON {table}"
        yield POSTGRES_LOOKING if self.looks else FUNCTION
        yield POSTGRES.replace("{when}", "TRUE") if self.looks else POSTGRES


def refuse(
    *, name: str, table: str, event: str, when: str, message: str, looks: bool = False
) -> Refusal:
    """Return an operation that refuses ``event`` on rows of ``table`` for which ``when`` holds.

    ``when`` speaks of OLD and NEW in SQL that SQLite and PostgreSQL both understand; if it looks
    into tables, ``looks`` says so. The names
    are constants of our migrations, so they are put into the text as they are. On SQLite, adding a
    field makes the table anew, without its triggers: the migration then ends in the same operation.
    """
    words = {"name": name, "table": table, "event": event, "when": when, "message": message}
    words["row"] = "OLD" if event == "DELETE" else "NEW"
    return Refusal(words, looks=looks)
