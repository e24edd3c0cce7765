"""Where Django learns of the access room."""

from __future__ import annotations

from importlib import import_module

from django.apps import AppConfig
from django.core.checks import register
from django.core.signals import request_finished
from django.db import close_old_connections
from django.utils.module_loading import import_string

from access import checks


class AccessConfig(AppConfig):
    """The access room."""

    name = "access"
    verbose_name = "Access"

    def ready(self) -> None:
        for check in checks.ALL:
            register(check)
        import_module("access.people")  # which listens for people signing in and out
        _write_last_uses_before_connections_close()


def write_last_uses(**_: object) -> None:
    """Write down which keys were used, now that the answer is out."""
    import_string("access.services.touch_last_used")()


def _write_last_uses_before_connections_close() -> None:
    request_finished.disconnect(close_old_connections)
    request_finished.connect(write_last_uses)
    request_finished.connect(close_old_connections)
