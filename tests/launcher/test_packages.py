from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from launcher import packages
from launcher.places import ROOT, Places, make_private
from launcher.terminal import Screen


def screen() -> Screen:
    return Screen(stream=io.StringIO())


def fake_python(where: Places, script: str) -> None:
    """Stand in for the interpreter of the environment; it answers `-m pip ...` by a script."""
    make_private(where)
    where.python.parent.mkdir(parents=True)
    version = f"(python {'.'.join(map(str, __import__('sys').version_info[:2]))})"
    where.python.write_text(
        f'#!/bin/sh\nif [ "$3" = --version ]; then echo "pip 1 {version}"; exit 0; fi\n'
        f'echo "$@" >> "{where.root}/calls"\n{script}\n'
    )
    where.python.chmod(0o755)
    (where.root / "requirements.txt").write_text("one==1 \\\n    --hash=sha256:00\ntwo==2\n")


def calls(where: Places) -> list[str]:
    path = where.root / "calls"
    return path.read_text().splitlines() if path.exists() else []


def test_packages_are_installed_only_when_the_lock_changes(where: Places) -> None:
    fake_python(where, "exit 0")

    first = packages.ensure_installed(where, screen())
    second = packages.ensure_installed(where, screen())
    (where.root / "requirements.txt").write_text("one==2\n")
    third = packages.ensure_installed(where, screen())

    assert first.count == 2
    assert first.took_s is not None
    assert second.took_s is None
    assert third.took_s is not None
    assert len(calls(where)) == 2
    assert "--require-hashes" in calls(where)[0]
    assert "--no-deps" in calls(where)[0]


def test_a_failed_install_is_tried_once_more(where: Places) -> None:
    fake_python(where, f'[ $(wc -l < "{where.root}/calls") -gt 1 ]')

    packages.ensure_installed(where, screen())

    assert len(calls(where)) == 2
    assert packages.is_current(where, "requirements.txt")


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ("ProxyError: Tunnel connection failed: 407", "proxy"),
        ("Temporary failure in name resolution", "offline"),
        ("SSLError CERTIFICATE_VERIFY_FAILED", "certificate"),
        ("THESE PACKAGES DO NOT MATCH THE HASHES", "differs from what the lock expects"),
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        ("ERROR: No matching distribution found for one==1", "does not carry"),
        ("ERROR: something new", "something new"),
    ],
)
def test_the_cause_of_a_failed_install_is_named(where: Places, said: str, cause: str) -> None:
    fake_python(where, f"echo '{said}'; exit 1")

    with pytest.raises(packages.CannotInstall) as refused:
        packages.ensure_installed(where, screen())

    assert cause in refused.value.why
    assert "install.log" in refused.value.todo
    assert not packages.is_current(where, "requirements.txt")


def test_an_interrupted_install_does_not_count_as_done(where: Places) -> None:
    fake_python(where, "exit 0")
    packages.ensure_installed(where, screen())
    (where.root / "requirements.txt").write_text("one==3\n")
    where.python.write_text(where.python.read_text().replace("exit 0\n", "exit 1\n", 2))

    with pytest.raises(packages.CannotInstall):
        packages.ensure_installed(where, screen())

    assert json.loads((where.venv / packages.NOTE).read_text()) == {}


LOCK_WITH_INSTALLER = (
    "one==1 \\\n    --hash=sha256:00\nuv==1 \\\n    --hash=sha256:11 \\\n    --hash=sha256:22\n"
    "    # via -r requirements.in\nuvicorn==2\n"
)


def fake_installer(where: Places, script: str) -> None:
    program = where.venv / "bin" / "uv"
    program.write_text(f'#!/bin/sh\necho "uv $@" >> "{where.root}/calls"\n{script}\n')
    program.chmod(0o755)


def test_the_installer_in_the_lock_installs_the_rest_of_it(where: Places) -> None:
    fake_python(where, "exit 0")
    fake_installer(where, "exit 0")
    (where.root / "requirements.txt").write_text(LOCK_WITH_INSTALLER)

    packages.ensure_installed(where, screen())

    by_pip, by_installer = calls(where)
    assert by_pip.endswith("installer.txt")
    assert "--require-hashes --no-deps" in by_installer
    assert by_installer.endswith("requirements.txt")
    asked = (where.log / "installer.txt").read_text()
    assert asked == "uv==1 \\\n    --hash=sha256:11 \\\n    --hash=sha256:22\n"


def test_pip_installs_everything_where_the_installer_cannot(where: Places) -> None:
    fake_python(where, "exit 0")
    fake_installer(where, "echo no index; exit 2")
    (where.root / "requirements.txt").write_text(LOCK_WITH_INSTALLER)

    packages.ensure_installed(where, screen())

    assert [line.split()[0] for line in calls(where)] == ["-m", "uv", "-m"]
    assert calls(where)[-1].endswith("requirements.txt")
    assert "no index" in (where.log / "install.log").read_text()


def test_the_development_lock_brings_the_runtime_lock_along(where: Places) -> None:
    fake_python(where, "exit 0")
    (where.root / "requirements-dev.txt").write_text("one==1\ntool==1\n")

    packages.ensure_installed(where, screen(), lock_name=packages.DEVELOPMENT)

    assert packages.is_current(where, packages.RUNTIME)


def pins(name: str) -> dict[str, str]:
    found = {}
    for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
        if line[:1].isalnum():
            package, _, version = line.partition("==")
            found[package] = version.split()[0]
    return found


def test_development_lock_is_a_superset_of_the_runtime_lock() -> None:
    runtime, development = pins("requirements.txt"), pins("requirements-dev.txt")

    assert runtime.items() <= development.items()


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_locks_name_no_index_and_no_directory(name: str) -> None:
    content = (ROOT / name).read_text(encoding="utf-8")

    assert "://" not in content
    assert "--index-url" not in content
    assert "--find-links" not in content


def test_every_locked_package_carries_hashes() -> None:
    content = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    blocks = [block for block in content.split("\n") if block[:1].isalnum()]

    assert blocks
    assert all(block.endswith("\\") for block in blocks)


def test_the_lock_serves_the_oldest_python_311() -> None:
    content = (ROOT / "requirements.txt").read_text(encoding="utf-8")

    assert "async-timeout" in content  # redis-py needs it below 3.11.3
    assert Path(ROOT / "requirements.in").exists()
