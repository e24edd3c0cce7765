"""Counting what a trial has done to the desk: from outside, and in the tables themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from chaos.client import ENDS, Client, Subscriber, Unanswered
from chaos.databases import Database

ZEROS: Final = (
    "lost",
    "stuck",
    "duplicated",
    "missing",
    "out of order",
    "unanswered",
    "unexpected",
)
IN_ROWS: Final = {
    "keys that stand for two signals": (
        "duplicated",
        "SELECT count(*) FROM (SELECT 1 FROM signals_signal WHERE source = %s"
        " GROUP BY owner, idempotency_key HAVING count(*) > 1) AS found",
    ),
    "signals that came to two ends": (
        "duplicated",
        "SELECT count(*) FROM (SELECT 1 FROM pipeline_auditevent AS line"
        " JOIN signals_signal AS signal ON signal.event_id = line.trace WHERE signal.source = %s"
        " AND line.verb IN ('PUBLISHED', 'REJECTED', 'EXPIRED', 'CANCELLED', 'DEAD')"
        " GROUP BY line.trace, line.run HAVING count(*) > 1) AS found",
    ),
    "decisions made twice": (
        "duplicated",
        "SELECT count(*) FROM (SELECT 1 FROM decisions_decision WHERE source = %s"
        " GROUP BY event_id, model, run, revision HAVING count(*) > 1) AS found",
    ),
    "verdicts without a decision": (
        "missing",
        "SELECT count(*) FROM evaluation_evaluation AS one"
        " JOIN signals_signal AS signal ON signal.id = one.signal_id"
        " LEFT JOIN decisions_decision AS made ON made.signal_id = one.signal_id"
        " AND made.model = one.model AND made.run = one.run"
        " WHERE signal.source = %s AND signal.status = 'PUBLISHED' AND one.rerun_id IS NULL"
        " AND one.status = 'DECIDED' AND made.id IS NULL",
    ),
    "decisions without a number": (
        "missing",
        "SELECT count(*) FROM decisions_decision"
        " WHERE source = %s AND seq IS NULL AND withheld = ''",
    ),
    "evaluations left open": (
        "stuck",
        "SELECT count(*) FROM evaluation_evaluation AS one"
        " JOIN signals_signal AS signal ON signal.id = one.signal_id"
        " WHERE signal.source = %s AND one.status = 'PENDING'",
    ),
    "work left open": (
        "stuck",
        "SELECT count(*) FROM pipeline_stagerun AS work"
        " JOIN signals_signal AS signal ON signal.event_id = work.trace"
        " WHERE signal.source = %s AND work.status IN ('PENDING', 'RUNNING')",
    ),
}


@dataclass
class Findings:
    """What should all be zero, and in words what is not."""

    counts: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(ZEROS, 0)))
    words: list[str] = field(default_factory=list)

    def note(self, kind: str, number: int, words: str) -> None:
        """Count something that should not be."""
        self.counts[kind] += number
        if number:
            self.words.append(f"{number} {words}")

    @property
    def is_clean(self) -> bool:
        """Say whether everything is as promised."""
        return not any(self.counts.values())


async def look_from_outside(
    findings: Findings, client: Client, *, source: str, keys: int
) -> dict[str, str]:
    """Compare the client's ledger with what is listed and what is found by id; return the ends."""
    known = {event_id for ids in client.ledger.values() for event_id in ids}
    listed = {item["event_id"]: str(item["status"]) for item in await client.items(source=source)}
    findings.note("lost", len(known - set(listed)), "accepted signals are not listed")
    findings.note("lost", await _unfound(client, known), "accepted signals are not found by id")
    doubled = sum(len(ids) > 1 for ids in client.ledger.values())
    findings.note("duplicated", doubled, "keys were given two ids")
    findings.note("duplicated", max(0, len(listed) - keys), "signals more than keys were sent")
    open_still = sum(status not in ENDS for status in listed.values())
    findings.note("stuck", open_still, "signals have not come to an end")
    return listed


async def _unfound(client: Client, known: set[str]) -> int:
    try:
        return len(known) - len(await client.statuses(known))
    except Unanswered:
        return sum([await _is_unfound(client, each) for each in known])


async def _is_unfound(client: Client, event_id: str) -> bool:
    try:
        await client.get(f"/signals/{event_id}/status")
    except Unanswered:
        return True
    return False


def look_at_rows(findings: Findings, database: Database, *, source: str) -> None:
    """Ask the tables what no client could see."""
    for words, (kind, statement) in IN_ROWS.items():
        findings.note(kind, database.count(statement, source), words)


def compare_feeds(
    findings: Findings,
    published: Sequence[dict[str, Any]],
    subscribers: Sequence[Subscriber],
    *,
    before: int,
) -> None:
    """Compare what subscribers heard with what is published after a number."""
    numbers = [decision["seq"] for decision in published]
    holes = len(set(range(before + 1, before + 1 + len(numbers))) - set(numbers))
    findings.note("missing", holes, "numbers were given to nothing")
    for place, subscriber in enumerate(subscribers, start=1):
        heard = [message["seq"] for message in subscriber.received]
        name = f"at subscriber {place}"
        findings.note("missing", len(set(numbers) - set(heard)), f"decisions missing {name}")
        findings.note("duplicated", len(heard) - len(set(heard)), f"decisions heard twice {name}")
        is_mixed = heard != sorted(heard)
        findings.note("out of order", int(is_mixed), f"feeds out of order {name}")
        complaints = subscriber.complaints
        words = f"complaints or gaps {name}: {', '.join(sorted(set(complaints)))}"
        findings.note("unexpected", len(complaints), words)
