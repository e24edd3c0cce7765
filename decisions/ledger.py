"""The ledger: what each decision said, as a hash in the trail, from the moment it is published."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from decisions.models import Decision
from pipeline.chain import content_hash, moment
from pipeline.models import AuditEvent
from pipeline.types import Gone

LEDGER = "LEDGER"
"""The verb of the lines that hold the hashes of what one transaction published."""

FIELDS = (
    "id",
    "seq",
    "event_id",
    "run",
    "model",
    "revision",
    "origin",
    "simulated",
    "symbol",
    "event_type",
    "source",
    "decision",
    "confidence",
    "confidence_raw",
    "calibration",
    "entry_plan",
    "risk_plan",
    "size_pct",
    "reasons",
    "invalidation",
    "expires_at",
    "policy_adjustments",
    "model_meta",
    "jury",
    "economics",
    "economics",
    "evaluated_at",
    "published_at",
)
"""What is hashed of a decision published now; each line names the fields of its own time."""


def decision_hash(decision: Decision, *, fields: Iterable[str] = FIELDS) -> str:
    """Return the hash of what a decision says, its number and its hour included."""
    return content_hash({name: _plain(getattr(decision, name)) for name in fields})


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return moment(value)
    return str(value) if isinstance(value, UUID) else value


def entries(decisions: Iterable[Decision]) -> list[list[Any]]:
    """Return what the ledger keeps of each decision: id, signal and hash."""
    return [[each.id.hex, each.signal_id, decision_hash(each)] for each in decisions]


def compare(lines: Sequence[AuditEvent]) -> tuple[list[str], list[Gone]]:
    """Compare stored decisions with what ledger lines say of them."""
    findings: list[str] = []
    gone: list[Gone] = []
    for line, stored in _with_decisions(lines):
        for decision_id, signal_id, sha256 in line.details["decisions"]:
            decision = stored.get(UUID(decision_id))
            if decision is None:
                gone.append(Gone("signal", signal_id, f"decision {UUID(decision_id)}"))
            elif decision_hash(decision, fields=line.details["fields"]) != sha256:
                findings.append(f"decision {UUID(decision_id)} was changed after its publication")
    return findings, gone


def _with_decisions(
    lines: Sequence[AuditEvent],
) -> Iterator[tuple[AuditEvent, dict[UUID, Decision]]]:
    for line in lines:
        ids = [entry[0] for entry in line.details["decisions"]]
        yield line, Decision.objects.in_bulk(ids)
