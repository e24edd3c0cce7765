"""A replay makes signals of recorded candles, and the same ones come to the same decisions."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import CommandError, call_command

from decisions.models import Decision
from lens_site import replay_summary, replaying
from lens_site.desk import NobodyAtWork
from lens_site.drafting import UnusableSignal
from lens_site.replaying import Leaning, NoReplay, Order, Progress, list_steps, plan_replay
from pipeline.models import Heartbeat
from quant.types import Bars, Side
from signals.models import Replay, Signal
from signals.types import Origin
from tests.site.desk import Turning, report_programs

START = datetime(2022, 1, 3, tzinfo=UTC)
NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)


def make_candles(path: Path, *, hours: int, without: range = range(0)) -> Path:
    """Write 5-minute candles of a price that swings and drifts; leave some of them out."""
    lines = ["open_time,open,high,low,close,volume"]
    prices = [
        100 + 8 * math.sin(place / 40) + 3 * math.sin(place / 7) + place * 0.002
        for place in range(hours * 12 + 1)
    ]
    for place in range(hours * 12):
        first, last = prices[place], prices[place + 1]
        if place not in without:
            opened = (START + timedelta(minutes=5 * place)).isoformat()
            high, low = max(first, last) + 0.1, min(first, last) - 0.1
            lines.append(f"{opened},{first:.4f},{high:.4f},{low:.4f},{last:.4f},{10 + place % 9}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def candles(tmp_path: Path) -> Path:
    return make_candles(tmp_path / "XYZ-perp-5m.csv", hours=8)


def make_bars(closes: list[float], *, timeframe_s: int = 300) -> Bars:
    values = np.array(closes, dtype=np.float64)
    start_ms = int(START.timestamp() * 1000)
    times = start_ms + np.arange(len(closes), dtype=np.int64) * timeframe_s * 1000
    return Bars(times, values, values, values, values, values, timeframe_s)


class Silent(Turning):
    """Nobody to tell."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Progress] = []

    def tell(self, progress: Progress) -> None:
        self.told.append(progress)


def steps_of(bars: Bars, *, leaning: Leaning = Leaning.MOMENTUM, every_s: int = 900) -> list[Any]:
    return list_steps(
        bars,
        every_s=every_s,
        leaning=leaning,
        since=START,
        until=START + timedelta(days=9),
    )


def test_the_first_step_has_an_hour_of_past_and_the_last_is_the_last_close() -> None:
    bars = make_bars([100.0 + n for n in range(36)])

    steps = steps_of(bars)

    assert steps[0].at == START + timedelta(minutes=75)
    assert steps[-1].at == START + timedelta(hours=3)
    assert {later.at - earlier.at for earlier, later in pairwise(steps)} == {timedelta(minutes=15)}


def test_a_step_knows_the_last_close_and_nothing_after_it() -> None:
    bars = make_bars([100.0 + n for n in range(36)])

    steps = steps_of(bars)

    assert steps[0].price == 100.0 + 75 / 5 - 1
    assert [step.price for step in steps_of(bars[:20])] == [s.price for s in steps][:2]


@pytest.mark.parametrize(
    ("closes", "side"),
    [
        ([100.0] * 12 + [99.0] * 12, Side.SHORT),
        ([100.0] * 12 + [101.0] * 12, Side.LONG),
        ([100.0] * 24, Side.LONG),
    ],
)
def test_momentum_takes_the_side_of_the_last_hour(closes: list[float], side: Side) -> None:
    steps = steps_of(make_bars(closes))

    assert {step.side for step in steps[:2]} == {side}


def test_the_side_can_be_fixed_or_alternate() -> None:
    bars = make_bars([100.0] * 36)

    assert {step.side for step in steps_of(bars, leaning=Leaning.SHORT)} == {Side.SHORT}
    assert {step.side for step in steps_of(bars, leaning=Leaning.LONG)} == {Side.LONG}
    assert [step.side for step in steps_of(bars, leaning=Leaning.ALTERNATE)][:3] == [
        Side.LONG,
        Side.SHORT,
        Side.LONG,
    ]


def test_moments_inside_a_hole_of_the_recording_are_left_out(tmp_path: Path) -> None:
    path = make_candles(tmp_path / "holes.csv", hours=6, without=range(36, 48))
    order = Order(path=path, symbol="XYZ", every_s=900)

    times = [draft.ts_utc for draft in plan_replay(order, now=NOW).drafts]

    assert START + timedelta(hours=3) in times
    assert START + timedelta(hours=3, minutes=15) not in times
    assert START + timedelta(hours=4) not in times
    assert START + timedelta(hours=4, minutes=15) in times


def test_a_range_limits_the_steps_on_both_ends(candles: Path) -> None:
    order = Order(
        path=candles,
        symbol="XYZ",
        every_s=900,
        since=START + timedelta(hours=2),
        until=START + timedelta(hours=3),
    )

    times = [draft.ts_utc for draft in plan_replay(order, now=NOW).drafts]

    assert times == [START + timedelta(hours=2, minutes=15 * n) for n in range(5)]


def test_every_draft_is_a_valid_signal_with_five_times_leverage(candles: Path) -> None:
    plan = plan_replay(Order(path=candles, symbol="xyz", every_s=3600), now=NOW)

    draft = plan.drafts[0]
    assert draft.symbol == "XYZ"
    assert float(draft.entry_price * draft.size) == pytest.approx(1_000, rel=1e-6)
    away = float(draft.liquidation_price or 0) / float(draft.entry_price)
    assert away == pytest.approx(0.805 if draft.direction == "long" else 1.195, rel=1e-6)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"path": Path("/nowhere/at/all.csv")}, "no file /nowhere/at/all.csv"),
        ({"since": START + timedelta(days=30)}, "nothing of the recording lies in that range"),
        ({"until": START}, "nothing of the recording lies in that range"),
        ({"every_s": 60}, "shorter than the candles"),
    ],
)
def test_what_cannot_be_replayed_is_refused_in_words(
    candles: Path, changes: dict[str, Any], told: str
) -> None:
    order = replace(Order(path=candles, symbol="XYZ", every_s=900), **changes)

    with pytest.raises(NoReplay, match=told):
        plan_replay(order, now=NOW)


def test_a_broken_file_is_refused_with_its_line(tmp_path: Path) -> None:
    path = make_candles(tmp_path / "broken.csv", hours=3)
    path.write_text(path.read_text() + "2022-01-03T09:00:00+00:00,1,2,3\n")

    with pytest.raises(NoReplay) as refused:
        plan_replay(Order(path=path, symbol="XYZ", every_s=900), now=NOW)

    assert "line 38" in refused.value.why


def test_a_symbol_that_no_signal_may_carry_is_refused_by_name(candles: Path) -> None:
    with pytest.raises(UnusableSignal) as refused:
        plan_replay(Order(path=candles, symbol="no such", every_s=900), now=NOW)

    assert refused.value.why.startswith("symbol must be")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("missing", ["worker", "conductor"])
def test_nothing_starts_while_a_program_is_missing(candles: Path, missing: str) -> None:
    plan = plan_replay(Order(path=candles, symbol="XYZ", every_s=900), now=NOW)
    report_programs(at=NOW)
    Heartbeat.objects.filter(kind=missing).update(seen_at=NOW - timedelta(minutes=1))

    with pytest.raises(NobodyAtWork, match=f"no {missing} is running"):
        replaying.start(plan, now=NOW)

    assert Replay.objects.count() == 0


def run_replay(path: Path, *, window: int = 500) -> tuple[Replay, Silent]:
    now = datetime.now(UTC)
    report_programs(at=now)
    plan = plan_replay(Order(path=path, symbol="XYZ", every_s=900, window=window), now=now)
    replay = replaying.start(plan, now=now)
    lent = Silent()
    replaying.run(plan, replay, lent=lent)
    return replay, lent


@pytest.mark.django_db(transaction=True)
def test_two_runs_of_the_same_file_come_to_the_same_decisions(candles: Path) -> None:
    first, _ = run_replay(candles)
    second, _ = run_replay(candles)

    one, other = replay_summary.summarise(first), replay_summary.summarise(second)
    assert one.fingerprint == other.fingerprint
    assert (one.signals, one.decisions, one.abstentions) == (
        other.signals,
        other.decisions,
        other.abstentions,
    )
    assert sum(one.decisions["rules"].values()) > 10


@pytest.mark.django_db(transaction=True)
def test_other_candles_come_to_another_fingerprint(candles: Path, tmp_path: Path) -> None:
    text = candles.read_text().splitlines()
    opened = text[60].split(",")[0]
    text[60] = f"{opened},50,51,49,50,500"
    other = tmp_path / "other-5m.csv"
    other.write_text("\n".join(text) + "\n")

    first, _ = run_replay(candles)
    second, _ = run_replay(other)

    assert (
        replay_summary.summarise(first).fingerprint != replay_summary.summarise(second).fingerprint
    )


@pytest.mark.django_db(transaction=True)
def test_replayed_decisions_are_stored_without_a_number(candles: Path) -> None:
    replay, _ = run_replay(candles)

    signals = Signal.objects.filter(replay=replay)
    decisions = Decision.objects.filter(signal__in=signals)
    assert set(signals.values_list("origin", flat=True)) == {Origin.REPLAY}
    assert decisions.exists()
    assert set(decisions.values_list("seq", flat=True)) == {None}
    assert replay.candles_path == str(candles.resolve())


@pytest.mark.django_db(transaction=True)
def test_no_more_than_the_window_is_unfinished_at_a_time(candles: Path) -> None:
    _, lent = run_replay(candles, window=4)

    assert max(told.submitted - told.done for told in lent.told) == 4
    assert lent.told[-1].done == lent.told[-1].total == 28


@pytest.mark.django_db(transaction=True)
def test_a_replay_gives_up_in_words_when_the_workers_fall_silent(candles: Path) -> None:
    now = datetime.now(UTC)
    report_programs(at=now)
    plan = plan_replay(Order(path=candles, symbol="XYZ", every_s=900), now=now)
    replay = replaying.start(plan, now=now)

    class Deserted(Silent):
        def now(self) -> datetime:
            return now + timedelta(seconds=self.pauses)

        def pause(self, seconds: float) -> None:
            self.pauses += 1

    with pytest.raises(NobodyAtWork, match="no worker is running"):
        replaying.run(plan, replay, lent=Deserted())


@pytest.fixture
def _turning_door(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the command's waiting turn the conveyor."""
    report_programs(at=datetime.now(UTC))
    monkeypatch.setattr("lens_site.progress.time.sleep", Turning().pause)
    yield


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_turning_door")
def test_the_command_ends_with_one_json_object_for_programs(candles: Path) -> None:
    out = StringIO()

    call_command("replay", candles=candles, symbol="XYZ", json=True, stdout=out)

    summary = json.loads(out.getvalue())
    assert sum(summary["signals"].values()) == summary["total"] == 28
    assert summary["stopped"] is False
    assert set(summary["decisions"]) >= {"rules", "jury"}
    assert summary["delays"]["whole"]["count"] == 28
    assert summary["signals_per_s"] > 0


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_turning_door")
def test_the_command_ends_with_tables_for_people(candles: Path) -> None:
    out = StringIO()

    call_command("replay", candles=candles, symbol="XYZ", stdout=out)

    told = out.getvalue()
    assert told.startswith("Replaying 28 signals on XYZ from XYZ-perp-5m.csv")
    for title in ("Signals", "Decisions", "Abstentions", "Agreement", "Delays"):
        assert f"\n{title}" in told
    assert "rules and jury" in told
    assert "\x1b" not in told


@pytest.mark.django_db(transaction=True)
def test_stopping_the_command_says_what_becomes_of_the_rest(
    candles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report_programs(at=datetime.now(UTC))

    def stop(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lens_site.progress.time.sleep", stop)
    out = StringIO()

    with pytest.raises(SystemExit) as left:
        call_command("replay", candles=candles, symbol="XYZ", stdout=out)

    assert left.value.code == 130
    assert "Stopped after 28 of 28 signals were submitted." in out.getvalue()
    assert "The 28 that are not finished will be, by themselves." in out.getvalue()


@pytest.mark.django_db(transaction=True)
def test_the_command_refuses_on_the_error_stream_with_code_one(candles: Path) -> None:
    out, errors = StringIO(), StringIO()

    with pytest.raises(SystemExit) as left:
        call_command("replay", candles=candles, symbol="XYZ", stdout=out, stderr=errors)

    assert left.value.code == 1
    assert "✗ no worker is running" in errors.getvalue()
    assert "./lens up" in errors.getvalue()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--every", "15"],
        ["--every", "0m"],
        ["--from", "yesterday"],
        ["--window", "0"],
        ["--direction", "up"],
    ],
)
def test_options_that_make_no_sense_are_refused(candles: Path, arguments: list[str]) -> None:
    with pytest.raises(CommandError, match=arguments[0]):
        call_command("replay", "--candles", str(candles), "--symbol", "XYZ", *arguments)
