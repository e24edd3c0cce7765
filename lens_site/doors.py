"""The two doors of HTTP: a short chain of middleware for programs, the full one for people."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.exception import convert_exception_to_response
from django.utils.module_loading import import_string

from lens_site.intake import Application, Intake, is_intake


class ProgramHandler(ASGIHandler):
    """Django's handler with ``PROGRAM_MIDDLEWARE``, all of which must be asynchronous.

    Sessions, forms and pages are no affair of programs, and each middleware that is not
    asynchronous sends every request to a thread and back, twice.
    """

    def load_middleware(self, is_async: bool = False) -> None:
        """Build the chain; without hooks round views, templates or exceptions."""
        del is_async
        self._view_middleware: list[Any] = []
        self._template_response_middleware: list[Any] = []
        self._exception_middleware: list[Any] = []
        inmost: Any = self._get_response_async  # type: ignore[attr-defined]
        chain = convert_exception_to_response(inmost)
        for path in reversed(settings.PROGRAM_MIDDLEWARE):
            chain = convert_exception_to_response(import_string(path)(chain))
        self._middleware_chain = chain


class Doors:
    """Sends programs to one handler and people to the other, by the path they ask for."""

    def __init__(self, *, people: ASGIHandler, programs: ASGIHandler) -> None:
        self._people = people
        self._programs = programs
        self._intake = Intake(programs=programs)

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        await self._door(scope)(scope, receive, send)

    def _door(self, scope: dict[str, Any]) -> Application:
        if is_intake(scope):
            return self._intake
        return self._programs if is_for_programs(scope["path"]) else self._people


def is_for_programs(path: str) -> bool:
    """Say whether the path belongs to programs, which bring a key and no session."""
    return path in settings.PROGRAM_PATHS or path.startswith(settings.PROGRAM_PREFIXES)
