"""What long-running processes spare themselves: work that is done elsewhere, or never needed."""

from __future__ import annotations

import gc
import sys
from typing import Any


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
