"""A program whose clock is an hour off leaves to others what needs the time."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from asgiref.sync import sync_to_async
from django.db.models.functions import Now
from pytest_django import Settings

from decisions.models import Decision
from lens_site.management.commands.run_conductor import Conductor
from pipeline import queries
from pipeline import worker as workers
from pipeline.models import StageRun
from pipeline.stage import wired_stages
from pipeline.worker import Worker
from signals.models import Signal
from signals.services import submit_signals
from tests.enrichment.market import Script
from tests.factories import make_submission

HOUR = timedelta(hours=1)


@pytest.fixture(params=[HOUR, -HOUR], ids=["ahead", "behind"])
def off(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process's clock be an hour off the database's."""
    shift: timedelta = request.param
    monkeypatch.setattr(queries, "database_now", lambda: datetime.now(UTC) - shift)
    monkeypatch.setattr(workers, "LOOK_AT_CLOCK_S", 0.0)


def submit() -> None:
    now = datetime.now(UTC)
    submit_signals(submissions=[make_submission(ts_utc=now)], now=now)


@pytest.mark.django_db(transaction=True)
async def test_a_worker_whose_clock_is_off_takes_nothing_until_it_is_set(
    script: Script, redis_url: str, settings: Settings, off: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.WORKER_POLL_MS = 20
    await sync_to_async(submit)()
    worker = Worker(stages=wired_stages(), name="w")

    running = asyncio.create_task(worker.run())
    await asyncio.sleep(0.5)
    taken = await StageRun.objects.filter(attempts__gt=0).acount()
    monkeypatch.undo()
    async with asyncio.timeout(10):
        while await Decision.objects.acount() < 3:
            await asyncio.sleep(0.02)
    worker.stop()
    await running

    assert taken == 0
    assert (await Signal.objects.aget()).status == "PUBLISHED"


@pytest.mark.django_db(transaction=True)
async def test_a_conductor_whose_clock_is_off_ends_no_signal(
    script: Script, redis_url: str, off: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sync_to_async(submit)()
    await Signal.objects.aupdate(expires_at=Now() - timedelta(seconds=1))
    conductor = Conductor()

    await conductor._reconcile()
    before = (await Signal.objects.aget()).status
    monkeypatch.undo()
    await conductor._reconcile()

    assert before == "ENQUEUED"
    assert (await Signal.objects.aget()).status == "EXPIRED"
    await conductor._database.close()
