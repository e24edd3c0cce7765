"""Reading of symbols as traders write them, of tables, and of values that were written down."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from markets.types import Derivatives, OrderBook, Quote
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


def moment(unix_ms: int) -> datetime:
    """Return the UTC time of unix milliseconds."""
    return datetime.fromtimestamp(unix_ms / 1000, tz=UTC)


def bars_of(
    open_ms: npt.NDArray[np.int64], table: npt.NDArray[np.float64], *, timeframe_s: int
) -> Bars:
    """Return the candles that a table holds.

    Shapes: ``open_ms`` (n,); ``table`` (n, 5) with columns open, high, low, close, volume.
    """
    first, high, low, last, volume = np.array(table.T, order="C")
    return Bars(open_ms, first, high, low, last, volume, timeframe_s)


def quote_text(quote: Quote) -> bytes:
    """Return a quote as JSON."""
    return _json([quote.symbol, quote.mid, quote.bid, quote.ask, _iso(quote.as_of), quote.source])


def quote_of(text: bytes) -> Quote:
    """Return the quote that ``quote_text`` wrote."""
    symbol, mid, bid, ask, as_of, source = json.loads(text)
    return Quote(
        symbol=symbol,
        mid=float(mid),
        bid=bid,
        ask=ask,
        as_of=datetime.fromisoformat(as_of),
        source=source,
    )


def book_text(book: OrderBook | None) -> bytes:
    """Return a book as JSON; null where there is none."""
    if book is None:
        return b"null"
    return _json([book.symbol, book.bids, book.asks, _iso(book.as_of), book.source])


def book_of(text: bytes) -> OrderBook | None:
    """Return the book that ``book_text`` wrote."""
    fields = json.loads(text)
    if fields is None:
        return None
    symbol, bids, asks, as_of, source = fields
    return OrderBook(
        symbol=symbol,
        bids=tuple((float(price), float(size)) for price, size in bids),
        asks=tuple((float(price), float(size)) for price, size in asks),
        as_of=datetime.fromisoformat(as_of),
        source=source,
    )


def sheet_text(sheet: Mapping[str, Derivatives | str | None]) -> bytes:
    """Return derivatives by symbol as JSON; a text says why a row was refused, null is none."""
    return _json({symbol: _derivatives_fields(row) for symbol, row in sheet.items()})


def sheet_of(text: bytes) -> dict[str, Derivatives | str | None]:
    """Return the derivatives that ``sheet_text`` wrote."""
    return {symbol: _derivatives(symbol, row) for symbol, row in json.loads(text).items()}


def _thousand(base: str) -> str:
    for prefix in ("1000", "K"):
        if base.removeprefix(prefix) in _THOUSANDS and base.startswith(prefix):
            return "k" + base.removeprefix(prefix)
    return base


def _derivatives_fields(row: Derivatives | str | None) -> object:
    if not isinstance(row, Derivatives):
        return row
    return [
        row.funding_rate,
        row.predicted_funding,
        row.open_interest,
        row.oi_change_24h_pct,
        row.mark_price,
        row.oracle_price,
        _iso(row.as_of),
        row.source,
    ]


def _derivatives(symbol: str, row: object) -> Derivatives | str | None:
    if row is None or isinstance(row, str):
        return row
    if not isinstance(row, list):
        raise TypeError(f"derivatives of {symbol} are {row!r}")
    funding, predicted, interest, change, mark, oracle, as_of, source = row
    return Derivatives(
        symbol=symbol,
        funding_rate=funding,
        predicted_funding=predicted,
        open_interest=interest,
        oi_change_24h_pct=change,
        mark_price=mark,
        oracle_price=oracle,
        as_of=datetime.fromisoformat(as_of),
        source=source,
    )


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()
