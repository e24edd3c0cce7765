"""The databases of a trial: made for it, disturbed, read behind the product's back, dropped."""

from __future__ import annotations

import os
import secrets
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import psycopg
from psycopg import sql

from launcher.environment import sqlite_url
from launcher.postgres import find_binaries, private_postgres

HELD_S = 1.5


class NoPostgres(RuntimeError):
    """There is no PostgreSQL to run a trial on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """One empty database and how it is got at; ``is_ours`` if its server may be crashed."""

    url: str
    is_ours: bool = False

    @property
    def name(self) -> str:
        """Return what it is called in a report."""
        return "PostgreSQL" if self.is_postgres else "SQLite"

    @property
    def is_postgres(self) -> bool:
        """Say which of the two it is."""
        return self.url.startswith("postgres")

    def count(self, statement: str, *values: Any) -> int:
        """Return the number that a statement finds, without any code of the product."""
        if self.is_postgres:
            with psycopg.connect(self.url) as connection:
                found = connection.execute(statement.encode(), values).fetchone()
        else:
            with closing(sqlite3.connect(self._path, timeout=20)) as file:
                found = file.execute(statement.replace("%s", "?"), values).fetchone()
        return int(found[0]) if found else 0

    def disturb(self, *, hard: bool) -> str:
        """Get in the way of everybody who uses it and return how.

        Edges: "" where that cannot be, because the server still recovers from the last time.
        """
        if not self.is_postgres:
            self._hold()
            return "database held"
        try:
            with psycopg.connect(self.url, autocommit=True) as connection:
                if hard and self.is_ours:
                    return self._crash(connection)
                return self._cut(connection)
        except psycopg.OperationalError:
            return ""

    @property
    def _path(self) -> str:
        return unquote(urlsplit(self.url).path)

    def _hold(self) -> None:
        """Hold the only right to write for a moment, as a backup or a stuck program does."""
        with closing(sqlite3.connect(self._path, timeout=20, isolation_level=None)) as file:
            file.execute("BEGIN IMMEDIATE")
            time.sleep(HELD_S)
            file.execute("ROLLBACK")

    @staticmethod
    def _cut(connection: psycopg.Connection) -> str:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return "connections cut"

    @staticmethod
    def _crash(connection: psycopg.Connection) -> str:
        """Kill one of the server's processes: it throws everybody out and recovers its log."""
        os.kill(connection.info.backend_pid, signal.SIGKILL)
        with suppress(psycopg.OperationalError):
            connection.execute("SELECT 1")
        return "PostgreSQL crashed"


@contextmanager
def database(directory: Path, *, server_url: str, private: bool) -> Iterator[Database]:
    """Yield an empty database: on a server, on a private one, or a file.

    :raises NoPostgres: when a private server is wanted and none is installed.
    """
    if private:
        binaries = find_binaries()
        if binaries is None:
            raise NoPostgres("no initdb on PATH or in /usr/lib/postgresql/*/bin")
        with private_postgres(binaries, directory, durable=True) as url:
            yield Database(url=url, is_ours=True)
    elif server_url.startswith("postgres"):
        with _fresh(server_url) as url:
            yield Database(url=url)
    else:
        yield Database(url=sqlite_url(directory / "lens.sqlite3"))


@contextmanager
def _fresh(server_url: str) -> Iterator[str]:
    name = sql.Identifier(plain := f"lens_chaos_{secrets.token_hex(4)}")
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(name))
        # A server that is fast rather than safe the house would refuse to run on.
        safe = sql.SQL("ALTER DATABASE {} SET synchronous_commit TO on").format(name)
        connection.execute(safe)
    try:
        yield urlunsplit(urlsplit(server_url)._replace(path=f"/{plain}"))
    finally:
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))
