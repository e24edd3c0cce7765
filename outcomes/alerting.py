"""Telling operators that something about the models needs a look."""

from __future__ import annotations

import logging
from datetime import datetime

from outcomes.models import Alert

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
