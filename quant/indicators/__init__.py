"""The catalogue: every indicator that a feature profile can name.

An entry turns bars into named columns of the same length, NaN where there is no value yet.
Column names carry the period where a profile may ask for several (``ema_9``, ``rsi_14``) and are
unique over the whole catalogue, so the columns of one timeframe fit into one flat mapping.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

from quant.indicators.adx import adx
from quant.indicators.atr import AtrMethod, atr, natr
from quant.indicators.bollinger import bollinger
from quant.indicators.ema import ema
from quant.indicators.macd import macd
from quant.indicators.obv import obv
from quant.indicators.realised_volatility import realised_volatility
from quant.indicators.roc import roc
from quant.indicators.rsi import rsi
from quant.indicators.sma import sma
from quant.indicators.stochastic import stochrsi
from quant.indicators.volume_ratio import volume_ratio
from quant.indicators.vwap import vwap_rolling, vwap_session
from quant.types import Array, Bars

Option = int | float | str | tuple[int, ...]
Columns = dict[str, Array]


@dataclass(frozen=True, slots=True)
class Indicator:
    """An indicator by name, with the options it takes and their defaults.

    ``columns`` and ``bars_needed`` receive every option, checked and completed.
    """

    name: str
    defaults: Mapping[str, Option]
    columns: Callable[..., Columns]
    bars_needed: Callable[..., int]

    def compute(self, bars: Bars, **options: object) -> Columns:
        """Return the named columns over these bars.

        Shapes: n bars -> (n,) each; NaN during the warm-up, everywhere when bars are too few.
        Units: those of the indicator's own function.
        Edges: no bars give empty columns.
        Source: the indicator's own function.
        :raises ValueError: if an option is unknown or its value cannot be used.
        """
        return self.columns(bars, **self._completed(options))

    def warm_up(self, **options: object) -> int:
        """Return how many bars the last column needs for its first value.

        Shapes: scalar.
        Units: bars.
        Edges: averages with a memory (EMA, MACD, RSI, ATR, ADX) still lean on where they
            started; about four times as many bars make that negligible.
        Source: vectors ``first_valid_index`` + 1.
        :raises ValueError: if an option is unknown or its value cannot be used.
        """
        completed = self._completed(options)
        self.columns(Bars.empty(timeframe_s=60), **completed)  # refuses what compute would
        return self.bars_needed(**completed)

    def _completed(self, options: Mapping[str, object]) -> dict[str, Any]:
        for option in options:
            if option not in self.defaults:
                raise ValueError(self._unknown(option))
        given = {key: _typed(self.name, key, options[key], self.defaults[key]) for key in options}
        return {**self.defaults, **given}

    def _unknown(self, option: str) -> str:
        if not self.defaults:
            return f"{self.name} takes no options, was given {option!r}"
        near = get_close_matches(option, self.defaults, n=1, cutoff=0.0)
        return f"{self.name} has no option {option!r}; did you mean {near[0]!r}?"


def indicator_named(name: str) -> Indicator:
    """Return the catalogue's entry.

    :raises ValueError: if there is none; the message names the nearest one.
    """
    if name not in CATALOGUE:
        near = get_close_matches(name, CATALOGUE, n=1, cutoff=0.0)
        raise ValueError(f"there is no indicator {name!r}; did you mean {near[0]!r}?")
    return CATALOGUE[name]


def _typed(name: str, option: str, value: object, default: Option) -> Option:
    """Return ``value`` as the kind of ``default``; lists come from JSON and stand for tuples."""
    if isinstance(default, tuple) and isinstance(value, list | tuple) and value:
        if all(type(each) is int for each in value):
            return tuple(value)
    elif type(value) is type(default) and isinstance(value, int | float | str):
        return value
    elif isinstance(default, float) and type(value) is int:
        return float(value)
    raise ValueError(f"{name} cannot use {option} = {value!r}; its default is {default!r}")


def _ema(bars: Bars, *, periods: tuple[int, ...]) -> Columns:
    return {f"ema_{period}": ema(bars.close, period=period) for period in periods}


def _sma(bars: Bars, *, periods: tuple[int, ...]) -> Columns:
    return {f"sma_{period}": sma(bars.close, period=period) for period in periods}


def _macd(bars: Bars, *, fast: int, slow: int, signal: int) -> Columns:
    found = macd(bars.close, fast=fast, slow=slow, signal=signal)
    return {"macd_line": found.line, "macd_signal": found.signal, "macd_hist": found.hist}


def _rsi(bars: Bars, *, period: int) -> Columns:
    return {f"rsi_{period}": rsi(bars.close, period=period)}


def _roc(bars: Bars, *, period: int) -> Columns:
    return {f"roc_{period}": roc(bars.close, period=period)}


def _atr(bars: Bars, *, period: int, method: AtrMethod) -> Columns:
    return {f"atr_{period}": atr(bars.high, bars.low, bars.close, period=period, method=method)}


def _natr(bars: Bars, *, period: int, method: AtrMethod) -> Columns:
    return {f"natr_{period}": natr(bars.high, bars.low, bars.close, period=period, method=method)}


def _bollinger(bars: Bars, *, period: int, deviations: float) -> Columns:
    bands = bollinger(bars.close, period=period, deviations=deviations)
    return {f"bb_{name}": column for name, column in bands._asdict().items()}


def _adx(bars: Bars, *, period: int) -> Columns:
    found = adx(bars.high, bars.low, bars.close, period=period)
    return {f"{name}_{period}": column for name, column in found._asdict().items()}


def _vwap(bars: Bars, *, window: int) -> Columns:
    return {
        "vwap_session": vwap_session(bars),
        f"vwap_rolling_{window}": vwap_rolling(bars, window=window),
    }


def _obv(bars: Bars) -> Columns:
    return {"obv": obv(bars.close, bars.volume)}


def _stochrsi(bars: Bars, **options: int) -> Columns:
    found = stochrsi(bars.close, **options)
    return {f"stochrsi_{name}": column for name, column in found._asdict().items()}


def _stochrsi_needs(*, period: int, window: int, smooth_k: int, smooth_d: int) -> int:
    return period + window + smooth_k + smooth_d - 2


def _volume_ratio(bars: Bars, *, window: int) -> Columns:
    return {f"volume_ratio_{window}": volume_ratio(bars.volume, window=window)}


def _realised_volatility(bars: Bars, *, window: int) -> Columns:
    found = realised_volatility(bars.close, timeframe_s=bars.timeframe_s, window=window)
    return {f"realised_volatility_{window}": found}


_ENTRIES = (
    Indicator("ema", {"periods": (9, 21, 50)}, _ema, lambda periods: max(periods)),
    Indicator("sma", {"periods": (20,)}, _sma, lambda periods: max(periods)),
    Indicator(
        "macd",
        {"fast": 12, "slow": 26, "signal": 9},
        _macd,
        lambda fast, slow, signal: slow + signal - 1,
    ),
    Indicator("rsi", {"period": 14}, _rsi, lambda period: period + 1),
    Indicator("roc", {"period": 10}, _roc, lambda period: period + 1),
    Indicator(
        "stochrsi",
        {"period": 14, "window": 14, "smooth_k": 3, "smooth_d": 3},
        _stochrsi,
        _stochrsi_needs,
    ),
    Indicator("atr", {"period": 14, "method": "wilder"}, _atr, lambda period, method: period + 1),
    Indicator("natr", {"period": 14, "method": "wilder"}, _natr, lambda period, method: period + 1),
    Indicator(
        "bollinger",
        {"period": 20, "deviations": 2.0},
        _bollinger,
        lambda period, deviations: period,
    ),
    Indicator("adx", {"period": 14}, _adx, lambda period: 2 * period),
    Indicator("vwap", {"window": 20}, _vwap, lambda window: window),
    Indicator("obv", {}, _obv, lambda: 1),
    Indicator("volume_ratio", {"window": 20}, _volume_ratio, lambda window: window),
    Indicator(
        "realised_volatility", {"window": 20}, _realised_volatility, lambda window: window + 1
    ),
)
CATALOGUE: Mapping[str, Indicator] = MappingProxyType({entry.name: entry for entry in _ENTRIES})
