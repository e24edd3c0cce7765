"""Writing, promoting and freezing the versions of prompts."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Max

from evaluation import queries
from evaluation.models import PromptVersion
from evaluation.prompting import PromptText, load_files, prompt_text
from pipeline import services as pipeline

logger = logging.getLogger(__name__)

ACTOR = "lens"
Status = PromptVersion.Status


class PromptRefused(Exception):
    """What was asked for cannot be done to this version."""


class PromptFrozen(PromptRefused):
    """The version is no unused draft any more; what it says may no longer be changed."""


class PromptChanged(PromptRefused):
    """The version was changed or removed after it was read, and before a model was given it."""


def ensure_shipped_prompts(*, now: datetime) -> None:
    """Store the shipped prompts that are not stored; the first version of a name is active.

    A later version that ships with an upgrade waits as a draft until an operator promotes it. A
    file that was changed under a version that models were given is named in the log and left
    out: it needs a version of its own.
    """
    with transaction.atomic():
        for text in load_files():
            stored = queries.get_prompt(name=text.name, version=text.version)
            if stored is None:
                _store(text, status=Status.DRAFT, note="shipped", actor=ACTOR, now=now)
            elif stored.sha256 != text.sha256:
                _bring_up_to_file(stored, text)
        for name in {text.name for text in load_files()}:
            _activate_first(name)


def add_prompt_version(
    *, name: str, system: str, user: str, actor: str, now: datetime, note: str = ""
) -> PromptVersion:
    """Store a draft as the next version of its name; nothing is judged with it yet.

    :raises BadPrompt: if a text breaks a rule.
    """
    with transaction.atomic():
        known = PromptVersion.objects.select_for_update().filter(name=name)
        latest = max((row.version for row in known), default=0)
        text = prompt_text(name=name, version=latest + 1, system=system, user=user)
        row = _store(text, status=Status.DRAFT, note=note, actor=actor, now=now)
        _tell("PROMPT_ADDED", row, before=None, after=_state(row), actor=actor, now=now)
    return row


def revise_draft(
    *, prompt: PromptVersion, system: str, user: str, actor: str, now: datetime, note: str = ""
) -> PromptVersion:
    """Change what a draft says that no model was given yet.

    :raises BadPrompt: if a text breaks a rule.
    :raises PromptFrozen: if it is no unused draft.
    """
    text = prompt_text(name=prompt.name, version=prompt.version, system=system, user=user)
    with transaction.atomic():
        draft = PromptVersion.objects.filter(id=prompt.id, status=Status.DRAFT, used_at=None)
        before = draft.select_for_update().first()
        if before is None or not draft.update(**_columns(text), note=note):
            fault = f"{prompt.name} v{prompt.version} is in use; write a new version"
            raise PromptFrozen(fault)
        prompt.refresh_from_db()
        _tell(
            "PROMPT_REVISED",
            prompt,
            before=_state(before),
            after=_state(prompt),
            actor=actor,
            now=now,
        )
    return prompt


def promote_prompt(*, name: str, version: int, actor: str, now: datetime) -> PromptVersion:
    """Judge live signals with this version from now on; the one before it is retired.

    A retired version may come back.

    :raises PromptRefused: if there is no such version, or it is active already.
    """
    with transaction.atomic():
        rows = {
            row.version: row for row in PromptVersion.objects.select_for_update().filter(name=name)
        }
        chosen = rows.get(version)
        if chosen is None or chosen.status == Status.ACTIVE:
            fault = "does not exist" if chosen is None else "is active already"
            raise PromptRefused(f"{name} v{version} {fault}")
        before = next((row for row in rows.values() if row.status == Status.ACTIVE), None)
        if before is not None:
            _set_status(before, Status.RETIRED)
        _set_status(chosen, Status.ACTIVE)
        _tell(
            "PROMPT_PROMOTED",
            chosen,
            before=None if before is None else {"active": before.version},
            after={"active": chosen.version},
            actor=actor,
            now=now,
        )
    return chosen


def mark_used(*, prompts: Iterable[PromptText], now: datetime) -> None:
    """Freeze versions for good, before a model is given them.

    :raises PromptChanged: if a stored version does not say what was read of it.
    """
    for text in set(prompts):
        same = PromptVersion.objects.filter(
            name=text.name, version=text.version, sha256=text.sha256
        )
        if not same.filter(used_at=None).update(used_at=now) and not same.exists():
            raise PromptChanged(f"{text.name} v{text.version} is not what it was when it was read")


def _store(
    text: PromptText, *, status: PromptVersion.Status, note: str, actor: str, now: datetime
) -> PromptVersion:
    return PromptVersion.objects.create(
        name=text.name,
        version=text.version,
        **_columns(text),
        status=status,
        note=note,
        created_at=now,
        created_by=actor,
    )


def _columns(text: PromptText) -> dict[str, str]:
    return {"system": text.system, "user": text.user, "sha256": text.sha256}


def _bring_up_to_file(stored: PromptVersion, text: PromptText) -> None:
    same = PromptVersion.objects.filter(id=stored.id, used_at=None, created_by=ACTOR)
    if not same.update(**_columns(text)):
        logger.warning(
            "prompts/%s_v%d.md is not what is stored as that version; give it the next number",
            text.name,
            text.version,
        )


def _activate_first(name: str) -> None:
    """Make the newest version of a name active if none ever was."""
    rows = PromptVersion.objects.filter(name=name)
    if not rows.exclude(status=Status.DRAFT).exists():
        newest = rows.filter(created_by=ACTOR).aggregate(latest=Max("version"))["latest"]
        rows.filter(version=newest).update(status=Status.ACTIVE)


def _set_status(row: PromptVersion, status: PromptVersion.Status) -> None:
    row.status = status
    row.save(update_fields=["status"])


def _tell(
    verb: str,
    row: PromptVersion,
    *,
    before: dict[str, Any] | None,
    after: dict[str, Any],
    actor: str,
    now: datetime,
) -> None:
    pipeline.record_act(
        actor=actor,
        verb=verb,
        object=f"prompt:{row.name}@{row.version}",
        before=before,
        after=after,
        at=now,
    )


def _state(row: PromptVersion) -> dict[str, Any]:
    return {"status": row.status, "sha256": row.sha256, "note": row.note}
