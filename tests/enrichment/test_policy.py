from __future__ import annotations

from typing import Any

import pytest

from enrichment.policy import BUILT_IN, constraints_for, parse_policy
from enrichment.types import BadDefinition


@pytest.mark.parametrize(
    ("symbol", "expected"),
    [
        ("XRP", (15, 25, 10)),
        ("BTC", (10, 30, 20)),
        ("ETH", (10, 30, 20)),
        ("SOL", (15, 20, 10)),
        ("DOGE", (30, 10, 5)),
        ("btc", (10, 30, 20)),
    ],
)
def test_each_symbol_has_the_houses_constraints_or_its_own(
    symbol: str, expected: tuple[int, int, int]
) -> None:
    found = constraints_for(parse_policy(BUILT_IN, version=1), symbol=symbol)

    names = ("min_hold_minutes", "max_position_size_pct", "max_leverage")
    assert tuple(found[name] for name in names) == expected
    assert found["one_direction_only"] is True
    assert found["max_trades_per_hour"] == 4


def test_what_a_policy_leaves_out_is_as_built_in() -> None:
    policy = parse_policy({"max_leverage": 3, "symbols": {"kPEPE": {"max_leverage": 2}}}, version=7)

    assert policy.version == 7
    assert constraints_for(policy, symbol="BTC")["max_leverage"] == 3
    assert constraints_for(policy, symbol="KPEPE")["max_leverage"] == 2
    assert constraints_for(policy, symbol="BTC")["min_hold_minutes"] == 15


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ({"max_leverage": 0}, "^max_leverage: must be a number from 1 to 200, was 0"),
        ({"max_leverage": "10"}, "^max_leverage: must be a number"),
        ({"max_leverage": True}, "^max_leverage: must be a number"),
        ({"min_hold_minutes": 1.5}, "^min_hold_minutes: must be a whole number"),
        ({"one_direction_only": 1}, "^one_direction_only: must be true or false"),
        ({"max_leverag": 5}, "^max_leverag: no such constraint; did you mean 'max_leverage'"),
        (
            {"symbols": {"BTC": {"max_position_size_pct": 101}}},
            "^symbols.BTC.max_position_size_pct: must be a number from 0 to 100",
        ),
        ({"symbols": {"BTC": 3}}, "^symbols.BTC: must be an object"),
        ({"symbols": ["BTC"]}, "^symbols: must be an object"),
    ],
)
def test_a_wrong_policy_is_refused_by_its_path(definition: dict[str, Any], message: str) -> None:
    with pytest.raises(BadDefinition, match=message):
        parse_policy(definition, version=1)
