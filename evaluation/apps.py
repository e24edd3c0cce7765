"""Django's entry of the evaluation room."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib import import_module

from django.apps import AppConfig
from django.db import connections
from django.db.models.signals import post_migrate


class EvaluationConfig(AppConfig):
    """The evaluation room."""

    name = "evaluation"
    verbose_name = "Evaluation"

    def ready(self) -> None:
        """Register the room's system checks, and what is stored once its tables are there."""
        import_module("evaluation.checks")
        post_migrate.connect(_store_prompts, sender=self)
        post_migrate.connect(_store_cards, sender=self)


def _store_prompts(*, using: str, **_: object) -> None:
    """Store the shipped prompts."""
    if "evaluation_promptversion" in connections[using].introspection.table_names():
        import_module("evaluation.authoring").ensure_shipped_prompts(now=datetime.now(UTC))


def _store_cards(*, using: str, **_: object) -> None:
    """Store the shipped model cards and prices."""
    if "evaluation_price" in connections[using].introspection.table_names():
        import_module("evaluation.cards").load_shipped(using=using)
