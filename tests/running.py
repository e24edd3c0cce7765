"""Running the conveyor inside a test: the worker's own steps, one after another."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from django.db.models.functions import Now

from decisions import services as decisions
from pipeline import services
from pipeline.models import StageRun
from pipeline.stage import Finished, Stage, inputs, perform, settle_all, wired_stages
from pipeline.types import RunStatus


def run_stage(stage: Stage, *, limit: int = 1000) -> int:
    """Claim, perform and settle what is due in one stage; return how much that was."""
    claims = services.claim(stage=stage, limit=limit, worker="test")
    works = inputs(stage, claims)

    async def perform_all() -> list[Finished]:
        todo = [claim for claim in claims if claim.subject in works]
        results = await asyncio.gather(*(perform(stage, works[c.subject]) for c in todo))
        if stage.close is not None:
            await stage.close()
        return [
            Finished(stage, claim, works[claim.subject], result)
            for claim, result in zip(todo, results, strict=True)
        ]

    finished = asyncio.run(perform_all())
    settle_all(finished)
    for claim in claims:
        if claim.subject not in works:
            services.finish(claim, reason="nothing left to do")
    return len(claims)


def run_everything(*, publish: bool = True) -> None:
    """Run every stage until nothing is due, then publish."""
    while sum(run_stage(stage) for stage in wired_stages()):
        continue
    if publish:
        decisions.publish(now=datetime.now(UTC), limit=10_000)


def make_everything_due() -> int:
    """Let the waiting time of all postponed work pass; return how much was waiting."""
    waiting = StageRun.objects.filter(status=RunStatus.PENDING).exclude(stage="jury")
    return waiting.update(next_at=Now() - timedelta(seconds=1))
