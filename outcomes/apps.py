"""Django's entry of the outcomes room."""

from __future__ import annotations

from django.apps import AppConfig


class OutcomesConfig(AppConfig):
    """The outcomes room."""

    name = "outcomes"
    verbose_name = "Outcomes"
