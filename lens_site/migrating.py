"""Whether the database is as the code expects it, told without making Django's graph of it."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from django.apps import apps
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder


def count_waiting() -> int:
    """Return how many migrations are not applied yet."""
    if is_current():
        return 0
    executor = MigrationExecutor(connection)
    return len(executor.migration_plan(executor.loader.graph.leaf_nodes()))


def is_current() -> bool:
    """Return whether every migration that ships is recorded as applied."""
    return _shipped() <= MigrationRecorder(connection).applied_migrations().keys()


@cache
def _shipped() -> frozenset[tuple[str, str]]:
    return frozenset(
        (config.label, name) for config in apps.get_app_configs() for name in _names(config.label)
    )


def _names(label: str) -> list[str]:
    place, _ = MigrationLoader.migrations_module(label)
    try:
        package = import_module(place or "")
    except (ModuleNotFoundError, ValueError):  # an app without rows of its own
        return []
    return [each.name for each in iter_modules(package.__path__) if each.name[0] not in "_~"]
