from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import Group
from django.db import connection
from django.db.migrations.state import ProjectState

from access.grants import grant
from access.models import User

pytestmark = pytest.mark.django_db

OPERATES = ("pipeline.requeue", "pipeline.pause", "signals.cancel", "evaluation.switch_model")
EDITOR: Any = SimpleNamespace(connection=connection)
TRADES = {"signals.add_note", "signals.add_mute"}
ADMINISTERS = ("access.manage_keys", "enrichment.activate_rules", "evaluation.promote_prompt")


def member(group: str) -> User:
    user = User.objects.create_user(username=group.lower())
    user.groups.add(Group.objects.get(name=group))
    return user


@pytest.mark.parametrize("group", ["Viewer", "Trader", "Operator", "Admin"])
def test_every_group_sees_signals_and_what_became_of_them(group: str) -> None:
    seen = ("signals.view_signal", "evaluation.view_evaluation", "decisions.view_decision")

    assert member(group).has_perms(seen)


def changes(group: str) -> set[str]:
    permissions = member(group).get_all_permissions()
    return {name for name in permissions if not name.partition(".")[2].startswith("view_")}


def test_who_only_reads_changes_nothing() -> None:
    assert changes("Viewer") == set()


def test_traders_note_and_mute_and_change_nothing_else() -> None:
    assert changes("Trader") == TRADES


def test_operators_run_the_house_and_administrators_also_hold_its_keys() -> None:
    operator, admin = member("Operator"), member("Admin")

    assert operator.has_perms(OPERATES)
    assert not any(operator.has_perm(name) for name in (*ADMINISTERS, "pipeline.purge"))
    assert admin.has_perms((*OPERATES, *ADMINISTERS, "pipeline.purge"))


def test_nobody_may_delete_or_edit_what_was_recorded() -> None:
    permissions = member("Admin").get_all_permissions()

    assert not [name for name in permissions if ".delete_" in name]
    assert not [name for name in permissions if ".change_signal" in name]


def test_what_a_room_grants_later_can_be_taken_back() -> None:
    operation, state = grant(["Viewer"], "pipeline.purge"), ProjectState.from_apps(apps)
    operation.database_forwards("lens_site", EDITOR, state, state)
    given = member("Viewer").has_perm("pipeline.purge")

    operation.database_backwards("lens_site", EDITOR, state, state)

    assert given
    assert not User.objects.get(username="viewer").has_perm("pipeline.purge")


@pytest.mark.parametrize("name", ["pipeline.nothing", "pipeline.nothing*"])
def test_a_permission_that_does_not_exist_cannot_be_granted(name: str) -> None:
    state = ProjectState.from_apps(apps)

    with pytest.raises(LookupError, match="no permission is named"):
        grant(["Viewer"], name).database_forwards("lens_site", EDITOR, state, state)


def test_granting_renders_no_model_of_the_house() -> None:
    state = ProjectState.from_apps(apps)

    grant(["Viewer"], "pipeline.purge").database_forwards("lens_site", EDITOR, state, state)

    assert "apps" not in vars(state)  # where Django keeps what it has rendered
