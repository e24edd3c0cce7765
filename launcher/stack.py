"""`up`: everything from a bare checkout to a ready desk, and back down in order."""

from __future__ import annotations

import os
import platform
import re
import socket
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from launcher import greeting, market, packages, ports, redis_server
from launcher.children import Child, ChildPlan, last_words
from launcher.claim import Claim, Running, described, end_leftovers
from launcher.environment import (
    child_environment,
    ensure_secrets,
    redis_url,
    shell_environment,
)
from launcher.forkserver import ForkServer, is_possible
from launcher.places import Places, forget_socket, make_private, socket_path
from launcher.questions import Question, complaints
from launcher.supervisor import Interrupted, Supervisor
from launcher.terminal import BOLD, Screen, Stop, seconds

READY_WITHIN_S: Final = 60.0
IMPORTED_WITHIN_S: Final = 30.0  # without a fork server everything only starts more slowly
PRELOAD: Final = ("lens_site.preload", "lens_site.preload_doors")
REDIS_WITHIN_S: Final = 120.0  # a long append-only file takes its time to load
WORKER_STOP_S: Final = 22.0  # a worker gives its running work 20 s
FORKS_STOP_ORDER: Final = 3  # after whatever it may have to start, before redis
CHECKED: Final = ("--skip-checks",)  # `prepare` makes them once for every program of this start
MESSAGE_LIMIT: Final = 64 * 1024  # bytes of one incoming WebSocket message


class NotReady(Stop):
    """Everything was started but the desk did not become ready."""


class SetupFailed(Stop):
    """A set-up command of the application failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpOptions:
    """What a person chose for `up`."""

    host: str = "127.0.0.1"
    port: int | None = None
    workers: int = 2
    allow_remote: bool = False
    demo: bool = True
    show_children: bool = True
    detached: bool = False


class Stack:
    """One run of `up`, from the first step to the last child."""

    def __init__(self, *, where: Places, screen: Screen, claim: Claim, options: UpOptions) -> None:
        self._where = where
        self._screen = screen
        self._claim = claim
        self._options = options
        self._note = Running(pid=os.getpid(), status="starting", started_at=time.time())
        self._supervisor = Supervisor(screen=screen, logs=where.log, on_change=self._note_children)
        self._environment: dict[str, str] = {}
        self._began_s = 0.0
        self._line: socket.socket | None = None
        self._socket: Path | None = None
        self._forks: ForkServer | None = None
        self._probe: market.Probe | None = None

    def _note_children(self, children: Mapping[str, Child]) -> None:
        self._note.children = described(children)
        self._claim.write(self._note)

    def set_up(self) -> None:
        """Bring everything up until the desk is ready.

        :raises Stop: when a step cannot be done; the children so far still run.
        :raises Interrupted: when a signal came.
        """
        self._end_leftovers()
        self._claim.forget_end()
        self._claim.write(self._note)
        self._screen.done("packages", str(packages.ensure_installed(self._where, self._screen)))
        self._supervisor.listen_to_signals()
        self._screen.mute_children(True)
        self._began_s = time.monotonic()
        self._probe = market.start_probe(shell_environment(self._where.root))
        if ensure_secrets(self._where):
            self._screen.done("secrets", f"made in {self._where.shown(self._where.secrets)}")
        self._line = ports.listen(self._options.host, self._options.port)
        self._note.url = ports.address(self._options.host, self._line.getsockname()[1])
        self._use_redis()
        self._start_fork_server()
        self._start_redis()
        self._await_fork_server()
        self._migrate()
        self._require_password()
        self._start_children(self._line)
        self._wait_ready()

    def _end_leftovers(self) -> None:
        ended = end_leftovers(self._claim.read())
        if ended:
            self._screen.warn("leftovers", f"ended from an earlier run: {', '.join(ended)}")

    def _use_redis(self) -> None:
        """Settle which Redis it is: the one that REDIS_URL names, else one of our own."""
        url = shell_environment(self._where.root).get("REDIS_URL", "")
        if url:
            self._screen.done("redis", f"{redis_server.check_address(url)} (REDIS_URL)")
        else:
            self._socket = socket_path(self._where, "redis.sock")
            url = redis_url(self._socket)
        self._note.redis_url = url
        self._environment = child_environment(self._where, redis=url)

    def _start_fork_server(self) -> None:
        if not is_possible():
            return
        self._forks = ForkServer(
            python=self._where.python, preload=PRELOAD, environment=self._environment
        )
        self._supervisor.fork_from(
            self._forks,
            ChildPlan(
                name="forks",
                command=self._forks.command,
                environment=self._environment,
                cwd=self._where.root,
                stop_order=FORKS_STOP_ORDER,
                keep_open=(self._forks.descriptor,),
            ),
        )

    def _await_fork_server(self) -> None:
        forks = self._forks
        if forks is not None:
            self._supervisor.wait_until(
                lambda: forks.is_ready() or not self._supervisor.has_fork_server,
                within_s=IMPORTED_WITHIN_S,
            )

    def _start_redis(self) -> None:
        socket_at = self._socket
        if socket_at is None:
            return
        binary = redis_server.find_binary(self._where)
        redis_server.clear_stale_socket(socket_at)
        self._supervisor.start(
            redis_server.server_plan(
                binary,
                socket_at=socket_at,
                directory=redis_server.ensure_directory(self._where, binary),
                environment=self._environment,
            )
        )

        def answers() -> bool:
            said = redis_server.ping(socket_at)
            if said.startswith(redis_server.LOADING):
                self._screen.progress("redis", "reading its file")
            return said.startswith(b"+PONG")

        if not self._supervisor.wait_until(answers, within_s=REDIS_WITHIN_S):
            raise self._not_ready("redis", "it does not answer PING")
        self._screen.done("redis", f"{binary}, private socket")

    def _manage(self, name: str, *arguments: str, logged: bool = True) -> ChildPlan:
        return ChildPlan(
            name=name,
            command=(str(self._where.python), str(self._where.manage), *arguments),
            environment=self._environment,
            cwd=self._where.root,
            logged=logged,
        )

    def _migrate(self) -> None:
        applied = 0

        def count(line: str) -> None:
            nonlocal applied
            applied += line.endswith("... OK")
            self._screen.progress("database", line.strip())

        code, last = self._supervisor.run_to_end(
            self._manage("migrate", "prepare", "--no-color"), on_line=count
        )
        if code:
            raise SetupFailed(
                "the database could not be prepared",
                why=last_words(last),
                todo=f"the full output is in {self._where.shown(self._where.log)}/migrate.log",
            )
        state = f"{applied} migration{'s' * (applied > 1)}" if applied else "up to date"
        self._screen.done("database", f"{self._database_name()}, {state}")

    def _database_name(self) -> str:
        url = self._environment["DATABASE_URL"]
        if url.startswith("sqlite"):
            return self._where.shown(self._where.database)
        return re.sub(r"//[^/@]*@", "//", url.partition("?")[0])

    def _start_children(self, line: socket.socket) -> None:
        self._supervisor.start(self._web(line))
        self._supervisor.start(self._background("conductor", "run_conductor", order=1))
        for number in range(1, self._options.workers + 1):
            self._supervisor.start(self._background(f"worker-{number}", "run_worker", order=2))
        self._screen.done("workers", str(self._options.workers))

    def _web(self, line: socket.socket) -> ChildPlan:
        options = {
            "--verbosity": 0,  # warnings and errors; no access log, whose lines could hold keys
            "--fd": line.fileno(),
            "--websocket_timeout": -1,  # daphne's own default closes every socket after a day
            "--websocket-max-message-size": MESSAGE_LIMIT,
            "--websocket-max-frame-size": MESSAGE_LIMIT,
        }
        arguments = [str(part) for option in options.items() for part in option]
        program = (str(self._where.python), "-m", "daphne")
        return ChildPlan(
            name="web",
            command=(*program, *arguments, "--no-server-name", "lens_site.asgi:application"),
            environment=self._environment,
            cwd=self._where.root,
            stop_order=0,
            keep_open=(line.fileno(),),
        )

    def _background(self, name: str, command: str, *, order: int) -> ChildPlan:
        return ChildPlan(
            name=name,
            command=(str(self._where.python), str(self._where.manage), command, *CHECKED),
            environment=self._environment,
            cwd=self._where.root,
            stop_order=order,
            stop_within_s=WORKER_STOP_S,
        )

    def _wait_ready(self) -> None:
        question = Question(self._note.url, "/ready")

        def is_ready() -> bool:
            answer = question.poll()
            last = question.last
            waiting = "; ".join(complaints(last.body)) if last else "web is starting"
            self._screen.progress("ready", f"waiting for {waiting}")
            return answer is not None and answer.code == 200

        if not self._supervisor.wait_until(is_ready, within_s=READY_WITHIN_S):
            last = question.last
            why = "\n".join(complaints(last.body)) if last else "web does not answer"
            raise self._not_ready("web", why)
        self._note.status = "ready"
        self._note.ready_after_s = time.monotonic() - self._began_s
        self._claim.write(self._note)

    def _not_ready(self, name: str, why: str) -> NotReady:
        child = self._supervisor.children.get(name)
        return NotReady(
            f"{name} was not ready in time",
            why=f"{why}\n{last_words(child.last_lines) if child else ''}".strip(),
            todo="./lens logs shows the rest, ./lens doctor checks this machine",
        )

    def _require_password(self) -> None:
        if ports.is_loopback(self._options.host):
            return
        greeting.require_password(self._ask_greeting("--only-ask"), host=self._options.host)

    def greet(self) -> greeting.Greeting:
        """Return what the application has for whoever starts it.

        :raises SetupFailed: when the application refused.
        """
        wanted = ["--first-key"]
        if self._options.demo and not self._screen.machine:
            wanted.append("--demo")
        return self._ask_greeting(*wanted)

    def _ask_greeting(self, *options: str) -> greeting.Greeting:
        said: list[str] = []
        code, last = self._supervisor.run_to_end(
            self._manage("welcome", "welcome", "--json", *options, *CHECKED, logged=False),
            on_line=said.append,
        )
        if code:
            raise SetupFailed("nobody could be made welcome", why=last_words(last))
        return greeting.read_greeting(said)

    def tell(self, found: greeting.Greeting) -> None:
        """Print the box: where, with which key, how to send a first signal, how to stop."""
        url = self._note.url
        first = greeting.sign_in_url(url, found, host=self._options.host)
        if self._screen.machine:
            link = first if first != url else None
            self._screen.report(
                {"status": "ready", "url": url, "api_key": found.key or None, "sign_in": link}
            )
            return
        took = seconds(self._note.ready_after_s or 0)
        once = "  (signs you in once)" if first != url else ""
        self._screen.line(f"Lens is ready in {took}   {self._screen.paint(first, BOLD)}{once}")
        if found.key:
            self._screen.line()
            self._screen.line(
                f"Your first API key, shown only now:  {self._screen.paint(found.key, BOLD)}"
            )
        self._tell_first_signal(found.key)

    def _tell_first_signal(self, key: str) -> None:
        if market.provider(self._environment) == "hyperliquid":
            prices = market.outcome(self._probe)
        else:
            prices = self._ask_house()
        if prices.complaint:
            self._screen.warn("market", prices.complaint)
        self._screen.line("Send a first signal:")
        url = self._note.url
        self._screen.line(greeting.first_signal(url, key or "$LENS_API_KEY", prices.btc))
        if not key:
            self._screen.line(
                "(another key: ./lens apikey create --name me --scope signals:write --scope stream)"
            )

    def _ask_house(self) -> market.Prices:
        """Return the price of a provider that only the installed product can ask."""
        said: list[str] = []
        self._supervisor.run_to_end(
            self._manage("quote", "quote", market.EXAMPLE, "--json", *CHECKED, logged=False),
            on_line=said.append,
            within_s=market.HOUSE_TIMEOUT_S,
        )
        return market.told_by_house(market.provider(self._environment), said)

    def keep(self, *, show_children: bool) -> None:
        """Watch over the children until a signal comes.

        :raises Interrupted: when it came.
        :raises GaveUp: when a child died too often.
        """
        self._screen.mute_children(not show_children)
        while True:
            self._supervisor.tick()

    def tear_down(self) -> None:
        """Stop every child in order and leave no note behind."""
        self._note.status = "stopping"
        self._claim.write(self._note)
        if self._line is not None:
            self._line.close()
        if self._probe is not None:
            market.end_probe(self._probe)
        self._supervisor.stop()
        if self._forks is not None:
            self._forks.close()
        if self._socket is not None:
            forget_socket(self._where, self._socket)
        self._claim.clear()
        self._claim.release()


def version(where: Places) -> str:
    """Return the version of this checkout."""
    with (where.root / "pyproject.toml").open("rb") as file:
        return str(tomllib.load(file)["project"]["version"])


def greet(where: Places, screen: Screen) -> None:
    """Print the first line, and a notice when root runs it."""
    machine = f"{platform.system()} {platform.machine()}"
    screen.line(f"Lens {version(where)}  Python {platform.python_version()}  {machine}")
    if os.geteuid() == 0:
        screen.warn("root", "works, but an ordinary user is enough and safer")


def bring_up(
    where: Places,
    screen: Screen,
    options: UpOptions,
    *,
    when_ready: Callable[[], None] = lambda: None,
) -> int:
    """Run the desk until it is stopped; return the exit code of `up`.

    :raises Stop: when it cannot start or a child keeps dying.
    """
    ports.check_host(options.host, remote_allowed=options.allow_remote)
    greet(where, screen)
    make_private(where)
    claim = Claim(where)
    if not claim.take():
        return _already_running(claim, screen)
    stack = Stack(where=where, screen=screen, claim=claim, options=options)
    ready = False
    try:
        stack.set_up()
        stack.tell(stack.greet())
        ready = True
        stopper = "./lens down" if options.detached else "Ctrl-C"
        screen.line(f"{stopper} stops everything; your data stays in {where.shown(where.var)}")
        when_ready()
        stack.keep(show_children=options.show_children)
    except Interrupted as interrupted:
        screen.line("stopping: web, conductor, workers, redis (again to kill)")
        if not ready:
            return 128 + interrupted.signal_number
        return 0
    except Stop as stop:
        claim.remember_end(stop.what)
        raise
    finally:
        stack.tear_down()
        screen.line("stopped, nothing left running")
    return 0


def _already_running(claim: Claim, screen: Screen) -> int:
    deadline_s = time.monotonic() + READY_WITHIN_S
    running = claim.read()
    while claim.is_held() and time.monotonic() < deadline_s:
        running = claim.read()
        if running and running.status == "ready":
            if screen.machine:
                screen.report({"status": "already running", "url": running.url, "api_key": None})
            screen.line(f"already running: pid {running.pid}  {running.url}")
            return 0
        time.sleep(0.2)
    pid = running.pid if running else "unknown"
    raise NotReady(
        f"another ./lens up (pid {pid}) holds this directory and is not ready",
        todo="./lens status tells more, ./lens down ends it",
    )
