"""What is written outside the database, so that the database alone cannot lie about its past.

One file of JSON lines, only ever added to, and the same words in the log:

- ``anchor``: the hash of a seal; cutting off the end of the trail is found by it;
- ``reserved``: numbers of decisions up to this one may have been seen by subscribers;
- ``revoked``: a key that must stay dead whatever backup is restored;
- ``restored``: a backup was restored; anchors above its last seal are void from here on.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from django.conf import settings

from pipeline.chain import moment

logger = logging.getLogger(__name__)

NAME: Final = "anchors.jsonl"
RESERVED_AHEAD: Final = 10_000  # numbers; the file is written once for so many

_reserved: dict[Path, int] = {}


@dataclass(frozen=True, slots=True)
class Anchor:
    """Which hash the seal of a number had when it was last seen."""

    number: int
    hash: str
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """Everything the file tells."""

    anchors: tuple[Anchor, ...] = ()
    void: int = 0
    reserved: int = 0
    revoked: tuple[str, ...] = ()
    unreadable: int = 0

    @property
    def last(self) -> Anchor | None:
        """The newest anchor that still holds."""
        return self.anchors[-1] if self.anchors else None


def path() -> Path:
    """Return the file's place."""
    return Path(settings.AUDIT_DIR) / NAME


def append(*, kind: str, at: datetime, **content: Any) -> None:
    """Add one line to the file and to the log; a file that cannot be written is an error there.

    The work that is anchored goes on: it has happened, and the log keeps what the file could not.
    """
    entry = {"kind": kind, "at": moment(at), **content}
    text = json.dumps(entry, sort_keys=True)
    logger.info("audit %s", text)
    try:
        _append_durably(path(), text)
    except OSError as error:
        logger.error("audit line not written to %s: %s: %s", path(), error, text)  # noqa: TRY400


def _append_durably(target: Path, text: str) -> None:
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, f"{text}\n".encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def reserve(*, upto: int, at: datetime) -> None:
    """Make sure that the file allows numbers up to ``upto``, before anybody is told of them."""
    if upto <= _reserved.get(path(), 0):
        return
    ceiling = upto + RESERVED_AHEAD
    append(kind="reserved", at=at, upto=ceiling)
    _reserved[path()] = ceiling


def read(source: Path | None = None) -> Past:
    """Return what the file tells; a line that breaks off is counted, not believed.

    Anchors that a restored backup has left behind are void and left out.
    """
    anchors: list[Anchor] = []
    void = reserved = unreadable = 0
    revoked: dict[str, None] = {}
    for entry in _entries(source or path()):
        kind = entry.get("kind")
        if kind == "anchor":
            anchors.append(Anchor(int(entry["seal"]), str(entry["hash"]), str(entry["at"])))
        elif kind == "restored":
            kept = [anchor for anchor in anchors if anchor.number <= int(entry["seal"])]
            void += len(anchors) - len(kept)
            anchors = kept
        elif kind == "reserved":
            reserved = max(reserved, int(entry["upto"]))
        elif kind == "revoked":
            revoked[str(entry["key"])] = None
        else:
            unreadable += 1
    return Past(
        anchors=tuple(anchors),
        void=void,
        reserved=reserved,
        revoked=tuple(revoked),
        unreadable=unreadable,
    )


def _entries(source: Path) -> Iterator[dict[str, Any]]:
    try:
        file = source.open(encoding="utf-8", errors="replace")
    except OSError as error:
        if not isinstance(error, FileNotFoundError):
            logger.error("%s cannot be read: %s", source, error)  # noqa: TRY400
        return
    with file:
        for text in file:
            try:
                entry = json.loads(text)
            except ValueError:
                entry = {}
            yield entry if isinstance(entry, dict) else {}
