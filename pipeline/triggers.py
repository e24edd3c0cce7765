"""Migration operations that make the database itself refuse what no code of ours should do."""

from __future__ import annotations

from typing import Any

from django.db.migrations import RunPython

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


def refuse(
    *, name: str, table: str, event: str, when: str, message: str, looks: bool = False
) -> RunPython:
    """Return an operation that refuses ``event`` on rows of ``table`` for which ``when`` holds.

    ``when`` speaks of OLD and NEW in SQL that SQLite and PostgreSQL both understand; if it looks
    into tables, ``looks`` says so. The names
    are constants of our migrations, so they are put into the text as they are. On SQLite, adding a
    field makes the table anew, without its triggers: the migration then ends in the same operation.
    """
    words = {"name": name, "table": table, "event": event, "when": when, "message": message}
    words["row"] = "OLD" if event == "DELETE" else "NEW"

    def create(apps: Any, schema_editor: Any) -> None:
        del apps
        if schema_editor.connection.vendor == "sqlite":
            schema_editor.execute(f"DROP TRIGGER IF EXISTS {name}")
            schema_editor.execute(SQLITE.format(**words))
        else:
            schema_editor.execute(f"DROP TRIGGER IF EXISTS {name} ON {table}")
            schema_editor.execute((POSTGRES_LOOKING if looks else FUNCTION).format(**words))
            schema_editor.execute(POSTGRES.format(**(words | {"when": "TRUE"} if looks else words)))

    def drop(apps: Any, schema_editor: Any) -> None:
        del apps
        if schema_editor.connection.vendor == "sqlite":
            schema_editor.execute(f"DROP TRIGGER {name}")
        else:
            schema_editor.execute(f"DROP TRIGGER {name} ON {table}")
            schema_editor.execute(f"DROP FUNCTION {name}()")

    return RunPython(create, drop)
