"""Tells Django about this room."""

from __future__ import annotations

from django.apps import AppConfig


class MarketsConfig(AppConfig):
    """The markets room."""

    name = "markets"
    verbose_name = "Markets"
