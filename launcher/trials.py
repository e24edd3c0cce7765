"""Verbs that try the house out: breaking a private desk, and measuring side by side."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from launcher import packages, programs
from launcher.environment import NOT_FOR_CHILDREN
from launcher.places import Places, make_private
from launcher.terminal import Screen

MODULES: Final = {"chaos": "chaos", "bench": "benchmarks"}
OWN: Final = ("LENS_", "MODEL_", "LLM_", "DATABASE_", "REDIS_", "DJANGO_")  # of a desk of yours
LOCKS: Final = {"chaos": packages.RUNTIME, "bench": packages.DEVELOPMENT}


def run(verb: str, where: Places, screen: Screen, arguments: Sequence[str]) -> int:
    """Run a trial on this terminal and return its code; it has a desk of its own, never yours."""
    make_private(where)
    if not packages.is_current(where, LOCKS[verb]):
        installed = packages.ensure_installed(where, screen, lock_name=LOCKS[verb])
        screen.note(f"packages: {installed}")
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in NOT_FOR_CHILDREN and not name.startswith(OWN)
    }
    return programs.call(
        [where.python, "-m", MODULES[verb], *arguments],
        environment=environment | {"PYTHONPATH": str(where.root)},
    )
