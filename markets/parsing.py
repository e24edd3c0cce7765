"""Reading of symbols as traders write them, and of candles from tables."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

from quant.types import Bars

_SETTLEMENT = re.compile(r":[A-Z0-9]+$")
_QUOTES = ("USDT", "USDC", "USD", "PERP")
_JOINED = re.compile(rf"^(?P<base>.+?)(?:{'|'.join(_QUOTES)})(?:\.P|PERP)?$")
# Coins whose symbol is itself a dollar: their ending is no quote currency.
_DOLLARS = frozenset({"FDUSD", "TUSD", "BUSD", "PYUSD", "SUSD", "GUSD", "USDT", "USDC", "USD"})
# Contracts of a thousand coins. Source: Hyperliquid writes kPEPE, Binance 1000PEPE.
_THOUSANDS = frozenset({"PEPE", "SHIB", "BONK", "FLOKI", "LUNC", "DOGS", "NEIRO"})


def venue_symbol(symbol: str) -> str:
    """Return the bare coin that a symbol means, as venues of perpetuals name it.

    ``BTC-PERP``, ``BTCUSDT``, ``BTC/USDT:USDT``, ``BTC-USD`` and ``btc`` are ``BTC``; ``kPEPE``,
    ``KPEPE`` and ``1000PEPEUSDT`` are ``kPEPE``. A symbol that is all suffix stays as it is.
    """
    text = symbol.strip().upper()
    parted = _SETTLEMENT.sub("", text) if "/" in text else text
    base = re.split(r"[-/_]", parted, maxsplit=1)[0]
    if base and base != parted:
        return _thousand(base)
    joined = _JOINED.match(parted)
    return _thousand(joined["base"] if joined and parted not in _DOLLARS else parted)


def bars_of(
    open_ms: npt.NDArray[np.int64], table: npt.NDArray[np.float64], *, timeframe_s: int
) -> Bars:
    """Return the candles that a table holds.

    Shapes: ``open_ms`` (n,); ``table`` (n, 5) with columns open, high, low, close, volume.
    """
    first, high, low, last, volume = np.array(table.T, order="C")
    return Bars(open_ms, first, high, low, last, volume, timeframe_s)


def _thousand(base: str) -> str:
    for prefix in ("1000", "K"):
        if base.removeprefix(prefix) in _THOUSANDS and base.startswith(prefix):
            return "k" + base.removeprefix(prefix)
    return base
