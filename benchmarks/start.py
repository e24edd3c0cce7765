"""How soon `./lens up` is ready, and what the whole embedded stack takes of memory in idleness."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks.desk import ROOT, free_port
from benchmarks.frame import REPEATS, Figure, Skipped

IDLE_S = 5.0
FIRST_S, WARM_S, IDLE_MB = 4.0, 1.5, 300


def figures(*, quick: bool) -> list[Figure]:
    """Return the first and the next starts, and the memory of all programs together."""
    first, warm, idle = [], [], []
    for _ in range(1 if quick else REPEATS):
        with tempfile.TemporaryDirectory(prefix="lens-", dir="/tmp") as folder:
            environment = _environment(folder)
            try:
                first.append(_up(environment))
                _lens(environment, "down")
                warm.append(_up(environment))
                time.sleep(IDLE_S)
                idle.append(_memory_mb(folder))
            finally:
                _lens(environment, "down")
    return [
        Figure(target="P9", what="first start", unit="s", samples=first, at_most=FIRST_S),
        Figure(target="P9", what="next start", unit="s", samples=warm, at_most=WARM_S),
        Figure(target="P9", what="whole stack idle", unit="MB", samples=idle, at_most=IDLE_MB),
    ]


def _environment(folder: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return kept | {"LENS_VAR_DIR": folder, "PROVIDER_PRIMARY": "simulated"}


def _up(environment: Mapping[str, str]) -> float:
    began_s = time.perf_counter()
    _lens(environment, "up", "--detach", "--no-demo", "--port", str(free_port()))
    return time.perf_counter() - began_s


def _lens(environment: Mapping[str, str], *arguments: str) -> None:
    answer = subprocess.run(
        [sys.executable, str(ROOT / "lens"), *arguments],
        env=dict(environment),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    if answer.returncode:
        raise Skipped(f"lens {arguments[0]} failed: {answer.stdout}{answer.stderr}")


def _memory_mb(folder: str) -> float:
    """Return what all programs of a desk take together, shared memory shared out (PSS)."""
    mine = f"LENS_VAR_DIR={folder}\0".encode()
    found_kb = 0
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if mine in (place / "environ").read_bytes():
                lines = (place / "smaps_rollup").read_text(encoding="ascii").splitlines()
                found_kb += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        except (OSError, StopIteration):
            continue
    if not found_kb:
        raise Skipped("this system does not tell how much memory programs share")
    return found_kb / 1024
