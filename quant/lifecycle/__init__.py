"""What became of a trade that was asked about: target, stop or horizon, whichever came first.

A ``Question`` is fixed when a decision is made. Closed bars answer it, one at a time
(``advance``, live) or all at once (``follow``, over a recording); both give the same ``Track``.
``settle`` turns a finished track into returns and R multiples after costs.
"""

from __future__ import annotations

from quant.lifecycle.question import (
    FILL_WINDOW_MS,
    MINUTE_MS,
    STOP_ATR_MULTIPLE,
    TARGET_ATR_MULTIPLE,
    BadQuestion,
    Fill,
    Question,
    atr_barriers,
)
from quant.lifecycle.recording import Recording, follow, follow_many
from quant.lifecycle.settlement import WIN_RULE, Costs, Settlement, settle
from quant.lifecycle.track import (
    Bar,
    Status,
    Track,
    advance,
    begin,
    close_by_hand,
    give_up,
    is_behind,
)

__all__ = [
    "FILL_WINDOW_MS",
    "MINUTE_MS",
    "STOP_ATR_MULTIPLE",
    "TARGET_ATR_MULTIPLE",
    "WIN_RULE",
    "BadQuestion",
    "Bar",
    "Costs",
    "Fill",
    "Question",
    "Recording",
    "Settlement",
    "Status",
    "Track",
    "advance",
    "atr_barriers",
    "begin",
    "close_by_hand",
    "follow",
    "follow_many",
    "give_up",
    "is_behind",
    "settle",
]
