"""The stage that gathers the facts around a signal."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from enrichment import services
from enrichment.parsing import plain_text
from enrichment.services import BadPolicy, Gathered, Work
from enrichment.types import Facts
from markets.services import BadMarketData, BadRecording, MarketDataUnavailable
from pipeline.models import StageRun
from pipeline.stage import Finished, Stage
from pipeline.types import Done, GiveUp, Result, RetryIn, SwitchName
from signals.services import expire

REASON_MAX_CHARS = 500


@dataclass(frozen=True, slots=True)
class Lapsed:
    """The signal's validity had passed before its facts were asked for."""


def load(subjects: Sequence[UUID]) -> Mapping[UUID, Work]:
    """Return the signals that still wait for their facts."""
    return services.load_work(event_ids=subjects, now=timezone.now())


async def perform(work: Work) -> Result:
    """Gather the facts around one signal."""
    now = timezone.now()
    if work.has_lapsed(now=now):
        return Done(Lapsed())
    started = time.perf_counter()
    try:
        facts = await services.gather_facts(work=work, now=now)
    except BadRecording as error:
        return GiveUp(_told(error), code="BAD_RECORDING")
    except BadPolicy as error:
        return GiveUp(f"the policy in force is broken: {_told(error)}", code="BAD_POLICY")
    except MarketDataUnavailable as error:
        return RetryIn(_told(error), code="MARKET_DATA_UNAVAILABLE", after_s=error.retry_after_s)
    except BadMarketData as error:
        return RetryIn(_told(error), code="BAD_MARKET_DATA")
    return Done(replace(facts, duration_ms=int((time.perf_counter() - started) * 1000)))


def _told(error: Exception) -> str:
    """Return the message as it can be stored and shown, whatever the provider put into it."""
    return plain_text(str(error), most=REASON_MAX_CHARS)


def settle(batch: Sequence[Finished], now: datetime) -> None:
    """Write down what came of a batch."""
    for item in batch:
        if isinstance(item.value, Lapsed):
            expire(event_id=item.work.signal.event_id, now=now)
    gathered = [
        Gathered(signal=item.work.signal, run=item.claim.run, facts=item.value)
        for item in batch
        if isinstance(item.value, Facts)
    ]
    services.record_enrichments(gathered=gathered, now=now)


def give_up(run: StageRun, result: GiveUp, now: datetime) -> None:
    """Mark the signal as dead."""
    services.fail_enrichment(run=run, give_up=result, now=now)


ENRICH = Stage(
    name=services.STAGE,
    load=load,
    perform=perform,
    settle=settle,
    give_up=give_up,
    deadline_s=settings.ENRICH_DEADLINE_MS / 1000,
    concurrency=settings.ENRICH_CONCURRENCY,
    attempts_max=settings.RETRY_MAX + 1,
    switch=SwitchName.INTAKE,
)
