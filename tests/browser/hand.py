"""The hand behind the browser's desk: a process on the desk's own database that does as told.

Each line that comes in is ``{"do": name, ...}``; the answer is one line of JSON. An action is a
function below under ``@action``; tests call it as ``desk.do("name", ...)``.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import django

Act = Callable[..., Any]
ACTIONS: dict[str, Act] = {}


def action(act: Act) -> Act:
    """Make a function one that tests may call by name."""
    ACTIONS[act.__name__] = act
    return act


def now() -> datetime:
    return datetime.now(UTC)


@action
def sign_in(name: str = "operator", group: str = "Operator", staff: bool = True) -> str:
    """Make a person of a group, and return the cookie of a session of theirs."""
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
    from django.contrib.auth.models import Group
    from django.contrib.sessions.backends.db import SessionStore

    from access.models import User

    user, _ = User.objects.get_or_create(username=name, defaults={"is_staff": staff})
    user.groups.add(Group.objects.get(name=group))
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    return str(session.session_key)


@action
def send(
    symbol: str = "BTC",
    direction: str = "long",
    origin: str = "LIVE",
    source: str = "alpha",
    **more: Any,
) -> str:
    """Accept a signal at the simulated price of this moment, and leave it waiting."""
    from lens_site.demonstration import simulated_price
    from signals.parsing import parse_signal
    from signals.services import submit_signals
    from signals.types import Origin, Submission

    at = now()
    price = round(simulated_price(symbol, at), 6)
    sign = 1 if direction.endswith("long") else -1
    body = {
        "event_type": "CLOSE_SIGNAL" if direction.startswith("close") else "OPEN_SIGNAL",
        "symbol": symbol,
        "signal_direction": direction,
        "entry_price": str(price),
        "size": "0.1",
        "liquidation_price": str(round(price * (1 - sign * 0.18), 6)),
        "ts_utc": at.isoformat(),
        "source": source,
    } | more
    submission = Submission(draft=parse_signal(body, now=at), owner="tester", origin=Origin(origin))
    [receipt] = submit_signals(submissions=[submission], now=at)
    return str(receipt.event_id)  # type: ignore[union-attr]


@action
def judge() -> None:
    """Do all the work that is due, and publish."""
    from tests.running import run_everything

    run_everything()


@action
def furnish() -> dict[str, str]:
    """Fill the desk with what its pages show; return the ids of what tests look at."""
    from tests.browser.furniture import furnish_desk

    return furnish_desk(now=now(), send=send, judge=judge)


@action
def flood(count: int, per_s: float) -> int:
    """Publish so many decisions at that pace; return the last number."""
    from tests.browser.furniture import publish_steadily

    return publish_steadily(count=count, per_s=per_s)


@action
def pause(name: str, reason: str) -> None:
    """Halt a part of the house."""
    from pipeline.services import pause as halt

    halt(name=name, actor="operator", reason=reason, now=now())


@action
def resume(name: str) -> None:
    """Let a part of the house go on."""
    from pipeline.services import resume as go_on

    go_on(name=name, actor="operator", reason="done", now=now())


@action
def expire_soon(event_id: str, seconds: float) -> None:
    """Let a signal's validity end in so many seconds."""
    from signals.models import Signal

    Signal.objects.filter(event_id=event_id).update(expires_at=now() + timedelta(seconds=seconds))


@action
def bury(code: str, reason: str, count: int) -> None:
    """File dead letters of fresh signals."""
    from signals.models import Signal
    from signals.types import SignalStatus
    from tests.factories import make_letter

    for _ in range(count):
        signal = Signal.objects.get(event_id=send())
        Signal.objects.filter(pk=signal.pk).update(status=SignalStatus.DEAD, terminal_at=now())
        make_letter(signal, code=code, reason=reason, created_at=now())


@action
def welcome() -> str:
    """Print a link that signs in once, and return what was said."""
    from io import StringIO

    from django.core.management import call_command

    said = StringIO()
    call_command("welcome", "--json", stdout=said)
    return said.getvalue()


@action
def demonstrate() -> None:
    """Let the desk look as one whose demo has just begun."""
    from signals.models import DemoFeed

    DemoFeed.objects.update_or_create(
        id=1, defaults={"started_at": now(), "next_at": now(), "dismissed_at": None}
    )


def main() -> None:
    """Prepare the database, say so, and act until the line is closed."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lens_site.settings")
    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0, interactive=False)
    answers, sys.stdout = sys.stdout, sys.stderr
    print(json.dumps("ready"), file=answers, flush=True)
    for line in sys.stdin:
        told = json.loads(line)
        answer = ACTIONS[told.pop("do")](**told)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
