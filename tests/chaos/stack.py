"""A whole desk of its own: Redis, database, two webs, two workers, a conductor, and a minder."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock, Thread
from urllib.parse import urlsplit, urlunsplit
from urllib.request import ProxyHandler, build_opener

import psycopg
import redis
from psycopg import sql

from launcher import programs
from launcher.environment import redis_url, sqlite_url
from launcher.forkserver import Forked, ForkServer
from launcher.redis_server import RedisBinary, ping

ROOT = Path(__file__).resolve().parents[2]
STARTS_WITHIN_S = 60.0
PRELOAD = "lens_site.preload"
WORKERS = ("worker-1", "worker-2")


@dataclass
class Child:
    """One program, and the process that runs it at the moment."""

    command: list[str]
    process: subprocess.Popen[bytes] | Forked
    starts: int = 1


@dataclass
class Stack:
    """Starts everything, starts again what dies, and takes everything down."""

    directory: Path
    binary: RedisBinary
    database_url: str = ""
    port: int = 0
    second_port: int = 0
    key: str = field(default_factory=lambda: f"lens_test_{secrets.token_urlsafe(32)}")
    children: dict[str, Child] = field(default_factory=dict)
    _environment: dict[str, str] = field(default_factory=dict)
    _redis: subprocess.Popen[bytes] | Forked | None = None
    _forks: ForkServer | None = None
    _forker: subprocess.Popen[bytes] | None = None
    _lock: Lock = field(default_factory=Lock)
    _stopping: Event = field(default_factory=Event)
    _minder: Thread | None = None

    @property
    def socket_at(self) -> Path:
        return self.directory / "redis.sock"

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def second_address(self) -> str:
        return f"http://127.0.0.1:{self.second_port}"

    def start(self) -> None:
        """Bring everything up and return when the desk is ready."""
        self.port, self.second_port = free_port(), free_port()
        self.database_url = fresh_database(self.directory)
        self._environment = self._variables()
        self.start_redis()
        answer = programs.run(
            [sys.executable, ROOT / "manage.py", "migrate", "--noinput"],
            environment=self._environment,
            cwd=ROOT,
            timeout_s=STARTS_WITHIN_S,
        )
        assert answer.returncode == 0, answer.stdout
        self._minder = Thread(target=self._mind, daemon=True)
        self._minder.start()
        wait_until(self.is_ready, within_s=STARTS_WITHIN_S, what="the desk is ready")

    def stop(self) -> None:
        """End every process and drop the database."""
        self._stopping.set()
        if self._minder is not None:
            self._minder.join()
        for child in self.children.values():
            end(child.process)
        if self._forks is not None and self._forker is not None:
            self._forks.close()
            end(self._forker)
        self.stop_redis()
        drop_database(self.database_url)

    def kill(self, name: str) -> None:
        """Kill a program without warning; the minder starts it again."""
        with self._lock:
            self.children[name].process.kill()

    def kill_process(self, pid: int) -> str:
        """Kill whichever program runs as that process and return its name."""
        with self._lock:
            name, child = next(
                (name, child) for name, child in self.children.items() if child.process.pid == pid
            )
            child.process.kill()
            return name

    def start_redis(self) -> None:
        """Start an empty Redis and return when it answers."""
        self.socket_at.unlink(missing_ok=True)
        options = ["--port", "0", "--unixsocket", str(self.socket_at)]
        options += ["--save", "", "--appendonly", "no"]
        self._redis = self._run("redis", [str(self.binary.path), *options])
        wait_until(
            lambda: ping(self.socket_at).startswith(b"+PONG"), within_s=20, what="Redis answers"
        )

    def stop_redis(self) -> None:
        """Kill Redis; everything in it is gone."""
        if self._redis is not None:
            end(self._redis)

    def empty_redis(self) -> None:
        """Take everything out of Redis while it runs."""
        with redis.Redis(unix_socket_path=str(self.socket_at)) as client:
            client.flushall()

    def is_ready(self) -> bool:
        """Say whether the desk says that it can do its work."""
        opener = build_opener(ProxyHandler({}))
        with suppress(OSError), opener.open(f"{self.address}/ready", timeout=5) as answer:
            return bool(answer.status == 200)
        return False

    def wait_for_web(self) -> None:
        """Return when the first web process takes requests, again or for the first time."""
        wait_until(self._is_listening, within_s=STARTS_WITHIN_S, what="the web process listens")

    def _is_listening(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def workers_seen(self) -> int:
        """Return how many workers report that they live."""
        opener = build_opener(ProxyHandler({}))
        with opener.open(f"{self.second_address}/ready", timeout=5) as answer:
            return int(json.load(answer)["checks"]["workers"]["alive"])

    def _variables(self) -> dict[str, str]:
        kept = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "LD_LIBRARY_PATH")
        return {name: os.environ[name] for name in kept if name in os.environ} | {
            "LENS_VAR_DIR": str(self.directory),
            "SECRET_KEY": secrets.token_urlsafe(48),
            "LENS_KEY_PEPPER": secrets.token_urlsafe(48),
            "API_KEY_ADMIN": self.key,
            "DATABASE_URL": self.database_url,
            "REDIS_URL": redis_url(self.socket_at),
            "DJANGO_SETTINGS_MODULE": "tests.chaos.settings",
            "PROVIDER_PRIMARY": "simulated",
            "RATE_LIMIT_PER_MIN": "100000",
            "RATE_LIMIT_BURST": "100000",
            "RATE_LIMIT_READS_PER_MIN": "100000",
            "RATE_LIMIT_READS_BURST": "100000",
            "PYTHONUNBUFFERED": "1",
        }

    def _mind(self) -> None:
        """Start the programs, and whatever dies again; one thread, for children die with it."""
        self._start_forks()
        for name, command in self._commands().items():
            with self._lock:
                self.children[name] = Child(command=command, process=self._run(name, command))
        while not self._stopping.wait(0.1):
            for name, child in self.children.items():
                with self._lock:
                    if child.process.poll() is not None:
                        child.process = self._run(name, child.command)
                        child.starts += 1

    def _commands(self) -> dict[str, list[str]]:
        manage = [sys.executable, str(ROOT / "manage.py")]
        web = [sys.executable, "-m", "daphne", "--access-log", os.devnull, "-b", "127.0.0.1", "-p"]
        return {
            "web": [*web, str(self.port), "lens_site.asgi:application"],
            "second web": [*web, str(self.second_port), "lens_site.asgi:application"],
            "conductor": [*manage, "run_conductor"],
            **{name: [*manage, "run_worker"] for name in WORKERS},
        }

    def _start_forks(self) -> None:
        """Have everything imported once, as the launcher does."""
        self._forks = ForkServer(
            python=Path(sys.executable), preload=PRELOAD, environment=self._environment
        )
        with (self.directory / "forks.log").open("ab") as log:
            self._forker = programs.start(
                self._forks.command,
                environment=self._environment,
                cwd=ROOT,
                output=log,
                death_signal=signal.SIGKILL,
                keep_open=(self._forks.descriptor,),
            )
        wait_until(self._forks.is_ready, within_s=STARTS_WITHIN_S, what="everything is imported")

    def _run(self, name: str, command: list[str]) -> subprocess.Popen[bytes] | Forked:
        with (self.directory / f"{name}.log").open("ab") as log:
            if self._forks is not None and self._forks.can_start(command, self._environment):
                return self._forks.start(command, name=name, cwd=ROOT, output=log.fileno())
            return programs.start(
                command,
                environment=self._environment,
                cwd=ROOT,
                output=log,
                death_signal=signal.SIGKILL,
            )


def end(process: subprocess.Popen[bytes] | Forked) -> None:
    """Kill a process and wait for it."""
    process.kill()
    process.wait()


def wait_until(is_so: Callable[[], bool], *, within_s: float, what: str) -> None:
    """Return once something is so; fail the test when it takes too long."""
    deadline_s = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < deadline_s, f"not within {within_s:.0f} s: {what}"
        time.sleep(0.1)


def free_port() -> int:
    """Return a port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def fresh_database(directory: Path, environment: Mapping[str, str] = os.environ) -> str:
    """Return the URL of a new database: on the suite's PostgreSQL, else a file of SQLite."""
    url = environment.get("DATABASE_URL", "")
    if not url.startswith("postgres"):
        return sqlite_url(directory / "lens.sqlite3")
    name = f"lens_chaos_{secrets.token_hex(4)}"
    with psycopg.connect(url, autocommit=True) as connection:
        database = sql.Identifier(name)
        connection.execute(sql.SQL("CREATE DATABASE {}").format(database))
        # The suite's server is fast rather than safe, which the house refuses to run on.
        connection.execute(
            sql.SQL("ALTER DATABASE {} SET synchronous_commit TO on").format(database)
        )
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def drop_database(url: str, environment: Mapping[str, str] = os.environ) -> None:
    """Drop what :func:`fresh_database` made; a file goes with its directory."""
    if not url.startswith("postgres"):
        return
    name = urlsplit(url).path.lstrip("/")
    with psycopg.connect(environment["DATABASE_URL"], autocommit=True) as connection:
        drop = sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
        connection.execute(drop)
