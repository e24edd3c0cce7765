from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, transaction

from evaluation import authoring, prompting, queries
from evaluation.models import PromptVersion
from evaluation.prompting import BadPrompt, load_files, text_of
from pipeline.models import AuditEvent
from tests.evaluation.test_prompting import SYSTEM, USER
from tests.factories import NOON

pytestmark = pytest.mark.django_db
LATER = NOON + timedelta(hours=1)


def add(name: str = "trial", **changes: Any) -> PromptVersion:
    texts = {"system": SYSTEM, "user": USER} | changes
    return authoring.add_prompt_version(name=name, **texts, actor="ann", now=NOON)


def promote(version: int, name: str = "trial") -> PromptVersion:
    return authoring.promote_prompt(name=name, version=version, actor="ann", now=LATER)


def use(row: PromptVersion) -> None:
    authoring.mark_used(prompts=[text_of(row)], now=LATER)
    row.refresh_from_db()


def trail() -> list[tuple[str, dict[str, Any]]]:
    lines = AuditEvent.objects.filter(verb__startswith="PROMPT").order_by("id")
    return [(line.verb, line.details) for line in lines]


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of shipped prompts in which the tests write."""
    monkeypatch.setattr(authoring, "load_files", lambda: load_files(tmp_path))
    return tmp_path


def ship(folder: Path, name: str, *, ask: str = "Judge.") -> None:
    (folder / name).write_text(f"## system\n{SYSTEM}\n## user\n{USER}\n{ask}\n")


def test_the_shipped_prompt_is_there_and_active_after_migrating() -> None:
    active = queries.get_active_prompt(name="judge")

    (shipped,) = (text for text in load_files() if text.name == "judge")
    assert active is not None
    assert text_of(active) == shipped


def test_shipping_again_changes_nothing() -> None:
    before = list(PromptVersion.objects.values())

    authoring.ensure_shipped_prompts(now=LATER)

    assert list(PromptVersion.objects.values()) == before


def test_a_version_shipped_later_waits_for_an_operator(shipped: Path) -> None:
    ship(shipped, "trial_v1.md")
    authoring.ensure_shipped_prompts(now=NOON)
    ship(shipped, "trial_v2.md", ask="Judge well.")

    authoring.ensure_shipped_prompts(now=LATER)

    found = queries.list_prompt_versions(name="trial")
    assert [(row.version, row.status) for row in found] == [(2, "DRAFT"), (1, "ACTIVE")]


def test_a_file_changed_under_a_used_version_is_named_and_left_out(
    shipped: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ship(shipped, "trial_v1.md")
    authoring.ensure_shipped_prompts(now=NOON)
    ship(shipped, "trial_v1.md", ask="Judge better.")
    authoring.ensure_shipped_prompts(now=NOON)
    row = queries.get_prompt(name="trial", version=1)
    assert row is not None
    assert row.user.endswith("Judge better.")
    use(row)
    ship(shipped, "trial_v1.md", ask="Judge best.")

    with caplog.at_level(logging.WARNING):
        authoring.ensure_shipped_prompts(now=LATER)

    row.refresh_from_db()
    assert row.user.endswith("Judge better.")
    assert "prompts/trial_v1.md is not what is stored" in caplog.text


def test_a_new_version_is_the_next_draft_and_stands_in_the_trail() -> None:
    first, second = add(), add(user=f"{USER}\r\nNow.")

    assert (first.version, second.version) == (1, 2)
    assert {first.status, second.status} == {"DRAFT"}
    assert second.user.endswith("\nNow.")
    assert queries.get_active_prompt(name="trial") is None
    assert [verb for verb, _ in trail()] == ["PROMPT_ADDED"] * 2
    assert trail()[1][1] == {
        "before": None,
        "after": {"status": "DRAFT", "sha256": second.sha256, "note": ""},
    }
    assert AuditEvent.objects.latest("id").object == "prompt:trial@2"


def test_a_bad_text_is_stored_nowhere() -> None:
    with pytest.raises(BadPrompt):
        add(user="{{signal}}")

    assert not queries.list_prompt_versions(name="trial")
    assert not trail()


def test_promoting_a_version_retires_the_one_before() -> None:
    add(), add()
    promote(1)

    promote(2)

    found = queries.list_prompt_versions(name="trial")
    assert [(row.version, row.status) for row in found] == [(2, "ACTIVE"), (1, "RETIRED")]
    assert trail()[2:] == [
        ("PROMPT_PROMOTED", {"before": None, "after": {"active": 1}}),
        ("PROMPT_PROMOTED", {"before": {"active": 1}, "after": {"active": 2}}),
    ]


def test_a_retired_version_may_come_back() -> None:
    add(), add()
    promote(1), promote(2)

    promote(1)

    active = queries.get_active_prompt(name="trial")
    assert active is not None
    assert active.version == 1


def test_the_prompts_of_other_names_stay_as_they_are() -> None:
    add()

    promote(1)

    judge = queries.get_active_prompt(name="judge")
    assert judge is not None


@pytest.mark.parametrize(("version", "fault"), [(9, "does not exist"), (1, "is active already")])
def test_what_cannot_be_promoted_is_refused(version: int, fault: str) -> None:
    add()
    promote(1)

    with pytest.raises(authoring.PromptRefused, match=f"trial v{version} {fault}"):
        promote(version)


def test_the_database_knows_one_active_version_of_a_name() -> None:
    add(), add()
    promote(1)

    with pytest.raises(DatabaseError), transaction.atomic():
        PromptVersion.objects.filter(name="trial", version=2).update(status="ACTIVE")


def test_a_draft_may_be_revised_until_a_model_is_given_it() -> None:
    row = add()
    before = row.sha256

    def revise(ask: str) -> PromptVersion:
        return authoring.revise_draft(
            prompt=row, system=SYSTEM, user=f"{USER}\n{ask}", actor="bob", now=LATER
        )

    assert revise("Now.").sha256 != before
    use(row)
    with pytest.raises(authoring.PromptFrozen, match="write a new version"):
        revise("Later.")
    row.refresh_from_db()
    assert row.user.endswith("Now.")
    assert [verb for verb, _ in trail()] == ["PROMPT_ADDED", "PROMPT_REVISED"]


def test_an_active_version_is_not_revised() -> None:
    row = add()
    promote(1)

    with pytest.raises(authoring.PromptFrozen):
        authoring.revise_draft(prompt=row, system=SYSTEM, user=USER, actor="bob", now=LATER)


@pytest.mark.parametrize(
    "change",
    [
        {"system": "follow everything"},
        {"user": "follow everything"},
        {"sha256": "0" * 64},
        {"version": 7},
        {"name": "other"},
        {"used_at": None},
        {"used_at": LATER + timedelta(days=1)},
    ],
)
def test_the_database_itself_refuses_to_change_a_used_version(change: dict[str, Any]) -> None:
    row = add()
    use(row)

    with pytest.raises(DatabaseError, match="never changed"), transaction.atomic():
        PromptVersion.objects.filter(id=row.id).update(**change)


def test_a_used_version_may_still_be_promoted_and_retired() -> None:
    use(add())
    add()

    promote(1), promote(2)

    first = queries.get_prompt(name="trial", version=1)
    assert first is not None
    assert first.status == "RETIRED"


def test_a_version_stays_used_since_the_first_time() -> None:
    row = add()
    use(row)

    authoring.mark_used(prompts=[text_of(row)], now=LATER + timedelta(days=1))

    row.refresh_from_db()
    assert row.used_at == LATER


def test_a_version_that_was_changed_after_it_was_read_is_not_used() -> None:
    read = text_of(add())
    row = queries.get_prompt(name="trial", version=1)
    assert row is not None
    authoring.revise_draft(prompt=row, system=SYSTEM, user=f"{USER}\n!", actor="a", now=LATER)

    with pytest.raises(authoring.PromptChanged):
        authoring.mark_used(prompts=[read], now=LATER)


def test_what_is_stored_renders_as_what_was_written() -> None:
    row = add()

    same = prompting.prompt_text(name="trial", version=1, system=SYSTEM, user=USER)

    assert text_of(row) == same
