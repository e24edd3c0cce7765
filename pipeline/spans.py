"""Spans round what is waited for: a face that does nothing until somebody turns it on.

Rooms mark their waits here and know nothing of OpenTelemetry; ``lens_site.telemetry`` brings it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

Value = str | int | float | bool


class Mark:
    """What can still be said of a span while it runs."""

    def __init__(self, span: Any = None) -> None:
        self._span = span

    def say(self, **attributes: Value | None) -> None:
        """Add attributes, dots written as two underscores; what is None is left out."""
        if self._span is not None:
            for name, value in attributes.items():
                if value is not None:
                    self._span.set_attribute(name.replace("__", "."), value)


_NOTHING = Mark()
_tracers: list[Any] = []


def turn_on(tracer: Any) -> None:
    """Send spans to ``tracer`` from now on."""
    _tracers[:] = [tracer]


def turn_off() -> None:
    """Send spans nowhere."""
    _tracers.clear()


@contextmanager
def span(name: str, **attributes: Value | None) -> Iterator[Mark]:
    """Mark the time that something takes; an error that leaves it is noted in it."""
    if not _tracers:
        yield _NOTHING
        return
    with _tracers[0].start_as_current_span(name) as started:
        mark = Mark(started)
        mark.say(**attributes)
        yield mark
