"""How a command says that it cannot go on."""

from __future__ import annotations


class Refused(Exception):
    """A command cannot go on: what happened, why, and what to do about it."""

    def __init__(self, what: str, *, why: str = "", todo: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.todo = todo
