"""A private desk for measurements: Redis, a fresh database, workers, a conductor, fake vendors."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.frame import Skipped
from launcher.environment import redis_url, sqlite_url
from launcher.postgres import find_binaries, private_postgres
from launcher.redis_server import bundled_binary, ping, system_binary

ROOT = Path(__file__).resolve().parents[1]
STARTS_WITHIN_S = 60.0
UVICORN = ("--lifespan", "off", "--no-access-log", "--no-proxy-headers", "--log-level", "warning")


class NoRedis(Skipped):
    """There is no Redis server to measure with."""


def free_port() -> int:
    """Return a port of loopback that nobody holds at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def desk(
    variables: Mapping[str, str], *, workers: int, conductor: bool = True
) -> Iterator[dict[str, str]]:
    """Run a desk without web while the block runs; yields its environment."""
    binary = system_binary() or bundled_binary(Path(sys.executable))
    if binary is None:
        raise NoRedis("install redis-server, or use Linux x86_64 with the bundled one")
    with tempfile.TemporaryDirectory(prefix="lens-bench-") as name:
        folder = Path(name)
        environment = {
            **os.environ,
            "LENS_VAR_DIR": name,
            "DATABASE_URL": os.environ.get("DATABASE_URL", sqlite_url(folder / "lens.sqlite3")),
            "REDIS_URL": redis_url(folder / "redis.sock"),
            "DJANGO_SETTINGS_MODULE": "lens_site.settings",
            "LOG_LEVEL": "WARNING",
            **variables,
        }
        programs = [_redis(binary.path, folder)]
        try:
            _manage(environment, "migrate", "--noinput", "--verbosity", "0").check_returncode()
            programs += [_start(environment, "run_worker") for _ in range(workers)]
            programs += [_start(environment, "run_conductor")] if conductor else []
            yield environment
        finally:
            for program in reversed(programs):
                program.terminate()
                program.wait(timeout=30)


@contextmanager
def program(environment: Mapping[str, str], command: str) -> Iterator[None]:
    """Run one more program of a desk while the block runs."""
    started = _start(environment, command)
    try:
        yield
    finally:
        started.terminate()
        started.wait(timeout=30)


@contextmanager
def database(*, postgres: bool) -> Iterator[dict[str, str]]:
    """Yield the variables that name a database: a private, durable PostgreSQL, or none.

    :raises Skipped: when there is no PostgreSQL to be private with.
    """
    if not postgres:
        yield {}
        return
    binaries = find_binaries()
    if binaries is None:
        raise Skipped("no initdb on PATH or in /usr/lib/postgresql/*/bin")
    with tempfile.TemporaryDirectory(prefix="lens-pg-", dir="/tmp") as name, ExitStack() as stack:
        Path(name).chmod(0o755)
        url = stack.enter_context(private_postgres(binaries, Path(name), durable=True))
        yield {"DATABASE_URL": url}


@contextmanager
def web(environment: Mapping[str, str], *, server: str = "daphne") -> Iterator[tuple[int, int]]:
    """Run a web process of a desk; yields its port and its process id."""
    port = free_port()
    commands = {
        "daphne": ["daphne", "-b", "127.0.0.1", "-p", str(port), "--verbosity", "0"],
        "uvicorn": ["uvicorn", "--host", "127.0.0.1", "--port", str(port), *UVICORN],
    }
    with running(
        [sys.executable, "-m", *commands[server], "lens_site.asgi:application"], environment
    ) as pid:
        until_listening(port)
        yield port, pid


@contextmanager
def running(command: Sequence[str], environment: Mapping[str, str]) -> Iterator[int]:
    """Run a program while the block runs; yields its process id."""
    program = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    try:
        yield program.pid
    finally:
        program.kill()
        program.wait(timeout=30)


def make_key(environment: Mapping[str, str], *scopes: str) -> str:
    """Return a new API key of a desk."""
    command = [sys.executable, "manage.py", "create_api_key", "--name", "bench", "--json"]
    options = [part for scope in scopes for part in ("--scope", scope)]
    made = subprocess.run(
        [*command, *options], cwd=ROOT, env=environment, capture_output=True, check=True
    )
    return str(json.loads(made.stdout)["key"])


def part(module: str, environment: Mapping[str, str], *arguments: str) -> Any:
    """Run a part of a benchmark in a process of a desk, and return the JSON that it prints."""
    command = [sys.executable, "-m", module, *arguments]
    answer = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(answer.stdout)


def rss_mb(pid: int) -> float:
    """Return what a process holds of memory at the moment; NaN where that cannot be read."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return float("nan")
    lines = status.read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


@contextmanager
def fake_vendors(*, latency_ms: int, spread_ms: int = 0) -> Iterator[str]:
    """Run the scripted vendors in a process of their own; yields their address."""
    port = free_port()
    command = [sys.executable, "manage.py", "fake_llm", "--port", str(port)]
    program = subprocess.Popen(
        [*command, "--latency-ms", str(latency_ms), "--spread-ms", str(spread_ms)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
    )
    try:
        until_listening(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        program.terminate()
        program.wait(timeout=10)


def until_listening(port: int) -> None:
    """Wait until somebody listens on a port of loopback."""
    end = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError(f"nothing listens on port {port}")


def _redis(binary: Path, folder: Path) -> subprocess.Popen[bytes]:
    sock = folder / "redis.sock"
    options = ["--port", "0", "--unixsocket", str(sock), "--save", "", "--dir", str(folder)]
    program = subprocess.Popen([str(binary), *options], stdout=subprocess.DEVNULL)
    end = time.monotonic() + STARTS_WITHIN_S
    while not ping(sock).startswith(b"+PONG"):
        if time.monotonic() > end:
            raise NoRedis("Redis did not start")
        time.sleep(0.02)
    return program


def _start(environment: Mapping[str, str], command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "manage.py", command], cwd=ROOT, env=environment)


def _manage(environment: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "manage.py", *arguments], cwd=ROOT, env=environment, check=False
    )
