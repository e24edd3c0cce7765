"""What this process has read a moment ago and need not read again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from threading import Lock
from typing import Generic, TypeVar

Value = TypeVar("Value")


class ShortMemory(Generic[Value]):
    """Remembers what was read, including that there was nothing, for a short while.

    A clock that was set back makes an entry too old, never younger.
    """

    def __init__(self, *, keeps: timedelta, entries_max: int) -> None:
        self._keeps = keeps
        self._entries_max = entries_max
        self._entries: dict[str, tuple[datetime, Value]] = {}
        self._lock = Lock()

    def get(self, name: str, *, now: datetime, read: Callable[[str], Value]) -> Value:
        """Return what was read under ``name`` lately, or read it."""
        entry = self._fresh(name, now=now)
        if entry is not None:
            return entry[1]
        value = read(name)
        self.put(name, value, now=now)
        return value

    def recall(self, name: str, *, now: datetime) -> Value | None:
        """Return what was read under ``name`` lately; None if nothing was."""
        entry = self._fresh(name, now=now)
        return entry[1] if entry else None

    def _fresh(self, name: str, *, now: datetime) -> tuple[datetime, Value] | None:
        entry = self._entries.get(name)
        is_fresh = entry is not None and timedelta(0) <= now - entry[0] < self._keeps
        return entry if is_fresh else None

    def put(self, name: str, value: Value, *, now: datetime) -> None:
        """Remember ``value`` as read at ``now``; the oldest entry makes room."""
        with self._lock:
            self._entries.pop(name, None)
            if len(self._entries) >= self._entries_max:
                del self._entries[next(iter(self._entries))]
            self._entries[name] = (now, value)

    def forget(self, name: str) -> None:
        """Read ``name`` anew the next time."""
        with self._lock:
            self._entries.pop(name, None)

    def clear(self) -> None:
        """Read everything anew."""
        with self._lock:
            self._entries.clear()
