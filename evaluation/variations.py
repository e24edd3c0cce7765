"""The same case told otherwise: mirrored, in another order, in other words; pure.

A judge without bias follows the mirrored case as readily as the first, and does not care for the
order or the names in which it is told the same facts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from evaluation.types import Case

PLAIN, MIRROR, SHUFFLE, PARAPHRASE = "", "mirror", "shuffle", "paraphrase"
VARIATIONS = (PLAIN, MIRROR, SHUFFLE, PARAPHRASE)

TURNED = {
    "long": "short",
    "uptrend": "downtrend",
    "up": "down",
    "bullish": "bearish",
    "supports": "resistances",
    "bid": "ask",
    "liq_long_usd": "liq_short_usd",
    "rsi_overbought": "rsi_oversold",
}
TURNED |= {other: one for one, other in TURNED.items()}

PRICES = ("close", "ema_", "mid", "bid", "ask", "price", "sma_", "vwap_", "bb_upper", "bb_lower")
EXACT_PRICES = ("entry_price", "liquidation_price", "stop_price", "target_price", "oracle_price")
SIGNED: tuple[str, ...] = (
    "macd_",
    "ret_",
    "momentum_",
    "ema_slope",
    "vwap_distance",
    "trend_alignment",
    "funding",
)
SIGNED += ("predicted_funding", "price_drift", "imbalance", "breakout_distance")
OF_HUNDRED = ("rsi_14", "rsi_", "stochrsi_")
OF_ONE = ("rsi_norm", "bb_position")
WORDS = {
    "ema": "exponential_moving_average",
    "rsi": "relative_strength_index",
    "macd": "moving_average_convergence_divergence",
    "atr": "average_true_range",
    "mid": "middle_price",
}


def varied(case: Case, variation: str) -> Case:
    """Return a case as a variation tells it; an unknown or empty variation changes nothing."""
    vary = _HOW.get(variation)
    return case if vary is None else vary(case)


def _mirrored(case: Case) -> Case:
    """Return the case in a market that is turned upside down around its entry price.

    Prices are reflected so that every gain becomes the same loss in percent; what is signed
    changes its sign, and words of direction change places.
    """
    payload = json.loads(case.payload or "{}")
    return replace(
        case,
        side=TURNED.get(case.side, case.side),
        payload=json.dumps(_turned("", payload, entry=case.entry_price), separators=(",", ":")),
        facts=_turned("", dict(case.facts), entry=case.entry_price),
    )


def _turned(name: str, value: Any, *, entry: float) -> Any:
    if isinstance(value, Mapping):
        return {
            TURNED.get(key, key): _turned(key, each, entry=entry) for key, each in value.items()
        }
    if isinstance(value, list):
        return [_turned(name, each, entry=entry) for each in value]
    if isinstance(value, str):
        if name in EXACT_PRICES:
            return repr(_reflected(float(value), entry))
        return TURNED.get(value, value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return _number(name, float(value), entry=entry)


def _number(name: str, value: float, *, entry: float) -> float:
    if name.startswith("rsi_over"):
        return value
    if name in OF_ONE:
        return 1.0 - value
    if name.startswith(OF_HUNDRED):
        return 100.0 - value
    if name.startswith(SIGNED):
        return -value
    is_price = name.startswith(PRICES) and not name.endswith(("_ms", "_bps", "_frac", "_at"))
    return _reflected(value, entry) if is_price else value


def _reflected(price: float, entry: float) -> float:
    return entry * entry / price if price else price


def _shuffled(case: Case) -> Case:
    payload = json.loads(case.payload or "{}")
    return replace(case, payload=json.dumps(_reversed(payload), separators=(",", ":")))


def _reversed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _reversed(value[key]) for key in reversed(list(value))}
    return value


def _paraphrased(case: Case) -> Case:
    payload = json.loads(case.payload or "{}")
    return replace(case, payload=json.dumps(_reworded(payload), separators=(",", ":")))


def _reworded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_word(key): _reworded(each) for key, each in value.items()}
    return value


def _word(key: str) -> str:
    head, mark, tail = key.partition("_")
    return WORDS.get(head, head) + mark + tail


_HOW: Mapping[str, Callable[[Case], Case]] = {
    MIRROR: _mirrored,
    SHUFFLE: _shuffled,
    PARAPHRASE: _paraphrased,
}
