from __future__ import annotations

import pytest
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from access.models import User
from enrichment import services
from enrichment.models import FeatureProfile, Policy
from tests.factories import NOON, make_enrichment, make_signal

pytestmark = pytest.mark.django_db

EDIT = "admin:featureprofile_edit"
GOOD = """\
extends: trend_follow_v1
timeframes: [5m]
indicators:
- {name: rsi, options: {period: 7}}
"""


@pytest.fixture(autouse=True)
def _simulated_market(settings: Settings) -> None:
    settings.PROVIDER_PRIMARY = "simulated"
    services.ensure_built_ins(now=NOON)


def member(group: str) -> Client:
    user = User.objects.create_user(username=group.lower(), is_staff=True)
    user.groups.add(Group.objects.get(name=group))
    client = Client()
    client.force_login(user)
    return client


def send(client: Client, button: str, text: str, *, name: str = "mine") -> str:
    body = {"name": name, "text": text, button: "yes"}
    answer = client.post(reverse(EDIT), body, follow=True)
    assert answer.status_code == 200
    return answer.content.decode()


def test_a_mistake_is_told_by_line_and_path_with_what_was_meant() -> None:
    html = send(member("Operator"), "save", GOOD.replace("rsi", "rsy"))

    assert "Line 4: indicators[0].name" in html
    assert "did you mean &#x27;rsi&#x27;?" in html
    assert not FeatureProfile.objects.filter(name="mine").exists()


def test_options_are_told_by_line_although_they_are_checked_after_merging() -> None:
    html = send(member("Operator"), "check", GOOD.replace("period: 7", "period: -1"))

    assert "Line 4: indicators[rsi].options" in html


def test_a_checked_text_is_shown_with_all_it_extends_and_what_it_asks_for() -> None:
    html = send(member("Operator"), "check", GOOD)

    assert "mine v1 ← trend_follow_v1 v1" in html
    assert "15m, 1h, 4h, 5m" in html
    assert "candles of 5m" in html


def test_a_text_is_tried_on_a_recorded_signal_without_keeping_anything() -> None:
    make_enrichment(make_signal())

    html = send(member("Operator"), "try", GOOD, name="trend_follow_v1".replace("v1", "v2"))

    assert "What the models would be given" in html
    assert "SIMULATED" in html
    assert "&quot;5m&quot;" in html
    assert not FeatureProfile.objects.filter(name="trend_follow_v2").exists()


def test_saving_stores_a_version_and_putting_it_in_force_is_a_step_of_its_own() -> None:
    operator, admin = member("Operator"), member("Admin")
    send(operator, "save", GOOD)
    row = FeatureProfile.objects.get(name="mine")
    url = reverse("admin:featureprofile_activate", args=[row.pk])

    refused = operator.post(url, {"agreed": "yes", "reason": "quicker"})
    asked = admin.get(url).content.decode()
    saved = row.is_active
    admin.post(url, {"agreed": "yes", "reason": "quicker"})

    row.refresh_from_db()
    assert (saved, refused.status_code) == (False, 403)
    assert "takes the place of nothing" in asked
    assert row.is_active


def test_a_policy_is_checked_tried_and_stored() -> None:
    operator = member("Operator")
    url = reverse("admin:policy_edit")
    make_enrichment(make_signal(), constraints={"max_leverage": 20})

    wrong = operator.post(url, {"text": "symbols:\n  BTC: {max_levrage: 3}", "save": "yes"})
    tried = operator.post(url, {"text": "symbols:\n  BTC: {max_leverage: 3}", "try": "yes"})
    operator.post(url, {"text": "symbols:\n  BTC: {max_leverage: 3}", "save": "yes"})

    assert "Line 2: symbols.BTC.max_levrage" in wrong.content.decode()
    assert "other constraints would have held for 1 of BTC" in tried.content.decode()
    assert list(Policy.objects.order_by("version").values_list("is_active", flat=True)) == [
        True,
        False,
    ]


def test_who_may_not_write_rules_sees_them() -> None:
    viewer = member("Viewer")
    row = FeatureProfile.objects.get(name="full_v1")

    shown = viewer.get(reverse("admin:enrichment_featureprofile_change", args=[row.pk]))

    assert shown.status_code == 200 and "crypto_perps_v1" in shown.content.decode()
    assert viewer.get(reverse(EDIT)).status_code == 403
