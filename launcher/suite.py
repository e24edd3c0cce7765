"""`test`: every check of the house in order, on private servers, without a network."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from launcher import packages, programs, redis_server
from launcher.environment import sqlite_url
from launcher.places import Places, make_private
from launcher.postgres import find_binaries, private_postgres
from launcher.redis_server import RedisBinary
from launcher.terminal import BOLD, Screen, Stop, seconds

REDIS_DATABASES: Final = 64
REDIS_WITHIN_S: Final = 10.0
STEP_LIMIT_S: Final = 600.0
SHOWN_LINES: Final = 60
WORKERS: Final = "2"
BROWSER_TESTS: Final = "tests/browser"
IGNORE_PAGES: Final = f"--ignore={BROWSER_TESTS}"
KEPT: Final = frozenset(
    {"PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TERM", "COLUMNS"}
    | {"TMPDIR", "NO_COLOR", "CI", "PYTEST_ADDOPTS", "LENS_MARKET_DATA"}
    | {"LENS_CHAOS_N", "LENS_FUZZ_EXAMPLES"}
)  # all that the suite takes from the shell
TEMPORARY: Final = "/tmp"  # noqa: S108 - mkdtemp below it; TMPDIR may be too long for sockets


class UnknownStep(Stop):
    """No step carries that name."""


@dataclass(frozen=True, slots=True)
class Step:
    """One check: its name and its command."""

    name: str
    command: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a check ended."""

    name: str
    passed: bool | None  # None: skipped
    text: str
    closing: str = ""  # pytest's own last line
    said: tuple[str, ...] = ()  # what to show of a check that failed


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteOptions:
    """What a person chose for `test`."""

    fast: bool = False
    only: Sequence[str] = ()
    pytest_arguments: Sequence[str] = ()


def static_steps(where: Places) -> tuple[Step, ...]:
    """Return the checks that need no server."""
    binaries = where.venv / "bin"
    python, manage = str(where.python), str(where.manage)
    return (
        Step("format", (str(binaries / "ruff"), "format", "--check", ".")),
        Step("ruff", (str(binaries / "ruff"), "check", ".")),
        Step("mypy", (str(binaries / "mypy"), ".")),
        Step("imports", (str(binaries / "lint-imports"),)),
        Step("check", (python, manage, "check")),
        Step("migrations", (python, manage, "makemigrations", "--check", "--dry-run")),
        Step(
            "openapi",
            (python, manage, "spectacular", "--validate", "--fail-on-warn", "--file", os.devnull),
        ),
    )


STEP_NAMES: Final = (
    "format",
    "ruff",
    "mypy",
    "imports",
    "check",
    "migrations",
    "openapi",
    "pytest",
)


class Suite:
    """One run of the whole suite."""

    def __init__(self, *, where: Places, screen: Screen, options: SuiteOptions) -> None:
        self._where = where
        self._screen = screen
        self._options = options
        self._outcomes: list[Outcome] = []

    def run(self) -> int:
        """Run every check and return 1 if any failed.

        :raises UnknownStep: when --only names none of the steps.
        """
        self._check_names()
        make_private(self._where)
        installed = packages.ensure_installed(
            self._where, self._screen, lock_name=packages.DEVELOPMENT
        )
        self._screen.done("packages", str(installed))
        with _short_directory() as directory:
            make_private(Places(root=self._where.root, var=directory))
            plain = suite_environment(self._where, directory)
            walks_pages = self._is_wanted("pytest") and self._has_browser_tests()
            with ThreadPoolExecutor(max_workers=1) as beside:
                steps = [step for step in static_steps(self._where) if self._is_wanted(step.name)]
                checks = [beside.submit(self._check, step, plain) for step in steps]
                if walks_pages:  # a browser and a checker leave each other a core
                    self._on_pages(directory, plain)
                for check in checks:
                    self._note(check.result())
            if self._is_wanted("pytest"):
                self._on_sqlite(directory, plain, *[IGNORE_PAGES] * walks_pages)
                self._on_postgres(directory, plain)
        return self._close()

    def _check_names(self) -> None:
        unknown = set(self._options.only) - set(STEP_NAMES)
        if unknown:
            raise UnknownStep(
                f"there is no step named {', '.join(sorted(unknown))}",
                todo=f"the steps are: {', '.join(STEP_NAMES)}",
            )

    def _is_wanted(self, name: str) -> bool:
        return not self._options.only or name in self._options.only

    def _note(self, outcome: Outcome) -> None:
        self._outcomes.append(outcome)
        for line in outcome.said:
            self._screen.line(f"  {line}")
        writer = {True: self._screen.done, False: self._screen.fail, None: self._screen.warn}
        writer[outcome.passed](outcome.name, outcome.text)

    def _check(self, step: Step, environment: Mapping[str, str]) -> Outcome:
        began_s = time.monotonic()
        answer = programs.run(
            step.command, environment=environment, cwd=self._where.root, timeout_s=STEP_LIMIT_S
        )
        passed = answer.returncode == 0
        said = () if passed else tuple(answer.stdout.rstrip().splitlines()[-SHOWN_LINES:])
        return Outcome(step.name, passed, seconds(time.monotonic() - began_s), said=said)

    def _on_pages(self, directory: Path, plain: Mapping[str, str]) -> None:
        redis = self._bundled_redis()
        database = sqlite_url(directory / "pages.sqlite3")
        self._run_pytest(f"pytest on pages, {redis}", plain, database, redis, BROWSER_TESTS, "-n0")

    def _on_sqlite(self, directory: Path, plain: Mapping[str, str], *options: str) -> None:
        redis = self._bundled_redis()
        database = sqlite_url(directory / "lens.sqlite3")
        self._run_pytest(f"pytest on SQLite, {redis}", plain, database, redis, *options)

    def _bundled_redis(self) -> RedisBinary:
        bundled = redis_server.bundled_binary(self._where.python)
        return bundled or redis_server.find_binary(self._where)

    def _has_browser_tests(self) -> bool:
        """Say whether pages are walked apart: the browser's own event loop stands in the way.

        Whoever names tests runs them as they were named.
        """
        named = any(not part.startswith("-") for part in self._options.pytest_arguments)
        return not named and (self._where.root / BROWSER_TESTS).is_dir()

    def _on_postgres(self, directory: Path, plain: Mapping[str, str]) -> None:
        if self._options.fast:
            self._skip("left out by --fast")
            return
        binaries = find_binaries()
        if binaries is None:
            self._skip("SKIPPED: no initdb on PATH or in /usr/lib/postgresql/*/bin")
            return
        redis = redis_server.system_binary() or redis_server.find_binary(self._where)
        try:
            with private_postgres(binaries, directory) as database:
                title = f"pytest on PostgreSQL, {redis}"
                self._run_pytest(title, plain, database, redis, "--database-only")
        except Stop as stop:
            self._note(Outcome("postgres", passed=False, text=f"{stop.what}: {stop.why}"))

    def _skip(self, why: str) -> None:
        self._note(Outcome("postgres", passed=None, text=f"second run of pytest {why}"))

    def _run_pytest(
        self,
        title: str,
        plain: Mapping[str, str],
        database: str,
        redis: RedisBinary,
        *options: str,
    ) -> None:
        self._screen.line(self._screen.paint(f"── {title}", BOLD))
        began_s = time.monotonic()
        with private_redis(redis) as base:
            environment = {
                **plain,
                "DATABASE_URL": database,
                "REDIS_URL": f"{base}?db=0",
            }
            code, closing = self._stream(environment, options)
        took = seconds(time.monotonic() - began_s)
        self._note(Outcome("pytest", code == 0, f"{title.partition(' on ')[2]}, {took}", closing))

    def _stream(self, environment: Mapping[str, str], options: Sequence[str]) -> tuple[int, str]:
        colour = "yes" if self._screen.live else "no"
        arguments = [f"--color={colour}", *options, *self._options.pytest_arguments]
        if not any(part.startswith("-n") for part in arguments):
            arguments = ["-n", WORKERS, *arguments]
        process = programs.start(
            [self._where.python, "-m", "pytest", *arguments],
            environment=environment,
            cwd=self._where.root,
        )
        closing = ""
        with process:
            try:
                for raw in process.stdout or ():
                    line = raw.decode("utf-8", "replace").rstrip("\n")
                    self._screen.line(line)
                    closing = line if line.strip() else closing
                return process.wait(), closing
            finally:
                _end_group(process)

    def _close(self) -> int:
        failed = [outcome for outcome in self._outcomes if outcome.passed is False]
        skipped = [outcome for outcome in self._outcomes if outcome.passed is None]
        if self._screen.machine:
            facts = [{"name": o.name, "passed": o.passed, "text": o.text} for o in self._outcomes]
            self._screen.report({"passed": not failed, "steps": facts})
        for outcome in skipped:
            self._screen.warn(outcome.name, outcome.text)
        for outcome in failed:
            self._screen.fail(outcome.name, f"failed ({outcome.text})")
        verdict = f"{len(failed)} of {len(self._outcomes)} failed" if failed else "all passed"
        self._screen.line(verdict)
        for outcome in self._outcomes:
            if outcome.closing:
                self._screen.line(outcome.closing)
        return 1 if failed else 0


def suite_environment(where: Places, directory: Path) -> dict[str, str]:
    """Return an environment that owes nothing to this machine's own settings."""
    return {name: value for name, value in os.environ.items() if name in KEPT} | {
        "LENS_VAR_DIR": str(directory),
        "SECRET_KEY": secrets.token_urlsafe(48),
        "LENS_KEY_PEPPER": secrets.token_urlsafe(48),
        "DATABASE_URL": sqlite_url(directory / "check.sqlite3"),
        "REDIS_URL": f"unix://{directory}/none.sock?db=0",
        "DJANGO_SETTINGS_MODULE": "lens_site.settings",
        "PYTHONUNBUFFERED": "1",
        "VIRTUAL_ENV": str(where.venv),
        "PATH": f"{where.venv / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
    }


@contextmanager
def private_redis(binary: RedisBinary) -> Iterator[str]:
    """Run a server that keeps nothing and yield its address without a database number."""
    with _short_directory() as directory:
        socket_at = directory / "redis.sock"
        options = ["--port", "0", "--unixsocket", str(socket_at), "--unixsocketperm", "600"]
        options += ["--save", "", "--appendonly", "no", "--databases", str(REDIS_DATABASES)]
        with (directory / "redis.log").open("wb") as log:
            process = programs.start(
                [binary.path, *options], environment={"TZ": "UTC"}, cwd=directory, output=log
            )
        try:
            deadline_s = time.monotonic() + REDIS_WITHIN_S
            while not redis_server.ping(socket_at).startswith(b"+PONG"):
                if time.monotonic() > deadline_s or process.poll() is not None:
                    why = (directory / "redis.log").read_text(errors="replace")[-600:]
                    raise redis_server.NoRedis("the private Redis did not start", why=why)
                time.sleep(0.02)
            yield f"unix://{socket_at}"
        finally:
            process.kill()
            process.wait()


@contextmanager
def _short_directory() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="lens-", dir=TEMPORARY))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def relock(where: Places, screen: Screen, *, upgrade: bool) -> int:
    """Resolve the three lock files anew, moving versions only when asked to.

    :raises Stop: when the tools cannot be installed.
    """
    make_private(where)
    packages.ensure_installed(where, screen, lock_name=packages.DEVELOPMENT)
    for source in ("requirements.in", "requirements-dev.in", "requirements-observability.in"):
        target = source.replace(".in", ".txt")
        command = [
            where.venv / "bin" / "uv",
            "pip",
            "compile",
            "--quiet",
            "--universal",
            "--generate-hashes",
            "--python-version",
            "3.11",
            "--no-emit-index-url",
            "--no-emit-find-links",
            "--custom-compile-command",
            "./lens lock",
            *(["--upgrade"] if upgrade else []),
            source,
            "-o",
            target,
        ]
        answer = programs.run(command, cwd=where.root)
        if answer.returncode:
            raise Stop(f"{source} cannot be resolved", why=answer.stdout.strip()[-1500:])
        screen.done(
            target, f"{len(packages.PINNED.findall((where.root / target).read_text()))} pinned"
        )
    return 0
