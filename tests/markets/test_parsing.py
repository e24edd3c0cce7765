from __future__ import annotations

import pytest

from markets import parsing
from markets.types import Derivatives, OrderBook, Quote
from tests.markets.venue import at


@pytest.mark.parametrize(
    ("symbol", "coin"),
    [
        ("BTC", "BTC"),
        ("btc", "BTC"),
        (" BTC ", "BTC"),
        ("BTC-PERP", "BTC"),
        ("BTCPERP", "BTC"),
        ("BTCUSDT", "BTC"),
        ("BTCUSDT.P", "BTC"),
        ("BTC-USD", "BTC"),
        ("BTC_USDT", "BTC"),
        ("BTC/USDT:USDT", "BTC"),
        ("BTC-USDT-SWAP", "BTC"),
        ("kPEPE", "kPEPE"),
        ("KPEPE", "kPEPE"),
        ("KPEPE-PERP", "kPEPE"),
        ("1000PEPEUSDT", "kPEPE"),
        ("KAS", "KAS"),
        ("KAITOUSDT", "KAITO"),
        ("PERP", "PERP"),
        ("PERP-PERP", "PERP"),
        ("USDT", "USDT"),
        ("FDUSD", "FDUSD"),
        ("ETHBTC", "ETHBTC"),
    ],
)
def test_a_symbol_is_read_as_the_coin_it_means(symbol: str, coin: str) -> None:
    assert parsing.venue_symbol(symbol) == coin


def test_reading_a_symbol_twice_changes_nothing() -> None:
    once = parsing.venue_symbol("1000PEPEUSDT")

    assert parsing.venue_symbol(once) == once


def test_values_come_back_as_they_were_written_down() -> None:
    quote = Quote(symbol="BTC", mid=1.5, bid=None, ask=2.0, as_of=at("10:00"), source="x")
    book = OrderBook(
        symbol="BTC", bids=((1.0, 2.0),), asks=((1.5, 3.0),), as_of=at("10:00"), source="x"
    )
    row = Derivatives(
        symbol="BTC",
        funding_rate=1.25e-5,
        predicted_funding=None,
        open_interest=3.0,
        oi_change_24h_pct=None,
        mark_price=1.0,
        oracle_price=1.1,
        as_of=at("10:00"),
        source="x",
    )
    sheet: dict[str, Derivatives | str | None] = {
        "BTC": row,
        "BAD": "markPx of BAD is 'x'",
        "SPOT": None,
    }

    assert parsing.quote_of(parsing.quote_text(quote)) == quote
    assert parsing.book_of(parsing.book_text(book)) == book
    assert parsing.book_of(parsing.book_text(None)) is None
    assert parsing.sheet_of(parsing.sheet_text(sheet)) == sheet
