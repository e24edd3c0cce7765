"""`doctor`: looks at this machine and says what stands in the way, one line each."""

from __future__ import annotations

import platform
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from launcher import market, packages, ports, programs, redis_server
from launcher.claim import Claim
from launcher.environment import child_environment, ensure_secrets, redis_url, shell_environment
from launcher.places import Places, make_private, socket_path
from launcher.terminal import Screen, Stop

OK: Final = "ok"
WARN: Final = "warn"
FAIL: Final = "fail"
OLDEST_SQLITE: Final = (3, 31)  # Django 5.2's own floor
FREE_WANTED: Final = 1 << 30  # bytes: the packages take 0.4 GB, a first database little
CLOCK_LIMIT_S: Final = 5.0  # a signal from "the future" is refused past 60 s; stay well below
SHARED_DISKS: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "drvfs"})


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    name: str
    level: str
    text: str
    todo: str = ""


def examine(where: Places) -> Iterator[Finding]:
    """Yield what was found, in the order in which `up` needs it."""
    checks: tuple[Callable[[Places], Finding], ...] = (
        _python,
        _packages,
        _state_directory,
        _disk,
        _sqlite,
        _redis,
        _port,
        _secrets,
        _application,
    )
    for check in checks:
        try:
            yield check(where)
        except Stop as stop:
            todo = "\n".join(part for part in (stop.why, stop.todo) if part)
            yield Finding(check.__name__.strip("_").replace("_", " "), FAIL, stop.what, todo)
    yield from _market(where)


def show_findings(where: Places, screen: Screen) -> int:
    """Print the findings; return 1 when something stands in the way."""
    findings = []
    writers = {OK: screen.done, WARN: screen.warn, FAIL: screen.fail}
    for finding in examine(where):
        findings.append(finding)
        writers[finding.level](finding.name, finding.text)
        if finding.level != OK:
            for line in finding.todo.splitlines():
                screen.line(f"  {line}")
    failed = [finding.name for finding in findings if finding.level == FAIL]
    if screen.machine:
        screen.report({"ok": not failed, "findings": [asdict(finding) for finding in findings]})
    screen.line(f"{len(failed)} in the way" if failed else "nothing stands in the way")
    return 1 if failed else 0


def _python(where: Places) -> Finding:
    packages.check_python()
    return Finding("python", OK, f"{platform.python_version()} with venv and ensurepip")


def _packages(where: Places) -> Finding:
    if packages.is_current(where, packages.RUNTIME):
        return Finding("packages", OK, "as locked")
    return Finding("packages", WARN, "not installed as locked", "./lens up installs them")


def _state_directory(where: Places) -> Finding:
    make_private(where)
    kind = _disk_kind(where.var)
    if kind in SHARED_DISKS:
        return Finding(
            "state",
            WARN,
            f"{where.shown(where.var)} lies on {kind}",
            "SQLite and sockets are unreliable there: set LENS_VAR_DIR to a local disk",
        )
    return Finding("state", OK, f"{where.shown(where.var)}, private to you")


def _disk_kind(path: Path) -> str:
    try:
        mounts = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    fields = [line.split() for line in mounts]
    holding = [f for f in fields if len(f) > 2 and path.resolve().is_relative_to(f[1])]
    return max(holding, key=lambda f: len(f[1]))[2] if holding else ""


def _disk(where: Places) -> Finding:
    free = shutil.disk_usage(where.var).free
    text = f"{free / (1 << 30):.1f} GB free"
    if free < FREE_WANTED:
        return Finding("disk", WARN, text, "make room: packages need 0.4 GB, the database grows")
    return Finding("disk", OK, text)


def _sqlite(where: Places) -> Finding:
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        return Finding(
            "sqlite", FAIL, f"{sqlite3.sqlite_version} is too old", "set DATABASE_URL to PostgreSQL"
        )
    return Finding("sqlite", OK, sqlite3.sqlite_version)


def _redis(where: Places) -> Finding:
    named = shell_environment(where.root).get("REDIS_URL", "")
    if named:
        return Finding("redis", OK, f"{redis_server.check_address(named)} answers (REDIS_URL)")
    return Finding("redis", OK, str(redis_server.find_binary(where)))


def _port(where: Places) -> Finding:
    claim = Claim(where)
    running = claim.read() if claim.is_held() else None
    if running is not None:
        return Finding("port", OK, f"ours: {running.url}")
    with ports.listen("127.0.0.1", None) as line:
        port = line.getsockname()[1]
    if port != ports.FIRST_PORT:
        holder = ports.holder_of(ports.FIRST_PORT) or "another program"
        return Finding("port", OK, f"{port} (port {ports.FIRST_PORT} is held by {holder})")
    return Finding("port", OK, f"{port} is free")


def _secrets(where: Places) -> Finding:
    if not where.secrets.exists():
        return Finding("secrets", OK, "not made yet, ./lens up makes them")
    if stat.S_IMODE(where.secrets.stat().st_mode) & 0o077:
        return Finding(
            "secrets", WARN, "readable by others", f"chmod 600 {where.shown(where.secrets)}"
        )
    return Finding("secrets", OK, f"{where.shown(where.secrets)}, readable by you alone")


def _application(where: Places) -> Finding:
    if not packages.is_current(where, packages.RUNTIME):
        return Finding("settings", WARN, "not checked without the packages", "run ./lens up first")
    ensure_secrets(where)
    named = shell_environment(where.root).get("REDIS_URL", "")
    redis = named or redis_url(socket_path(where, "redis.sock"))
    answer = programs.run(
        [where.python, where.manage, "check"],
        environment=child_environment(where, redis=redis),
        cwd=where.root,
        timeout_s=60,
    )
    lines = answer.stdout.strip().splitlines()
    if answer.returncode:
        return Finding("settings", FAIL, "manage.py check refuses them", "\n".join(lines[-8:]))
    if "no issues" not in answer.stdout:
        return Finding("settings", WARN, "manage.py check has remarks", "\n".join(lines[-8:]))
    return Finding("settings", OK, "manage.py check finds no fault")


def _market(where: Places) -> Iterator[Finding]:
    probe = market.start_probe(shell_environment(where.root))
    prices = market.outcome(probe)
    market.end_probe(probe)
    if prices.complaint:
        yield Finding("market", WARN, prices.complaint)
        yield Finding("clock", OK, "not compared: no outside clock answered")
        return
    yield Finding("market", OK, f"hyperliquid answers, BTC {prices.btc:g}")
    ahead_s = prices.clock_ahead_s
    if ahead_s is not None and abs(ahead_s) > CLOCK_LIMIT_S:
        yield Finding(
            "clock", WARN, f"{ahead_s:+.0f} s against the provider", "turn on time synchronisation"
        )
    elif ahead_s is not None:
        yield Finding("clock", OK, "agrees with the provider's")
