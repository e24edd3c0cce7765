"""Take the second proof off a person who lost it."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from access import factors
from access.models import User


class Command(BaseCommand):
    help = "Take the second proof off a person who lost app and recovery codes."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username")

    def handle(self, **options: Any) -> None:
        user = User.objects.filter(username=options["username"]).first()
        if user is None:
            raise CommandError(f"There is nobody named {options['username']!r}.")
        had = factors.forget(user=user, actor="shell", now=timezone.now())
        self.stdout.write("taken off" if had else "there was none")
