"""Verbs of the application itself, run with the environment of the running desk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

from launcher import packages, programs
from launcher.claim import Claim
from launcher.detach import bring_up_apart
from launcher.down import bring_down
from launcher.environment import child_environment, ensure_secrets, redis_url, shell_environment
from launcher.places import Places, make_private, socket_path
from launcher.terminal import Screen, Stop

COMMANDS: Final = {
    "apikey create": "create_api_key",
    "apikey list": "list_api_keys",
    "apikey revoke": "revoke_api_key",
}


class NoDatabase(Stop):
    """There is no database yet."""


class DeskRuns(Stop):
    """A desk runs where nothing may run."""


class NoDesk(Stop):
    """The desk that a verb needs could not be started."""


def manage(where: Places, screen: Screen, arguments: Sequence[str]) -> int:
    """Run a management command on this terminal and return its code."""
    make_private(where)
    if not packages.is_current(where, packages.RUNTIME):
        screen.done("packages", str(packages.ensure_installed(where, screen)))
    ensure_secrets(where)
    named = shell_environment(where.root).get("REDIS_URL", "")
    redis = named or redis_url(socket_path(where, "redis.sock"))
    return programs.call(
        [where.python, where.manage, *arguments],
        environment=child_environment(where, redis=redis),
    )


def keys(where: Places, screen: Screen, arguments: Sequence[str]) -> int:
    """Run a command about what the database holds, as API keys, and return its code.

    :raises NoDatabase: when there is nothing that could hold any yet.
    """
    named = shell_environment(where.root).get("DATABASE_URL", "")
    if not named and not where.database.exists():
        raise NoDatabase(
            "there is no database yet",
            why=f"{where.shown(where.database)} does not exist",
            todo="./lens up makes it, and prints a first API key",
        )
    return manage(where, screen, arguments)


def without_desk(where: Places, screen: Screen, arguments: Sequence[str]) -> int:
    """Run a management command that nothing else may be running beside.

    :raises DeskRuns: when a desk is running here.
    """
    make_private(where)
    if Claim(where).is_held():
        raise DeskRuns(
            "a desk is running here",
            why="what it works on would be taken away under it",
            todo="./lens down, then again",
        )
    return manage(where, screen, arguments)


def with_desk(where: Places, screen: Screen, arguments: Sequence[str]) -> int:
    """Run a management command while a desk runs, one of our own if there was none.

    :raises NoDesk: when that desk did not become ready.
    """
    with _desk(where, screen):
        return manage(where, screen, arguments)


@contextmanager
def _desk(where: Places, screen: Screen) -> Iterator[None]:
    make_private(where)
    claim = Claim(where)
    if claim.is_held():
        yield
        return
    screen.note("no desk is running: starting one in the background until this is done")
    if bring_up_apart(where, ["--json"], live=False, tied=True, hidden=True):
        raise NoDesk(
            "the background desk did not start",
            todo="run ./lens up to see why",
        )
    try:
        yield
    finally:
        screen.note("stopping the background desk")
        with suppress(KeyboardInterrupt):
            bring_down(where, screen, quietly=True)
