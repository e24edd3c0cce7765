from __future__ import annotations

from typing import Any

import pytest

from evaluation.grounding import score
from evaluation.types import Action, Verdict
from tests.evaluation.answers import PAYLOAD


def verdict(*evidence: tuple[str, Any]) -> Verdict:
    return Verdict(
        action=Action.IGNORE,
        confidence=0.5,
        reasons=("no_trend",),
        evidence=tuple(
            {"tag": "no_trend", "field": field, "value": value} for field, value in evidence
        ),
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("market.mid", 42010.5),
        ("market.mid", 42011),
        ("market.mid", "42010.5"),
        ("market.spread_bps", 0.238),
        ("market.spread_bps", 0.24),
        ("original.entry_price", 42000),
        ("original.entry_price", "42000.00"),
        ("original.direction", "LONG"),
        ("original.event_type", "OPEN_SIGNAL"),
        ("ta.timeframes.15m.rsi_14", 61.2),
        ("ta.timeframes.15m.rsi_14", 61.3),
        ("ta.timeframes.1h.rsi_14", "unknown"),
        ("ta.timeframes.15m.closed_at", "2026-01-15T12:00:00.000Z"),
        ("levels.supports[0].distance_pct", -0.98),
        ("market.book.imbalance_1pct", -0.125),
        ("derivs.funding_rate", 1.25e-5),
        ("constraints.one_direction_only", "true"),
        ("quality_flags.missing_data[0]", "ta.timeframes.4h"),
    ],
)
def test_evidence_that_stands_in_the_payload_counts(field: str, value: Any) -> None:
    assert score(verdict((field, value)), PAYLOAD).score == 1.0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("market.mid", 42500),
        ("market.mid", -42010.5),
        ("market.mid", 0),
        ("market.mid", "about 42010"),
        ("market.mid", "NaN"),
        ("market.mid", "Infinity"),
        ("market.mid", "unknown"),
        ("market.spread_bps", 0),
        ("market.spread_bps", 0.2),
        ("market.spread_bps", 23.8),
        ("ta.timeframes.15m.rsi_14", 0.6125),
        ("ta.timeframes.15m.rsi_14", 65),
        ("ta.timeframes.1h.rsi_14", 50),
        ("ta.timeframes.1h.rsi_14", 0),
        ("ta.timeframes.4h.rsi_14", 71),
        ("ta.timeframes.15m", "up"),
        ("market.sentiment", 0.9),
        ("levels.supports[1].price", 41600),
        ("derivs.funding_rate", 0.00001),
        ("derivs.funding_rate", 0),
        ("market.book.imbalance_1pct", 0.125),
        ("original.direction", "short"),
        ("constraints.one_direction_only", 1),
        ("original.untrusted.notes", "breakout, strong volume"),
        ("original.untrusted.source", "strategy_alpha"),
        ("$.market.mid", 42010.5),
    ],
)
def test_evidence_that_does_not_stand_in_the_payload_is_named(field: str, value: Any) -> None:
    found = score(verdict((field, value)), PAYLOAD)

    assert found.score == 0.0
    assert found.unmatched == (f"{field} = {value}",)


def test_the_score_is_the_share_of_what_exists() -> None:
    found = score(
        verdict(("market.mid", 42010.5), ("market.bid", 1), ("x.y", 2), ("market.ask", 42011)),
        PAYLOAD,
    )

    assert found.score == 0.5
    assert found.unmatched == ("market.bid = 1", "x.y = 2")


def test_a_verdict_without_evidence_has_no_score() -> None:
    found = score(verdict(), PAYLOAD)

    assert found.score is None
    assert found.unmatched == ()


def test_strange_evidence_is_named_short_and_harmless() -> None:
    found = score(verdict(("market.mid", "\u202e\x00" + "9" * 5_000)), PAYLOAD)

    assert found.unmatched[0].isprintable()
    assert len(found.unmatched[0]) == 160


@pytest.mark.parametrize("value", ["1e999999", "-1e-999999", "9" * 100, 10**15 - 1, 1e300])
def test_numbers_of_any_size_are_compared(value: Any) -> None:
    assert score(verdict(("market.mid", value)), PAYLOAD).score == 0.0
