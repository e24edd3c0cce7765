from __future__ import annotations

from typing import Any

import pytest

from enrichment.profiles import (
    BUILT_INS,
    DERIVATIVE_FIELDS,
    Definition,
    LevelsUse,
    Profile,
    resolve,
)
from enrichment.types import BadDefinition

HOUSE = ("15m", "1h", "4h")


def resolved(name: str = "mine", **definitions: Definition) -> Profile:
    every = {**BUILT_INS, **definitions}
    return resolve(name, definitions=every, versions=dict.fromkeys(every, 1), timeframes=HOUSE)


def options_of(profile: Profile) -> dict[str, dict[str, Any]]:
    return {use.name: dict(use.options) for use in profile.indicators}


def test_the_base_profile_holds_what_the_contract_names() -> None:
    profile = resolved("trend_follow_v1")

    assert profile.timeframes == ("15m", "1h", "4h")
    assert options_of(profile) == {
        "ema": {"periods": [9, 21, 50]},
        "macd": {"fast": 12, "slow": 26, "signal": 9},
        "rsi": {"period": 14},
        "atr": {"period": 14},
    }
    assert profile.market == ("mid", "spread_bps", "price_drift_bps_from_entry")
    assert (profile.derivatives, profile.levels, profile.book_imbalance_pct) == ((), None, ())


def test_each_profile_has_all_that_it_extends() -> None:
    base, perps, full = (resolved(name) for name in BUILT_INS)

    assert perps.indicators == full.indicators == base.indicators
    assert perps.derivatives == full.derivatives
    assert set(full.derivatives) == set(DERIVATIVE_FIELDS)
    assert full.levels == LevelsUse(timeframe="1h", lookback=100, sensitivity=0.02, most=5)
    assert list(full.book_imbalance_pct) == [1, 2, 5]
    assert full.lineage == ("full_v1 v1", "crypto_perps_v1 v1", "trend_follow_v1 v1")


def test_lists_merge_by_name_and_other_values_are_overridden() -> None:
    profile = resolved(
        mine={
            "extends": "full_v1",
            "timeframes": ["1d", "1h"],
            "indicators": [
                {"name": "rsi", "options": {"period": 7}},
                {"name": "adx"},
                {"name": "macd", "options": {"fast": 8}},
            ],
            "levels": {"most": 2},
        }
    )

    options = options_of(profile)
    assert profile.timeframes == ("15m", "1h", "4h", "1d")
    assert list(options) == ["ema", "macd", "rsi", "atr", "adx"]
    assert options["rsi"] == {"period": 7}
    assert options["macd"] == {"fast": 8, "slow": 26, "signal": 9}
    assert profile.levels is not None
    assert (profile.levels.most, profile.levels.lookback) == (2, 100)


def test_null_takes_an_inherited_part_away() -> None:
    profile = resolved(mine={"extends": "full_v1", "levels": None})

    assert profile.levels is None


def test_a_profile_without_timeframes_takes_the_houses() -> None:
    assert resolved(mine={"indicators": [{"name": "rsi"}]}).timeframes == HOUSE
    assert resolved(mine={"timeframes": ["5m"]}).timeframes == ("5m",)


def test_history_is_four_times_the_longest_warm_up() -> None:
    assert resolved("trend_follow_v1").bars_needed() == {"15m": 200, "1h": 200, "4h": 200}

    alone = resolved(mine={"timeframes": ["15m"], "levels": {"timeframe": "4h", "lookback": 150}})
    assert alone.bars_needed() == {"15m": 1, "4h": 150}


def test_a_circle_is_refused_and_its_chain_named() -> None:
    with pytest.raises(BadDefinition, match="a extends b extends c extends a"):
        resolved("a", a={"extends": "b"}, b={"extends": "c"}, c={"extends": "a"})


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        (
            {"indicators": [{"name": "ema"}, {"name": "rsi"}, {"name": "mcad"}]},
            r"^indicators\[2\].name: unknown 'mcad'; did you mean 'macd'\?$",
        ),
        ({"timeframes": ["1h", "7m"]}, r"^timeframes\[1\]: unknown '7m'; did you mean '"),
        ({"timeframes": [["1h"]]}, r"^timeframes\[0\]: unknown"),
        ({"timeframes": []}, "^timeframes: there must be at least one"),
        ({"timeframes": "1h"}, "^timeframes: must be a list"),
        ({"timeframe": ["1h"]}, "^timeframe: no such field; did you mean 'timeframes'"),
        (
            {"indicators": [{"name": "rsi", "options": {"periods": 14}}]},
            r"^indicators\[rsi\].options: rsi has no option 'periods'; did you mean 'period'\?",
        ),
        (
            {"indicators": [{"name": "rsi", "options": {"period": "14"}}]},
            r"^indicators\[rsi\].options: rsi cannot use period = '14'",
        ),
        ({"indicators": ["rsi"]}, r"^indicators\[0\]: must be an object with a name"),
        ({"indicators": [{"name": "rsi", "period": 14}]}, r"^indicators\[0\].period: no such"),
        ({"indicators": [{"name": ["rsi"]}]}, r"^indicators\[0\].name: unknown"),
        ({"derivatives": ["funding"]}, r"^derivatives\[0\]: unknown 'funding'; did you mean"),
        ({"levels": {"lookbak": 3}}, "^levels.lookbak: no such field; did you mean 'lookback'"),
        ({"levels": {"lookback": 2}}, "^levels.lookback: must be a whole number from 5 to 1000"),
        ({"levels": {"timeframe": "60m"}}, "^levels.timeframe: unknown '60m'"),
        ({"levels": 3}, "^levels: must be an object or null"),
        ({"book_imbalance_pct": [True]}, r"^book_imbalance_pct\[0\]: must be a number"),
        ({"extends": "trend_folow_v1"}, "^extends: unknown 'trend_folow_v1'; did you mean 'trend"),
        ({"extends": 3}, "^extends: unknown 3"),
        (
            {"indicators": [{"name": "ema", "options": {"periods": [2000]}}]},
            "^indicators: need 8000 candles",
        ),
    ],
)
def test_a_wrong_definition_is_refused_by_its_path(
    definition: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadDefinition, match=message):
        resolved(mine=definition)
