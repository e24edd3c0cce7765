from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from pipeline.chain import Ranges, canonical, content_hash, moment, packed, seal_hash, unpacked

NOON = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"x": 1.0}, {"x": 1}),
        ({"x": 1e22}, {"x": 10**22}),
        ({"x": -0.0}, {"x": 0}),
        ({"x": (1, 2)}, {"x": [1, 2]}),
        ({"x": {"y": [2.0]}}, {"x": {"y": [2]}}),
    ],
)
def test_what_a_database_may_write_differently_is_one_content(one: Any, other: Any) -> None:
    assert content_hash(one) == content_hash(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"x": 1}, {"x": "1"}),
        ({"x": None}, {}),
        ({"x": 0.1}, {"x": 0.1000000001}),
        ({"x": [1, 2]}, {"x": [2, 1]}),
        ({"x": True}, {"x": 1}),
        ({"x": "\u00e9"}, {"x": "e\u0301"}),
    ],
)
def test_what_differs_has_another_hash(one: Any, other: Any) -> None:
    assert content_hash(one) != content_hash(other)


def test_the_canonical_text_is_sorted_ascii_without_spaces() -> None:
    assert canonical({"b": "ü", "a": [1.5, None]}) == '{"a":[1.5,null],"b":"\\u00fc"}'
    assert json.loads(canonical({"b": "ü"})) == {"b": "ü"}


def test_a_number_that_is_none_has_no_text() -> None:
    with pytest.raises(ValueError, match="Out of range"):
        canonical({"x": float("nan")})


def test_a_time_has_one_text_wherever_it_was_told() -> None:
    elsewhere = NOON.astimezone(timezone(timedelta(hours=5, minutes=30)))

    assert moment(elsewhere) == moment(NOON) == "2026-01-15T12:00:00.000000+00:00"


def test_lines_come_out_of_a_seal_as_they_went_in() -> None:
    entries = [(7, "ab" * 32), (2**40, "00" * 32)]

    assert list(unpacked(packed(entries))) == entries
    assert list(unpacked(packed(entries)[:-1])) == entries[:1]


def test_every_part_of_a_seal_is_in_its_hash() -> None:
    def sealed(**changes: Any) -> str:
        values: dict[str, Any] = {
            "number": 1,
            "previous": "0" * 64,
            "sealed_at": NOON,
            "lines": packed([(1, "ab" * 32)]),
        }
        return seal_hash(**(values | changes))

    changed = [
        sealed(number=2),
        sealed(previous="1" * 64),
        sealed(sealed_at=NOON + timedelta(microseconds=1)),
        sealed(lines=packed([(2, "ab" * 32)])),
    ]
    assert len({sealed(), *changed}) == 5


def test_ranges_hold_what_was_put_in_and_nothing_beside() -> None:
    ranges = Ranges.of([5, 1, 2, 3, 9, 8])
    ranges.update([[4, 4], [20, 30]])

    assert ranges.as_json() == [[1, 5], [8, 9], [20, 30]]
    assert [number for number in range(35) if number in ranges] == [
        *range(1, 6),
        8,
        9,
        *range(20, 31),
    ]
    assert 1 not in Ranges()
