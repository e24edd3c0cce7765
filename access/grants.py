"""Migration operations that give groups of people permissions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from django.db.migrations import RunPython

VIEWER, TRADER, OPERATOR, ADMIN = "Viewer", "Trader", "Operator", "Admin"
EVERYBODY = (VIEWER, TRADER, OPERATOR, ADMIN)


def grant(groups: Iterable[str], *names: str) -> RunPython:
    """Return an operation that gives each of ``groups`` the permissions of these names.

    A name is ``app.codename``; ``app.view_*`` stands for every permission of the app that begins
    so. Groups and permissions that do not exist yet are made. Undoing takes them back, and
    leaves the groups.
    """

    def give(apps: Any, schema_editor: Any) -> None:
        for group in _groups(apps, schema_editor, groups):
            group.permissions.add(*_permissions(apps, schema_editor, names))

    def take(apps: Any, schema_editor: Any) -> None:
        for group in _groups(apps, schema_editor, groups):
            group.permissions.remove(*_permissions(apps, schema_editor, names))

    return RunPython(give, take)


def _groups(apps: Any, schema_editor: Any, names: Iterable[str]) -> Iterator[Any]:
    rows = apps.get_model("auth", "Group").objects.using(schema_editor.connection.alias)
    for name in names:
        yield rows.get_or_create(name=name)[0]


def _permissions(apps: Any, schema_editor: Any, names: Iterable[str]) -> list[Any]:
    """Return the rows of these names, with the texts that Django itself would give them."""
    found = [
        _row(apps, schema_editor, model, codename, text)
        for name in names
        for model, codename, text in _matching(apps, *name.split(".", 1))
    ]
    if not found:
        raise LookupError(f"no permission is named {names}")
    return found


def _matching(apps: Any, label: str, wanted: str) -> list[tuple[Any, str, str]]:
    known = [
        (model, codename, text)
        for model in apps.get_app_config(label).get_models()
        for codename, text in _of(model)
    ]
    stem = wanted.removesuffix("*")
    if stem != wanted:
        return [each for each in known if each[1].startswith(stem)]
    exact = [each for each in known if each[1] == wanted]
    if not exact:
        raise LookupError(f"no permission is named {label}.{wanted}")
    return exact


def _of(model: Any) -> Iterator[tuple[str, str]]:
    meta = model._meta
    for action in meta.default_permissions:
        yield f"{action}_{meta.model_name}", f"Can {action} {meta.verbose_name_raw}"
    yield from meta.permissions


def _row(apps: Any, schema_editor: Any, model: Any, codename: str, text: str) -> Any:
    alias = schema_editor.connection.alias
    kinds = apps.get_model("contenttypes", "ContentType").objects.using(alias)
    kind, _ = kinds.get_or_create(app_label=model._meta.app_label, model=model._meta.model_name)
    rows = apps.get_model("auth", "Permission").objects.using(alias)
    row, _ = rows.get_or_create(codename=codename, content_type=kind, defaults={"name": text})
    return row
