"""What long-running processes spare themselves: work that is done elsewhere, or never needed."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings

NEVER_USED = ("pandas", "polars", "requests")
"""What libraries of ours look for, to be of use to others: the frames of a table, a test client."""


THREADS_TURN_S = 0.0005
"""How long a thread that computes may go on before the event loop gets its turn.

Python's own 5 ms would be waited for at each step of each call of a vendor, and after each receipt
that web sends while a thread stores the next signals.
"""


def take_short_turns() -> None:
    """Let the event loop have its turn soon, whatever threads compute."""
    sys.setswitchinterval(THREADS_TURN_S)


def leave_forms_to_django() -> None:
    """Keep daphne's requests from parsing forms: Django reads the body itself.

    Only to find out that a body is no form took a tenth of the time of accepting a signal.
    """
    protocol: Any = sys.modules.get("daphne.http_protocol")
    if protocol is None:
        return

    class Request(protocol.WebRequest):  # type: ignore[misc]
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, parsePOSTFormSubmission=False, **options)

    protocol.WebRequest = Request


def settle_in() -> None:
    """Let the collector pass over what was imported: it stays, and going through it takes 0.1 s."""
    gc.collect()
    gc.freeze()


@contextmanager
def without(*names: str) -> Iterator[None]:
    """Let what is imported meanwhile do as if these were not installed."""
    modules: dict[str, Any] = sys.modules  # None there makes an import fail; see Python's reference
    hidden = [name for name in names if name not in modules]
    modules.update(dict.fromkeys(hidden))
    try:
        yield
    finally:
        for name in hidden:
            del modules[name]


def unwanted() -> Iterator[str]:
    """Yield what is not to be imported, by what this desk was asked for."""
    yield from NEVER_USED
    if not settings.OTEL_EXPORTER_OTLP_ENDPOINT:
        yield "opentelemetry"
    if settings.DATABASE_URL.startswith("sqlite"):
        yield from ("psycopg", "psycopg2")
