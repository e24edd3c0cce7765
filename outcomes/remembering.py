"""Answers that are kept as long as what they were made of has not changed."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any


class Remembered:
    """The answers to at most ``most`` questions, each with the version that it was made of.

    The version is read anew for each question, so an answer is never older than its data.
    """

    def __init__(self, *, most: int) -> None:
        self._most = most
        self._lock = Lock()
        self._known: dict[Hashable, tuple[Hashable, Any]] = {}

    def get(self, key: Hashable, *, version: Hashable, make: Callable[[], Any]) -> Any:
        """Return the answer to a question, made anew if its data has another version."""
        kept = self._known.get(key)
        if kept is not None and kept[0] == version:
            return kept[1]
        made = make()
        with self._lock:
            self._known.pop(key, None)
            self._known[key] = (version, made)
            while len(self._known) > self._most:
                del self._known[next(iter(self._known))]
        return made

    def forget(self) -> None:
        """Forget every answer."""
        with self._lock:
            self._known.clear()
