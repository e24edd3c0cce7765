"""Cases and answers that the tests of prompts and answers share."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from evaluation.types import Case

PAYLOAD: dict[str, Any] = {
    "as_of": "2026-01-15T12:00:01.000Z",
    "original": {
        "event_type": "OPEN_SIGNAL",
        "symbol": "BTC",
        "direction": "long",
        "entry_price": "42000",
        "size": "0.1",
        "liquidation_price": "38000",
        "target_price": "43000",
        "stop_price": "41500",
        "ts_utc": "2026-01-15T12:00:00.000Z",
        "untrusted": {"source": "strategy_alpha", "notes": "breakout, strong volume"},
    },
    "market": {
        "mid": 42010.5,
        "bid": 42010,
        "ask": 42011,
        "spread_bps": 0.23803573,
        "book": {"imbalance_1pct": -0.125},
    },
    "ta": {
        "timeframes": {
            "15m": {"closed_at": "2026-01-15T12:00:00.000Z", "close": 42005, "rsi_14": 61.25},
            "1h": {"closed_at": "2026-01-15T12:00:00.000Z", "close": 42005, "rsi_14": None},
            "4h": None,
        }
    },
    "levels": {
        "timeframe": "1h",
        "supports": [{"price": 41600, "touches": 3, "distance_pct": -0.97714619}],
        "resistances": [],
    },
    "derivs": {"funding_rate": 0.0000125},
    "constraints": {"max_position_size_pct": 25, "one_direction_only": True},
    "quality_flags": {"missing_data": ["ta.timeframes.4h"], "notes": [], "stale_data": []},
}

ENTER: dict[str, Any] = {
    "analysis": "The trend is up and the spread is tight.",
    "decision": "FOLLOW_ENTER",
    "p_target_first": 0.62,
    "size_pct": 10,
    "entry_type": "limit",
    "entry_offset_bps": -5,
    "stop_method": "fixed",
    "stop_level": 41500,
    "atr_multiple": None,
    "trail_pct": None,
    "invalidation": "A close of 1h below 41600.",
    "reasons": [
        {"tag": "bullish_trend", "field": "ta.timeframes.15m.rsi_14", "value": 61.25},
        {"tag": "tight_spread", "field": "market.spread_bps", "value": 0.238},
    ],
}
IGNORE = ENTER | {
    "decision": "IGNORE",
    "p_target_first": 0.3,
    "size_pct": 0,
    "entry_type": "none",
    "entry_offset_bps": None,
    "stop_method": "none",
    "stop_level": None,
    "invalidation": None,
}
EXIT: dict[str, Any] = {
    name: value
    for name, value in IGNORE.items()
    if name not in ("size_pct", "entry_type", "entry_offset_bps")
} | {"decision": "FOLLOW_EXIT"}


def make_case(**changes: Any) -> Case:
    """Return a case of a long on BTC at 42000 with a real-looking payload."""
    values: dict[str, Any] = {
        "event_id": UUID("11111111-1111-4111-8111-111111111111"),
        "event_type": "OPEN_SIGNAL",
        "symbol": "BTC",
        "side": "long",
        "entry_price": 42_000.0,
        "payload": json.dumps(PAYLOAD),
        "facts": {},
        "constraints": {"max_position_size_pct": 25},
        "as_of": datetime(2026, 1, 15, 12, 0, 1, tzinfo=UTC),
    }
    return Case(**(values | changes))


def answer(base: dict[str, Any] = ENTER, /, **changes: Any) -> str:
    """Return an answer as a model would send it."""
    return json.dumps(base | changes)
