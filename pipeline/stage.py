"""A stage of the conveyor, and the wrapper round every unit of its work.

A worker claims work in batches, loads what it needs, performs it with no transaction open, and
settles it in one short transaction behind the claim's token. A foreseen failure is a value; an
unforeseen one is caught here, and nowhere else, and ends in the same place.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from random import Random
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import InterfaceError, OperationalError, transaction
from django.utils.module_loading import import_string

from pipeline import services, tracing
from pipeline.leases import LeaseOver
from pipeline.logs import masked
from pipeline.models import StageRun
from pipeline.types import Claim, Done, GiveUp, Result, RetryIn, RunStatus, SwitchName

logger = logging.getLogger(__name__)

RNG = Random()  # noqa: S311  only spreads retries out


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One kind of work: how to load it, do it, write it down, and what its failure means.

    ``load`` maps subjects to their inputs (database, batch); a subject it leaves out has nothing
    left to do. ``resume`` does the same for work that was taken up before, and ``equip`` for work
    that its opener handed over with what it needs.
    ``perform`` may wait on the network and must not touch the database. ``settle`` (for a whole
    batch) and ``give_up`` run inside the transaction that closes the work.
    ``late`` is told of work that was done after it had been taken over or closed; its result may
    be counted but not used. ``warm`` is called once before the first work, in a thread of its
    own. ``close`` is awaited when the event loop has no more of the stage's work. ``switch`` names
    what operators pause to have none of it taken up.
    """

    name: str
    load: Callable[[Sequence[UUID]], Mapping[UUID, Any]]
    perform: Callable[[Any], Awaitable[Result]]
    settle: Callable[[Sequence[Finished], datetime], None]
    give_up: Callable[[StageRun, GiveUp, datetime], None]
    deadline_s: float
    concurrency: int
    attempts_max: int
    resume: Callable[[Sequence[UUID]], Mapping[UUID, Any]] | None = None
    equip: Callable[[Mapping[UUID, Any]], Mapping[UUID, Any]] | None = None
    late: Callable[[Claim, Any, Any, datetime], None] | None = None
    warm: Callable[[], None] | None = None
    close: Callable[[], Awaitable[None]] | None = None
    switch: SwitchName | None = None


def wired_stages() -> list[Stage]:
    """Return the stages that ``STAGES`` names, in its order."""
    return [import_string(path) for path in settings.STAGES]


def inputs(stage: Stage, claims: Sequence[Claim]) -> dict[UUID, Any]:
    """Return what claimed work needs, by subject."""
    resume = stage.resume or stage.load
    had = [claim.subject for claim in claims if claim.token > 1]
    new = [claim.subject for claim in claims if claim.token == 1]
    return {**(stage.load(new) if new else {}), **(resume(had) if had else {})}


async def perform(stage: Stage, work: Any) -> Result:
    """Return what became of the work, whatever happens to it.

    :raises LeaseOver: if nothing was begun, because others may have the work.
    """
    try:
        async with asyncio.timeout(stage.deadline_s):
            return await stage.perform(work)
    except LeaseOver:
        raise
    except TimeoutError:
        return RetryIn(f"no answer within {stage.deadline_s:g} s", code="TIMEOUT")
    except Exception as error:
        logger.exception("%s failed unforeseen", stage.name)
        return RetryIn(masked(f"{type(error).__name__}: {error}"), code="UNFORESEEN")


@dataclass(frozen=True, slots=True)
class Finished:
    """Work that was performed and waits to be written down."""

    stage: Stage
    claim: Claim
    work: Any
    result: Result

    @property
    def value(self) -> Any:
        """What came of work that succeeded."""
        return self.result.value if isinstance(self.result, Done) else None


def settle_all(batch: Sequence[Finished], reception: services.Reception | None = None) -> None:
    """Write a batch down in one transaction; if one item breaks it, each goes by itself.

    Work that somebody else has taken over meanwhile is left out, whatever was made of it. Work
    that follows is taken up at the ``reception``, as far as there is room.
    """
    try:
        with tracing.requests(_brought_by(batch)), _one_transaction(reception):
            _settle_held(batch)
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:
        if len(batch) > 1:
            for item in batch:
                settle_all([item])
            if reception is not None:
                reception.leaves_some = True
            return
        if isinstance(batch[0].result, RetryIn):
            raise
        logger.exception("%s could not be written down", batch[0].stage.name)
        failed = RetryIn(masked(f"{type(error).__name__}: {error}"), code="UNFORESEEN")
        settle_all([replace(batch[0], result=failed)])


@contextmanager
def _one_transaction(reception: services.Reception | None) -> Iterator[None]:
    with ExitStack() as stack:
        if reception is not None:
            stack.enter_context(services.receiving(reception))
        stack.enter_context(transaction.atomic())
        stack.enter_context(services.trail())
        yield


def _brought_by(batch: Sequence[Finished]) -> Mapping[UUID, str]:
    """Return which request each signal came with: the trail tells it, and what follows keeps it."""
    return {item.claim.trace: item.claim.request_id for item in batch}


def _known(claim: Claim) -> AbstractContextManager[None]:
    return tracing.work(event_id=claim.trace, request_id=claim.request_id)


def _settle_held(batch: Sequence[Finished]) -> None:
    done = [item for item in batch if isinstance(item.result, Done)]
    others = [item for item in batch if not isinstance(item.result, Done)]
    held = services.finish_all([item.claim for item in done])
    held |= services.hold([item.claim for item in others])
    for item in batch:
        if item.claim.id not in held:
            logger.info("lease lost, result not used: %s of %s", item.stage.name, item.claim.trace)
            _settle_late(item)
    _settle_done([item for item in done if item.claim.id in held])
    for item in others:
        if item.claim.id in held:
            with _known(item.claim):
                _settle_failed(item)


def _settle_done(done: Sequence[Finished]) -> None:
    """Let each stage write its results down, in the order of the batch."""
    now = datetime.now(UTC)
    by_stage: dict[str, list[Finished]] = {}
    for item in done:
        by_stage.setdefault(item.stage.name, []).append(item)
    for items in by_stage.values():
        items[0].stage.settle(items, now)


def _settle_late(item: Finished) -> None:
    if item.stage.late is not None and isinstance(item.result, Done):
        item.stage.late(item.claim, item.work, item.value, datetime.now(UTC))


def _settle_failed(item: Finished) -> None:
    now = datetime.now(UTC)
    result = item.result
    if isinstance(result, RetryIn) and item.claim.attempts < item.stage.attempts_max:
        wait = services.postpone(item.claim, result=result, rng=RNG)
        logger.info(
            "%s of %s again in %.1f s: %s",
            item.stage.name,
            item.claim.trace,
            wait.total_seconds(),
            result.reason,
        )
    elif isinstance(result, RetryIn | GiveUp):
        final = GiveUp(result.reason, code=result.code)
        services.finish(item.claim, status=RunStatus.FAILED, code=final.code, reason=final.reason)
        run = StageRun.objects.get(id=item.claim.id)
        give_up(stage=item.stage, run=run, result=final, now=now)


def give_up(*, stage: Stage, run: StageRun, result: GiveUp, now: datetime) -> None:
    """File the dead letter and let the stage say what the failure means for its signal."""
    services.bury(run=run, result=result, at=now)
    stage.give_up(run, result, now)
