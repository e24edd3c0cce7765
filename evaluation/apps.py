"""Django's entry of the evaluation room."""

from __future__ import annotations

from importlib import import_module

from django.apps import AppConfig


class EvaluationConfig(AppConfig):
    """The evaluation room."""

    name = "evaluation"
    verbose_name = "Evaluation"

    def ready(self) -> None:
        """Register the room's system checks."""
        import_module("evaluation.checks")
