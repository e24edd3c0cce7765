"""The arithmetic of the hash chain: one text for one content, one hash for one text.

A line of the trail is hashed by itself. A seal holds the ids and hashes of some hundred lines and
is hashed together with the seal before it, so lines are never touched again, and what is purged
leaves its id and its hash behind.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

GENESIS = "0" * 64
ENTRY = struct.Struct(">q32s")  # one line's id and SHA-256


def canonical(value: Any) -> str:
    """Return the one text of a JSON value: sorted, without spaces, in ASCII.

    Edges: databases do not keep how a number was written, so ``1.0`` and ``1`` are one number, and
    so are ``-0.0`` and ``0``.
    """
    return json.dumps(
        _plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )


def _plain(value: Any) -> Any:
    if isinstance(value, str):  # most are, and the others are costly to ask about
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value


def moment(at: datetime) -> str:
    """Return the one text of a time: UTC to the microsecond."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def content_hash(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of some content, in hexadecimal."""
    return hashlib.sha256(canonical(content).encode()).hexdigest()


def packed(entries: Iterable[tuple[int, str]]) -> bytes:
    """Return ids and hashes of lines as a seal keeps them."""
    return b"".join(ENTRY.pack(line_id, bytes.fromhex(sha256)) for line_id, sha256 in entries)


def unpacked(lines: bytes) -> Iterator[tuple[int, str]]:
    """Yield id and hash of each line of a seal; what is cut short ends in nothing."""
    whole = len(lines) - len(lines) % ENTRY.size
    for line_id, sha256 in ENTRY.iter_unpack(lines[:whole]):
        yield line_id, sha256.hex()


def seal_hash(*, number: int, previous: str, sealed_at: datetime, lines: bytes) -> str:
    """Return the hash of a seal over its place, the seal before it, its time and its lines."""
    head = f"{number}|{previous}|{moment(sealed_at)}|".encode()
    return hashlib.sha256(head + lines).hexdigest()


class Ranges:
    """A set of whole numbers, kept as ranges; small where numbers stand side by side."""

    def __init__(self, ranges: Iterable[Iterable[int]] = ()) -> None:
        self._ends: list[tuple[int, int]] = []
        self.update(ranges)

    @classmethod
    def of(cls, numbers: Iterable[int]) -> Ranges:
        """Return the ranges that hold exactly these numbers."""
        found = cls()
        found.update([(number, number) for number in numbers])
        return found

    def update(self, ranges: Iterable[Iterable[int]]) -> None:
        """Add ranges, each a first and a last number."""
        merged: list[tuple[int, int]] = []
        added = [(int(first), int(last)) for first, last in ranges]
        for first, last in sorted([*self._ends, *added]):
            if merged and first <= merged[-1][1] + 1:
                merged[-1] = (merged[-1][0], max(merged[-1][1], last))
            else:
                merged.append((first, last))
        self._ends = merged

    def __contains__(self, number: int) -> bool:
        low, high = 0, len(self._ends)
        while low < high:
            middle = (low + high) // 2
            if self._ends[middle][1] < number:
                low = middle + 1
            else:
                high = middle
        return low < len(self._ends) and self._ends[low][0] <= number

    def as_json(self) -> list[list[int]]:
        """Return the ranges as they are stored."""
        return [list(ends) for ends in self._ends]
