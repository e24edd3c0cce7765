from __future__ import annotations

import pytest
from django.core.management import call_command
from pytest_django.fixtures import Settings

from enrichment import queries, services
from enrichment.checks import check_timeframes
from enrichment.models import FeatureProfile, Policy
from enrichment.policy import constraints_for
from enrichment.profiles import BUILT_INS
from enrichment.types import BadDefinition
from pipeline.models import AuditEvent
from tests.enrichment.market import later
from tests.factories import NOON, make_enrichment, make_signal

pytestmark = pytest.mark.django_db


def test_migrating_stores_the_built_ins_once() -> None:
    call_command("migrate", verbosity=0)

    assert {(row.name, row.version) for row in FeatureProfile.objects.all()} == {
        (name, 1) for name in BUILT_INS
    }
    assert Policy.objects.get().is_active


def test_an_operators_version_is_not_undone(settings: Settings) -> None:
    FeatureProfile.objects.filter(name="full_v1").update(is_active=False)

    services.ensure_built_ins(now=NOON)

    assert not FeatureProfile.objects.get(name="full_v1").is_active


def test_a_new_version_follows_and_the_old_one_stays() -> None:
    definition = {"extends": "trend_follow_v1", "indicators": [{"name": "adx"}]}

    row = services.add_profile_version(
        name="trend_plus", definition=definition, actor="ann", now=NOON
    )
    second = services.add_profile_version(
        name="trend_plus", definition={"extends": "full_v1"}, actor="ann", now=later(seconds=1)
    )

    assert (row.version, second.version) == (1, 2)
    assert [each.version for each in queries.list_active_profiles() if each.name == row.name] == [2]
    assert FeatureProfile.objects.get(name="trend_plus", version=1).definition == definition
    event = AuditEvent.objects.latest("id")
    assert (event.verb, event.object, event.details) == (
        "PROFILE_CHANGED",
        "profile:trend_plus",
        {"before": {"version": 1}, "after": {"version": 2}},
    )


def test_a_version_that_breaks_its_heirs_is_refused() -> None:
    with pytest.raises(BadDefinition, match="extends: goes in a circle"):
        services.add_profile_version(
            name="trend_follow_v1", definition={"extends": "full_v1"}, actor="ann", now=NOON
        )

    assert FeatureProfile.objects.get(name="trend_follow_v1").version == 1


def test_a_broken_profile_hurts_no_other() -> None:
    FeatureProfile.objects.filter(name="full_v1").update(definition={"levels": 3})

    rules = services.current_rules(now=NOON)

    assert sorted(rules.profiles) == ["crypto_perps_v1", "trend_follow_v1"]
    assert rules.faults["full_v1"] == "levels: must be an object or null, was 3"


def test_a_new_policy_is_in_force_at_once_here(
    django_capture_on_commit_callbacks: object,
) -> None:
    services.current_rules(now=NOON)

    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]
        services.add_policy_version(definition={"max_leverage": 3}, actor="ann", now=NOON)

    policy = services.current_rules(now=NOON).policy
    assert not isinstance(policy, BadDefinition)
    assert policy.version == 2
    assert constraints_for(policy, symbol="BTC")["max_leverage"] == 3


def test_a_broken_policy_is_refused_and_the_old_one_stays() -> None:
    with pytest.raises(BadDefinition, match="max_leverage"):
        services.add_policy_version(definition={"max_leverage": 0}, actor="ann", now=NOON)

    assert Policy.objects.get(is_active=True).version == 1


def test_the_latest_run_is_read_unless_one_is_named() -> None:
    signal = make_signal()
    first, second = make_enrichment(signal), make_enrichment(signal, run=2)

    assert queries.get_enrichment(event_id=signal.event_id) == second
    assert queries.get_enrichment(event_id=signal.event_id, run=1) == first
    assert queries.get_enrichment(event_id=signal.event_id, run=3) is None


def test_a_timeframe_that_there_is_not_stops_the_start(settings: Settings) -> None:
    assert check_timeframes() == []
    settings.TIMEFRAMES = ("15m", "60m")
    settings.ENSEMBLE_TIMEFRAME = "1hour"

    assert [error.msg.partition(",")[0] for error in check_timeframes()] == [
        "TIMEFRAMES names '60m'",
        "ENSEMBLE_TIMEFRAME names '1hour'",
    ]
