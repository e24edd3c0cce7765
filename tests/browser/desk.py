"""A desk for browsers: one web process on a database and a Redis of its own."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

from django.conf import settings

ROOT = Path(__file__).resolve().parents[2]
STARTS_WITHIN_S = 90.0
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "LD_LIBRARY_PATH")


@dataclass
class Desk:
    """Starts a web process and the hand that furnishes its database."""

    directory: Path
    port: int = 0
    ids: dict[str, str] = field(default_factory=dict)
    cookie: str = ""
    _processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _environment: dict[str, str] = field(default_factory=dict)
    _hand: subprocess.Popen[bytes] | None = None
    _web: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Bring the desk up, furnished and signed in to."""
        self.port = _free_port()
        self._environment = self._variables()
        self._hand = self._run([sys.executable, "-m", "tests.browser.hand"], "hand")
        assert self._answer() == "ready"
        self.ids = self.do("furnish")
        self.cookie = self.do("sign_in")
        self.start_web()

    def start_web(self) -> None:
        """Start the web process and return when it answers."""
        web = [sys.executable, "-m", "daphne", "-b", "127.0.0.1", "-p", str(self.port)]
        self._web = self._run([*web, "lens_site.asgi:application"], "web")
        deadline_s = time.monotonic() + STARTS_WITHIN_S
        opener = build_opener(ProxyHandler({}))
        while time.monotonic() < deadline_s:
            with suppress(OSError), opener.open(f"{self.address}/health", timeout=5):
                return
            time.sleep(0.1)
        raise AssertionError((self.directory / "web.log").read_text("utf-8")[-2000:])

    def stop_web(self) -> None:
        """End the web process, as a restart does."""
        if self._web is not None:
            _end(self._web)

    def do(self, action: str, /, **told: Any) -> Any:
        """Have the hand do something and return its answer."""
        assert self._hand is not None and self._hand.stdin is not None
        self._hand.stdin.write(json.dumps({"do": action, **told}).encode() + b"\n")
        self._hand.stdin.flush()
        return self._answer()

    def stop(self) -> None:
        """End every process that was started here."""
        for process in self._processes:
            _end(process)

    def _answer(self) -> Any:
        assert self._hand is not None and self._hand.stdout is not None
        line = self._hand.stdout.readline()
        assert line, (self.directory / "hand.log").read_text("utf-8")[-3000:]
        return json.loads(line)

    def _variables(self) -> dict[str, str]:
        return {name: os.environ[name] for name in KEPT if name in os.environ} | {
            "LENS_VAR_DIR": str(self.directory),
            "SECRET_KEY": secrets.token_urlsafe(48),
            "LENS_KEY_PEPPER": secrets.token_urlsafe(48),
            "DATABASE_URL": f"sqlite:///{self.directory / 'lens.sqlite3'}",
            "LENS_SQLITE_SYNCHRONOUS": "OFF",
            "REDIS_URL": settings.REDIS_URL,
            "DJANGO_SETTINGS_MODULE": "lens_site.settings",
            "PROVIDER_PRIMARY": "simulated",
            "PYTHONUNBUFFERED": "1",
        }

    def _run(self, command: list[str], name: str) -> subprocess.Popen[bytes]:
        with (self.directory / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if name == "hand" else log,
                stderr=log,
            )
        self._processes.append(process)
        return process


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with suppress(BrokenPipeError):
                stream.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
