"""Telling operators that something about the models needs a look."""

from __future__ import annotations

import logging
from datetime import datetime

from outcomes.models import Alert
from pipeline import services as pipeline
from pipeline.types import FieldError, InvalidRequest, NotFound

WHY_MAX_CHARS = 200

logger = logging.getLogger(__name__)


def open_alert(*, kind: str, subject: str, message: str, now: datetime) -> bool:
    """Open an alert unless one about the same matter is open; return whether this call did."""
    rows = Alert.objects.filter(kind=kind, subject=subject, closed_at=None)
    if rows.exists():
        rows.update(message=message[:300])
        return False
    made = Alert.objects.bulk_create(
        [Alert(kind=kind, subject=subject, message=message[:300], opened_at=now)],
        ignore_conflicts=True,
    )
    logger.warning("%s %s: %s", kind, subject, message)
    return bool(made)


def close_alerts(*, kind: str, subject: str, actor: str, now: datetime) -> int:
    """Close what is open about one matter."""
    rows = Alert.objects.filter(kind=kind, subject=subject, closed_at=None)
    return rows.update(closed_at=now, closed_by=actor)


def acknowledge_alert(*, alert_id: int, actor: str, why: str, now: datetime) -> Alert:
    """Note that somebody has seen an alert and what they make of it; it calls nobody any more.

    Acknowledging it again changes nothing: the first to do it stays named.

    :raises NotFound: if no such alert is open.
    :raises InvalidRequest: if nothing is said.
    """
    said = said_why(why)
    rows = Alert.objects.filter(id=alert_id, closed_at=None)
    if rows.filter(acknowledged_at=None).update(
        acknowledged_at=now, acknowledged_by=actor, why=said
    ):
        row = rows.get()
        pipeline.record_act(
            actor=actor,
            verb="ALERT_ACKNOWLEDGED",
            object=f"alert:{row.kind}:{row.subject}",
            at=now,
            message=row.message,
            reason=said,
        )
    found = rows.first()
    if found is None:
        raise NotFound(f"no alert {alert_id} is open")
    return found


def said_why(why: str) -> str:
    """Return a reason without blanks around it.

    :raises InvalidRequest: if nothing, or too much, is said.
    """
    said = why.strip()
    if not said or len(said) > WHY_MAX_CHARS:
        text = f"must say why, in at most {WHY_MAX_CHARS} characters"
        raise InvalidRequest(f"reason {text}", (FieldError("reason", "invalid", text),))
    return said
