"""Django's entry of the notifications room."""

from __future__ import annotations

from django.apps import AppConfig


class NotificationsConfig(AppConfig):
    """The notifications room."""

    name = "notifications"
    verbose_name = "Notifications"
