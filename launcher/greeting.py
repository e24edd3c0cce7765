"""What whoever starts the desk is told: a link that signs them in, a first key and signal."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from launcher import ports, programs
from launcher.claim import Claim
from launcher.environment import child_environment
from launcher.places import Places
from launcher.terminal import BOLD, Screen, Stop

WITHIN_S = 60.0


class NoRunningDesk(Stop):
    """There is no desk that a link could lead to."""


class NoPassword(Stop):
    """Others could reach the desk, and nobody could sign in to it."""


class NoLink(Stop):
    """The application made no link."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Greeting:
    """What the application has for whoever starts it; a key only on a fresh desk."""

    user: str = ""
    has_password: bool = False
    path: str = ""
    valid_for_s: int = 0
    key: str = ""
    demo: bool = False


def read_greeting(lines: Sequence[str]) -> Greeting:
    """Return what the command `welcome` said; nothing when it said nothing of use."""
    for text in reversed(lines):
        with suppress(ValueError, TypeError):
            said = json.loads(text)
            return Greeting(**{name: said[name] for name in Greeting.__slots__ if name in said})
    return Greeting()


def require_password(greeting: Greeting, *, host: str) -> None:
    """Refuse to open the pages to other machines before anybody could sign in to them.

    :raises NoPassword: when no administrator has a password.
    """
    if not greeting.has_password:
        raise NoPassword(
            f"{host} would let other machines reach the pages, and nobody has a password",
            why="links of ./lens up sign in only on this machine, and there is no default password",
            todo=f"set one first: ./lens manage changepassword {greeting.user or 'admin'}",
        )


def show_link(where: Places, screen: Screen) -> int:
    """Print a new link that signs the administrator in once.

    :raises NoRunningDesk: when no desk runs.
    :raises NoLink: when the application refused.
    """
    claim = Claim(where)
    running = claim.read()
    if not claim.is_held() or running is None or running.status != "ready":
        raise NoRunningDesk(
            "no desk is running, so there is nowhere to sign in", todo="./lens up starts one"
        )
    answer = programs.run(
        [where.python, where.manage, "welcome", "--json"],
        environment=child_environment(where, redis=running.redis_url),
        timeout_s=WITHIN_S,
    )
    greeting = read_greeting(answer.stdout.splitlines())
    if answer.returncode or not greeting.path:
        raise NoLink("the application made no link", why=answer.stdout.strip()[-500:])
    url = running.url + greeting.path
    if screen.machine:
        screen.report({"sign_in": url, "user": greeting.user, "valid_for_s": greeting.valid_for_s})
        return 0
    screen.always(screen.paint(url, BOLD))
    screen.line(f"signs {greeting.user} in once, within {greeting.valid_for_s // 60} minutes")
    return 0


def sign_in_url(url: str, greeting: Greeting, *, host: str) -> str:
    """Return the address a person opens first: it signs in where that is this machine's own."""
    return url + greeting.path if greeting.path and ports.is_loopback(host) else url


def first_signal(url: str, key: str, price: float) -> str:
    """Return a shell line that sends a signal stamped with the moment it is pasted."""
    body = {
        "event_type": "OPEN_SIGNAL",
        "symbol": "BTC",
        "signal_direction": "long",
        "entry_price": price,
        "size": 0.1,
        "liquidation_price": round(price * 0.9, 2),
        "ts_utc": "@NOW@",
        "source": "my_first_signal",
    }
    now = """'"$(date -u +%Y-%m-%dT%H:%M:%SZ)"'"""
    text = "'" + json.dumps(body).replace("@NOW@", now) + "'"
    quoted = f'"X-API-Key: {key}"' if key.startswith("$") else shlex.quote(f"X-API-Key: {key}")
    return (
        f"  curl -s {url}/api/v1/signals -H {quoted} \\\n"
        f"    -H 'Content-Type: application/json' -d {text}"
    )
