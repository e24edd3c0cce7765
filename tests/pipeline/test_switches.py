from __future__ import annotations

import asyncio

import pytest
from asgiref.sync import sync_to_async
from pytest_django import Settings

from pipeline import queries, services
from pipeline.models import AuditEvent, Switch
from pipeline.types import InvalidRequest, NotFound, SwitchName
from pipeline.worker import Worker
from tests.factories import NOON
from tests.pipeline.test_worker import Errand, open_errands, until

pytestmark = pytest.mark.django_db


def pause(name: str = "intake", *, reason: str = "the venue is down") -> Switch:
    return services.pause(name=name, actor="ann", reason=reason, now=NOON)


def resume(name: str = "intake", *, reason: str = "it is up again") -> Switch:
    return services.resume(name=name, actor="bob", reason=reason, now=NOON)


def test_every_switch_is_listed_before_anybody_has_thrown_it() -> None:
    switches = queries.list_switches()

    assert [(row.name, row.is_paused) for row in switches] == [
        ("intake", False),
        ("publishing", False),
    ]
    assert queries.list_paused() == []


def test_a_pause_says_who_and_why_until_it_is_resumed() -> None:
    pause()

    [banner] = queries.list_paused()

    assert (banner.actor, banner.reason, banner.since) == ("ann", "the venue is down", NOON)
    assert queries.is_paused("intake") and not queries.is_paused("publishing")
    resume()
    assert not queries.is_paused("intake")


def test_both_acts_are_in_the_trail_and_repeating_one_adds_nothing() -> None:
    pause()
    pause(reason="another reason")
    resume()
    resume()

    lines = AuditEvent.objects.order_by("id").values_list("verb", "actor", "object", "details")

    halted = {"is_paused": True, "reason": "the venue is down"}
    going = {"is_paused": False, "reason": "it is up again"}
    assert list(lines) == [
        ("PAUSED", "ann", "switch:intake", {"before": {"is_paused": False}, "after": halted}),
        ("RESUMED", "bob", "switch:intake", {"before": {"is_paused": True}, "after": going}),
    ]


@pytest.mark.parametrize("reason", ["", "   ", "x" * 501])
def test_a_switch_is_not_thrown_without_a_reason(reason: str) -> None:
    with pytest.raises(InvalidRequest, match="must say why"):
        pause(reason=reason)

    assert not queries.is_paused("intake")


def test_an_unknown_switch_is_refused_by_name() -> None:
    with pytest.raises(NotFound, match="no switch 'outtake'; there are intake, publishing"):
        pause("outtake")


@pytest.mark.django_db(transaction=True)
async def test_a_worker_leaves_work_lying_whose_switch_is_off_and_takes_it_up_afterwards(
    settings: Settings,
) -> None:
    settings.WORKER_POLL_MS = 20
    halted, other = Errand(), Errand()
    stages = [
        halted.stage_with(switch=SwitchName.INTAKE),
        other.stage_with(name="other"),
    ]
    await sync_to_async(pause)()
    await sync_to_async(open_errands)(3)
    await sync_to_async(open_errands)(1, stage="other")
    worker = Worker(stages=stages, name="w")

    running = asyncio.create_task(worker.run())
    await until(lambda: len(other.done) == 1)
    await asyncio.sleep(0.1)
    before = len(halted.done)
    await sync_to_async(resume)()
    await until(lambda: len(halted.done) == 3)
    worker.stop()
    await running

    assert before == 0
