"""List the API keys on the shell."""

from __future__ import annotations

import json
from argparse import ArgumentParser

from django.core.management.base import BaseCommand
from django.utils import timezone

from access import queries
from access.serializers import key_json


class Command(BaseCommand):
    help = "List the API keys, newest first; secrets are not kept, so none is shown."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="one JSON array")

    def handle(self, **options: object) -> None:
        now = timezone.now()
        keys = [key_json(key, now=now) for key in queries.list_keys()]
        if options["json"]:
            self.stdout.write(json.dumps(keys))
            return
        for key in keys:
            used = key["last_used_at"] or "never"
            scopes = ",".join(key["scopes"])
            self.stdout.write(
                f"{key['id']}  {key['status']:<8}  {key['name']}  [{scopes}]  used: {used}"
            )
        if not keys:
            self.stdout.write("There are no API keys yet.")
