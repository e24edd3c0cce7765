"""The queue's door of the evaluation room."""

from __future__ import annotations

from django.conf import settings

from evaluation import services
from evaluation.queries import Assignment, list_assignments
from pipeline.stage import Stage
from pipeline.types import Done, Result


async def perform(assignment: Assignment) -> Result:
    """Ask one model about one case."""
    return Done(await services.ask(assignment))


EVALUATE = Stage(
    name=services.STAGE,
    load=list_assignments,
    perform=perform,
    settle=services.record_opinion,
    give_up=services.fail_evaluation,
    deadline_s=settings.EVALUATE_DEADLINE_MS / 1000 + 2,
    concurrency=settings.EVALUATE_CONCURRENCY,
    attempts_max=settings.LEASE_LOSSES_MAX,
)
