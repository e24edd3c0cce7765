"""The numbers that models without language judge by, frozen beside the payload; pure.

Only what a wired model reads is gathered. What is not known is None or ``{"missing": why}``,
never 0.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from enrichment.measures import KEPT_SERIES, are_candles, is_stale, moment
from enrichment.types import Limits, Snapshot
from quant.engine_features import engine_features
from quant.ensemble import MIN_BARS, ensemble_features
from quant.types import Bars

ENSEMBLE_MODEL = "ensemble"
RULES_MODEL = "rules"
ENSEMBLE_BARS = 300  # specification B2
ENGINE_BARS = 200  # the averages of specification A3 have forgotten their start by then
ENGINE_TIMEFRAMES = ("1m", "5m", "15m", "1h")  # specification A6


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelNeeds:
    """Which of the wired models want which timeframes."""

    ensemble_timeframe: str | None
    engine_timeframes: tuple[str, ...]

    def bars_needed(self) -> dict[str, int]:
        """Return how many closed candles to ask for by timeframe."""
        needed = dict.fromkeys(self.engine_timeframes, ENGINE_BARS)
        if self.ensemble_timeframe is not None:
            needed[self.ensemble_timeframe] = ENSEMBLE_BARS
        return needed


def needs_of(
    models: Collection[str], *, ensemble_timeframe: str, primary_timeframe: str
) -> ModelNeeds:
    """Return what the models of these names need."""
    engine = tuple(dict.fromkeys((*ENGINE_TIMEFRAMES, primary_timeframe)))
    return ModelNeeds(
        ensemble_timeframe=ensemble_timeframe if ENSEMBLE_MODEL in models else None,
        engine_timeframes=engine if RULES_MODEL in models else (),
    )


def model_facts(
    snapshot: Snapshot, *, needs: ModelNeeds, simulated: bool, limits: Limits
) -> dict[str, Any]:
    """Return the facts as plain JSON values.

    ``ensemble`` and each of ``engine`` by timeframe are what ``to_dict`` of quant's features
    gives, or ``{"missing": why}``; ``stale`` names the timeframes whose last candle is too old;
    ``atr`` is by timeframe in quote currency.
    """
    ensemble = needs.ensemble_timeframe
    engine = {key: _engine(snapshot, key) for key in needs.engine_timeframes}
    facts: dict[str, Any] = {
        "as_of": moment(snapshot.as_of),
        "simulated": simulated,
        "mid": snapshot.quote.mid,
        "engine": engine,
        "stale": [
            key
            for key in needs.bars_needed()
            if (series := snapshot.candles.get(key)) is not None
            and len(series.bars)
            and is_stale(series, as_of=snapshot.as_of, limits=limits)
        ],
    }
    if ensemble is not None:
        facts |= {"ensemble_timeframe": ensemble, "ensemble": _ensemble(snapshot, ensemble)}
    facts["atr"] = {key: _atr(each) for key, each in engine.items()}
    if ensemble is not None and facts["atr"].get(ensemble) is None:
        facts["atr"][ensemble] = _atr(facts["ensemble"])
    return facts


def _ensemble(snapshot: Snapshot, timeframe: str) -> dict[str, Any]:
    bars = _bars(snapshot, timeframe, count=ENSEMBLE_BARS)
    return {"missing": bars} if isinstance(bars, str) else dict(_ensemble_of(bars, timeframe))


@lru_cache(maxsize=KEPT_SERIES)
def _ensemble_of(bars: Bars, timeframe: str) -> Mapping[str, Any]:
    if not are_candles(bars):
        return _impossible(timeframe)
    if len(bars) < MIN_BARS:
        return {"missing": f"needs {MIN_BARS} closed {timeframe} bars, has {len(bars)}"}
    return ensemble_features(bars).to_dict()


def _engine(snapshot: Snapshot, timeframe: str) -> dict[str, Any]:
    bars = _bars(snapshot, timeframe, count=ENGINE_BARS)
    return {"missing": bars} if isinstance(bars, str) else dict(_engine_of(bars, timeframe))


@lru_cache(maxsize=KEPT_SERIES)
def _engine_of(bars: Bars, timeframe: str) -> Mapping[str, Any]:
    return engine_features(bars).to_dict() if are_candles(bars) else _impossible(timeframe)


def _impossible(timeframe: str) -> dict[str, Any]:
    return {"missing": f"the {timeframe} bars hold values that no market has"}


def _bars(snapshot: Snapshot, timeframe: str, *, count: int) -> Bars | str:
    """Return the last candles of a timeframe, or why there are none to compute from."""
    series = snapshot.candles.get(timeframe)
    if series is None:
        return snapshot.faults.get(f"candles.{timeframe}", f"no {timeframe} bars were asked for")
    if not len(series.bars):
        return f"has no closed {timeframe} bar"
    return series.bars[-count:]


def _atr(features: Mapping[str, Any]) -> float | None:
    share, close = features.get("atr_frac"), features.get("close")
    return None if share is None or close is None else float(share * close)
