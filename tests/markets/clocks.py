"""Time that moves by hand."""

from __future__ import annotations


class HandClock:
    """Shows the seconds it was set to."""

    def __init__(self, seconds: float = 1_000.0) -> None:
        self.seconds = seconds

    def __call__(self) -> float:
        return self.seconds
