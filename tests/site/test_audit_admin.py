from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group
from django.test import AsyncClient, Client
from django.urls import reverse
from pytest_django import Settings

from access.models import User
from pipeline import exporting, services
from pipeline.chaining import seal
from pipeline.models import AuditEvent, Chain
from signals.models import Hold

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
TRAIL = "admin:pipeline_auditevent_changelist"


@pytest.fixture(autouse=True)
def _outside(settings: Settings, tmp_path: Path) -> None:
    settings.AUDIT_DIR = tmp_path / "audit"


def member(group: str) -> Client:
    user = User.objects.create_user(username=group.lower(), is_staff=True)
    user.groups.add(Group.objects.get(name=group))
    client = Client()
    client.force_login(user)
    return client


def write(actor: str = "ann") -> AuditEvent:
    services.record_act(actor=actor, verb="SWITCHED", object="switch:intake", at=NOON)
    return AuditEvent.objects.latest("id")


def test_the_trail_is_listed_with_what_the_last_verification_found() -> None:
    write(actor="<script>alert(1)</script>")
    seal(now=NOON, limit=10)
    Chain.objects.update(verified_at=NOON, verified_seals=1, findings=["line 7 was changed"])

    page = member("Operator").get(reverse(TRAIL)).content.decode()

    assert "NOT whole" in page
    assert "line 7 was changed" in page
    assert "<script>alert(1)" not in page


def test_a_line_shows_its_proof_and_cannot_be_changed() -> None:
    line = write()
    place = reverse("admin:pipeline_auditevent_change", args=[line.pk])
    office = member("Admin")
    assert "not sealed yet" in office.get(place).content.decode()

    seal(now=NOON, limit=10)

    assert "sealed 1" in office.get(place).content.decode()
    assert office.post(place, {"actor": "nobody"}).status_code == 403
    for name in ("add", "delete"):
        args = [] if name == "add" else [line.pk]
        shut = reverse(f"admin:pipeline_auditevent_{name}", args=args)
        assert office.post(shut).status_code == 403


def test_the_export_holds_the_asked_days_and_no_formula() -> None:
    write(actor="=HYPERLINK(1)")
    place = reverse("admin:trail_export")
    office = member("Operator")

    found = office.get(place, {"format": "csv", "since": "2026-01-15", "until": "2026-01-16"})
    nothing = office.get(place, {"format": "jsonl", "until": "2026-01-15"})

    assert b"'=HYPERLINK(1)" in found.getvalue()
    assert nothing.getvalue() == b""
    assert office.get(place, {"format": "exe"}).status_code == 302


@pytest.mark.django_db(transaction=True)
async def test_an_asynchronous_server_is_handed_the_export_piece_by_piece(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exporting, "AT_ONCE", 2)
    for _ in range(4):
        await sync_to_async(write)()  # the sign-in below is the fifth line
    user = await User.objects.acreate_superuser(username="root")
    office = AsyncClient()
    await office.aforce_login(user)

    answer: Any = await office.get(reverse("admin:trail_export"), {"format": "jsonl"})
    pieces = [piece async for piece in answer if piece]

    assert answer.is_async
    assert [piece.count(b"\n") for piece in pieces] == [2, 2, 1]


@pytest.mark.parametrize("place", [TRAIL, "admin:pipeline_purge_changelist", "admin:trail_export"])
def test_traders_do_not_see_the_trail(place: str) -> None:
    assert member("Trader").get(reverse(place)).status_code == 403


def test_the_preview_of_a_purge_says_what_is_past_its_time() -> None:
    page = member("Operator").get(reverse("admin:pipeline_purge_changelist")).content.decode()

    assert "0 signals" in page


def test_a_hold_is_placed_and_lifted_with_reasons() -> None:
    office = member("Admin")
    place = reverse("admin:signals_hold_changelist")

    office.post(reverse("admin:signals_hold_add"), {"source": "alpha", "reason": "lawsuit"})
    hold = Hold.objects.get()
    asked = office.post(place, {"action": "lift", "_selected_action": [hold.pk]})
    answer = {"reason": "settled", "agreed": "yes"}
    office.post(place, {"action": "lift", "_selected_action": [hold.pk], **answer})

    hold.refresh_from_db()
    assert b"Lift legal holds" in asked.content
    assert (hold.source, hold.placed_by, hold.lifted_by) == ("alpha", "admin", "admin")
    assert (hold.reason, hold.lift_reason) == ("lawsuit", "settled")


def test_a_hold_on_nothing_is_refused_and_operators_place_none() -> None:
    place = reverse("admin:signals_hold_add")

    page = member("Admin").post(place, {"reason": "lawsuit"}, follow=True)

    assert b"A hold must name a signal" in page.content
    assert member("Operator").get(place).status_code == 403
    assert not Hold.objects.exists()
