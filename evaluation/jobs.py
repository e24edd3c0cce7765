"""The queue's door of the evaluation room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from uuid import UUID

from django.conf import settings

from evaluation import services
from evaluation.queries import Assignment
from pipeline.stage import Stage
from pipeline.types import Done, Result


def load(ids: Sequence[UUID]) -> Mapping[UUID, Assignment]:
    """Return the cases to be judged, each with what its model needs."""
    return services.prepare(ids=ids, now=datetime.now(UTC))


def resume(ids: Sequence[UUID]) -> Mapping[UUID, Assignment]:
    """Return cases that a worker had before, each with what its model needs or has answered."""
    return services.resume(ids=ids, now=datetime.now(UTC))


def equip(given: Mapping[UUID, Assignment]) -> Mapping[UUID, Assignment]:
    """Return cases that were handed over, each with what its model needs."""
    return services.equip(assignments=given, now=datetime.now(UTC))


async def perform(assignment: Assignment) -> Result:
    """Ask one model about one case."""
    return Done(await services.ask(assignment))


EVALUATE = Stage(
    name=services.STAGE,
    load=load,
    resume=resume,
    perform=perform,
    equip=equip,
    settle=services.record_opinions,
    warm=services.warm_up,
    late=services.record_late,
    close=services.hang_up,
    give_up=services.fail_evaluation,
    deadline_s=settings.EVALUATE_DEADLINE_MS / 1000 + 2,
    concurrency=settings.EVALUATE_CONCURRENCY,
    attempts_max=settings.LEASE_LOSSES_MAX,
)
