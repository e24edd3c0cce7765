"""Django's entry of the signals room."""

from __future__ import annotations

from django.apps import AppConfig


class SignalsConfig(AppConfig):
    """The signals room."""

    name = "signals"
    verbose_name = "Signals"
