"""Tells Django about this room."""

from __future__ import annotations

from datetime import UTC, datetime

from django.apps import AppConfig
from django.db import connections
from django.db.models.signals import post_migrate
from django.utils.module_loading import import_string


class EnrichmentConfig(AppConfig):
    """The enrichment room."""

    name = "enrichment"
    verbose_name = "Enrichment"

    def ready(self) -> None:
        import_string("enrichment.checks.check_timeframes")
        post_migrate.connect(_store_built_ins, sender=self)


def _store_built_ins(*, using: str, **_: object) -> None:
    """Store the built-in profiles and policy once their tables are there."""
    if "enrichment_policy" in connections[using].introspection.table_names():
        import_string("enrichment.services.ensure_built_ins")(now=datetime.now(UTC))
