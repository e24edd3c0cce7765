from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from quant.indicators import CATALOGUE, Indicator, indicator_named
from quant.indicators.adx import adx
from quant.indicators.atr import atr, natr, true_range
from quant.indicators.bollinger import bollinger
from quant.indicators.ema import ema, ema_slope
from quant.indicators.macd import macd
from quant.indicators.obv import obv
from quant.indicators.range_expansion import range_expansion
from quant.indicators.realised_volatility import realised_volatility
from quant.indicators.roc import roc
from quant.indicators.rsi import rsi
from quant.indicators.sma import sma
from quant.indicators.stochastic import stochrsi
from quant.indicators.swing_structure import breakout, swing_structure
from quant.indicators.volume_ratio import volume_ratio
from quant.indicators.vwap import vwap_distance, vwap_rolling, vwap_session
from quant.types import Array, Bars
from tests.quant.conftest import flat, of_closes, random_walk

GOLDEN: dict[str, Callable[[Bars], Array]] = {
    "ema_9": lambda b: ema(b.close, period=9),
    "ema_21": lambda b: ema(b.close, period=21),
    "ema_50": lambda b: ema(b.close, period=50),
    "macd_line": lambda b: macd(b.close).line,
    "macd_signal": lambda b: macd(b.close).signal,
    "macd_hist": lambda b: macd(b.close).hist,
    "macd_alt_line": lambda b: ema(b.close, period=12) - ema(b.close, period=26),
    "rsi_14": lambda b: rsi(b.close),
    "true_range": lambda b: true_range(b.high, b.low, b.close),
    "atr_14": lambda b: atr(b.high, b.low, b.close),
    "natr_14": lambda b: natr(b.high, b.low, b.close),
    "atr_14_sma": lambda b: atr(b.high, b.low, b.close, method="sma"),
    "bb_upper": lambda b: bollinger(b.close).upper,
    "bb_middle": lambda b: bollinger(b.close).middle,
    "bb_lower": lambda b: bollinger(b.close).lower,
    "bb_percent_b": lambda b: bollinger(b.close).percent_b,
    "bb_width": lambda b: bollinger(b.close).width,
    "vwap_session_utc": vwap_session,
    "vwap_rolling_20": vwap_rolling,
    "adx_14": lambda b: adx(b.high, b.low, b.close).adx,
    "plus_di_14": lambda b: adx(b.high, b.low, b.close).plus_di,
    "minus_di_14": lambda b: adx(b.high, b.low, b.close).minus_di,
    "stochrsi_fastk": lambda b: hidden_before(29, stochrsi(b.close).raw),
    "stochrsi_fastd": lambda b: stochrsi(b.close).k,
    "stochrsi_raw": lambda b: stochrsi(b.close).raw,
    "stochrsi_smooth_k3": lambda b: stochrsi(b.close).k,
    "stochrsi_smooth_d3": lambda b: stochrsi(b.close).d,
    "obv": lambda b: obv(b.close, b.volume),
    "sma_5": lambda b: sma(b.close, period=5),
    "sma_20": lambda b: sma(b.close, period=20),
}
GOLDEN_ENGINE: dict[str, Callable[[Bars], Array]] = {
    "range_expansion_14": lambda b: range_expansion(b.high, b.low),
    "ema9_slope_3": lambda b: ema_slope(b.close),
    "vwap_distance_20": vwap_distance,
}
# The product follows TA-Lib's MACD; these two columns record how it once worked.
NOT_BUILT = {"macd_alt_signal", "macd_alt_hist"}


def hidden_before(first: int, values: Array) -> Array:
    """Return values as TA-Lib publishes them: the fast line only together with its average."""
    return np.where(np.arange(values.size) < first, np.nan, values)


def numbers(column: list[float | None]) -> Array:
    return np.array([np.nan if value is None else value for value in column])


def assert_golden(actual: Array, column: list[float | None], vectors: dict[str, Any]) -> None:
    expected, tolerance = numbers(column), vectors["tolerance"]
    np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected))
    allowed = np.maximum(tolerance["absolute"], tolerance["relative"] * np.abs(expected))
    assert not (np.abs(actual - expected) > allowed).any()


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_column(name: str, synth: Bars, indicator_vectors: dict[str, Any]) -> None:
    assert_golden(GOLDEN[name](synth), indicator_vectors["indicators"][name], indicator_vectors)


@pytest.mark.parametrize("name", GOLDEN_ENGINE)
def test_golden_engine_column(name: str, synth: Bars, indicator_vectors: dict[str, Any]) -> None:
    column = indicator_vectors["engine_features"][name]

    assert_golden(GOLDEN_ENGINE[name](synth), column, indicator_vectors)


def test_golden_structure_and_breakout(synth: Bars, indicator_vectors: dict[str, Any]) -> None:
    features = indicator_vectors["engine_features"]
    trends = {1.0: "uptrend", -1.0: "downtrend", 0.0: "neutral"}
    sides = {1.0: "bullish", -1.0: "bearish", 0.0: "none"}

    structure = swing_structure(synth.high, synth.low)
    side = breakout(synth.high, synth.low, synth.close).side

    assert [trends.get(code, "neutral") for code in structure.tolist()] == features["structure"]
    assert [sides.get(code, "none") for code in side.tolist()] == features["breakout_20"]
    assert np.isnan(structure[:5]).all() and not np.isnan(structure[5:]).any()
    assert np.isnan(side[:20]).all() and not np.isnan(side[20:]).any()


def test_every_golden_column_is_compared(indicator_vectors: dict[str, Any]) -> None:
    assert set(indicator_vectors["indicators"]) == set(GOLDEN) | NOT_BUILT
    assert set(indicator_vectors["engine_features"]) == {
        *GOLDEN_ENGINE,
        "structure",
        "breakout_20",
    }


@pytest.mark.parametrize(
    ("name", "close"),
    [
        ("constant_100", np.full(60, 100.0)),
        ("rising_by_1", np.arange(100.0, 140.0)),
        ("falling_by_1", np.arange(100.0, 60.0, -1.0)),
    ],
)
def test_edge_case_ends_as_recorded(
    name: str, close: Array, indicator_vectors: dict[str, Any]
) -> None:
    case, bars = indicator_vectors["edge_cases"][name], of_closes(close)

    bands, lines, position = bollinger(close), macd(close), stochrsi(close)

    assert rsi(close)[-1] == case.get("product_rule_rsi", case["rsi_14_last_talib"])
    assert atr(close, close, close)[-1] == case["atr_14_last (high=low=close)"]
    np.testing.assert_allclose(
        [bands.upper[-1], bands.middle[-1], bands.lower[-1]], case["bb_last"], rtol=1e-9
    )
    np.testing.assert_allclose([line[-1] for line in lines], case["macd_last"], atol=1e-9)
    assert adx(close, close, close).adx[-1] == pytest.approx(case["adx_14_last"])
    assert [position.raw[-1], position.k[-1]] == case["stochrsi_14_14_3_last"]
    assert obv(bars.close, bars.volume)[-1] == case["obv_last (volume=1)"]


def test_eight_bars_give_no_nine_bar_average(indicator_vectors: dict[str, Any]) -> None:
    expected = indicator_vectors["edge_cases"]["short_input"]["ema_9 of 8 bars"]

    np.testing.assert_array_equal(ema(np.arange(1.0, 9.0), period=9), numbers(expected))


# --- every entry of the catalogue ---------------------------------------------------------------

EACH = pytest.mark.parametrize("entry", CATALOGUE.values(), ids=CATALOGUE.keys())


@EACH
def test_columns_are_as_long_as_the_bars(entry: Indicator, walk: Bars) -> None:
    assert all(column.shape == (len(walk),) for column in entry.compute(walk).values())


@EACH
@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_bars_give_no_value_and_no_error(entry: Indicator, count: int) -> None:
    columns = entry.compute(random_walk(seed=5, count=count))

    assert all(column.shape == (count,) for column in columns.values())
    if entry.name not in {"obv", "vwap"}:
        assert all(np.isnan(column).all() for column in columns.values())


@EACH
def test_warm_up_is_the_first_bar_with_every_value(entry: Indicator, walk: Bars) -> None:
    needed = entry.warm_up()

    at_last = [column[needed - 1] for column in entry.compute(walk).values()]
    before = [column[needed - 2] for column in entry.compute(walk).values()]

    assert not np.isnan(at_last).any()
    assert needed == 1 or np.isnan(before).any()


@EACH
def test_no_value_is_lost_after_the_warm_up(entry: Indicator, walk: Bars) -> None:
    for column in entry.compute(walk).values():
        assert not np.isnan(column[entry.warm_up() - 1 :]).any()


@EACH
def test_the_future_never_changes_the_past(entry: Indicator, walk: Bars) -> None:
    whole = entry.compute(walk)

    for count in (1, 15, 33, 34, 97, 150, 259):
        part = entry.compute(walk[:count])
        for name, column in part.items():
            np.testing.assert_array_equal(column, whole[name][:count])


@EACH
def test_bar_by_bar_equals_all_at_once(entry: Indicator) -> None:
    bars = random_walk(seed=11, count=90)
    whole = entry.compute(bars)

    for count in range(1, len(bars) + 1):
        for name, column in entry.compute(bars[:count]).items():
            np.testing.assert_allclose(column[-1], whole[name][count - 1], rtol=1e-9)


PRICED = {"ema", "sma", "macd", "atr", "vwap"}


@EACH
@pytest.mark.parametrize("scale", [1000.0, 1e-7], ids=["dear", "cheap"])
def test_the_unit_of_price_does_not_matter(entry: Indicator, scale: float, walk: Bars) -> None:
    scaled = repriced(walk, scale)

    for name, column in entry.compute(walk).items():
        is_priced = entry.name in PRICED or name in {"bb_upper", "bb_middle", "bb_lower"}
        expected = column * scale if is_priced else column
        np.testing.assert_allclose(entry.compute(scaled)[name], expected, rtol=1e-6, atol=1e-13)


@EACH
def test_flat_bars_give_finite_values(entry: Indicator) -> None:
    for price in (100.0, 0.1, 3e-8):
        for column in entry.compute(flat(price=price)).values():
            assert np.isfinite(column[entry.warm_up() - 1 :]).all()


@EACH
def test_bars_without_any_volume_give_no_error(entry: Indicator) -> None:
    for name, column in entry.compute(flat(volume=0.0)).items():
        assert np.isnan(column).all() == name.startswith("vwap")


@EACH
def test_input_is_left_as_it_was(entry: Indicator, walk: Bars) -> None:
    before = walk.close.copy(), walk.volume.copy()

    entry.compute(walk)

    np.testing.assert_array_equal(walk.close, before[0])
    np.testing.assert_array_equal(walk.volume, before[1])


def repriced(bars: Bars, scale: float) -> Bars:
    prices = (bars.open * scale, bars.high * scale, bars.low * scale, bars.close * scale)
    return Bars(bars.open_ms, *prices, bars.volume, bars.timeframe_s)


# --- options ------------------------------------------------------------------------------------


def test_columns_do_not_collide_over_the_catalogue(walk: Bars) -> None:
    names = [name for entry in CATALOGUE.values() for name in entry.compute(walk)]

    assert len(names) == len(set(names))


def test_options_reach_the_indicator(walk: Bars) -> None:
    columns = CATALOGUE["ema"].compute(walk, periods=[5, 34])

    np.testing.assert_array_equal(columns["ema_34"], ema(walk.close, period=34))
    assert list(columns) == ["ema_5", "ema_34"]
    assert CATALOGUE["ema"].warm_up(periods=[5, 34]) == 34


def test_an_unknown_option_names_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"rsi has no option 'perod'; did you mean 'period'\?"):
        CATALOGUE["rsi"].warm_up(perod=14)


def test_an_indicator_without_options_says_so() -> None:
    with pytest.raises(ValueError, match="obv takes no options"):
        CATALOGUE["obv"].warm_up(period=14)


def test_an_unknown_indicator_names_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"no indicator 'bolinger'; did you mean 'bollinger'\?"):
        indicator_named("bolinger")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("rsi", {"period": "14"}),
        ("rsi", {"period": True}),
        ("rsi", {"period": 14.0}),
        ("rsi", {"period": 1}),
        ("ema", {"periods": 9}),
        ("ema", {"periods": []}),
        ("ema", {"periods": [9, "21"]}),
        ("ema", {"periods": [0]}),
        ("macd", {"fast": 26, "slow": 12}),
        ("atr", {"method": "mean"}),
        ("bollinger", {"deviations": 0.0}),
        ("adx", {"period": 1}),
    ],
)
def test_values_that_cannot_be_used_are_refused(name: str, options: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        CATALOGUE[name].warm_up(**options)


def test_a_whole_number_is_good_for_a_fraction() -> None:
    assert CATALOGUE["bollinger"].warm_up(deviations=3) == 20


# --- single indicators --------------------------------------------------------------------------


def test_mirrored_prices_mirror_the_rsi(walk: Bars) -> None:
    mirrored = walk.close[0] ** 2 / walk.close
    ups_for_downs = rsi(np.log(walk.close)) + rsi(np.log(mirrored))

    np.testing.assert_allclose(ups_for_downs[14:], 100.0)


def test_mirrored_prices_swap_the_directions_of_adx(walk: Bars) -> None:
    straight = adx(walk.high, walk.low, walk.close)

    mirrored = adx(200 - walk.low, 200 - walk.high, 200 - walk.close)

    np.testing.assert_allclose(straight.plus_di, mirrored.minus_di)
    np.testing.assert_allclose(straight.adx, mirrored.adx)


def test_rsi_of_falling_prices_is_0_and_not_50() -> None:
    assert rsi(np.arange(40.0, 10.0, -1.0))[-1] == 0.0


def test_bands_of_a_cheap_coin_stay_open() -> None:
    close = 1e-8 * (1 + 0.01 * np.sin(np.arange(40)))

    assert bollinger(close).width[-1] == pytest.approx(bollinger(close * 1e8).width[-1], rel=1e-9)


def test_flat_bands_put_the_close_in_the_middle_of_width_0() -> None:
    bands = bollinger(np.full(30, 0.1))

    assert (bands.percent_b[-1], bands.width[-1]) == (0.5, 0.0)


def test_a_session_without_volume_has_no_price_until_some_comes() -> None:
    price = np.array([10.0, 12.0, 14.0])
    bars = Bars(
        np.array([0, 900_000, 1_800_000], dtype=np.int64),
        price, price, price, price, np.array([0.0, 0.0, 2.0]), 900,
    )  # fmt: skip

    np.testing.assert_array_equal(vwap_session(bars), [np.nan, np.nan, 14.0])


def test_a_new_utc_day_forgets_the_last() -> None:
    price = np.array([10.0, 20.0])
    times = np.array([86_400_000 - 900_000, 86_400_000], dtype=np.int64)

    assert vwap_session(Bars(times, price, price, price, price, np.ones(2), 900)).tolist() == [
        10.0,
        20.0,
    ]


def test_roc_is_in_percent() -> None:
    assert roc(np.array([100.0, 110.0, 99.0]), period=1)[1:].tolist() == pytest.approx([10, -10])


def test_volume_ratio_of_a_silent_market_is_ordinary() -> None:
    assert volume_ratio(np.zeros(20))[-1] == 1.0
    assert volume_ratio(np.append(np.ones(19), 3.0))[-1] == pytest.approx(3 / 1.1)


def test_realised_volatility_is_annual() -> None:
    returns = np.tile([0.01, -0.01], 20)
    close = 100 * np.exp(np.cumsum(returns))

    daily = realised_volatility(close, timeframe_s=86_400, window=20)[-1]
    hourly = realised_volatility(close, timeframe_s=3_600, window=20)[-1]

    assert daily == pytest.approx(0.01 * np.sqrt(20 / 19) * np.sqrt(365))
    assert hourly == pytest.approx(daily * np.sqrt(24))


def test_range_expansion_of_bars_without_range_is_unknown() -> None:
    assert np.isnan(range_expansion(np.full(30, 5.0), np.full(30, 5.0))).all()


def test_equal_extremes_are_no_trend() -> None:
    assert swing_structure(np.full(6, 5.0), np.arange(6.0))[-1] == 0.0


def test_a_close_on_the_extreme_is_no_breakout() -> None:
    high, low = np.full(21, 10.0), np.full(21, 8.0)
    close = np.append(np.full(20, 9.0), 10.0)

    inside = breakout(high, low, close)
    above = breakout(high, low, close + np.append(np.zeros(20), 0.5))
    below = breakout(high, low, close - np.append(np.zeros(20), 2.5))

    assert inside.side[-1] == 0.0 and np.isnan(inside.level[-1])
    assert (above.side[-1], above.level[-1]) == (1.0, 10.0)
    assert (below.side[-1], below.level[-1]) == (-1.0, 8.0)
