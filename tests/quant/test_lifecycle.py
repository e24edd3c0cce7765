from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from quant.lifecycle import (
    MINUTE_MS,
    BadQuestion,
    Bar,
    Costs,
    Fill,
    Question,
    Recording,
    Status,
    Track,
    advance,
    atr_barriers,
    begin,
    close_by_hand,
    follow,
    follow_many,
    give_up,
    is_behind,
    settle,
)
from quant.types import Bars, Side

FREE = Costs(fee_bps=0.0, slippage_bps=0.0)
START_MS = 1_735_689_600_000
HOUR_MS = 60 * MINUTE_MS


def ask(**changes: Any) -> Question:
    given: dict[str, Any] = {
        "side": Side.LONG,
        "entry": 100.0,
        "target": 102.0,
        "stop": 99.0,
        "asked_ms": START_MS,
        "horizon_ms": HOUR_MS,
    }
    return Question(**{**given, **changes})


def mirrored(question: Question) -> Question:
    return replace(
        question,
        side=question.side.opposite,
        entry=200.0 - question.entry,
        target=200.0 - question.target,
        stop=200.0 - question.stop,
    )


def bars_of(*prices: tuple[float, float, float, float], start_ms: int = START_MS) -> list[Bar]:
    return [Bar(start_ms + i * MINUTE_MS, *each) for i, each in enumerate(prices)]


def flipped(bar: Bar) -> Bar:
    return Bar(bar.open_ms, 200 - bar.open, 200 - bar.low, 200 - bar.high, 200 - bar.close)


def lived(question: Question, bars: list[Bar]) -> Track:
    track = begin(question)
    for bar in bars:
        track = advance(question, track, bar)
    return track


def recorded(bars: list[Bar]) -> Recording:
    table = np.array([(b.open, b.high, b.low, b.close) for b in bars]).reshape(-1, 4)
    opened, high, low, close = table.T.copy()
    times = np.array([bar.open_ms for bar in bars], dtype=np.int64)
    return Recording.of(Bars(times, opened, high, low, close, np.ones(len(bars)), 60))


QUIET = (100.0, 100.4, 99.6, 100.1)


@pytest.mark.parametrize("live", [True, False])
def test_golden_lifecycle_cases(ensemble_vectors: dict[str, Any], live: bool) -> None:
    for case in ensemble_vectors["engine"]["lifecycle_cases"]:
        given, expected = case["inputs"], dict(case["expected"])
        side = Side(given["direction"])
        target, stop = atr_barriers(
            side=side,
            entry=given["entry"],
            atr=given["atr"],
            target_multiple=given["tp_mult"],
            stop_multiple=given["sl_mult"],
        )
        question = Question(
            side=side,
            entry=given["entry"],
            target=target,
            stop=stop,
            asked_ms=START_MS,
            horizon_ms=given["ttl_bars"] * MINUTE_MS,
        )
        opens = [given["entry"], *(close for _, _, close in given["bars_high_low_close"])]
        bars = bars_of(
            *((opens[i], *map(float, each)) for i, each in enumerate(given["bars_high_low_close"]))
        )

        track = lived(question, bars) if live else follow(question, recorded(bars))

        assert (target, stop) == pytest.approx((expected.pop("tp"), expected.pop("sl")))
        assert track.status.lower() == expected.pop("outcome")
        if not expected:
            continue
        costs = Costs(fee_bps=given["fee_bps_per_side"], slippage_bps=0.0)
        settled = settle(question, track, costs=costs)
        assert {
            "exit_price": track.exit_price,
            "bars": track.bars,
            "ambiguous": track.ambiguous,
            "gross_return_pct": 100 * settled.gross_return_frac,
            "net_return_pct": 100 * settled.net_return_frac,
            "r_multiple": settled.gross_r,
        } == pytest.approx(expected, rel=1e-7, abs=1e-9)


REASONS = {"target": Status.TP_HIT, "stop": Status.SL_HIT, "timeout": Status.EXPIRED}


@pytest.mark.parametrize("live", [True, False])
def test_golden_outcome_resolution(consensus_vectors: dict[str, Any], live: bool) -> None:
    for case in consensus_vectors["outcome_resolution"]["cases"]:
        sign = 1 if case["direction"] == "long" else -1
        question = Question(
            side=Side(case["direction"]),
            entry=float(case["entry"]),
            stop=float(case["stop"]),
            target=case["entry"] + sign * case["rr"] * abs(case["entry"] - case["stop"]),
            asked_ms=case["emitted_ts"] + 1,
            horizon_ms=case["timeout_h"] * HOUR_MS - MINUTE_MS,
        )
        candles = [Bar(c["t"], c["o"], c["h"], c["l"], c["c"]) for c in case["candles"]]
        expected = case["expected"]

        track = lived(question, candles) if live else follow(question, recorded(candles))

        assert question.target == expected["target"]
        assert [track.mfe_r, track.mae_r] == pytest.approx(
            [expected["mfe_r"], expected["mae_r"]], abs=1e-9
        )
        if expected["status"] == "open":
            assert track.status is Status.OPEN
            continue
        reason = expected["closed_reason"]
        assert track.status is REASONS[reason.removesuffix("_gap")]
        assert track.gapped is reason.endswith("_gap")
        assert track.exit_ms == expected["closed_ts"]
        assert track.exit_price == pytest.approx(expected["exit_price"], abs=1e-9)
        free = settle(question, track, costs=FREE)
        assert free.net_r == free.gross_r == pytest.approx(expected["r_gross"], abs=1e-9)
        cost_bps = 10_000 * case["cost_r"] * question.risk / question.entry / 2
        paid = settle(question, track, costs=Costs(fee_bps=cost_bps, slippage_bps=0.0))
        assert paid.net_r == pytest.approx(expected["r_net"], abs=1e-9)


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize(
    ("bar", "status", "price", "ambiguous", "gapped"),
    [
        ((100.0, 102.0, 99.5, 101.0), Status.TP_HIT, 102.0, False, False),
        ((100.0, 101.9, 99.0, 101.0), Status.SL_HIT, 99.0, False, False),
        ((100.0, 102.5, 98.5, 101.0), Status.SL_HIT, 99.0, True, False),
        ((98.0, 103.0, 97.0, 102.5), Status.SL_HIT, 98.0, False, True),
        ((102.5, 103.0, 98.0, 98.5), Status.TP_HIT, 102.5, False, True),
        ((102.0, 103.0, 98.0, 98.5), Status.TP_HIT, 102.0, False, False),
        ((99.0, 103.0, 98.0, 98.5), Status.SL_HIT, 99.0, False, False),
        ((100.0, 101.999, 99.001, 101.0), Status.OPEN, None, False, False),
    ],
)
def test_the_worst_order_holds_within_a_bar_unless_its_first_price_decides(
    bar: tuple[float, float, float, float],
    status: Status,
    price: float | None,
    ambiguous: bool,
    gapped: bool,
    mirror: bool,
) -> None:
    question, bars = ask(), bars_of(QUIET, bar)
    if mirror:
        question, bars = mirrored(question), [flipped(each) for each in bars]
        price = None if price is None else 200.0 - price

    track = lived(question, bars)

    assert (track.status, track.exit_price) == (status, price)
    assert (track.ambiguous, track.gapped) == (ambiguous, gapped)


@pytest.mark.parametrize(
    ("bar", "status", "ambiguous", "mfe_r"),
    [
        ((101.0, 101.2, 99.5, 100.4), Status.OPEN, False, 0.4),  # only what came surely after
        ((101.0, 102.5, 99.5, 100.4), Status.OPEN, True, 0.4),  # the target may have come before
        ((101.0, 102.5, 99.5, 102.2), Status.TP_HIT, False, 2.0),  # it closed beyond: it came after
        ((101.0, 101.2, 98.9, 100.4), Status.SL_HIT, True, 0.0),  # the stop may have come before
        ((101.0, 101.2, 98.9, 98.95), Status.SL_HIT, False, 0.0),
        ((101.0, 102.2, 98.9, 98.95), Status.SL_HIT, True, 0.0),
        ((98.5, 100.2, 98.4, 100.1), Status.SL_HIT, True, 0.0),  # from below the stop: not a gap
        ((100.0, 102.1, 99.5, 100.4), Status.TP_HIT, False, 2.0),  # filled by the first price
        ((100.0, 101.2, 99.5, 100.4), Status.OPEN, False, 1.2),
        ((101.0, 101.2, 100.1, 100.4), Status.WAITING, False, 0.0),
    ],
)
def test_the_bar_that_fills_credits_nothing_that_may_have_come_before(
    bar: tuple[float, float, float, float], status: Status, ambiguous: bool, mfe_r: float
) -> None:
    question = ask(fill=Fill.ON_TOUCH)

    track = lived(question, bars_of(bar))

    assert (track.status, track.ambiguous, track.gapped) == (status, ambiguous, False)
    assert track.mfe_r == pytest.approx(mfe_r)


def test_an_entry_that_is_not_touched_in_time_is_not_filled() -> None:
    question = ask(fill=Fill.ON_TOUCH, fill_window_ms=2 * MINUTE_MS)
    above = (101.0, 101.5, 100.5, 101.0)

    waiting = lived(question, bars_of(above))
    late = lived(question, bars_of(above, above, QUIET))
    in_time = lived(question, bars_of(above, QUIET))

    assert waiting.status is Status.WAITING
    assert late.status is Status.NOT_FILLED
    assert late.settled_ms == START_MS + 2 * MINUTE_MS
    assert in_time.filled_ms == START_MS + MINUTE_MS


def test_the_target_passed_before_the_fill_is_not_won() -> None:
    question = ask(fill=Fill.ON_TOUCH)

    track = lived(question, bars_of((101.0, 103.0, 100.5, 102.8), (102.8, 102.9, 99.7, 100.0)))

    assert track.status is Status.OPEN


@pytest.mark.parametrize(("late_ms", "skipped"), [(0, 0), (1, 1), (30_000, 1), (60_000, 1)])
def test_the_bar_in_which_the_question_was_asked_does_not_count(late_ms: int, skipped: int) -> None:
    question = ask(asked_ms=START_MS + late_ms, horizon_ms=HOUR_MS)

    assert question.opens_ms == START_MS + skipped * MINUTE_MS
    assert question.ends_ms == question.opens_ms + HOUR_MS


def test_a_horizon_ends_at_the_first_price_after_it() -> None:
    question = ask(horizon_ms=2 * MINUTE_MS)

    held = lived(question, bars_of(QUIET, QUIET))
    ended = lived(question, bars_of(QUIET, QUIET, (100.7, 105.0, 90.0, 95.0)))

    assert held.status is Status.OPEN
    assert (ended.status, ended.exit_price, ended.bars) == (Status.EXPIRED, 100.7, 2)
    assert (ended.gapped, ended.ambiguous) == (False, False)
    assert ended.settled_ms == START_MS + 3 * MINUTE_MS


def test_a_price_beyond_the_stop_when_the_horizon_ends_is_the_exit() -> None:
    question = ask(horizon_ms=MINUTE_MS)

    track = lived(question, bars_of(QUIET, (95.0, 96.0, 94.0, 95.5)))

    assert (track.status, track.exit_price, track.mae_r) == (Status.EXPIRED, 95.0, -5.0)


def test_a_bar_counts_once() -> None:
    question = ask()
    bars = bars_of(QUIET, (100.1, 101.0, 99.9, 100.5))
    once = lived(question, bars)

    again = lived(question, [bars[0], bars[0], bars[1], bars[0], bars[1]])
    revised = advance(question, once, Bar(bars[1].open_ms, 100.1, 105.0, 90.0, 91.0))

    assert again == once
    assert revised == once


def test_a_gap_is_waited_for_and_healed_by_the_bar_that_was_missing() -> None:
    question = ask()
    bars = bars_of(QUIET, (100.1, 100.5, 98.0, 99.5), (99.5, 102.5, 99.4, 102.0))

    gone = lived(question, [bars[0], bars[2]])
    healed = lived(question, [bars[0], bars[2], bars[1], bars[2]])

    assert (gone.status, gone.next_ms) == (Status.OPEN, bars[1].open_ms)
    assert is_behind(question, gone, now_ms=bars[2].open_ms)
    assert not is_behind(question, gone, now_ms=bars[2].open_ms - 1)
    assert healed.status is Status.SL_HIT


@pytest.mark.parametrize(
    "bad",
    [
        (100.0, 99.0, 101.0, 100.0),
        (100.0, 100.5, 100.2, 100.3),
        (100.0, 103.0, 99.5, float("nan")),
        (float("nan"), 103.0, 99.5, 101.0),
        (100.0, float("inf"), 99.5, 100.0),
        (0.0, 100.0, 0.0, 100.0),
        (100.0, 101.0, -1.0, 100.0),
    ],
)
def test_a_bar_that_cannot_be_true_is_as_if_missing(bad: tuple[float, float, float, float]) -> None:
    question = ask()
    bars = bars_of(QUIET, bad, (100.0, 102.5, 99.5, 101.0))

    live, bulk = lived(question, bars), follow(question, recorded(bars))

    assert live == bulk
    assert (live.status, live.next_ms) == (Status.OPEN, bars[1].open_ms)


def test_a_bar_missing_for_too_long_makes_the_question_unanswerable() -> None:
    track = lived(ask(), bars_of(QUIET))
    due_ms = track.next_ms + MINUTE_MS

    waited = give_up(ask(), track, now_ms=due_ms + HOUR_MS - 1, patience_ms=HOUR_MS)
    gone = give_up(ask(), track, now_ms=due_ms + HOUR_MS, patience_ms=HOUR_MS)

    assert waited is track
    assert (gone.status, gone.settled_ms) == (Status.DATA_GAP, due_ms + HOUR_MS)
    assert not is_behind(ask(), gone, now_ms=due_ms + 2 * HOUR_MS)
    with pytest.raises(ValueError, match="DATA_GAP"):
        settle(ask(), gone, costs=FREE)


def test_what_is_final_stays() -> None:
    question = ask()
    won = lived(question, bars_of((100.0, 102.0, 99.5, 101.0)))

    assert won.status.is_final
    assert advance(question, won, bars_of(QUIET, QUIET)[1]) is won
    assert give_up(question, won, now_ms=won.next_ms + 99 * HOUR_MS, patience_ms=1) is won
    assert close_by_hand(question, won, price=50.0, at_ms=won.next_ms) is won


def test_a_person_can_end_a_trade_at_a_price() -> None:
    question = ask()
    track = lived(question, bars_of(QUIET))

    ended = close_by_hand(question, track, price=101.5, at_ms=track.next_ms + 1)

    assert (ended.status, ended.exit_price, ended.mfe_r) == (Status.MANUAL, 101.5, 1.5)
    settled = settle(question, ended, costs=FREE)
    assert (settled.gross_r, settled.won) == (1.5, None)


def test_a_trade_that_waits_for_its_entry_and_is_ended_was_not_filled() -> None:
    question = ask(fill=Fill.ON_TOUCH)

    ended = close_by_hand(
        question, begin(question), price=101.0, at_ms=START_MS, status=Status.REVERSED
    )

    assert (ended.status, ended.exit_price) == (Status.NOT_FILLED, None)


def test_a_trade_is_not_ended_by_hand_as_won() -> None:
    with pytest.raises(ValueError, match="TP_HIT"):
        close_by_hand(ask(), begin(ask()), price=1.0, at_ms=0, status=Status.TP_HIT)


@pytest.mark.parametrize(
    "changes",
    [
        {"stop": 101.0},
        {"stop": 100.0},
        {"target": 99.5},
        {"target": 100.0},
        {"side": Side.SHORT},
        {"entry": 0.0},
        {"stop": -1.0},
        {"target": float("nan")},
        {"target": float("inf")},
        {"horizon_ms": 0},
        {"fill_window_ms": 0},
    ],
)
def test_levels_on_the_wrong_side_make_no_question(changes: dict[str, Any]) -> None:
    with pytest.raises(BadQuestion):
        ask(**changes)


def test_costs_count_in_r_and_funding_by_the_hour() -> None:
    costs = Costs(fee_bps=5.0, slippage_bps=2.0, funding_bps_per_hour=6.0)
    long, short = ask(), mirrored(ask())
    bars = bars_of(*[QUIET] * 29, (100.0, 102.0, 99.5, 101.0))

    paid = settle(long, lived(long, bars), costs=costs)
    received = settle(short, lived(short, [flipped(bar) for bar in bars]), costs=costs)

    assert paid.held_ms == 30 * MINUTE_MS
    assert paid.cost_r == pytest.approx(0.17)  # 14 + 3 basis points of 100 on a risk of 1
    assert received.cost_r == pytest.approx(0.11)
    assert paid.net_r == pytest.approx(2.0 - 0.17)
    assert paid.net_return_frac == pytest.approx(0.02 - 0.0017)
    assert paid.won is True


def test_a_target_that_costs_eat_up_is_not_won() -> None:
    question = ask()
    track = lived(question, bars_of((100.0, 102.0, 99.5, 101.0)))

    assert settle(question, track, costs=Costs(fee_bps=100.0, slippage_bps=0.0)).won is False
    assert settle(question, track, costs=Costs(fee_bps=99.0, slippage_bps=0.0)).won is True


def test_running_out_in_profit_is_not_won() -> None:
    question = ask(horizon_ms=MINUTE_MS)
    track = lived(question, bars_of(QUIET, (101.9, 101.9, 101.9, 101.9)))

    settled = settle(question, track, costs=FREE)

    assert settled.won is False
    assert settled.net_r == pytest.approx(1.9)


def test_bars_of_another_length_than_the_question_counts_in_are_refused() -> None:
    with pytest.raises(ValueError, match="60000 ms"):
        follow(ask(), Recording.of(Bars.empty(timeframe_s=300)))


def test_longer_bars_can_answer_too() -> None:
    question = ask(asked_ms=START_MS + 1, horizon_ms=HOUR_MS, bar_ms=HOUR_MS)
    bars = [Bar(START_MS + hour * HOUR_MS, *QUIET) for hour in (0, 1, 2)]

    track = lived(question, bars)

    assert (track.status, track.exit_ms, track.bars) == (Status.EXPIRED, bars[2].open_ms, 1)
    assert track.settled_ms == START_MS + 3 * HOUR_MS
    assert settle(question, track, costs=FREE).held_ms == HOUR_MS


def test_without_bars_nothing_is_known() -> None:
    question = ask()

    assert follow(question, Recording.of(Bars.empty(timeframe_s=60))) == begin(question)


def made_up_bars(rng: np.random.Generator, count: int) -> list[Bar]:
    """Return a walk on a coarse grid, so that levels are often met exactly, with holes in it."""
    jumps = rng.choice([0.0, 0.0, 0.0, 0.5, -0.5, 1.5, -1.5], size=count).tolist()
    moves = (0.25 * rng.integers(-3, 4, size=count)).tolist()
    wicks = (0.25 * rng.integers(0, 3, size=(count, 2))).tolist()
    fates = rng.random(count).tolist()
    bars, price = [], 100.0
    for i, (jump, move, (up, down), fate) in enumerate(
        zip(jumps, moves, wicks, fates, strict=True)
    ):
        opened = price + jump
        close = opened + move
        high, low = max(opened, close) + up, min(opened, close) - down
        price = close + 0.25 * round(0.4 * (100.0 - close))
        if fate < 0.02:
            continue
        if fate < 0.03:
            high, low = low, high + 0.25
        bars.append(Bar(START_MS + i * MINUTE_MS, opened, high, low, close))
    return bars


def made_up_question(rng: np.random.Generator, minutes: int) -> Question:
    side = Side.LONG if rng.random() < 0.5 else Side.SHORT
    entry = 100.0 + 0.25 * float(rng.integers(-4, 5))
    return Question(
        side=side,
        entry=entry,
        target=entry + side.sign * 0.5 * float(rng.integers(1, 8)),
        stop=entry - side.sign * 0.5 * float(rng.integers(1, 8)),
        asked_ms=START_MS + int(rng.integers(-2 * MINUTE_MS, minutes * MINUTE_MS)),
        horizon_ms=int(rng.integers(1, 60 * MINUTE_MS)),
        fill=Fill.ON_TOUCH if rng.random() < 0.5 else Fill.AT_ONCE,
        fill_window_ms=int(rng.integers(1, 20 * MINUTE_MS)),
    )


def test_one_bar_at_a_time_equals_the_whole_recording() -> None:
    rng = np.random.default_rng(61)
    seen: dict[Status, int] = {}
    for _ in range(60):
        bars = made_up_bars(rng, 150)
        questions = [made_up_question(rng, 150) for _ in range(20)]
        tracks = follow_many(questions, recorded(bars))
        for question, bulk in zip(questions, tracks, strict=True):
            seen[bulk.status] = seen.get(bulk.status, 0) + 1

            assert bulk == lived(question, bars)

    kinds = {"WAITING", "OPEN", "TP_HIT", "SL_HIT", "EXPIRED", "NOT_FILLED"}
    assert {str(status) for status, count in seen.items() if count >= 10} == kinds


def test_a_restart_anywhere_changes_nothing() -> None:
    rng = np.random.default_rng(62)
    for _ in range(100):
        bars = [bar for bar in made_up_bars(rng, 90) if bar.is_sound]
        question = made_up_question(rng, 40)
        cut = int(rng.integers(0, len(bars)))

        before = follow(question, recorded(bars[:cut]))
        after = follow(question, recorded(bars[cut:]), track=before)

        assert after == follow(question, recorded(bars))


def test_the_future_changes_no_outcome() -> None:
    rng = np.random.default_rng(63)
    decided = 0
    for _ in range(200):
        bars = made_up_bars(rng, 120)
        question = made_up_question(rng, 60)
        whole = follow(question, recorded(bars))
        if not whole.status.is_final:
            continue
        decided += 1
        assert whole.settled_ms is not None
        past = [bar for bar in bars if bar.open_ms + MINUTE_MS <= whole.settled_ms]
        other = [Bar(START_MS + (120 + i) * MINUTE_MS, *QUIET) for i in range(9)]
        rewritten = past + [replace_prices(bar) for bar in bars[len(past) :]] + other

        assert follow(question, recorded(past)) == whole
        assert follow(question, recorded(rewritten)) == whole
        assert not follow(question, recorded(past[:-1])).status.is_final

    assert decided > 100


def replace_prices(bar: Bar) -> Bar:
    return Bar(bar.open_ms, 100.0, 500.0, 1.0, 100.0)


def test_sides_mirror_each_other() -> None:
    rng = np.random.default_rng(64)
    for _ in range(100):
        bars = made_up_bars(rng, 80)
        question = made_up_question(rng, 20)

        straight = lived(question, bars)
        turned = lived(mirrored(question), [flipped(bar) for bar in bars])

        assert turned.status == straight.status
        assert (turned.mfe_r, turned.mae_r) == pytest.approx((straight.mfe_r, straight.mae_r))


def test_excursions_bound_the_exit_and_ruin_is_never_missed() -> None:
    rng = np.random.default_rng(65)
    for _ in range(200):
        question = made_up_question(rng, 60)
        track = follow(question, recorded(made_up_bars(rng, 120)))
        if track.exit_price is None:
            continue

        assert track.mae_r <= question.in_r(track.exit_price) <= track.mfe_r
        if track.status is Status.TP_HIT and not track.gapped:
            assert track.mae_r > -1.0
        if track.status is Status.SL_HIT:
            assert track.mfe_r < question.reward_risk
