from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signals.parsing import BODY_MAX_BYTES, load_json, parse_signal
from signals.types import BodyTooLarge, Direction, InvalidSignal, SignalDraft

NOW = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
BODY: dict[str, Any] = {
    "event_type": "OPEN_SIGNAL",
    "symbol": "BTC",
    "signal_direction": "long",
    "entry_price": 42000.0,
    "size": 0.1,
    "liquidation_price": 38000,
    "ts_utc": "2026-01-15T11:59:58Z",
    "source": "strategy_alpha",
}
MISSING = object()


def parse(**changes: Any) -> SignalDraft:
    body = {name: value for name, value in (BODY | changes).items() if value is not MISSING}
    return parse_signal(load_json(json.dumps(body).encode()), now=NOW)


def refused(**changes: Any) -> list[tuple[str, str]]:
    with pytest.raises(InvalidSignal) as refusal:
        parse(**changes)
    assert all(fault.message for fault in refusal.value.errors)
    return [(fault.field, fault.code) for fault in refusal.value.errors]


def test_a_good_body_becomes_a_draft_with_exact_numbers() -> None:
    draft = parse(entry_price="0.00000001", size=999_999_999_999, liquidation_price=None)

    assert draft.entry_price == Decimal("0.00000001")
    assert draft.size == Decimal(999_999_999_999)
    assert draft.liquidation_price is None
    assert draft.ts_utc == datetime(2026, 1, 15, 11, 59, 58, tzinfo=UTC)


@pytest.mark.parametrize("name", sorted(BODY))
def test_each_required_field_is_missed_by_name(name: str) -> None:
    assert refused(**{name: MISSING}) == [(name, "required")]


def test_an_unknown_field_is_named() -> None:
    assert refused(stopp=1) == [("stopp", "unknown_field")]


@pytest.mark.parametrize("name", ["entry_price", "size", "liquidation_price", "stop_price"])
@pytest.mark.parametrize(
    "value",
    [0, -1, "0", "-1", "1e5", "1_000", "٤٢", "１２", " 1", "1.", ".5", "", "NaN", 1e12, "1e-400",
     "0.123456789", True, [1], {"a": 1}, "1000000000000"],
    ids=str,
)  # fmt: skip
def test_a_number_that_is_no_plain_positive_decimal_is_refused(name: str, value: Any) -> None:
    assert refused(**{name: value}) == [(name, "invalid")]


@pytest.mark.parametrize(
    "symbol", ["", "BTC USD", "ВТС", "btc\n", "B" * 21, "-BTC", "BTC\u200b", 5, None, "ＢＴＣ"]
)
def test_a_symbol_outside_the_alphabet_is_refused(symbol: Any) -> None:
    assert refused(symbol=symbol) == [("symbol", "invalid")]


def test_a_symbol_is_upper_cased_and_kept_as_given() -> None:
    draft = parse(symbol="btc-perp")

    assert (draft.symbol, draft.symbol_given) == ("BTC-PERP", "btc-perp")


@pytest.mark.parametrize(
    "text",
    ["2026-01-15T11:00:00", "yesterday", "2026-13-01T00:00:00Z", 1768478400, "2026-01-15", None,
     "2026-01-15T11:00:00+25:00"],
)  # fmt: skip
def test_a_time_without_zone_or_sense_is_refused(text: Any) -> None:
    assert [field for field, _ in refused(ts_utc=text)] == ["ts_utc"]


@pytest.mark.parametrize(("ahead_s", "accepted"), [(60, True), (61, False)])
def test_a_time_may_lie_a_minute_ahead_and_no_more(ahead_s: int, *, accepted: bool) -> None:
    text = (NOW + timedelta(seconds=ahead_s)).isoformat()

    if accepted:
        assert parse(ts_utc=text).ts_utc == NOW + timedelta(seconds=60)
    else:
        assert refused(ts_utc=text) == [("ts_utc", "in_future")]


def test_any_older_time_is_left_to_the_age_gate() -> None:
    assert parse(ts_utc="2024-01-15T10:30:00+02:00").ts_utc.year == 2024


@pytest.mark.parametrize("source", ["", "x" * 101, "a\nb", "a\x00b", "a\u202eb", 5], ids=ascii)
def test_a_source_must_be_short_and_printable(source: Any) -> None:
    assert [field for field, _ in refused(source=source)] == ["source"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"liquidation_price": 42000}, "liquidation_price"),
        ({"liquidation_price": 43000}, "liquidation_price"),
        ({"stop_price": 43000}, "stop_price"),
        ({"target_price": 41000}, "target_price"),
        ({"signal_direction": "short"}, "liquidation_price"),
        (
            {"signal_direction": "short", "liquidation_price": 43000, "stop_price": 1},
            "stop_price",
        ),
        (
            {
                "event_type": "CLOSE_SIGNAL",
                "signal_direction": "close_long",
                "liquidation_price": 43000,
            },
            "liquidation_price",
        ),
    ],
)
def test_a_price_on_the_wrong_side_is_refused(changes: dict[str, Any], field: str) -> None:
    assert refused(**changes) == [(field, "wrong_side")]


def test_an_open_signal_cannot_close() -> None:
    assert refused(signal_direction="close_long") == [("signal_direction", "wrong_for_event_type")]


@pytest.mark.parametrize(
    ("given_direction", "read_as"),
    [("long", Direction.CLOSE_LONG), ("close_long", Direction.CLOSE_LONG)],
)
def test_a_close_signal_may_say_the_side_alone(given_direction: str, read_as: str) -> None:
    draft = parse(event_type="CLOSE_SIGNAL", signal_direction=given_direction)

    assert draft.direction == read_as


@pytest.mark.parametrize(
    "changes",
    [
        {"event_type": "OPEN"},
        {"signal_direction": "up"},
        {"valid_for_s": 0},
        {"valid_for_s": 86_401},
        {"valid_for_s": "60"},
        {"valid_for_s": 1.5},
        {"timeframe": "7m"},
        {"feature_profile": "../etc"},
        {"notes": "x" * 1001},
        {"notes": "a\x00b"},
        {"notes": "half \ud800"},
        {"context": [1]},
        {"context": {"a": ["nul \x00"]}},
        {"context": {"half \udc00": 1}},
        {"context": {"text": "x" * 8200}},
    ],
    ids=str,
)
def test_optional_fields_are_checked_too(changes: dict[str, Any]) -> None:
    assert [field.split(".")[0] for field, _ in refused(**changes)] == list(changes)


def test_every_fault_is_told_at_once() -> None:
    fields = {field for field, _ in refused(symbol="", size=-1, source="")}

    assert fields == {"symbol", "size", "source"}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "json"),
        (b"{", "json"),
        (b"\xff\xfe", "encoding"),
        (b'{"a": NaN}', "number"),
        (b'{"a": Infinity}', "number"),
        (b'{"a": 1e99999999999}', "number"),
        (b'{"a": 1e999999}', "number"),
        (b'{"a": 12345678901234567890}', "number"),
        (b'{"size": 1, "size": 2}', "doubled"),
        (b"[" * 50_000, "depth"),
        (b'{"a":' * 17 + b"1" + b"}" * 17, "depth"),
    ],
    ids=str,
)
def test_json_that_hides_something_is_refused(body: bytes, code: str) -> None:
    with pytest.raises(InvalidSignal) as refusal:
        load_json(body)

    assert [fault.code for fault in refusal.value.errors] == [code]


@pytest.mark.parametrize("value", [[], 5, "text", None, [BODY]], ids=str)
def test_a_body_that_is_no_object_is_refused(value: Any) -> None:
    with pytest.raises(InvalidSignal):
        parse_signal(value, now=NOW)


def test_a_large_body_is_refused_before_it_is_read() -> None:
    with pytest.raises(BodyTooLarge):
        load_json(b" " * (BODY_MAX_BYTES + 1))


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from([*BODY, "x"]), inner, max_size=9)
        ),
        max_leaves=20,
    )
)
def test_nothing_but_a_named_refusal_comes_of_any_json(value: Any) -> None:
    try:
        draft = parse_signal(load_json(json.dumps(value).encode()), now=NOW)
    except InvalidSignal as refusal:
        assert refusal.errors
    else:
        assert isinstance(draft, SignalDraft)
