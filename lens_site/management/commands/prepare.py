"""Prepare a start: check the settings, and bring the database to where the code expects it."""

from __future__ import annotations

from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.core.management.sql import emit_post_migrate_signal
from django.db import DEFAULT_DB_ALIAS, connection

from lens_site import migrating


class Command(BaseCommand):
    help = "Check the settings and migrate; quick where nothing is to be migrated."
    requires_system_checks: list[str] = []  # made here, with those of the database

    def handle(self, **options: Any) -> None:
        self.check(databases=[DEFAULT_DB_ALIAS])
        if migrating.is_current():
            emit_post_migrate_signal(verbosity=0, interactive=False, db=DEFAULT_DB_ALIAS)
            return
        self._sync_once()
        call_command("migrate", interactive=False, skip_checks=True, no_color=options["no_color"])

    def _sync_once(self) -> None:
        """Have SQLite write to the disk when all is done, not after each of many migrations.

        What a power cut takes is then migrated again; with its log, it cannot be half there.
        """
        if connection.vendor == "sqlite":
            with connection.cursor() as cursor:
                cursor.execute("PRAGMA synchronous=NORMAL")
