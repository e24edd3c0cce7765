"""Django's entry of the decisions room."""

from __future__ import annotations

from django.apps import AppConfig


class DecisionsConfig(AppConfig):
    """The decisions room."""

    name = "decisions"
    verbose_name = "Decisions"
