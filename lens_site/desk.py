"""Who is at work: the programs without which a signal is accepted but never judged."""

from __future__ import annotations

from datetime import datetime

from lens_site.refusal import Refused
from pipeline import queries
from pipeline.models import Heartbeat

NEEDED = ("worker", "conductor")
DUTIES = {"worker": "judges signals", "conductor": "publishes decisions"}


class NobodyAtWork(Refused):
    """A program that the work needs has not reported for a while."""


def require_programs(*, now: datetime) -> None:
    """Refuse to go on without a living worker and conductor.

    :raises NobodyAtWork: naming the one that is missing.
    """
    beats = queries.list_heartbeats()
    alive = {beat.kind for beat in beats if now - beat.seen_at < Heartbeat.STALE_AFTER}
    for kind in NEEDED:
        if kind not in alive:
            silence_s = Heartbeat.STALE_AFTER.total_seconds()
            raise NobodyAtWork(
                f"no {kind} is running",
                why=f"none has reported for {silence_s:.0f} s, and nothing else {DUTIES[kind]}",
                todo="start the desk with ./lens up; what is queued waits for it",
            )
