"""The environment of the plain FastAPI endpoint: made once, with pip, below ``var``."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.desk import ROOT

WANTED = ROOT / "benchmarks" / "baselines" / "requirements.txt"
PLACE = ROOT / "var" / "bench-fastapi"
ENOUGH_S = 300


def fastapi_python() -> str | None:
    """Return the interpreter that has FastAPI; None, with a word, when it cannot be installed."""
    python, note = PLACE / "bin" / "python", PLACE / "installed.txt"
    wanted = WANTED.read_text(encoding="utf-8")
    if note.exists() and note.read_text(encoding="utf-8") == wanted:
        return str(python)
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(PLACE)],
        [str(python), "-m", "pip", "install", "--quiet", "-r", str(WANTED)],
    ):
        ended = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=ENOUGH_S
        )
        if ended.returncode:
            sys.stderr.write(f"the plain FastAPI endpoint is left out: {ended.stderr[-400:]}\n")
            return None
    note.write_text(wanted, encoding="utf-8")
    return str(python)
