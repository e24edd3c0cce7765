"""How the prompt that a model was given differs from the version before it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import unified_diff

from evaluation import queries as evaluation

LABEL = re.compile(r"([\w.-]{1,64}) v(\d{1,9})")
"""How an attempt names the prompt it was given: ``judge v3``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff:
    """The lines by which a version differs from the one before it; a first one has none before."""

    before: str
    lines: tuple[tuple[str, str], ...]


def diffs_of(labels: Iterable[str]) -> dict[str, Diff]:
    """Return for each prompt named, as attempts name them, how it differs from its forerunner."""
    found = {}
    for label in sorted(set(labels)):
        diff = _diff(label)
        if diff is not None:
            found[label] = diff
    return found


def _diff(label: str) -> Diff | None:
    named = LABEL.fullmatch(label)
    if named is None:
        return None
    versions = evaluation.list_prompt_versions(name=named[1])
    own = next((each for each in versions if each.version == int(named[2])), None)
    if own is None:
        return None
    before = next((each for each in versions if each.version < own.version), None)
    if before is None:
        return Diff(before="", lines=())
    told = [*_changes(before.system, own.system), *_changes(before.user, own.user)]
    return Diff(
        before=f"{before.name} v{before.version}",
        lines=tuple((_kind(line), line) for line in told),
    )


def _changes(old: str, new: str) -> list[str]:
    """Return the lines of a unified diff without its head."""
    return list(unified_diff(old.splitlines(), new.splitlines(), lineterm=""))[2:]


def _kind(line: str) -> str:
    if line.startswith("@@"):
        return "place"
    return {"+": "added", "-": "removed"}.get(line[:1], "")
