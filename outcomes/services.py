"""Every write of the outcomes room."""

from __future__ import annotations

from outcomes.appraising import appraise
from outcomes.asking import ask_about_closed, ask_about_decision, ask_about_signal
from outcomes.tallying import tally
from outcomes.teaching import Hindsight, learn_anew
from outcomes.tracking import advance, close_unfindable, set_missing_levels

__all__ = [
    "Hindsight",
    "advance",
    "appraise",
    "ask_about_closed",
    "ask_about_decision",
    "ask_about_signal",
    "close_unfindable",
    "learn_anew",
    "set_missing_levels",
    "tally",
]
