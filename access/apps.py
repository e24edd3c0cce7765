"""Where Django learns of the access room."""

from __future__ import annotations

from django.apps import AppConfig


class AccessConfig(AppConfig):
    """The access room."""

    name = "access"
    verbose_name = "Access"
