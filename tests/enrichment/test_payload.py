from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import Any

import pytest

from enrichment.parsing import plain_text
from enrichment.payload import PAYLOAD_MAX_BYTES, canonical, payload_of, sha256_of
from enrichment.policy import BUILT_IN, constraints_for, parse_policy
from enrichment.types import Measured, QualityFlags
from signals.models import Signal
from signals.types import Direction, EventType
from tests.enrichment.conftest import Gather
from tests.enrichment.market import Script
from tests.factories import NOON, make_signal

FRAMES = ("15m", "1h", "4h")


def unstored(**changes: Any) -> Signal:
    values: dict[str, Any] = {
        "event_type": EventType.OPEN_SIGNAL,
        "symbol": "BTC",
        "direction": Direction.LONG,
        "entry_price": 42_000,
        "size": 1,
        "ts_utc": NOON,
        "source": "strategy_alpha",
        "context": {},
    }
    asked = values | changes
    prices = {name: Decimal(asked[name]) for name in ("entry_price", "size")}
    return Signal(**(asked | prices))


def full_parts(*, columns: int = 9, levels: int = 5) -> dict[str, Measured]:
    """Return as much as the fullest profile measures, every number with all its digits."""
    frame = {f"indicator_{number}": 12_345.678901234 + number for number in range(columns)}
    level = {"price": 41_234.567890123, "touches": 3, "distance_pct": -1.2345678901}
    return {
        "market": Measured(values={"mid": 42_010.123456789, "book": {"imbalance_1pct": 1 / 3}}),
        "ta": Measured(values={"timeframes": {name: dict(frame) for name in FRAMES}}),
        "levels": Measured(
            values={
                "timeframe": "1h",
                "supports": [dict(level) for _ in range(levels)],
                "resistances": [dict(level) for _ in range(levels)],
            }
        ),
        "derivs": Measured(values={"funding_rate": 0.0000125}),
    }


def built(**changes: Any) -> dict[str, Any]:
    text = built_text(**changes)
    assert len(text.encode()) <= PAYLOAD_MAX_BYTES
    read: dict[str, Any] = json.loads(text)
    return read


def built_text(
    *,
    signal: Signal | None = None,
    parts: dict[str, Measured] | None = None,
    flags: QualityFlags | None = None,
) -> str:
    return payload_of(
        signal=signal or unstored(),
        as_of=NOON,
        parts=full_parts() if parts is None else parts,
        constraints=constraints_for(parse_policy(BUILT_IN, version=1), symbol="BTC"),
        flags=flags or QualityFlags(),
        simulated=False,
    )


def test_the_payload_has_the_contracts_keys() -> None:
    assert set(built()) == {
        *("as_of", "original", "market", "ta", "levels", "derivs", "constraints"),
        "quality_flags",
    }


def test_it_keeps_its_keys_when_nothing_is_known() -> None:
    payload = built(parts={})

    assert payload["ta"] == {"timeframes": {}}
    assert payload["market"] == payload["levels"] == payload["derivs"] == {}


def test_the_text_is_canonical() -> None:
    text = built_text()

    assert text == canonical(json.loads(text))
    assert ": " not in text
    assert sha256_of(text) == sha256_of(built_text())


def test_numbers_have_eight_significant_digits_and_never_nan() -> None:
    values = {"a": 1 / 3, "b": math.nan, "c": math.inf, "d": 65_432.109876, "e": 2.0, "f": 1e-7 / 3}

    market = built(parts={"market": Measured(values=values)})["market"]

    assert market == {
        "a": 0.33333333,
        "b": None,
        "c": None,
        "d": 65_432.11,
        "e": 2,
        "f": 3.3333333e-08,
    }


def test_prices_of_the_signal_are_exact_text() -> None:
    signal = unstored(entry_price="0.00001230", size="42000.00000000")

    original = built(signal=signal)["original"]

    assert (original["entry_price"], original["size"]) == ("0.0000123", "42000")
    assert original["liquidation_price"] is None


def test_text_of_strangers_stands_apart_and_is_plain() -> None:
    signal = unstored(
        source="alpha\u202e",
        notes="line one\nline two\x07\u200b\ud800 end" + "x" * 600,
        context={"why\n": ["a\x00b", {"deep": "c\td"}], "n": 1.5},
    )

    untrusted = built(signal=signal, parts={})["original"]["untrusted"]

    assert untrusted["source"] == "alpha"
    assert untrusted["notes"].startswith("line one line two endxxx")
    assert len(untrusted["notes"]) == 400
    assert untrusted["notes"].endswith("…")
    assert untrusted["context"] == {"why": ["a b", {"deep": "c d"}], "n": 1.5}


def test_a_large_context_is_left_out_with_a_note() -> None:
    payload = built(signal=unstored(context={"text": "y" * 700}))

    assert "context" not in payload["original"]["untrusted"]
    assert payload["quality_flags"]["notes"] == ["original.untrusted.context left out: 613 bytes"]


def test_strangers_words_go_before_anything_measured() -> None:
    signal = unstored(source="ж" * 100, notes="🚀" * 1_000, context={"why": "ы" * 100})
    flags = QualityFlags(missing_data=tuple(f"derivs.field_{n}" for n in range(40)))

    payload = built(signal=signal, flags=flags)

    assert set(payload["original"]["untrusted"]) <= {"source", "notes"}
    assert len(payload["levels"]["supports"]) == 5
    assert set(payload["ta"]["timeframes"]) == set(FRAMES)
    assert any("untrusted" in note for note in payload["quality_flags"]["notes"])


def test_levels_go_next_the_nearest_last() -> None:
    flags = QualityFlags(missing_data=tuple(f"derivs.field_{n}" for n in range(120)))

    payload = built(flags=flags)

    assert len(payload["levels"]["supports"]) == 2
    assert payload["quality_flags"]["notes"] == ["levels: only the nearest 2 a side, no space"]
    assert set(payload["ta"]["timeframes"]) == set(FRAMES)


@pytest.mark.parametrize("columns", [60, 100, 200])
def test_too_many_indicators_cost_the_shortest_timeframes_and_say_so(columns: int) -> None:
    flags = QualityFlags(missing_data=("ta.timeframes.15m.indicator_1", "levels"))

    payload = built(parts=full_parts(columns=columns), flags=flags)

    left = set(payload["ta"]["timeframes"])
    gone = [name for name in FRAMES if name not in left]
    assert gone == list(FRAMES[: len(gone)])
    assert {f"ta.timeframes.{name} left out: no space" for name in gone} <= set(
        payload["quality_flags"]["notes"]
    )
    assert gone
    assert payload["quality_flags"]["missing_data"] == []


def test_flags_without_end_are_counted() -> None:
    flags = QualityFlags(missing_data=tuple(f"market.field_number_{n}" for n in range(500)))

    payload = built(flags=flags)

    assert payload["quality_flags"]["missing_data"][-1] == "and 495 more"


def test_text_is_cut_where_it_must() -> None:
    assert plain_text("  a\r\n b  ", most=10) == "a b"
    assert plain_text("abcdef", most=4) == "abc…"


@pytest.mark.django_db
def test_the_fullest_profile_with_the_longest_words_fits(gather: Gather, script: Script) -> None:
    signal = make_signal(
        feature_profile="full_v1",
        source="🚀" * 100,
        notes='"\\' * 500,
        context={"words": "ж" * 3_000},
        target_price="43000.12345678",
        stop_price="41000.12345678",
        timeframe="15m",
    )

    facts = gather(signal)

    assert len(facts.payload.encode()) <= PAYLOAD_MAX_BYTES
    payload = json.loads(facts.payload)
    assert set(payload["ta"]["timeframes"]) == set(FRAMES)
    assert payload["levels"]["supports"]
    assert len(payload["derivs"]) == 6


@pytest.mark.django_db
def test_without_words_the_fullest_profile_loses_nothing(gather: Gather, script: Script) -> None:
    facts = gather(make_signal(feature_profile="full_v1", notes="breakout of the range"))

    assert json.loads(facts.payload)["quality_flags"]["notes"] == []
