"""A model that takes its process down, or hangs, on signals made for it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from evaluation.evaluators.scripted import Scripted
from evaluation.types import Case, Opinion

DEADLY = "DEADLY"
HANGING = "HANGING"


class Fragile(Scripted):
    """Follows everything; dies of one symbol, and hangs the first time it sees another.

    It notes its process in a file, so that a test can tell who to kill and how often it died.
    """

    def __init__(self, *, name: str, directory: str) -> None:
        super().__init__(name=name)
        self._directory = Path(directory)

    async def evaluate(self, case: Case) -> Opinion:
        if case.symbol == DEADLY:
            self._note(DEADLY)
            os._exit(137)
        if case.symbol == HANGING and not (self._directory / HANGING).exists():
            self._note(HANGING)
            await asyncio.sleep(60)
        return await super().evaluate(case)

    def _note(self, name: str) -> None:
        with (self._directory / name).open("a", encoding="utf-8") as file:
            file.write(f"{os.getpid()}\n")
