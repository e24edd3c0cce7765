"""Calls of language models, recorded and played again: tests and demonstrations cost nothing.

One JSON file a call, named by the hash of everything that the answer hangs on. What is recorded is
the answer alone: neither the prompt nor the address nor the key of the call.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

from evaluation.evaluators.base import CallFailed
from evaluation.evaluators.llm import Completion
from evaluation.types import AttemptStatus

FORMAT = 1
"""Of the files; others are refused."""

KEY = re.compile(r"[0-9a-f]{64}")
SECRET = re.compile(
    r"(?i)\b(?:bearer\s+[\w.~+/=-]{8,}|(?:sk|pk|rk)-[\w-]{8,}|AIza[\w-]{10,}"
    r"|lens_[a-z0-9]+_[\w-]{8,})|(?<=[?&]key=)[\w-]+"
)
MASK = "***"
SECRET_MIN_CHARS = 6  # shorter ones would mask ordinary words


class Mode(StrEnum):
    """What a cassette does with a call."""

    RECORD = "record"
    REPLAY = "replay"
    OFF = "off"


class Cassette:
    """Keeps what calls came to in one folder; safe for any number of readers and writers.

    In mode ``replay`` no call is ever made: one that was not recorded fails as DISABLED. In mode
    ``record`` every call is made and kept; a failure never takes the place of an answer.
    ``secrets`` are masked wherever a vendor might repeat them.
    """

    def __init__(
        self, *, folder: Path | str, mode: Mode | str = Mode.REPLAY, secrets: Sequence[str] = ()
    ) -> None:
        self.folder = Path(folder)
        self.mode = Mode(mode)
        self._secrets = tuple(each for each in secrets if len(each) >= SECRET_MIN_CHARS)

    async def play(self, key: str) -> Completion | CallFailed | None:
        """Return what the call came to when it was recorded; None if it is to be made."""
        if self.mode is not Mode.REPLAY:
            return None
        return await asyncio.to_thread(self._read, self._path(key))

    async def record(self, key: str, outcome: Completion | CallFailed) -> None:
        """Keep what a call came to, in mode ``record``."""
        if self.mode is Mode.RECORD:
            is_answer = isinstance(outcome, Completion)
            text = json.dumps(self._masked(_plain(outcome)), sort_keys=True, indent=1)
            await asyncio.to_thread(self._write, self._path(key), text, replace=is_answer)

    def _path(self, key: str) -> Path:
        if not KEY.fullmatch(key):
            raise ValueError("a key is a SHA-256 in hexadecimal")
        return self.folder / f"{key}.json"

    def _read(self, path: Path) -> Completion | CallFailed:
        try:
            return _outcome(json.loads(path.read_text("utf-8")))
        except FileNotFoundError:
            reason = f"no recording for {path.stem[:16]}"
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = f"the recording {path.stem[:16]} cannot be read: {type(error).__name__}"
        return CallFailed(reason, status=AttemptStatus.DISABLED)

    def _write(self, path: Path, text: str, *, replace: bool) -> None:
        """Put a whole file in place at once, so that nobody ever reads half of one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        number, name = tempfile.mkstemp(dir=self.folder, prefix=".", suffix=".part")
        made = Path(name)
        try:
            with os.fdopen(number, "w", encoding="utf-8") as file:
                file.write(text)
            if replace:
                made.replace(path)
            else:
                with suppress(FileExistsError):
                    path.hardlink_to(made)
        finally:
            made.unlink(missing_ok=True)

    def _masked(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self._masked(part) for name, part in value.items()}
        if not isinstance(value, str):
            return value
        for secret in self._secrets:
            value = value.replace(secret, MASK)
        return SECRET.sub(MASK, value)


def _plain(outcome: Completion | CallFailed) -> dict[str, Any]:
    if isinstance(outcome, Completion):
        return {"format": FORMAT, "completion": {**asdict(outcome), "status": str(outcome.status)}}
    return {
        "format": FORMAT,
        "failure": {
            "reason": str(outcome),
            "status": str(outcome.status),
            "retry_after_s": outcome.retry_after_s,
            "request_id": outcome.request_id,
            "answer": outcome.answer,
        },
    }


def _outcome(stored: Mapping[str, Any]) -> Completion | CallFailed:
    if stored["format"] != FORMAT:
        raise ValueError(f"format {stored['format']!r}")
    if "failure" in stored:
        failure = dict(stored["failure"])
        reason, status = failure.pop("reason"), AttemptStatus(failure.pop("status"))
        return CallFailed(reason, status=status, **failure)
    known = {field.name for field in fields(Completion)}
    values = {name: value for name, value in stored["completion"].items() if name in known}
    return Completion(**{**values, "status": AttemptStatus(values["status"])})
