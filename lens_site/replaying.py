"""Replaying recorded candles: a signal at every step, judged as of its own time by the workers.

Nothing is judged here. The signals go through the same door and the same queue as any other,
only so many at a time, and marked so that their decisions are stored but never pushed.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

import numpy as np

from lens_site.desk import require_programs
from lens_site.drafting import Position, draft_open
from lens_site.progress import Surroundings
from lens_site.refusal import Refused
from markets.services import (
    BadRecording,
    UnknownInstrument,
    close_markets,
    market_named,
    recording_span,
)
from markets.types import RecordingSpan
from quant.types import TIMEFRAMES, Bars, Side
from signals import queries, services
from signals.models import Replay
from signals.types import OPEN_STATUSES, Origin, SignalDraft, SignalStatus, Submission

OWNER = "command:replay"
PAST_S = 3_600
"""How far back momentum looks, and so how much must be recorded before the first signal."""

WORTH = 1_000.0  # of every signal, in quote currency
BATCH = 100  # signals stored in one transaction
LOOK_EVERY_S = 0.1
PROGRAMS_EVERY = timedelta(seconds=5)


class NoReplay(Refused):
    """What was asked for cannot be replayed."""


class Leaning(StrEnum):
    """Which side the signals take."""

    MOMENTUM = "momentum"
    LONG = "long"
    SHORT = "short"
    ALTERNATE = "alternate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a person asked for; times are aware, ``until`` included, None where the file ends."""

    path: Path
    symbol: str
    every_s: int
    leaning: Leaning = Leaning.MOMENTUM
    since: datetime | None = None
    until: datetime | None = None
    window: int = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One moment at which a signal is made; the price is the close of the last closed candle."""

    at: datetime
    price: float
    side: Side


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that will be submitted, before any of it is."""

    order: Order
    span: RecordingSpan
    sha256: str
    drafts: Sequence[SignalDraft]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a replay has come."""

    total: int
    submitted: int
    done: int


def plan_replay(order: Order, *, now: datetime) -> Plan:
    """Return the signals that an order asks for.

    :raises NoReplay: if the file cannot be used, or nothing in it lies in the asked range.
    :raises UnusableSignal: if the symbol or a price makes no valid signal.
    """
    path = order.path.resolve()
    if not path.is_file():
        raise NoReplay(f"there is no file {order.path}", todo="--candles names a CSV, plain or .gz")
    try:
        span = recording_span(str(path))
        bars = asyncio.run(_bars(span, symbol=order.symbol))
    except (BadRecording, UnknownInstrument) as error:
        raise NoReplay("the candles cannot be used", why=str(error)) from error
    _check(order, span)
    steps = list_steps(
        bars,
        every_s=order.every_s,
        leaning=order.leaning,
        since=order.since or span.first_open_at,
        until=order.until or span.last_close_at,
    )
    if not steps:
        raise NoReplay(
            "nothing of the recording lies in that range",
            why=f"it goes from {span.first_open_at:%Y-%m-%d %H:%M} to"
            f" {span.last_close_at:%Y-%m-%d %H:%M} UTC, and the first signal needs"
            f" {PAST_S // 60} minutes before it",
            todo="choose --from and --to inside it",
        )
    source = f"replay:{path.name}"[:100]
    return Plan(
        order=order,
        span=span,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        drafts=[_draft(step, symbol=order.symbol, source=source, now=now) for step in steps],
    )


async def _bars(span: RecordingSpan, *, symbol: str) -> Bars:
    names = {seconds: name for name, seconds in TIMEFRAMES.items()}
    if span.timeframe_s not in names:
        known = " ".join(TIMEFRAMES)
        raise UnknownInstrument(f"candles of {span.timeframe_s} s are none of {known}")
    market = market_named("recorded", recording=span.path)
    series = await market.candles(
        symbol=symbol,
        timeframe=names[span.timeframe_s],
        count=span.rows,
        as_of=span.last_close_at,
    )
    await close_markets()
    return series.bars


def _check(order: Order, span: RecordingSpan) -> None:
    if order.every_s < span.timeframe_s:
        raise NoReplay(
            f"--every {order.every_s} s is shorter than the candles",
            why=f"nothing new is known between two closes of {span.timeframe_s} s",
        )


def list_steps(
    bars: Bars, *, every_s: int, leaning: Leaning, since: datetime, until: datetime
) -> list[Step]:
    """Return the moments with enough past, at whole multiples of ``every_s``, oldest first.

    A moment whose last candle is missing from the recording is left out: its price would be old.
    Momentum is long when the price has not fallen since ``PAST_S`` before.
    """
    close_ms = bars.close_ms
    past_ms = max(PAST_S, bars.timeframe_s) * 1000
    step_ms = every_s * 1000
    first_ms = max(_ms(since), int(close_ms[0]) + past_ms)
    last_ms = min(_ms(until), int(close_ms[-1]))
    moments = np.arange(-(-first_ms // step_ms) * step_ms, last_ms + 1, step_ms, dtype=np.int64)
    latest = np.searchsorted(close_ms, moments, side="right") - 1
    before = np.searchsorted(close_ms, moments - past_ms, side="right") - 1
    is_fresh = moments - close_ms[latest] < bars.timeframe_s * 1000
    has_risen = bars.close[latest] >= bars.close[before]
    return [
        Step(
            at=datetime.fromtimestamp(int(moments[place]) / 1000, UTC),
            price=float(bars.close[latest[place]]),
            side=_side(leaning, number=number, has_risen=bool(has_risen[place])),
        )
        for number, place in enumerate(np.flatnonzero(is_fresh).tolist())
    ]


def _side(leaning: Leaning, *, number: int, has_risen: bool) -> Side:
    if leaning is Leaning.MOMENTUM:
        return Side.LONG if has_risen else Side.SHORT
    if leaning is Leaning.ALTERNATE:
        return Side.SHORT if number % 2 else Side.LONG
    return Side(leaning.value)


def _draft(step: Step, *, symbol: str, source: str, now: datetime) -> SignalDraft:
    position = Position(symbol=symbol, side=step.side, entry=step.price, worth=WORTH)
    return draft_open(position=position, at=step.at, source=source, now=now)


def start(plan: Plan, *, now: datetime) -> Replay:
    """Store what is about to be replayed.

    :raises NobodyAtWork: when nobody would judge it.
    """
    require_programs(now=now)
    return services.start_replay(
        candles_path=plan.span.path,
        candles_sha256=plan.sha256,
        symbol=plan.drafts[0].symbol,
        every_s=plan.order.every_s,
        now=now,
    )


def run(plan: Plan, replay: Replay, *, lent: Surroundings[Progress]) -> None:
    """Submit the signals, at most ``window`` unfinished at a time, and wait for their ends.

    Stopping it at any moment is safe: what is submitted is finished by the workers.

    :raises NobodyAtWork: when the last worker or the conductor falls silent on the way.
    """
    batch = min(BATCH, plan.order.window)
    total, submitted = len(plan.drafts), 0
    looked_at = lent.now()
    while True:
        done = count_done(replay)
        lent.tell(Progress(total=total, submitted=submitted, done=done))
        if done >= total:
            return
        if submitted < total and submitted - done <= plan.order.window - batch:
            submitted += _submit(plan.drafts[submitted : submitted + batch], replay, lent.now())
            continue
        if lent.now() - looked_at >= PROGRAMS_EVERY:
            looked_at = lent.now()
            require_programs(now=looked_at)
        lent.pause(LOOK_EVERY_S)


def _submit(drafts: Sequence[SignalDraft], replay: Replay, now: datetime) -> int:
    submissions = [
        Submission(draft=draft, owner=OWNER, origin=Origin.REPLAY, replay_id=replay.id)
        for draft in drafts
    ]
    return len(services.submit_signals(submissions=submissions, now=now))


def count_done(replay: Replay) -> int:
    """Return how many signals of a replay have come to an end."""
    return sum(
        count
        for status, count in queries.count_by_status(replay_id=replay.id).items()
        if SignalStatus(status) not in OPEN_STATUSES
    )


def count_submitted(replay: Replay) -> int:
    """Return how many signals of a replay are stored."""
    return sum(queries.count_by_status(replay_id=replay.id).values())


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)
