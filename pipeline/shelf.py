"""A place beside the database where bytes survive the process that puts them there, for a moment.

Every process writes into a file of its own in one directory: what it has handed to the operating
system outlives any kill, and no other program has to be up for that. It is never the truth:
nothing is wrong when it is empty, full or not there at all. Whoever reads must be able to tell
what it has put there itself.
"""

from __future__ import annotations

import logging
import os
import struct
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock
from uuid import UUID, uuid4

logger = logging.getLogger(__name__)

VALUE_MAX_BYTES = 128 * 1024
PAGE_BYTES = 4 * 1024 * 1024
"""A process has two pages at most: with every new one its oldest goes."""

SILENT_AFTER_FAULT_S = 1.0
FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
HEAD = struct.Struct(">16sI")  # whose it is, and how many bytes follow


@dataclass(slots=True)
class _Page:
    path: Path
    file: int
    size: int = 0

    @classmethod
    def new(cls, directory: Path) -> _Page:
        path = directory / uuid4().hex
        return cls(path, os.open(path, FLAGS, 0o600))

    @property
    def is_gone(self) -> bool:
        """Whether somebody has taken it for a dead process's."""
        return os.fstat(self.file).st_nlink == 0

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        os.close(self.file)


class Shelf:
    """Every process that is to find what another has put there uses the same directory."""

    def __init__(self, directory: Path, *, kept_s: float) -> None:
        self._directory = directory
        self._kept_s = kept_s
        self._pages: list[_Page] = []
        self._wanted: set[UUID] = set()
        self._lock = Lock()
        self._try_again_at_s = 0.0

    def put(self, key: UUID, value: bytes) -> bool:
        """Put bytes there; say whether they are.

        They are not forced to the disk: that takes long, and only a machine that loses its power
        could tell the difference.
        """
        if len(value) > VALUE_MAX_BYTES or time.monotonic() < self._try_again_at_s:
            return False
        with self._lock:
            try:
                page = self._page()
                page.size += os.write(page.file, HEAD.pack(key.bytes, len(value)) + value)
            except OSError as error:
                self._try_again_at_s = time.monotonic() + SILENT_AFTER_FAULT_S
                logger.warning("nothing is kept in %s for a moment: %s", self._directory, error)
                return False
            self._wanted.add(key)
        return True

    def look(self, keys: Collection[UUID]) -> Mapping[UUID, bytes]:
        """Return what was put there last under these keys, by whichever process."""
        wanted = {key.bytes: key for key in keys}
        found: dict[UUID, bytes] = {}
        for path in self._swept():
            for raw, value in _records(path):
                if raw in wanted:
                    found[wanted[raw]] = value
        return found

    def drop(self, keys: Iterable[UUID]) -> None:
        """Say that this process wants these no longer; when it wants none, all of its go."""
        with self._lock, suppress(OSError):
            self._wanted.difference_update(keys)
            for page in self._pages if not self._wanted else ():
                if page.size:
                    os.ftruncate(page.file, 0)
                    page.size = 0

    def _page(self) -> _Page:
        """Return the page to write on: the last one, or a new one if that is full or gone."""
        if self._pages and self._pages[-1].size < PAGE_BYTES and not self._pages[-1].is_gone:
            return self._pages[-1]
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._swept()
        self._pages.append(_Page.new(self._directory))
        if len(self._pages) > 2:
            self._pages.pop(0).remove()
        return self._pages[-1]

    def _swept(self) -> list[Path]:
        """Return all pages, oldest first; those that nobody writes on any more are thrown away."""
        pages: list[tuple[float, Path]] = []
        oldest = time.time() - self._kept_s
        with suppress(OSError):
            for path in self._directory.iterdir():
                with suppress(FileNotFoundError):  # another process has swept, too
                    written_at = path.stat().st_mtime
                    if written_at < oldest:
                        path.unlink()
                    else:
                        pages.append((written_at, path))
        return [path for _, path in sorted(pages)]


def _records(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Return what stands on a page, in its order; the last may be cut short and is left out."""
    text, place = b"", 0
    with suppress(OSError):
        text = path.read_bytes()
    while place + HEAD.size <= len(text):
        key, size = HEAD.unpack_from(text, place)
        place += HEAD.size
        if place + size <= len(text):
            yield key, text[place : place + size]
        place += size


@cache
def shelf(directory: Path, *, kept_s: float) -> Shelf:
    """Return this process's one shelf of a directory; what lies there longer is thrown away."""
    return Shelf(directory, kept_s=kept_s)
