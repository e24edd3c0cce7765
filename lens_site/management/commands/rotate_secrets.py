"""Seal everything that is secret in the database with the newest key."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from pipeline.sealing import SealedTextField, Unreadable

BATCH = 200


class Command(BaseCommand):
    help = "Seal all secrets in the database with the last of LENS_ENCRYPTION_KEYS."

    def handle(self, **options: Any) -> None:
        for model in apps.get_models():
            for field in model._meta.get_fields():
                if isinstance(field, SealedTextField):
                    many = self._rotate(model, field.name)
                    self.stdout.write(f"{model._meta.label}.{field.name}: {many} sealed anew")

    def _rotate(self, model: Any, field: str) -> int:
        keys = list(model.objects.order_by("pk").values_list("pk", flat=True))
        for start in range(0, len(keys), BATCH):
            batch = keys[start : start + BATCH]
            with transaction.atomic():
                try:
                    rows = list(model.objects.select_for_update().filter(pk__in=batch))
                except Unreadable as error:
                    text = f"{model._meta.label}.{field}: {error}; give the key that sealed it too"
                    raise CommandError(text) from error
                model.objects.bulk_update(rows, [field])
        return len(keys)
