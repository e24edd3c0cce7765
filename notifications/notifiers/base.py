"""What every notifier answers: plain values, whatever the channel."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of one attempt; without a ``status`` nothing answered, and ``error`` says why."""

    status: int | None = None
    text: str = ""
    error: str = ""
    duration_ms: float = 0.0

    @property
    def is_taken(self) -> bool:
        """Whether the receiver said that it has it."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def is_gone(self) -> bool:
        """Whether the receiver said that nothing shall come any more."""
        return self.status == 410
