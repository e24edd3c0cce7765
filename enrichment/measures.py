"""The numbers of the payload, measured from what the market answered; pure.

A number that is not there is None and its path is flagged as missing; one that cannot be true is
None too and its path is flagged as out of range. NaN never leaves this module.

What follows from candles alone is remembered by the candles themselves, whatever market they come
from, so that of many signals in one candle only the first is computed for (ADR 0056).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np

from enrichment.profiles import IndicatorUse, LevelsUse, Profile
from enrichment.types import Limits, Measured, QualityFlags, Snapshot
from markets.types import CandleSeries, Level, OrderBook, Quote
from quant.candles import gaps
from quant.indicators import indicator_named
from quant.indicators.support_resistance import (
    PriceLevel,
    SupportResistance,
    support_resistance,
)
from quant.types import TIMEFRAMES, Bars

BPS = 10_000.0
KEPT_SERIES = 512  # candles that what follows from them is remembered of: 10 kB each
FAR_FRAC = 0.5  # two prices of one instrument that differ by more: one of them is wrong
FUNDING_MAX = 0.04  # per hour; the cap of Hyperliquid, above that of other venues
OI_FALL_MAX_PCT = -100.0
# Columns of the catalogue by how their names begin, and what they cannot leave.
BOUNDS: Sequence[tuple[tuple[str, ...], float, float]] = (
    (("rsi_", "stochrsi_", "adx_", "plus_di_", "minus_di_"), 0.0, 100.0),
    (("atr_", "natr_", "volume_ratio_", "realised_volatility_", "bb_width"), 0.0, math.inf),
)
ROUNDING = 1e-6  # how far beyond a bound arithmetic may carry a value


def moment(at: datetime) -> str:
    """Return a moment as the payload writes it."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def known(value: float | None) -> float | None:
    """Return the number, or None for one that is not there or not finite."""
    return None if value is None or not math.isfinite(value) else float(value)


def drift_bps(quote: Quote, *, entry_price: float) -> float:
    """Return how far the price has moved from the entry, upwards positive, in basis points."""
    return (quote.mid - entry_price) / entry_price * BPS


def measure(
    snapshot: Snapshot, *, profile: Profile, entry_price: float, limits: Limits
) -> dict[str, Measured]:
    """Return the measured parts of the payload by their keys."""
    wanted = profile.bars_needed()
    frames = {
        timeframe: _timeframe(
            snapshot, timeframe, uses=profile.indicators, wanted=wanted[timeframe], limits=limits
        )
        for timeframe in profile.timeframes
    }
    return {
        "market": _market(snapshot, profile=profile, entry_price=entry_price, limits=limits),
        "ta": Measured(
            values={
                "timeframes": {name: dict(part.values) or None for name, part in frames.items()}
            },
            flags=sum((part.flags for part in frames.values()), QualityFlags()),
            provenance={key: of for part in frames.values() for key, of in part.provenance.items()},
        ),
        "levels": _levels(snapshot, profile.levels),
        "derivs": _derivatives(snapshot, names=profile.derivatives, limits=limits),
    }


def _market(
    snapshot: Snapshot, *, profile: Profile, entry_price: float, limits: Limits
) -> Measured:
    quote = snapshot.quote
    candidates: Mapping[str, float | None] = {
        "mid": quote.mid,
        "bid": known(quote.bid),
        "ask": known(quote.ask),
        "spread_bps": _spread_bps(quote),
        "price_drift_bps_from_entry": drift_bps(quote, entry_price=entry_price),
    }
    values: dict[str, Any] = {name: candidates[name] for name in profile.market}
    is_crossed = quote.bid is not None and quote.ask is not None and quote.bid > quote.ask
    is_old = (snapshot.as_of - quote.as_of).total_seconds() > limits.stale_mid_s
    crossed = ("market.spread_bps",) if is_crossed and "spread_bps" in values else ()
    flags = QualityFlags(
        missing_data=tuple(
            path
            for name, value in values.items()
            if value is None and (path := f"market.{name}") not in crossed
        ),
        stale_data=("market.mid",) if is_old else (),
        out_of_range=(*crossed, *(("market.mid",) if _is_far_from_candles(snapshot) else ())),
    )
    book = _book(snapshot, bands=profile.book_imbalance_pct, limits=limits)
    return Measured(
        values=values | ({"book": dict(book.values) or None} if profile.book_imbalance_pct else {}),
        flags=flags + book.flags,
        provenance={"market": _origin(quote.as_of, quote.source), **book.provenance},
    )


def _spread_bps(quote: Quote) -> float | None:
    if quote.bid is None or quote.ask is None or not quote.bid <= quote.ask:
        return None
    return known((quote.ask - quote.bid) / quote.mid * BPS)


def _is_far_from_candles(snapshot: Snapshot) -> bool:
    closes = [
        (int(series.bars.close_ms[-1]), float(series.bars.close[-1]))
        for series in snapshot.candles.values()
        if len(series.bars)
    ]
    if not closes:
        return False
    _, last = max(closes)
    return not abs(snapshot.quote.mid / last - 1.0) <= FAR_FRAC if last > 0.0 else True


def _book(snapshot: Snapshot, *, bands: Sequence[float], limits: Limits) -> Measured:
    """Return how the resting orders lean, -1 all asks to +1 all bids, by distance from the mid.

    A band that the book does not reach is None: it would repeat the narrower one under a name
    that promises more. ``imbalance_shown`` covers the whole of what is shown, out to
    ``reach_pct`` on the shallower side.
    """
    if not bands:
        return Measured()
    book = snapshot.book
    if book is None or not book.bids or not book.asks:
        return Measured(flags=_absent("market.book", snapshot.faults.get("book")))
    if book.bids[0][0] >= book.asks[0][0] or not _are_orders([*book.bids, *book.asks]):
        return Measured(flags=QualityFlags(out_of_range=("market.book",)))
    mid = (book.bids[0][0] + book.asks[0][0]) / 2
    reach_pct = 100.0 * min(mid - book.bids[-1][0], book.asks[-1][0] - mid) / mid
    names = {band: f"imbalance_{band:g}pct" for band in bands}
    values = {
        name: _imbalance(book, mid=mid, within_pct=band) if band <= reach_pct else None
        for band, name in names.items()
    }
    values |= {"imbalance_shown": _imbalance(book, mid=mid), "reach_pct": reach_pct}
    is_old = (snapshot.as_of - book.as_of).total_seconds() > limits.stale_book_s
    return Measured(
        values=values,
        flags=QualityFlags(
            missing_data=tuple(
                f"market.book.{name}" for name, value in values.items() if value is None
            ),
            stale_data=("market.book",) if is_old else (),
        ),
        provenance={"market.book": _origin(book.as_of, book.source)},
    )


def _are_orders(levels: Sequence[Level]) -> bool:
    return all(
        math.isfinite(price) and price > 0.0 and math.isfinite(size) and size >= 0.0
        for price, size in levels
    )


def _imbalance(book: OrderBook, *, mid: float, within_pct: float = math.inf) -> float | None:
    far = mid * within_pct / 100.0
    bid, ask = (
        sum(size for price, size in side if abs(price - mid) <= far)
        for side in (book.bids, book.asks)
    )
    return (bid - ask) / (bid + ask) if bid + ask > 0.0 else None


def _timeframe(
    snapshot: Snapshot,
    timeframe: str,
    *,
    uses: tuple[IndicatorUse, ...],
    wanted: int,
    limits: Limits,
) -> Measured:
    path = f"ta.timeframes.{timeframe}"
    series = snapshot.candles.get(timeframe)
    if series is None or not len(series.bars):
        return Measured(flags=_absent(path, snapshot.faults.get(f"candles.{timeframe}")))
    bars = series.bars[-wanted:]  # not more, so that what else is gathered changes no average
    found = _technicals(bars, path, uses=uses, wanted=wanted)
    if not found.values:
        return found
    is_old = is_stale(series, as_of=snapshot.as_of, limits=limits)
    return Measured(
        values=found.values,
        flags=replace(found.flags, stale_data=(path,)) if is_old else found.flags,
        provenance={path: {"as_of": found.values["closed_at"], "source": series.source}},
    )


@lru_cache(maxsize=KEPT_SERIES)
def _technicals(bars: Bars, path: str, *, uses: tuple[IndicatorUse, ...], wanted: int) -> Measured:
    """Return what follows from the candles alone; without values if no market has such candles."""
    if not are_candles(bars):
        return Measured(flags=QualityFlags(out_of_range=(path,)))
    columns = _last_columns(bars, uses)
    wrong = tuple(name for name, value in columns.items() if not _is_possible(name, value))
    values = {name: None if name in wrong else value for name, value in columns.items()}
    closed_at = moment(_closed_at(bars))
    return Measured(
        values=MappingProxyType({"closed_at": closed_at, "close": float(bars.close[-1]), **values}),
        flags=QualityFlags(
            missing_data=tuple(
                f"{path}.{name}" for name, value in columns.items() if value is None
            ),
            out_of_range=tuple(f"{path}.{name}" for name in wrong),
            notes=_history_notes(bars, path=path, wanted=wanted),
        ),
    )


def are_candles(bars: Bars) -> bool:
    """Say whether every bar can have been traded."""
    low, high, volume = bars.low, bars.high, bars.volume
    bounded = (low > 0.0) & (high < math.inf)  # which NaN is not, nor is it between two prices
    between = (low <= np.minimum(bars.open, bars.close)) & (
        np.maximum(bars.open, bars.close) <= high
    )
    traded = (volume >= 0.0) & (volume < math.inf)
    return bool((bounded & between & traded).all())


def _last_columns(bars: Bars, uses: Sequence[IndicatorUse]) -> dict[str, float | None]:
    return {
        name: known(float(column[-1]))
        for use in uses
        for name, column in indicator_named(use.name).compute(bars, **use.options).items()
    }


def _is_possible(name: str, value: float | None) -> bool:
    if value is None:
        return True
    return all(
        least - ROUNDING <= value <= most + ROUNDING
        for beginnings, least, most in BOUNDS
        if name.startswith(beginnings)
    )


def is_stale(series: CandleSeries, *, as_of: datetime, limits: Limits) -> bool:
    """Say whether the last candle closed too long ago; a fresh one is 0 s old, not its length."""
    age_s = (as_of - _closed_at(series.bars)).total_seconds()
    return age_s > TIMEFRAMES[series.timeframe] * limits.stale_candle_multiplier


def _closed_at(bars: Bars) -> datetime:
    return datetime.fromtimestamp(int(bars.close_ms[-1]) / 1000, tz=UTC)


def _history_notes(bars: Bars, *, path: str, wanted: int) -> tuple[str, ...]:
    notes = []
    if len(bars) < wanted:
        there = f"{len(bars)} of {wanted} candles"
        notes.append(f"{path}: {there}, so averages still lean on their start")
    holes = gaps(bars)
    if holes:
        step_ms = bars.timeframe_s * 1000
        lost = sum((end - start) // step_ms for start, end in holes)
        notes.append(f"{path}: {lost} candles are missing in between")
    return tuple(notes)


def _levels(snapshot: Snapshot, use: LevelsUse | None) -> Measured:
    if use is None:
        return Measured()
    series = snapshot.candles.get(use.timeframe)
    if series is None or not len(series.bars):
        return Measured(flags=_absent("levels", snapshot.faults.get(f"candles.{use.timeframe}")))
    found = _turning_points(series.bars, use)
    if found is None:
        return Measured(flags=QualityFlags(out_of_range=("levels",)))
    short = len(series.bars) < use.lookback
    there = f"levels: {len(series.bars)} of {use.lookback} candles looked at"
    return Measured(
        values={
            "timeframe": use.timeframe,
            "supports": [_level(each, mid=snapshot.quote.mid) for each in found.supports],
            "resistances": [_level(each, mid=snapshot.quote.mid) for each in found.resistances],
        },
        flags=QualityFlags(notes=(there,) if short else ()),
        provenance={"levels": _origin(_closed_at(series.bars), series.source)},
    )


@lru_cache(maxsize=KEPT_SERIES)
def _turning_points(bars: Bars, use: LevelsUse) -> SupportResistance | None:
    """Return where the market turned, or None if no market has such candles."""
    if not are_candles(bars):
        return None
    return support_resistance(
        bars, lookback=use.lookback, sensitivity=use.sensitivity, most=use.most
    )


def _level(level: PriceLevel, *, mid: float) -> dict[str, float | int]:
    return {
        "price": level.price,
        "touches": level.touches,
        "distance_pct": (level.price / mid - 1.0) * 100.0,
    }


def _derivatives(snapshot: Snapshot, *, names: Sequence[str], limits: Limits) -> Measured:
    if not names:
        return Measured()
    told = snapshot.derivatives
    if told is None:
        flags = _absent("derivs", snapshot.faults.get("derivatives"))
        return Measured(values=dict.fromkeys(names), flags=flags)
    every = {item.name for item in fields(told)}
    values = {name: known(getattr(told, name)) for name in names if name in every}
    wrong = tuple(
        name for name, value in values.items() if _is_wrong(name, value, mid=snapshot.quote.mid)
    )
    is_old = (snapshot.as_of - told.as_of).total_seconds() > limits.stale_derivatives_s
    return Measured(
        values={name: None if name in wrong else value for name, value in values.items()},
        flags=QualityFlags(
            missing_data=tuple(f"derivs.{name}" for name, value in values.items() if value is None),
            stale_data=("derivs",) if is_old else (),
            out_of_range=tuple(f"derivs.{name}" for name in wrong),
        ),
        provenance={"derivs": _origin(told.as_of, told.source)},
    )


def _is_wrong(name: str, value: float | None, *, mid: float) -> bool:
    if value is None:
        return False
    if name in ("funding_rate", "predicted_funding"):
        return abs(value) > FUNDING_MAX
    if name == "open_interest":
        return value < 0.0
    if name == "oi_change_24h_pct":
        return value < OI_FALL_MAX_PCT
    return not abs(value / mid - 1.0) <= FAR_FRAC


def _absent(path: str, fault: str | None) -> QualityFlags:
    told = (f"{path}: {fault}",) if fault else ()
    return QualityFlags(missing_data=(path,), provider_errors=told)


def _origin(as_of: datetime, source: str) -> dict[str, str]:
    return {"as_of": moment(as_of), "source": source}
