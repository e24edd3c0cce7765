"""Input that a plain view once let through: each must be refused by name, and none may break us."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rest_framework.test import APIClient

from signals.parsing import DECIMAL_TEXT, load_json, parse_signal
from signals.types import InvalidSignal
from tests.factories import make_body

Api = Callable[..., APIClient]
NOW = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
FIELD = '"entry_price": '


def body_with(name: str, value: str) -> bytes:
    """Return a good body with one field replaced by JSON text."""
    fields = make_body(ts_utc=NOW.isoformat())
    fields.pop(name, None)
    return (json.dumps(fields)[:-1] + f', "{name}": {value}}}').encode()


NUMBERS = [
    *(
        "0",
        "-1",
        "-0.0",
        "1e-400",
        "1e400",
        "1e12",
        "1000000000000",
        "NaN",
        "Infinity",
        "-Infinity",
    ),
    *("true", "null", "[]", "{}", '""', '" 1"', '"1 "', '"+1"', '"-1"', '"0"', '"0.0"', '"1_000"'),
    *('"1,000"', '"1e3"', '"0x10"', '"1."', '".5"', '"NaN"', '"1.123456789"', "1.123456789"),
    *('"\\u0661\\u0662"', '"\\uff11\\uff12"', '"\\u09e7"', '"\\u00b2"', '"1\\u0000"', '"1\\n"'),
    *("9" * 400, f'"{"9" * 400}"', "1" + "0" * 5000),
]
SYMBOLS = [
    *(
        '""',
        '" BTC"',
        '"BTC "',
        '"B TC"',
        '"BTC\\n"',
        '"BTC\\u0000"',
        '"\\u0412TC"',
        '"B\\u200bTC"',
    ),
    *(
        '"\\uff22TC"',
        '"\\u2160TC"',
        '"\\u017fOL"',
        '"-BTC"',
        '"/BTC"',
        f'"{"A" * 21}"',
        "1",
        "null",
    ),
    *(
        '["BTC"]',
        '"BTC;DROP"',
        '"{constraints}"',
        '"<b>"',
        '"\\ud800"',
        '"\\u0130TC"',
        '"stra\\u00dfe"',
    ),
]
TIMES = [
    *(
        '""',
        '"now"',
        '"2026-01-15"',
        '"2026-01-15T12:00:00"',
        '"2026-13-01T00:00:00Z"',
        "1768478400",
    ),
    *('"6510-01-01T00:00:00Z"', '"0001-01-01T00:00:00Z"', '"2026-01-15T12:00:00+99:99"', "null"),
    *('"\\u0662026-01-15T12:00:00Z"', '"2026-01-15T12:00:00Z\\n"', '"2026-02-30T00:00:00Z"'),
]
TEXTS = [
    '""',
    '"a\\u0000b"',
    '"a\\nb"',
    '"a\\u202eb"',
    '"\\ue000"',
    '"a\\udb40\\udc41"',
    "1",
    "null",
]
WORDS = ['""', '"OPEN"', '"open_signal"', '"OPEN_SIGNAL "', "1", "null", '["OPEN_SIGNAL"]']
CORPUS = [
    *(("entry_price", value) for value in NUMBERS),
    *(("size", value) for value in NUMBERS),
    *(("symbol", value) for value in SYMBOLS),
    *(("ts_utc", value) for value in TIMES),
    *(("source", value) for value in TEXTS),
    *(("event_type", value) for value in WORDS),
    *(("signal_direction", value) for value in ['""', '"LONG"', '"buy"', '"close_long"', "1"]),
    *(("valid_for_s", value) for value in ["0", "-1", "1.5", '"60"', "true", "86401", "1e3"]),
    *(("context", value) for value in ["[]", '"x"', '{"a": "\\u0000"}', '{"a": "\\ud800"}']),
    ("id", '"1"'),
    ("status", '"PUBLISHED"'),
    ("owner", '"env"'),
]
BODIES = [
    b"",
    b"null",
    b"[]",
    b'"text"',
    b"{",
    b"\xff\xfe",
    b"\x00",
    b"{" + FIELD.encode() + b"1, " + FIELD.encode() + b"2}",
    b"[" * 100_0,
    b'{"a":' * 2_000 + b"1" + b"}" * 2_000,
    b'{"context": ' + b"[" * 20 + b"]" * 20 + b"}",
    json.dumps(make_body()).encode("utf-16"),
    b"\xef\xbb\xbf" + json.dumps(make_body()).encode(),
]


@pytest.mark.parametrize(("name", "value"), CORPUS, ids=lambda text: str(text)[:24])
def test_one_bad_value_makes_a_refusal_that_names_its_field(name: str, value: str) -> None:
    with pytest.raises(InvalidSignal) as refused:
        parse_signal(load_json(body_with(name, value)), now=NOW)

    assert refused.value.errors
    named = {error.field.partition(".")[0] for error in refused.value.errors}
    assert named & {name, "body", "liquidation_price"}


@given(st.text(alphabet=st.characters(categories=["N", "P", "Z", "S"]), max_size=16))
def test_a_number_as_text_is_ascii_and_plain_or_refused(text: str) -> None:
    body = body_with("size", json.dumps(text))

    try:
        draft = parse_signal(load_json(body), now=NOW)
    except InvalidSignal:
        return
    assert text.isascii()
    assert DECIMAL_TEXT.fullmatch(text)
    assert draft.size == Decimal(text) > 0


def test_no_body_of_the_corpus_is_taken_or_breaks_the_door(api: Api) -> None:
    client: Any = api("signals:write", "signals:read")
    bodies: list[bytes] = [*BODIES, *(body_with(name, value) for name, value in CORPUS[::4])]

    for body in bodies:
        answer: Any = client.generic(
            "POST", "/api/v1/signals", body, content_type="application/json"
        )
        assert 400 <= answer.status_code < 500, (body[:80], answer.status_code)
        assert answer["Content-Type"] == "application/problem+json", body[:80]
    assert client.get("/api/v1/signals").json()["items"] == []
