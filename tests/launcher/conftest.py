"""A whole checkout in miniature: the real launcher over a tiny application."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from launcher import packages, programs, stack
from launcher.places import ROOT, Places

MANAGE = """
import json, os, pathlib, signal, sys, time
verb, var = sys.argv[1], pathlib.Path(os.environ["LENS_VAR_DIR"])
if verb == "prepare":
    print("  Applying tiny.0001_initial... OK")
elif verb == "welcome":
    answer = {"user": "admin", "has_password": (var / "password").exists()}
    if "--only-ask" not in sys.argv:
        answer |= {"path": "/welcome?t=lens_test_token", "valid_for_s": 900}
    if "--first-key" in sys.argv and not (var / "key").exists():
        (var / "key").touch()
        answer["key"] = "lens_test_key"
    if "--demo" in sys.argv:
        (var / "demo").touch()
    print("a line of something else")
    print(json.dumps(answer))
elif verb == "replay":
    print("judged 0 signals")
elif verb == "fail":
    sys.exit(3)
elif verb == "quote":
    print(json.dumps({"mid": "65000"}))
elif verb == "where":
    print(os.getcwd())
elif verb == "tell":
    print(json.dumps({name: os.environ.get(name) for name in sys.argv[2:]}))
else:
    if (var / ("broken-" + verb)).exists():
        sys.exit("this one is broken")
    def leave(*_):
        with (var / "goodbye").open("a") as file:
            file.write(verb + "\\n")
        sys.exit(0)
    signal.signal(signal.SIGTERM, leave)
    print(verb, "runs")
    while True:
        time.sleep(60)
"""
PYPROJECT = """
[project]
version = "9.9"
[tool.pytest.ini_options]
addopts = "-p no:django -p no:asyncio -p no:schemathesis -p no:hypothesispytest -p no:anyio"
"""
ASGI = """
import os, pathlib
async def application(scope, receive, send):
    if scope["type"] != "http":
        return
    ready = not (pathlib.Path(os.environ["LENS_VAR_DIR"]) / "unready").exists()
    status = 200 if ready else 503
    await send({"type": "http.response.start", "status": status, "headers": []})
    why = b"" if ready else b', "why": "nobody works"'
    word = b"true" if ready else b"false"
    body = b'{"checks": {"workers": {"ok": ' + word + why + b"}}}"
    await send({"type": "http.response.body", "body": body})
"""


@dataclass
class Desk:
    """One miniature checkout and the commands that were started in it."""

    where: Places
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        plain = {"PATH": os.environ["PATH"], "HOME": str(self.where.root), "NO_COLOR": "1"}
        return plain | {"PROVIDER_PRIMARY": "simulated"}

    def call(
        self, *arguments: str, cwd: Path | None = None, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(self.where.root / "lens"), *arguments],
            env=self.environment | variables,
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, str(self.where.root / "lens"), *arguments],
            env=self.environment | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def read_until(self, process: subprocess.Popen[str], text: str) -> str:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if text in line:
                return said
        raise AssertionError(f"it ended without saying {text!r}:\n{said}")

    def note(self) -> dict[str, Any]:
        content = (self.where.run / "up.json").read_text()
        answer: dict[str, Any] = json.loads(content)
        return answer

    def wait_ready(self) -> dict[str, Any]:
        wait_until(lambda: (self.where.run / "up.json").exists() and self._is_ready())
        return self.note()

    def _is_ready(self) -> bool:
        return bool(self.note()["status"] == "ready")

    def children(self) -> dict[str, tuple[int, str]]:
        return {
            name: (int(child["pid"]), str(child["born"]))
            for name, child in self.note()["children"].items()
        }


def wait_until(check: Callable[[], bool], *, within_s: float = 20) -> None:
    deadline_s = time.monotonic() + within_s
    while not check():
        assert time.monotonic() < deadline_s, "it did not come in time"
        time.sleep(0.02)


def all_gone(children: dict[str, tuple[int, str]]) -> bool:
    return not any(programs.is_alive(pid, born) for pid, born in children.values())


@pytest.fixture
def where(tmp_path: Path) -> Places:
    """A bare directory with the places of a checkout."""
    return Places(root=tmp_path, var=tmp_path / "var")


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A checkout that counts as installed: its interpreter is the one that runs the tests."""
    root = tmp_path / "checkout"
    shutil.copytree(ROOT / "launcher", root / "launcher", ignore=shutil.ignore_patterns("*.pyc"))
    shutil.copy(ROOT / "lens", root / "lens")
    (root / "pyproject.toml").write_text(PYPROJECT)
    (root / "requirements.txt").write_text("tiny==1.0\n")
    (root / "manage.py").write_text(MANAGE)
    (root / "lens_site").mkdir()
    (root / "lens_site" / "asgi.py").write_text(ASGI)
    for module in stack.PRELOAD:
        (root / f"{module.replace('.', '/')}.py").write_text("import asyncio")
    python = root / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    made = Desk(Places(root=root, var=root / "var"))
    digest = packages.lock_digest(root / "requirements.txt")
    (root / ".venv" / packages.NOTE).write_text(json.dumps({"requirements.txt": digest}))
    yield made
    made.call("down", "--now")
    for process in made.started:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.communicate()
