from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from launcher.places import ROOT

MODULES = sorted((ROOT / "launcher").glob("*.py"))


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    return names


@pytest.mark.parametrize("path", [*MODULES, ROOT / "lens"], ids=lambda path: path.name)
def test_the_launcher_needs_nothing_but_python(path: Path) -> None:
    foreign = imported(path) - set(sys.stdlib_module_names) - {"launcher"}

    assert not foreign


def test_one_module_starts_programs() -> None:
    calling = {
        path.name
        for path in MODULES
        if "subprocess.Popen(" in path.read_text() or "subprocess.run(" in path.read_text()
    }

    assert calling == {"programs.py"}


def test_the_door_speaks_on_old_pythons() -> None:
    door = (ROOT / "lens").read_text(encoding="utf-8")

    ast.parse(door, feature_version=(3, 4))
