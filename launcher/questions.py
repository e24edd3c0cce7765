"""Asking our own web server: once and waiting, or again and again without waiting."""

from __future__ import annotations

import http.client
import json
import select
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

TIMEOUT_S: Final = 5.0
BODY_LIMIT: Final = 65536  # bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What the web server said; code 0 when it said nothing."""

    code: int
    body: str


class Question:
    """A GET that is sent once and looked after until its answer is there, then sent again.

    The port takes connections before web does, so a question may wait long; asking anew each
    time would leave web a heap of questions that nobody waits for.
    """

    def __init__(self, url: str, path: str) -> None:
        self._host = url.removeprefix("http://")
        self._path = path
        self._line: http.client.HTTPConnection | None = None
        self.last: Answer | None = None

    def poll(self) -> Answer | None:
        """Return an answer that has come since the last look, else None; never waits for web."""
        try:
            if self._line is None:
                self._line = http.client.HTTPConnection(self._host, timeout=TIMEOUT_S)
                self._line.request("GET", self._path)
            if not select.select([self._line.sock], [], [], 0)[0]:
                return None
            self.last = _answer_on(self._line)
        except (OSError, http.client.HTTPException):
            self.close()
            return None
        self.close()
        return self.last

    def close(self) -> None:
        """Let go of the connection."""
        if self._line is not None:
            self._line.close()
            self._line = None


def ask(url: str, path: str) -> Answer:
    """Return the answer to one GET."""
    line = http.client.HTTPConnection(url.removeprefix("http://"), timeout=TIMEOUT_S)
    with suppress(OSError, http.client.HTTPException):
        try:
            line.request("GET", path)
            return _answer_on(line)
        finally:
            line.close()
    return Answer(0, "")


def _answer_on(line: http.client.HTTPConnection) -> Answer:
    answer = line.getresponse()
    return Answer(answer.status, answer.read(BODY_LIMIT).decode("utf-8", "replace"))


def complaints(body: str) -> list[str]:
    """Return what /ready says is missing, as `name: why`; the text itself when it is no JSON."""
    try:
        checks = json.loads(body).get("checks", {})
        return [
            f"{name}: {check.get('why', 'not ready')}"
            for name, check in checks.items()
            if not check.get("ok")
        ]
    except (ValueError, AttributeError):
        return [body.strip()[:300]] if body.strip() else []
