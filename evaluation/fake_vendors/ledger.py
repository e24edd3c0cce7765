"""What every call used, as the vendor would put it on its bill."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from typing import Any

from evaluation.fake_vendors.asked import Asked, Usage, digest

UNHEARD = "unheard"  # the caller left before the answer was out
OPEN = "open"


@dataclass(slots=True, kw_only=True)
class Entry:
    """One call; its tokens are None unless an answer that tells them went out whole.

    ``took_ms`` is how long the call took here, from its arrival until its answer began to leave.
    """

    number: int
    vendor: str
    model: str
    prompt_sha256: str
    outcome: str = OPEN
    status: int | None = None
    request_id: str = ""
    tokens_in: int | None = None
    tokens_cached: int | None = None
    tokens_out: int | None = None
    tokens_reasoning: int | None = None
    took_ms: float | None = None
    came_s: float = field(default_factory=time.perf_counter, repr=False)

    def bill(self, usage: Usage) -> None:
        """Put a call's tokens on the bill."""
        self.tokens_in, self.tokens_cached = usage.tokens_in, usage.cached
        self.tokens_out, self.tokens_reasoning = usage.tokens_out, usage.reasoning

    def leave(self) -> None:
        """Note that the answer goes out now: all that comes after it is the caller's own time."""
        self.took_ms = round((time.perf_counter() - self.came_s) * 1000, 3)

    def told(self) -> dict[str, Any]:
        """Return the entry as JSON; on which clock the call came in is nobody's business."""
        return {name: value for name, value in asdict(self).items() if name != "came_s"}

    def forget_bill(self, outcome: str) -> None:
        """Say how a call ended that nobody pays for."""
        self.outcome = outcome
        self.tokens_in = self.tokens_cached = self.tokens_out = self.tokens_reasoning = None


class Ledger:
    """Keeps every call since the last reset, in the order in which they came."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.most_at_once = 0
        self.open_now = 0
        self.strayed = 0  # callers that followed a redirect

    def open(self, asked: Asked) -> Entry:
        """Return the entry of a call that has just come in."""
        entry = Entry(
            number=len(self.entries) + 1,
            vendor=asked.vendor,
            model=asked.model,
            prompt_sha256=digest(asked.prompt),
        )
        self.entries.append(entry)
        self.open_now += 1
        self.most_at_once = max(self.most_at_once, self.open_now)
        return entry

    def close(self) -> None:
        """Count a call as over."""
        self.open_now -= 1

    def told(self) -> dict[str, Any]:
        """Return calls, and totals by vendor and model, as JSON."""
        entries = list(self.entries)
        return {
            "calls": [entry.told() for entry in entries],
            "models": _totals(entries),
            "most_at_once": self.most_at_once,
            "strayed": self.strayed,
        }


def _totals(entries: list[Entry]) -> list[dict[str, Any]]:
    groups: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in entries:
        groups[entry.vendor, entry.model].append(entry)
    return [
        {
            "vendor": vendor,
            "model": model,
            "calls": len(group),
            "billed": sum(entry.tokens_in is not None for entry in group),
            "tokens_in": sum(entry.tokens_in or 0 for entry in group),
            "tokens_cached": sum(entry.tokens_cached or 0 for entry in group),
            "tokens_out": sum(entry.tokens_out or 0 for entry in group),
            "tokens_reasoning": sum(entry.tokens_reasoning or 0 for entry in group),
            "outcomes": _counts(group),
        }
        for (vendor, model), group in sorted(groups.items())
    ]


def _counts(group: list[Entry]) -> dict[str, int]:
    counts: dict[str, int] = defaultdict(int)
    for entry in group:
        counts[entry.outcome] += 1
    return dict(sorted(counts.items()))
