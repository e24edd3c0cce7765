"""What benchmarks need beside our own lock: installed once, with pip, below ``var``."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.desk import ROOT

HERE = Path(__file__).parent
FASTAPI = ROOT / "var" / "bench-fastapi"
UVICORN = ROOT / "var" / "bench-uvicorn"
ENOUGH_S = 300


def fastapi_python() -> str | None:
    """Return the interpreter that has FastAPI; None, with a word, when it cannot be installed."""
    python = FASTAPI / "bin" / "python"
    made = [
        [sys.executable, "-m", "venv", "--clear", str(FASTAPI)],
        [str(python), "-m", "pip", "install", "--quiet", "-r"],
    ]
    is_there = _installed(FASTAPI, made, wanted=HERE / "requirements.txt")
    return str(python) if is_there else None


def with_uvicorn_extras(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which uvicorn finds the parser and the loop of its standard extra.

    Where they cannot be installed it is left as it is: uvicorn then does with plain Python.
    """
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    made = [[*command, "--target", str(UVICORN), "-r"]]
    if not _installed(UVICORN, made, wanted=HERE / "uvicorn.txt"):
        return dict(environment)
    return {**environment, "PYTHONPATH": str(UVICORN)}


def _installed(place: Path, commands: list[list[str]], *, wanted: Path) -> bool:
    """Say whether what a file names is installed, after trying to; the last command reads it."""
    note, text = place / "installed.txt", wanted.read_text(encoding="utf-8")
    if note.exists() and note.read_text(encoding="utf-8") == text:
        return True
    shutil.rmtree(place, ignore_errors=True)
    for command in [*commands[:-1], [*commands[-1], str(wanted)]]:
        ended = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=ENOUGH_S
        )
        if ended.returncode:
            sys.stderr.write(f"{place.name} is left out: {ended.stderr[-400:]}\n")
            return False
    note.write_text(text, encoding="utf-8")
    return True
