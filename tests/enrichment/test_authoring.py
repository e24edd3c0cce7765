from __future__ import annotations

import pytest

from enrichment import authoring
from enrichment.models import FeatureProfile, Policy
from enrichment.types import BadDefinition
from pipeline.models import AuditEvent
from tests.factories import NOON, make_enrichment, make_signal

pytestmark = pytest.mark.django_db

NAME = "trend_follow_v1"
FASTER = {"timeframes": ["5m"], "indicators": [{"name": "rsi"}]}


@pytest.fixture(autouse=True)
def _built_ins(db: None) -> None:
    authoring.ensure_built_ins(now=NOON)


def test_a_draft_changes_nothing_until_it_is_put_in_force() -> None:
    draft = authoring.draft_profile(name=NAME, definition=FASTER, actor="ann", now=NOON)
    before = authoring.current_rules(now=NOON).profiles[NAME].version

    authoring.forget_rules()
    authoring.activate_profile(profile=draft, actor="bob", now=NOON, reason="quicker")

    assert (draft.version, before) == (2, 1)
    authoring.forget_rules()
    assert authoring.current_rules(now=NOON).profiles[NAME].timeframes == ("5m",)
    lines = AuditEvent.objects.filter(object=f"profile:{NAME}").order_by("id")
    assert [(line.verb, line.actor) for line in lines] == [
        ("PROFILE_DRAFTED", "ann"),
        ("PROFILE_CHANGED", "bob"),
    ]
    assert lines[1].details["reason"] == "quicker"


def test_what_is_in_force_is_not_put_in_force_again() -> None:
    active = FeatureProfile.objects.get(name=NAME)

    with pytest.raises(authoring.RulesRefused, match="in force already"):
        authoring.activate_profile(profile=active, actor="ann", now=NOON)


def test_a_draft_that_would_break_what_extends_it_is_refused_by_name() -> None:
    authoring.add_profile_version(
        name="mine",
        definition={"extends": NAME, "indicators": [{"name": "macd", "options": {"fast": 20}}]},
        actor="ann",
        now=NOON,
    )
    worse = {
        "timeframes": ["1h"],
        "indicators": [{"name": "macd", "options": {"fast": 5, "slow": 10}}],
    }

    with pytest.raises(BadDefinition, match="mine extends it and would break"):
        authoring.draft_profile(name=NAME, definition=worse, actor="ann", now=NOON)


def test_putting_a_profile_in_force_is_told_with_what_extends_it_and_who_was_judged_by_it() -> None:
    make_enrichment(make_signal(), profile="full_v1")
    make_enrichment(make_signal(), profile="other")
    draft = authoring.draft_profile(name=NAME, definition=FASTER, actor="ann", now=NOON)

    coming = authoring.preview_profile_activation(profile=draft)

    assert (coming.before, coming.version) == (1, 2)
    assert coming.extending == ("crypto_perps_v1", "full_v1")
    assert (coming.looked_at, coming.judged) == (2, 1)


def test_putting_a_policy_in_force_is_told_by_whose_constraints_differ() -> None:
    held = authoring.current_rules(now=NOON).policy
    assert not isinstance(held, BadDefinition)
    for symbol in ("BTC", "BTC", "XRP"):
        constraints = {**held.everywhere, **held.symbols.get(symbol, {})}
        make_enrichment(make_signal(symbol=symbol), constraints=constraints)
    draft = authoring.draft_policy(
        definition={"symbols": {"BTC": {"max_leverage": 3}}}, actor="ann", now=NOON
    )

    coming = authoring.preview_policy_activation(policy=draft)
    authoring.activate_policy(policy=draft, actor="ann", now=NOON)

    assert (coming.looked_at, coming.judged, coming.differing) == (3, 3, {"BTC": 2})
    assert Policy.objects.get(is_active=True).version == 2
