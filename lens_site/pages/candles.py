"""Candles around one signal, and the levels drawn over them."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings

from decisions import queries as decisions
from decisions.models import Decision
from decisions.types import Terms
from enrichment.models import Enrichment
from enrichment.services import market_for
from lens_site.pages import formats
from markets.services import close_markets
from markets.types import CandleSeries
from pipeline.parsing import time_text
from quant.types import TIMEFRAMES
from signals.models import Signal

BARS_BEFORE = 120
BARS_AFTER = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One price that matters, and how far it lies from the entry."""

    key: str
    price: float
    from_entry: float
    in_atr: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The trade that was judged, in prices."""

    levels: tuple[Level, ...]
    reward_r: float | None
    basis: str


def plan_of(signal: Signal, *, facts: Enrichment | None, ruling: Decision | None) -> Plan:
    """Return entry, stop, target and liquidation: as sent, else as the rules in force set them."""
    terms = decisions.get_terms(signal=signal, enrichment=facts)
    if terms is not None and ruling is not None and ruling.risk_plan and signal.stop_price is None:
        entry = float(signal.entry_price)
        terms = decisions.planned_terms(terms=terms, risk_plan=ruling.risk_plan, entry=entry)
    return Plan(
        levels=tuple(_levels(signal, terms)),
        reward_r=terms.reward_r if terms is not None and terms.is_sound else None,
        basis=terms.basis if terms is not None else "",
    )


def _levels(signal: Signal, terms: Terms | None) -> list[Level]:
    entry = float(signal.entry_price)
    atr = terms.atr if terms else None
    digits = _digits_of(signal)
    prices: dict[str, float | None] = {
        "entry": entry,
        "stop": terms.stop if terms else _number(signal.stop_price),
        "target": terms.target if terms else _number(signal.target_price),
        "liquidation": _number(signal.liquidation_price),
    }
    return [
        Level(
            key=key,
            price=round(price, digits),
            from_entry=price / entry - 1,
            in_atr=abs(price - entry) / atr if atr and key != "entry" else None,
        )
        for key, price in prices.items()
        if price is not None
    ]


def _digits_of(signal: Signal) -> int:
    """Return how many decimals this instrument's prices have, as those that were sent show."""
    sent = (signal.entry_price, signal.stop_price, signal.target_price, signal.liquidation_price)
    return max(formats.digits_of(price) for price in sent if price is not None)


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def timeframes_of(facts: Enrichment | None) -> tuple[str, ...]:
    """Return the timeframes that the signal was judged on, the shortest first."""
    payload = json.loads(facts.payload or "{}") if facts else {}
    named = tuple((payload.get("ta") or {}).get("timeframes") or {}) or tuple(settings.TIMEFRAMES)
    return tuple(sorted((name for name in named if name in TIMEFRAMES), key=TIMEFRAMES.__getitem__))


def chart_json(
    signal: Signal,
    *,
    facts: Enrichment | None,
    ruling: Decision | None,
    timeframe: str,
    now: datetime,
) -> dict[str, Any]:
    """Return closed candles before the signal and after it, as far as there are any.

    :raises MarketDataUnavailable: if the market cannot be asked now.
    :raises BadMarketData: if it answers with garbage.
    :raises UnknownInstrument: if it has no such instrument.
    """
    until = min(now, signal.ts_utc + timedelta(seconds=TIMEFRAMES[timeframe] * BARS_AFTER))
    after = int((until - signal.ts_utc).total_seconds() // TIMEFRAMES[timeframe])
    series = asyncio.run(
        _candles(signal, timeframe=timeframe, count=BARS_BEFORE + after, as_of=until)
    )
    bars = series.bars
    decided_at = (ruling.published_at or ruling.evaluated_at) if ruling else None
    return {
        "timeframe": timeframe,
        "timeframe_s": bars.timeframe_s,
        "source": series.source,
        "simulated": bool(facts and facts.simulated),
        "signal_at": time_text(signal.ts_utc),
        "decided_at": time_text(decided_at),
        "levels": [
            {"key": level.key, "price": level.price}
            for level in plan_of(signal, facts=facts, ruling=ruling).levels
        ],
        "candles": [
            [int(at) // 1000, o, h, low, c]
            for at, o, h, low, c in zip(
                bars.open_ms.tolist(),
                bars.open.tolist(),
                bars.high.tolist(),
                bars.low.tolist(),
                bars.close.tolist(),
                strict=True,
            )
        ],
    }


async def _candles(signal: Signal, *, timeframe: str, count: int, as_of: datetime) -> CandleSeries:
    try:
        return await market_for(signal).candles(
            symbol=signal.symbol, timeframe=timeframe, count=count, as_of=as_of
        )
    finally:
        await close_markets()
