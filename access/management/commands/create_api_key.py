"""Issue an API key from the shell and print it once."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Mapping

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from access import queries, services
from access.serializers import KeyBody, parse_body
from access.types import Scope
from pipeline.types import InvalidRequest

ACTOR = "command:create_api_key"
FIRST_NAME = "first key"
FIRST_SCOPES = tuple(scope.value for scope in Scope if scope is not Scope.ADMIN)


class Command(BaseCommand):
    help = "Issue an API key and print it; it will not be shown again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        scopes = [scope.value for scope in Scope]
        parser.add_argument("--name", help="who will use it")
        parser.add_argument("--scope", action="append", choices=scopes, help="repeat for more")
        parser.add_argument("--expires-days", type=int, help="default: it never expires")
        parser.add_argument("--rate", type=int, help="calls a minute, default: the house's limit")
        parser.add_argument("--burst", type=int, help="calls at once, default: the house's limit")
        parser.add_argument("--address", action="append", help="address or CIDR block; repeatable")
        parser.add_argument("--json", action="store_true", help="one line for programs")
        parser.add_argument(
            "--first", action="store_true", help="only if no key was ever issued; all but admin"
        )

    def handle(self, **options: object) -> None:
        if options["first"] and queries.has_keys():
            self._say(options, {"created": False, "key": None}, "There are keys already.")
            return
        now = timezone.now()
        draft = _body(options).draft(now=now)
        key, plain = services.issue_key(draft=draft, actor=ACTOR, now=now)
        answer = {
            "created": True,
            "key": plain,
            "id": key.id,
            "name": key.name,
            "scopes": key.scopes,
        }
        scopes = ", ".join(key.scopes)
        told = f"{plain}\n\nKey {key.id} ({key.name}) may: {scopes}.\nIt will not be shown again."
        self._say(options, answer, told)

    def _say(self, options: Mapping[str, object], answer: Mapping[str, object], told: str) -> None:
        self.stdout.write(json.dumps(answer) if options["json"] else told)


def _body(options: Mapping[str, object]) -> KeyBody:
    first = options["first"]
    asked = {
        "name": options["name"] or (FIRST_NAME if first else None),
        "scopes": options["scope"] or (list(FIRST_SCOPES) if first else None),
        "expires_in_days": options["expires_days"],
        "rate_per_min": options["rate"],
        "burst": options["burst"],
        "addresses": options["address"] or [],
    }
    missing = [f"--{name.removesuffix('s')}" for name in ("name", "scopes") if asked[name] is None]
    if missing:
        raise CommandError(f"Say {' and '.join(missing)}.")
    try:
        return parse_body(KeyBody, asked)
    except InvalidRequest as error:
        faults = "; ".join(f"{fault.field} {fault.message}" for fault in error.errors)
        raise CommandError(faults) from error
