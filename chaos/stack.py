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
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock, Thread
from urllib.request import ProxyHandler, build_opener

import redis

from launcher import programs
from launcher.environment import redis_url
from launcher.forkserver import Forked, ForkServer
from launcher.places import ROOT
from launcher.redis_server import RedisBinary, ping

STARTS_WITHIN_S = 60.0
SETTLES_S = 2.0
PRELOAD = ("lens_site.preload", "lens_site.preload_doors")
WEBS = ("web", "second web")
WORKERS = ("worker-1", "worker-2")
VENDOR = "vendor"
DOUBLED = 50

Program = subprocess.Popen[bytes] | Forked


@dataclass
class Child:
    """One program, and the process that runs it at the moment."""

    command: list[str]
    process: Program
    starts: int = 1
    started_s: float = field(default_factory=time.monotonic)
    is_paused: bool = False


@dataclass
class Stack:
    """Starts everything, starts again what dies, and takes everything down."""

    directory: Path
    binary: RedisBinary
    database_url: str
    has_vendor: bool = False
    port: int = 0
    second_port: int = 0
    vendor_port: int = 0
    key: str = field(default_factory=lambda: f"lens_test_{secrets.token_urlsafe(32)}")
    children: dict[str, Child] = field(default_factory=dict)
    _environment: dict[str, str] = field(default_factory=dict)
    _redis: Program | None = None
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
        self.port, self.second_port, self.vendor_port = free_port(), free_port(), free_port()
        self._environment = self._variables()
        self.start_redis()
        answer = programs.run(
            [sys.executable, ROOT / "manage.py", "migrate", "--noinput"],
            environment=self._environment,
            cwd=ROOT,
            timeout_s=STARTS_WITHIN_S,
        )
        if answer.returncode:
            raise NotInTime(f"the database could not be made: {answer.stdout}")
        self._minder = Thread(target=self._mind, daemon=True)
        self._minder.start()
        wait_until(self.is_ready, within_s=STARTS_WITHIN_S, what="the desk is ready")

    def stop(self) -> None:
        """End every process."""
        self._stopping.set()
        if self._minder is not None:
            self._minder.join()
        for child in self.children.values():
            end(child.process)
        if self._forks is not None and self._forker is not None:
            self._forks.close()
            end(self._forker)
        self.stop_redis()

    def kill(self, name: str) -> None:
        """Kill a program without warning; the minder starts it again."""
        with self._lock:
            self.children[name].process.kill()

    def ask_to_stop(self, name: str) -> None:
        """Ask a program to end in good order, as a deployment does; the minder starts it again."""
        with self._lock:
            self.children[name].process.terminate()

    def kill_process(self, pid: int) -> str:
        """Kill whichever program runs as that process and return its name."""
        with self._lock:
            name, child = next(
                (name, child) for name, child in self.children.items() if child.process.pid == pid
            )
            child.process.kill()
            return name

    def is_steady(self, name: str) -> bool:
        """Say whether a program has been running for a moment, so that it can be hit again."""
        with self._lock:
            child = self.children[name]
            if child.process.poll() is not None or child.is_paused:
                return False
            is_settled = time.monotonic() - child.started_s > SETTLES_S
        if name in WEBS:
            return _listens(self.port if name == WEBS[0] else self.second_port)
        return is_settled

    def pause(self, name: str) -> Program:
        """Freeze a program where it stands and return its process."""
        with self._lock:
            child = self.children[name]
            child.is_paused = True
            os.kill(child.process.pid, signal.SIGSTOP)
            return child.process

    def resume(self, name: str, process: Program) -> None:
        """Let a frozen program go on, if it has not died meanwhile."""
        with self._lock:
            child = self.children[name]
            if child.process is process and process.poll() is None:
                os.kill(child.process.pid, signal.SIGCONT)
                child.is_paused = False

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

    def double_bells(self) -> None:
        """Put every job into the queues again, many times, and some that are nobody's."""
        with redis.Redis(unix_socket_path=str(self.socket_at)) as client:
            for queue in client.scan_iter("rq:queue:*"):
                if client.type(queue) == b"list":
                    jobs: list[bytes] = client.lrange(queue, 0, -1)
                    client.rpush(queue, *(jobs * DOUBLED), b"nobody's")

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
        return _listens(self.port)

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
            "DJANGO_SETTINGS_MODULE": "chaos.settings",
            "PROVIDER_PRIMARY": "simulated",
            "RATE_LIMIT_PER_MIN": "100000",
            "RATE_LIMIT_BURST": "100000",
            "RATE_LIMIT_READS_PER_MIN": "100000",
            "RATE_LIMIT_READS_BURST": "100000",
            "PYTHONUNBUFFERED": "1",
            **(self._vendor() if self.has_vendor else {}),
        }

    def _vendor(self) -> dict[str, str]:
        """Return the variables of one language model, at the scripted vendor."""
        return {
            "AI_MODELS": VENDOR,
            "MODEL_VENDOR_PROVIDER": "compatible",
            "MODEL_VENDOR_BASE_URL": f"http://127.0.0.1:{self.vendor_port}/v1",
            "MODEL_VENDOR_MODEL_ID": "scripted",
            "MODEL_VENDOR_API_KEY": "none",
            "MODEL_VENDOR_TIMEOUT_MS": "2000",
            "LLM_BUDGET_USD_PER_DAY": "100000",
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
                        child.starts, child.is_paused = child.starts + 1, False
                        child.started_s = time.monotonic()

    def _commands(self) -> dict[str, list[str]]:
        manage = [sys.executable, str(ROOT / "manage.py")]
        web = [sys.executable, "-m", "daphne", "--verbosity", "0", "-b", "127.0.0.1", "-p"]
        return {
            "web": [*web, str(self.port), "lens_site.asgi:application"],
            "second web": [*web, str(self.second_port), "lens_site.asgi:application"],
            "conductor": [*manage, "run_conductor"],
            **{name: [*manage, "run_worker"] for name in WORKERS},
            **(
                {VENDOR: [*manage, "fake_llm", "--port", str(self.vendor_port)]}
                if self.has_vendor
                else {}
            ),
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

    def _run(self, name: str, command: list[str]) -> Program:
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


def end(process: Program) -> None:
    """Kill a process and wait for it."""
    process.kill()
    process.wait()


class NotInTime(RuntimeError):
    """Something that a trial waits for did not happen."""


def wait_until(is_so: Callable[[], bool], *, within_s: float, what: str) -> None:
    """Return once something is so.

    :raises NotInTime: when it takes too long.
    """
    deadline_s = time.monotonic() + within_s
    while not is_so():
        if time.monotonic() > deadline_s:
            raise NotInTime(f"not within {within_s:.0f} s: {what}")
        time.sleep(0.1)


def free_port() -> int:
    """Return a port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
