"""The loop that repairs what no worker reported: lost bells, dead workers, poisonous work."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction

from pipeline import queries, queue, services, tracing
from pipeline.models import StageRun
from pipeline.stage import Stage, give_up, wired_stages
from pipeline.types import GiveUp, RunStatus

logger = logging.getLogger(__name__)

OVERDUE = timedelta(seconds=1)
BATCH = 200


def reconcile(*, now: datetime) -> int:
    """Ring for overdue work and bury what nobody may try again; return how much was buried."""
    if queries.has_overdue(by=OVERDUE):
        queue.bell(services.WORK)()
    stages = {stage.name: stage for stage in wired_stages()}
    exhausted = queries.list_exhausted(limit=BATCH)
    for run in exhausted:
        _bury(run, stage=stages[run.stage], now=now)
    return len(exhausted)


def _bury(run: StageRun, *, stage: Stage, now: datetime) -> None:
    known = tracing.work(event_id=run.trace, request_id=run.request_id)
    with known, transaction.atomic():
        held = StageRun.objects.select_for_update().filter(
            id=run.id, token=run.token, status=run.status
        )
        if not held.exists():
            return
        give_up(stage=stage, run=run, result=_cause(run), now=now)
    logger.warning("%s of %s buried: %s", run.stage, run.trace, _cause(run).reason)


def _cause(run: StageRun) -> GiveUp:
    deaths = run.losses + (run.status == RunStatus.RUNNING)
    if deaths >= settings.LEASE_LOSSES_MAX:
        return GiveUp(f"its worker died {deaths} times while doing it", code="POISON")
    return GiveUp(run.reason or f"its worker died at attempt {run.attempts}", code="EXHAUSTED")
