"""Revoke an API key from the shell."""

from __future__ import annotations

from argparse import ArgumentParser

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from access import queries, services
from pipeline.types import NotFound

ACTOR = "command:revoke_api_key"


class Command(BaseCommand):
    help = "Revoke an API key; every server refuses it within 5 s."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("id", help="the 8 characters after lens_<env>_")

    def handle(self, **options: object) -> None:
        try:
            key = queries.get_key(key_id=str(options["id"]))
        except NotFound as error:
            raise CommandError(error.detail) from error
        services.revoke_key(key=key, actor=ACTOR, now=timezone.now())
        self.stdout.write(f"Key {key.id} ({key.name}) is revoked.")
