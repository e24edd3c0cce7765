"""Every write of the outcomes room."""

from __future__ import annotations

from outcomes.asking import ask_about_closed, ask_about_decision, ask_about_signal
from outcomes.tracking import advance, close_unfindable, set_missing_levels

__all__ = [
    "advance",
    "ask_about_closed",
    "ask_about_decision",
    "ask_about_signal",
    "close_unfindable",
    "set_missing_levels",
]
