"""Django's entry of the composing room."""

from __future__ import annotations

from importlib import import_module

from django.apps import AppConfig
from django.contrib.admin import apps as admin_apps


class LensSiteConfig(AppConfig):
    """The room that knows every other."""

    name = "lens_site"
    verbose_name = "Lens"

    def ready(self) -> None:
        """Register the checks of the settings, and turn on what tells others of us."""
        import_module("lens_site.checks")
        import_module("lens_site.telemetry").start()


class BackOfficeConfig(admin_apps.AdminConfig):
    """Django's admin with our own site in it."""

    default_site = "lens_site.back_office.BackOffice"
    default = False
