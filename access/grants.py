"""Migration operations that give groups of people permissions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ModelState, ProjectState, StateApps
from django.utils.text import camel_case_to_spaces

VIEWER, TRADER, OPERATOR, ADMIN = "Viewer", "Trader", "Operator", "Admin"
EVERYBODY = (VIEWER, TRADER, OPERATOR, ADMIN)
ACTIONS = ("add", "change", "delete", "view")  # Django's own default_permissions
WRITTEN = (("auth", "group"), ("auth", "permission"), ("contenttypes", "contenttype"))


class Grant(Operation):
    """Gives permissions, of which the state tells. Only what it writes to is rendered as models.

    Rendering every model of the house anew takes longer than all the rest of a migration.
    """

    reversible = True

    def __init__(self, groups: Iterable[str], names: Iterable[str]) -> None:
        self.groups = tuple(groups)
        self.names = tuple(names)

    def describe(self) -> str:
        return f"Grant {', '.join(self.names)} to {', '.join(self.groups)}"

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Leave the models as they are."""

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        del app_label, to_state
        rows = _Rows(from_state, alias=schema_editor.connection.alias)
        for group in rows.groups(self.groups):
            group.permissions.add(*rows.permissions(self.names))

    def database_backwards(
        self, app_label: str, schema_editor: Any, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        del app_label, from_state
        rows = _Rows(to_state, alias=schema_editor.connection.alias)
        for group in rows.groups(self.groups):
            group.permissions.remove(*rows.permissions(self.names))


def grant(groups: Iterable[str], *names: str) -> Grant:
    """Return an operation that gives each of ``groups`` the permissions of these names.

    A name is ``app.codename``; ``app.view_*`` stands for every permission of the app that begins
    so. Groups and permissions that do not exist yet are made. Undoing takes them back, and
    leaves the groups.
    """
    return Grant(groups, names)


class _Rows:
    """The rows of groups and permissions, as a migration finds or makes them."""

    def __init__(self, state: ProjectState, *, alias: str) -> None:
        self._state = state
        self._alias = alias
        self._apps = StateApps([], {key: state.models[key] for key in WRITTEN})

    def groups(self, names: Iterable[str]) -> Iterator[Any]:
        """Yield the groups of these names."""
        for name in names:
            yield self._of("auth", "group").get_or_create(name=name)[0]

    def permissions(self, names: Iterable[str]) -> list[Any]:
        """Return the permissions of these names, with the texts that Django itself gives them."""
        wanted = [each for name in names for each in _matching(self._state, *name.split(".", 1))]
        if not wanted:
            raise LookupError(f"no permission is named {names}")
        kinds = self._kinds({(model.app_label, model.name_lower) for model, _, _ in wanted})
        known = {
            (row.content_type_id, row.codename): row
            for row in self._of("auth", "permission").filter(content_type__in=kinds.values())
        }
        return [
            known.get((kinds[model.app_label, model.name_lower].pk, codename))
            or self._of("auth", "permission").create(
                content_type=kinds[model.app_label, model.name_lower], codename=codename, name=text
            )
            for model, codename, text in wanted
        ]

    def _kinds(self, keys: set[tuple[str, str]]) -> dict[tuple[str, str], Any]:
        rows = self._of("contenttypes", "contenttype")
        known = {
            (row.app_label, row.model): row
            for row in rows.filter(app_label__in={label for label, _ in keys})
        }
        return {
            key: known.get(key) or rows.create(app_label=key[0], model=key[1])
            for key in sorted(keys)
        }

    def _of(self, label: str, name: str) -> Any:
        model: Any = self._apps.get_model(label, name)
        return model.objects.using(self._alias)


def _matching(state: ProjectState, label: str, wanted: str) -> list[tuple[ModelState, str, str]]:
    known = [
        (model, codename, text)
        for (at, _), model in state.models.items()
        if at == label
        for codename, text in _of(model)
    ]
    stem = wanted.removesuffix("*")
    if stem != wanted:
        return [each for each in known if each[1].startswith(stem)]
    exact = [each for each in known if each[1] == wanted]
    if not exact:
        raise LookupError(f"no permission is named {label}.{wanted}")
    return exact


def _of(model: ModelState) -> Iterator[tuple[str, str]]:
    named = str(model.options.get("verbose_name") or camel_case_to_spaces(model.name))
    for action in model.options.get("default_permissions", ACTIONS):
        yield f"{action}_{model.name_lower}", f"Can {action} {named}"
    yield from model.options.get("permissions", ())
