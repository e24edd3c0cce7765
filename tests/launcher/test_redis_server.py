from __future__ import annotations

import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher import redis_server
from launcher.places import Places, make_private
from launcher.redis_server import RedisBinary
from launcher.suite import private_redis


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory whose sockets have short paths, wherever pytest keeps its own."""
    path = Path(tempfile.mkdtemp(prefix="lens-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


def server(path: Path, answer: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{answer}'\n")
    path.chmod(0o755)
    return path


def redis(major: int) -> RedisBinary:
    return RedisBinary(Path("/bin/redis"), "redis", (major, 0, 1), bundled=False)


@pytest.mark.parametrize(
    ("said", "family", "version"),
    [
        ("Redis server v=6.2.14 sha=00000000:0 malloc=libc bits=64", "redis", (6, 2, 14)),
        ("Valkey server v=8.0.1 sha=00000000:0 malloc=jemalloc", "valkey", (8, 0, 1)),
    ],
)
def test_a_server_tells_its_family_and_version(
    tmp_path: Path, said: str, family: str, version: tuple[int, ...]
) -> None:
    found = redis_server.inspect(server(tmp_path / "server", said), bundled=False)

    assert found is not None
    assert (found.family, found.version) == (family, version)


def test_a_program_that_is_no_server_is_passed_over(tmp_path: Path) -> None:
    assert redis_server.inspect(server(tmp_path / "server", "hello"), bundled=False) is None


def test_servers_on_the_path_come_first_and_old_ones_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_server, "MORE_DIRECTORIES", ())
    server(tmp_path / "redis-server", "Redis server v=4.0.9 sha=0")
    server(tmp_path / "valkey-server", "Valkey server v=8.1.0 sha=0")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")

    found = redis_server.system_binary()

    assert found is not None
    assert found.path.name == "valkey-server"


def test_no_server_at_all_is_told_with_the_ways_out(
    where: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_server, "MORE_DIRECTORIES", ())
    monkeypatch.setenv("PATH", str(where.root))

    with pytest.raises(redis_server.NoRedis) as refused:
        redis_server.find_binary(where)

    assert "apt install redis-server" in refused.value.todo
    assert "REDIS_URL=" in refused.value.todo


def test_state_of_a_newer_server_is_refused(where: Places) -> None:
    make_private(where)
    newer = redis_server.ensure_directory(where, redis(7))
    (newer / "appendonly.aof").write_text("written")

    with pytest.raises(redis_server.OlderRedis, match="written by redis 7"):
        redis_server.ensure_directory(where, redis(6))


def test_each_major_version_has_its_own_directory(where: Places) -> None:
    make_private(where)
    older = redis_server.ensure_directory(where, redis(6))
    (older / "appendonly.aof").write_text("written")

    assert redis_server.ensure_directory(where, redis(7)) == where.var / "redis-7"
    assert older == where.var / "redis-6"


def test_an_empty_directory_of_a_newer_server_is_no_obstacle(where: Places) -> None:
    make_private(where)
    redis_server.ensure_directory(where, redis(7))

    assert redis_server.ensure_directory(where, redis(6)) == where.var / "redis-6"


def test_the_server_is_out_of_reach_and_keeps_its_data(tmp_path: Path) -> None:
    command = redis_server.server_command(
        Path("/bin/redis"), socket_at=Path("/s"), directory=tmp_path
    )
    options = dict(zip(command[1::2], command[2::2], strict=True))

    assert options["--port"] == "0"
    assert options["--unixsocketperm"] == "600"
    assert (options["--appendonly"], options["--appendfsync"]) == ("yes", "everysec")
    assert options["--save"] == ""
    assert options["--maxmemory-policy"] == "noeviction"


def test_a_stale_socket_is_removed(short: Path) -> None:
    path = short / "r.sock"
    with socket.socket(socket.AF_UNIX) as line:
        line.bind(str(path))

    redis_server.clear_stale_socket(path)

    assert not path.exists()


def test_a_socket_somebody_answers_on_is_left_alone(short: Path) -> None:
    path = short / "r.sock"
    with socket.socket(socket.AF_UNIX) as line:
        line.bind(str(path))
        line.listen()

        with pytest.raises(redis_server.RedisUnreachable):
            redis_server.clear_stale_socket(path)

    assert path.exists()


def test_a_named_redis_that_is_not_there_is_told_without_its_password() -> None:
    with socket.socket() as line:
        line.bind(("127.0.0.1", 0))
        port = line.getsockname()[1]

    with pytest.raises(redis_server.RedisUnreachable) as refused:
        redis_server.check_address(f"redis://user:secret@127.0.0.1:{port}/0")

    assert f"127.0.0.1:{port}" in refused.value.what
    assert "secret" not in refused.value.what + refused.value.why + refused.value.todo


def test_the_private_server_of_the_suite_answers_and_goes() -> None:
    binary = redis_server.system_binary() or redis_server.bundled_binary(Path(sys.executable))
    if binary is None:
        pytest.skip("no Redis server on this machine and none bundled for it")

    with private_redis(binary) as address:
        path = Path(address.removeprefix("unix://"))
        during = redis_server.ping(path)

    assert during.startswith(b"+PONG")
    assert redis_server.ping(path) == b""
    assert not path.parent.exists()
