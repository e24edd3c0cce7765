"""A unit of work that does nothing, as a stage of Lens and as a job of RQ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from pipeline.models import StageRun
from pipeline.stage import Finished, Stage
from pipeline.types import Done, GiveUp, Result


def load(subjects: Sequence[UUID]) -> Mapping[UUID, UUID]:
    """Return what the work needs: nothing but its subject."""
    return {subject: subject for subject in subjects}


async def perform(subject: UUID) -> Result:
    """Do nothing."""
    return Done(subject)


def settle(batch: Sequence[Finished], now: datetime) -> None:
    """Write down nothing beside the end of the work."""


def give_up(run: StageRun, failure: GiveUp, now: datetime) -> None:
    """Never happens."""


ERRAND = Stage(
    name="errand",
    load=load,
    perform=perform,
    settle=settle,
    give_up=give_up,
    deadline_s=5,
    concurrency=200,
    attempts_max=3,
)
