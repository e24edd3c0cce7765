from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import Group
from django.test import Client

from access.models import User
from evaluation.models import ModelState
from lens_site.pages.condition import Box, examine
from lens_site.pages.health import sentence
from lens_site.pages.ranks import at_share
from pipeline import queue, services
from pipeline.models import DeadLetter, Heartbeat, StageRun, Switch
from pipeline.types import RunStatus
from signals.types import Origin, SignalStatus
from tests.factories import make_decision, make_signal

pytestmark = pytest.mark.django_db
NOW = datetime.now(UTC)


@pytest.fixture
def at_work(redis_url: str) -> None:
    """A worker and a conductor that have just reported."""
    for kind in ("worker", "conductor"):
        Heartbeat.objects.create(
            name=f"{kind}-1",
            kind=kind,
            version=django_settings.VERSION,
            started_at=NOW - timedelta(hours=1),
            seen_at=datetime.now(UTC),
        )


def said() -> tuple[str, str]:
    now = datetime.now(UTC)
    return sentence(examine(now=now), now=now)


def make_run(stage: str, *, took_ms: float, **changes: Any) -> StageRun:
    signal = make_signal()
    values = {
        "stage": stage,
        "subject": signal.event_id,
        "trace": signal.event_id,
        "attempts_max": 1,
        "status": RunStatus.DONE,
        "claimed_at": NOW - timedelta(milliseconds=took_ms),
        "finished_at": NOW,
    }
    return StageRun.objects.create(**(values | changes))


@pytest.mark.usefixtures("at_work")
def test_all_well_is_said_in_one_sentence() -> None:
    assert said() == ("good", "All well.")


@pytest.mark.usefixtures("redis_url")
def test_a_missing_program_is_named_with_what_to_do() -> None:
    tone, text = said()

    assert tone == "bad"
    assert "No worker and no conductor" in text
    assert "./lens up" in text


@pytest.mark.usefixtures("at_work")
def test_a_failing_model_is_named_and_that_nothing_is_lost() -> None:
    name = django_settings.AI_MODELS[0]
    until = datetime.now(UTC) + timedelta(minutes=5)
    ModelState.objects.create(name=name, open_until=until, last_fault="auth: key rejected")

    tone, text = said()

    assert tone == "warn"
    assert name in text
    assert "key rejected" in text
    assert "nothing is lost" in text


@pytest.mark.usefixtures("at_work")
def test_a_pause_is_told_with_who_and_why() -> None:
    services.pause(name="intake", actor="user:anna", reason="maintenance", now=NOW)

    tone, text = said()

    assert tone == "warn"
    assert "intake paused by user:anna: maintenance" in text


@pytest.mark.usefixtures("at_work")
def test_work_that_lies_too_long_is_told_with_its_station() -> None:
    make_run(
        "enrich",
        took_ms=0,
        status=RunStatus.PENDING,
        claimed_at=None,
        finished_at=None,
        next_at=datetime.now(UTC) - timedelta(minutes=2),
    )

    tone, text = said()

    assert tone == "bad"
    assert text.startswith("Gathering facts does not keep up: 1 waiting, the oldest 12")


@pytest.mark.usefixtures("at_work")
def test_dead_letters_are_told_of_when_all_else_is_well() -> None:
    signal = make_signal()
    DeadLetter.objects.create(
        trace=signal.event_id,
        subject=signal.event_id,
        stage="enrich",
        code="TIMEOUT",
        reason="late",
        fingerprint="0" * 16,
        attempts=1,
        created_at=NOW,
    )

    assert said() == ("good", "All well, and 1 dead letter waits for somebody.")


@pytest.mark.usefixtures("at_work")
def test_a_station_tells_its_p95_and_misses_its_target() -> None:
    for took_ms in (100, 200, 5_000):
        make_run("enrich", took_ms=took_ms)
    make_run("evaluate", took_ms=50)

    boxes = {box.key: box for box in examine(now=datetime.now(UTC)).boxes}

    assert boxes["enrich"].p95_ms == pytest.approx(5_000)
    assert boxes["enrich"].is_slow
    assert not boxes["evaluate"].is_slow
    assert boxes["jury"].p95_ms is None


@pytest.mark.usefixtures("at_work")
def test_demo_signals_count_not_from_end_to_end() -> None:
    for origin, took_s in ((Origin.LIVE, 2), (Origin.DEMO, 60)):
        make_signal(
            origin=origin,
            status=SignalStatus.PUBLISHED,
            received_at=NOW - timedelta(seconds=took_s),
            terminal_at=NOW,
        )

    [whole] = [box for box in examine(now=datetime.now(UTC)).boxes if box.key == "whole"]

    assert whole.p95_ms == pytest.approx(2_000)
    assert whole.done == 1


def test_publishing_is_measured_from_judgement_to_number() -> None:
    make_decision(
        seq=1, evaluated_at=NOW - timedelta(milliseconds=300), published_at=NOW, model="rules"
    )
    make_decision(evaluated_at=NOW - timedelta(seconds=40))

    [box] = [box for box in examine(now=NOW).boxes if box.key == "publish"]

    assert box.p95_ms == pytest.approx(300)
    assert box.waiting == 1
    assert box.is_stuck


def test_more_than_one_failure_in_a_hundred_is_too_many() -> None:
    assert Box(key="enrich", done=98, failed=2).is_failing
    assert not Box(key="enrich", done=99, failed=1).is_failing


@pytest.mark.parametrize(
    ("values", "expected"), [([], None), ([7.0], 7.0), (list(range(1, 101)), 95)]
)
def test_p95_is_what_95_of_100_do_not_exceed(values: list[float], expected: float | None) -> None:
    assert at_share(values, 0.95) == expected


@pytest.mark.usefixtures("at_work")
def test_the_page_works_while_redis_is_away(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "is_answering", lambda: False)

    page = admin_client.get("/status").content.decode()

    assert "signals are accepted and judged, a second or so later" in page


@pytest.mark.usefixtures("redis_url")
def test_operators_pause_and_resume_with_a_reason() -> None:
    client = Client()
    user = User.objects.create_user("olga")
    user.groups.add(Group.objects.get(name="Operator"))
    client.force_login(user)

    refused = client.post("/status/switches/intake", {"to": "pause", "reason": " "})
    paused = client.post("/status/switches/intake", {"to": "pause", "reason": "venue is down"})
    page = client.get("/status").content.decode()
    client.post("/status/switches/intake", {"to": "resume", "reason": "it is back"})

    row = Switch.objects.get(name="intake")
    assert (refused.status_code, paused.status_code) == (400, 302)
    assert "venue is down" in page
    assert (row.is_paused, row.actor) == (False, "user:olga")


@pytest.mark.usefixtures("redis_url")
def test_viewers_see_health_without_the_switches() -> None:
    client = Client()
    user = User.objects.create_user("vera")
    user.groups.add(Group.objects.get(name="Viewer"))
    client.force_login(user)

    page = client.get("/status")

    assert page.status_code == 200
    assert 'name="reason"' not in page.content.decode()
    assert client.post("/status/switches/intake", {"reason": "x"}).status_code == 403
