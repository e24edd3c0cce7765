from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from signals.mapping import STARTERS, Understood, parse_mapping, read_message, understand
from signals.types import (
    BodyTooLarge,
    Direction,
    EventType,
    HookKind,
    InvalidSignal,
    UnusableMapping,
)

NOON = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
STRATEGY = {
    "ticker": "BTCUSDT.P",
    "action": "buy",
    "position": "long",
    "previous": "flat",
    "price": "42000.123456789",
    "contracts": "0.25",
    "time": "2026-01-15T11:59:58Z",
}
FREQTRADE = {
    "event": "entry",
    "trade_id": "17",
    "pair": "ETH/USDT:USDT",
    "direction": "Short",
    "price": "2310.5",
    "amount": "1.5",
    "tag": "breakout",
}


def of(kind: HookKind, message: Any, **changes: Any) -> Understood:
    rules = parse_mapping(STARTERS[kind])
    return understand({**message, **changes}, rules=rules, source="alerts", now=NOON)


def test_a_strategy_alert_becomes_a_signal() -> None:
    found = of(HookKind.TRADINGVIEW, STRATEGY)

    assert found.draft.event_type is EventType.OPEN_SIGNAL
    assert found.draft.direction is Direction.LONG
    assert found.draft.symbol == "BTCUSDT.P"
    assert found.draft.entry_price == Decimal("42000.12345679")
    assert found.draft.size == Decimal("0.25")
    assert found.draft.liquidation_price is None
    assert found.draft.ts_utc == datetime(2026, 1, 15, 11, 59, 58, tzinfo=UTC)
    assert found.draft.source == "alerts"


@pytest.mark.parametrize(
    ("changes", "event_type", "direction"),
    [
        ({"position": "short", "action": "sell"}, "OPEN_SIGNAL", "short"),
        ({"position": "short", "previous": "long", "action": "sell"}, "OPEN_SIGNAL", "short"),
        ({"position": "flat", "previous": "long", "action": "sell"}, "CLOSE_SIGNAL", "close_long"),
        ({"position": "FLAT", "previous": "short", "action": "buy"}, "CLOSE_SIGNAL", "close_short"),
        ({"position": "{{strategy.market_position}}", "previous": ""}, "OPEN_SIGNAL", "long"),
        ({"event": "close", "direction": "short"}, "CLOSE_SIGNAL", "close_short"),
    ],
)
def test_position_and_action_tell_what_an_alert_means(
    changes: dict[str, str], event_type: str, direction: str
) -> None:
    draft = of(HookKind.TRADINGVIEW, STRATEGY, **changes).draft

    assert (draft.event_type, draft.direction) == (event_type, direction)


def test_what_was_not_filled_in_counts_as_not_there() -> None:
    found = of(HookKind.TRADINGVIEW, STRATEGY, contracts="NaN", time="{{timenow}}")

    assert found.draft.size == 1
    assert found.draft.ts_utc == NOON


def test_freqtrade_tells_entries_and_exits_apart() -> None:
    entry = of(HookKind.FREQTRADE, FREQTRADE)
    leave = of(HookKind.FREQTRADE, FREQTRADE, event="exit")

    assert (entry.draft.event_type, entry.draft.direction) == ("OPEN_SIGNAL", "short")
    assert (leave.draft.event_type, leave.draft.direction) == ("CLOSE_SIGNAL", "close_short")
    assert entry.draft.notes == "breakout"


def test_the_same_trade_and_event_have_the_same_key_whatever_else_they_say() -> None:
    first = of(HookKind.FREQTRADE, FREQTRADE)
    again = of(HookKind.FREQTRADE, FREQTRADE, price="2311")
    leave = of(HookKind.FREQTRADE, FREQTRADE, event="exit")

    assert first.once_key == again.once_key
    assert first.sha256 != again.sha256
    assert leave.once_key != first.once_key


def test_a_message_with_a_time_is_known_again_by_its_content_and_one_without_is_not() -> None:
    dated, again = of(HookKind.TRADINGVIEW, STRATEGY), of(HookKind.TRADINGVIEW, STRATEGY)
    undated = of(HookKind.TRADINGVIEW, STRATEGY, time="")

    assert dated.once_key == again.once_key
    assert dated.once_key is not None
    assert undated.once_key is None


def test_a_complaint_names_the_field_and_where_its_value_came_from() -> None:
    with pytest.raises(InvalidSignal) as caught:
        of(HookKind.TRADINGVIEW, STRATEGY, position="sideways", price="cheap")

    told = {fault.field: fault.message for fault in caught.value.errors}
    assert '(the message says position: "sideways")' in told["event_type"]
    assert '(the message says price: "cheap")' in told["entry_price"]


def test_a_mapping_may_dig_translate_and_count_from_the_epoch() -> None:
    rules = parse_mapping(
        {
            "fields": {
                "event_type": {"value": "OPEN_SIGNAL"},
                "symbol": {"from": "data.legs.0.coin"},
                "signal_direction": {"from": "data.side", "words": {"B": "long"}},
                "entry_price": {"from": ["data.px", "data.mark"]},
                "size": {"value": 2},
                "liquidation_price": {"value": None},
                "ts_utc": {"from": "at", "as": "epoch_ms"},
                "valid_for_s": {"from": "ttl"},
            },
            "once_by": ["id"],
        }
    )
    message = {
        "id": 9,
        "at": 1768478400000,
        "ttl": "30",
        "data": {"legs": [{"coin": "sol"}], "side": "b", "mark": 98.5},
    }

    found = understand(message, rules=rules, source="desk", now=NOON)

    assert (found.draft.symbol, found.draft.direction) == ("SOL", "long")
    assert (found.draft.entry_price, found.draft.size) == (Decimal("98.5"), Decimal(2))
    assert (found.draft.ts_utc, found.draft.valid_for_s) == (NOON, 30)
    assert found.once_key is not None


@pytest.mark.parametrize("content_type", ["text/plain", "application/json", ""])
def test_json_is_read_whatever_it_is_called(content_type: str) -> None:
    body = json.dumps(STRATEGY).encode()

    assert read_message(body, content_type=content_type, max_bytes=4096) == STRATEGY


def test_a_form_is_read_as_an_object() -> None:
    body = b"event=entry&pair=ETH%2FUSDT&tag="

    message = read_message(
        body, content_type="application/x-www-form-urlencoded; charset=utf-8", max_bytes=4096
    )

    assert message == {"event": "entry", "pair": "ETH/USDT", "tag": ""}


@pytest.mark.parametrize(
    "body", [b"BTC long at 42000", b"[1]", b"\xff", b'{"a": 1, "a": 2}', b'{"a": NaN}', b""]
)
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidSignal):
        read_message(body, content_type="text/plain", max_bytes=4096)


def test_a_message_over_the_limit_is_refused() -> None:
    with pytest.raises(BodyTooLarge):
        read_message(b"x" * 11, content_type="text/plain", max_bytes=10)


@pytest.mark.parametrize(
    ("mapping", "place"),
    [
        ({}, "fields"),
        ({"fields": {}}, "fields"),
        ({"fields": {"price": {"from": "p"}}}, "fields.price.[key]"),
        ({"fields": {"symbol": {"form": "p"}}}, "fields.symbol.form"),
        ({"fields": {"symbol": {"from": "a..b"}}}, "fields.symbol.from.0"),
        ({"fields": {"symbol": {"from": "a"}}, "once_by": [1]}, "once_by.0"),
    ],
)
def test_a_mapping_that_cannot_be_followed_is_refused_by_its_place(
    mapping: Any, place: str
) -> None:
    with pytest.raises(UnusableMapping) as caught:
        parse_mapping(mapping)

    assert place in {fault.field for fault in caught.value.errors}


@pytest.mark.parametrize("kind", list(HookKind))
def test_what_each_kind_starts_with_can_be_followed(kind: HookKind) -> None:
    assert parse_mapping(json.loads(json.dumps(STARTERS[kind]))).fields
