from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psycopg
import pytest

from launcher.postgres import PostgresFailed, find_binaries, private_postgres


@pytest.fixture
def directory() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="lens-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


def test_a_private_server_answers_on_its_socket_and_goes(directory: Path) -> None:
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL on this machine")

    with private_postgres(binaries, directory) as address:
        parts = urlsplit(address)
        host = unquote(parts.hostname or "")
        with psycopg.connect(host=host, user=parts.username, dbname=parts.path[1:]) as line:
            answer = line.execute("show listen_addresses").fetchone()

    assert answer == ("",)
    assert host.startswith(str(directory))
    assert not list(directory.glob("pg/.s.PGSQL.*"))


def test_a_server_that_cannot_start_says_why(directory: Path) -> None:
    broken = directory / "bin"
    broken.mkdir()
    for name, script in (
        ("initdb", "exit 0"),
        ("postgres", "echo no luck; exit 1"),
        ("psql", "exit 1"),
    ):
        (broken / name).write_text(f"#!/bin/sh\n{script}\n")
        (broken / name).chmod(0o755)

    with pytest.raises(PostgresFailed) as refused, private_postgres(broken, directory):
        pass

    assert "no luck" in refused.value.why
