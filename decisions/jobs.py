"""The queue's door of the decisions room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from django.conf import settings

from decisions import services
from pipeline.stage import Stage
from pipeline.types import Done, Result


def load(event_ids: Sequence[UUID]) -> Mapping[UUID, UUID]:
    """Return the signals whose jury is due; what has ended meanwhile is sorted out at settling."""
    return {event_id: event_id for event_id in event_ids}


async def perform(event_id: UUID) -> Result:
    """Nothing is asked of the network: the votes are in the table."""
    del event_id
    return Done()


JURY = Stage(
    name=services.STAGE,
    load=load,
    perform=perform,
    settle=services.convene_juries,
    give_up=services.fail_jury,
    deadline_s=5.0,
    concurrency=100,
    attempts_max=settings.LEASE_LOSSES_MAX,
)
