"""Greet whoever starts this desk: a link that signs them in once, a first key, the demo."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.utils import timezone

from access import queries, services
from access.types import KeyDraft, Scope
from signals import services as signals

ACTOR = "command:welcome"
FIRST_NAME = "first key"
FIRST_SCOPES = frozenset(Scope) - {Scope.ADMIN}


class Command(BaseCommand):
    help = "Print a link that signs the administrator of this machine in once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="one line for programs")
        parser.add_argument(
            "--first-key", action="store_true", help="issue a key if none was ever issued"
        )
        parser.add_argument(
            "--demo", action="store_true", help="let a desk without any signal make demo signals"
        )
        parser.add_argument(
            "--only-ask", action="store_true", help="print no link; say who there is"
        )

    def handle(self, **options: Any) -> None:
        now = timezone.now()
        user = services.ensure_local_admin(now=now)
        answer: dict[str, Any] = {
            "user": user.get_username(),
            "has_password": queries.has_password_holder(),
        }
        if not options["only_ask"]:
            token = services.issue_sign_in_link(user=user, now=now)
            answer |= {"path": f"/welcome?t={token}", "valid_for_s": settings.SIGN_IN_LINK_S}
        if options["first_key"] and not queries.has_keys():
            draft = KeyDraft(name=FIRST_NAME, scopes=FIRST_SCOPES)
            _, answer["key"] = services.issue_key(draft=draft, actor=ACTOR, now=now)
        if options["demo"]:
            answer["demo"] = signals.start_demo_feed(now=now)
        self.stdout.write(json.dumps(answer) if options["json"] else _told(answer))


def _told(answer: dict[str, Any]) -> str:
    if "path" not in answer:
        word = "somebody has" if answer["has_password"] else "nobody has"
        return f"{word} a password; ./lens manage changepassword {answer['user']} sets one"
    minutes = answer["valid_for_s"] // 60
    return (
        f"{answer['path']}\nBehind the address of this desk it signs {answer['user']} in once,"
        f" within {minutes} minutes."
    )
