"""The demo: made-up signals on a made-up market, judged by the real workers.

The signals are stored as any other, marked as demo; what becomes of them is read from the
database, so it needs neither keys nor sockets.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Protocol
from uuid import UUID

from decisions.models import Decision
from decisions.types import JURY
from evaluation.models import Evaluation
from evaluation.types import EvaluationStatus
from lens_site.desk import require_programs
from lens_site.drafting import Position, draft_close, draft_open
from markets.services import market_named
from quant.types import Side
from signals import queries, services
from signals.types import OPEN_STATUSES, Direction, Origin, SignalDraft, SignalStatus, Submission

OWNER = "command:demo"
SIMULATED = "SIMULATED"
"""The word that stands wherever these prices show."""

LOOK_EVERY_S = 0.2
LAST_WAIT = timedelta(seconds=20)
"""How long the last signals are waited for; the jury's deadline lies well within."""

PROGRAMS_EVERY = timedelta(seconds=5)
CLOSE_SHARE = 0.2  # of the signals, once there is something to close
CLOSE_AFTER = 3  # signals between entering and leaving, at least
TREND_OVER = timedelta(hours=4)
MOVERS_SHARE = 0.4  # of the symbols, those that moved most, are traded
MOVERS_LEAST = 3
TREND_SHARE = 0.75  # of the entries go with the last move
ENTRY_NOISE_BPS = 3.0
WORTHS = (250.0, 500.0, 1_000.0, 2_500.0)  # in quote currency

PriceOf = Callable[[str, datetime], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a person asked for; without a count or a duration it goes on until stopped."""

    symbols: Sequence[str]
    every_s: float = 5.0
    count: int | None = None
    seconds: float | None = None
    source: str = "demo"
    seed: int | None = None


class Trader:
    """Enters what moved most of late, mostly with the move, and now and then leaves again.

    The same seed at the same moments makes the same choices.
    """

    def __init__(self, order: Order) -> None:
        self._order = order
        self._rng = Random(order.seed)  # noqa: S311  a demo, not a secret
        self._held: list[tuple[int, Position]] = []
        self._made = 0

    def rehearse(self, *, price_of: PriceOf, now: datetime) -> None:
        """Make a signal on every symbol and throw it away.

        :raises UnusableSignal: if a symbol or the source breaks a rule.
        """
        for symbol in self._order.symbols:
            price = _rounded(price_of(symbol, now))
            position = Position(symbol=symbol, side=Side.LONG, entry=price, worth=WORTHS[0])
            draft_open(position=position, at=now, source=self._order.source, now=now)

    def next_draft(self, *, price_of: PriceOf, now: datetime) -> SignalDraft:
        """Return the next signal at the market's price of this moment."""
        self._made += 1
        ripe = [entry for entry in self._held if self._made - entry[0] > CLOSE_AFTER]
        wants_out, pick = self._rng.random() < CLOSE_SHARE, self._rng.random()
        if wants_out and ripe:
            return self._leave(ripe[int(pick * len(ripe))], price_of=price_of, now=now)
        movers = self._movers(price_of=price_of, now=now)
        symbol, price, move = movers[int(pick * len(movers))]
        trend = Side.LONG if move >= 0.0 else Side.SHORT
        noise = self._rng.gauss(0.0, ENTRY_NOISE_BPS) / 10_000
        position = Position(
            symbol=symbol,
            side=trend if self._rng.random() < TREND_SHARE else trend.opposite,
            entry=_rounded(price * (1 + noise)),
            worth=self._rng.choice(WORTHS),
        )
        self._held.append((self._made, position))
        return draft_open(position=position, at=now, source=self._order.source, now=now)

    def _movers(self, *, price_of: PriceOf, now: datetime) -> list[tuple[str, float, float]]:
        """Return the symbols that moved most of late, with their prices and moves."""
        found = []
        for symbol in self._order.symbols:
            price = price_of(symbol, now)
            found.append((symbol, price, price / price_of(symbol, now - TREND_OVER) - 1))
        found.sort(key=lambda mover: -abs(mover[2]))
        return found[: max(MOVERS_LEAST, int(len(found) * MOVERS_SHARE))]

    def _leave(
        self, entry: tuple[int, Position], *, price_of: PriceOf, now: datetime
    ) -> SignalDraft:
        self._held.remove(entry)
        position = entry[1]
        return draft_close(
            position=position,
            price=price_of(position.symbol, now),
            at=now,
            source=self._order.source,
            now=now,
        )


def _rounded(price: float) -> float:
    """Return a price as a person would write it: seven digits."""
    return float(f"{price:.7g}")


def simulated_price(symbol: str, at: datetime) -> float:
    """Return the last price of the simulated market, the one the workers will see."""

    async def ask() -> float:
        return (await market_named("simulated").quote(symbol=symbol, as_of=at)).mid

    return asyncio.run(ask())


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one model, or the jury, made of a signal; an abstention has a cause instead."""

    model: str
    decision: str = ""
    confidence: float | None = None
    revision: int = 1
    cause: str = ""
    reason: str = ""


@dataclass(slots=True, kw_only=True, eq=False)
class Row:
    """One signal of the demo and what has become of it so far."""

    event_id: UUID
    at: datetime
    symbol: str
    direction: Direction
    entry: float
    status: SignalStatus = SignalStatus.ENQUEUED
    took_ms: float | None = None
    answers: dict[str, Answer] = field(default_factory=dict)

    @property
    def is_open(self) -> bool:
        """Whether something can still happen to it."""
        return self.status in OPEN_STATUSES


class Listener(Protocol):
    """Who is told what happens, as it happens."""

    def on_signal(self, row: Row) -> None:
        """Hear of a new signal."""

    def on_answer(self, row: Row, answer: Answer) -> None:
        """Hear that a model or the jury answered, or answered anew."""

    def on_end(self, row: Row) -> None:
        """Hear that nothing more will happen to a signal."""


class Lent(Protocol):
    """What the door lends the demo: the clock and the waiting."""

    def now(self) -> datetime:
        """Return the present moment."""

    def pause(self, seconds: float) -> None:
        """Let so much time pass."""


class Demo:
    """Sends signals on time and tells what becomes of them."""

    def __init__(
        self, order: Order, *, listener: Listener, lent: Lent, price_of: PriceOf = simulated_price
    ) -> None:
        self.rows: list[Row] = []
        self._order = order
        self._trader = Trader(order)
        self._listener = listener
        self._lent = lent
        self._price_of = price_of

    def run(self) -> None:
        """Send and follow until the order is fulfilled.

        :raises NobodyAtWork: when there is nobody to judge, at the start or later.
        :raises UnusableSignal: if a symbol or the source makes no valid signal.
        """
        began = due = looked = self._lent.now()
        require_programs(now=began)
        self._trader.rehearse(price_of=self._price_of, now=began)
        while self._is_wanting(began):
            if self._lent.now() >= due:
                self._send()
                due += timedelta(seconds=self._order.every_s)
            if self._lent.now() - looked >= PROGRAMS_EVERY:
                looked = self._lent.now()
                require_programs(now=looked)
            self._look_after_a_while()
        last = self._lent.now() + LAST_WAIT
        while self._open_rows() and self._lent.now() < last:
            self._look_after_a_while()

    def _is_wanting(self, began: datetime) -> bool:
        order = self._order
        if order.count is not None and len(self.rows) >= order.count:
            return False
        return order.seconds is None or self._lent.now() - began < timedelta(seconds=order.seconds)

    def _send(self) -> None:
        now = self._lent.now()
        draft = self._trader.next_draft(price_of=self._price_of, now=now)
        submission = Submission(draft=draft, owner=OWNER, origin=Origin.DEMO)
        (receipt,) = services.submit_signals(submissions=[submission], now=now)
        if isinstance(receipt, Exception):
            raise receipt
        row = Row(
            event_id=receipt.event_id,
            at=now,
            symbol=draft.symbol,
            direction=draft.direction,
            entry=float(draft.entry_price),
        )
        self.rows.append(row)
        self._listener.on_signal(row)

    def _look_after_a_while(self) -> None:
        self._lent.pause(LOOK_EVERY_S)
        self.look()

    def _open_rows(self) -> dict[UUID, Row]:
        return {row.event_id: row for row in self.rows if row.is_open}

    def look(self) -> None:
        """Read what has become of the open signals and tell what is new.

        The ends are read before the answers, so that an end never comes before its answers.
        """
        followed = self._open_rows()
        if not followed:
            return
        signals = list(queries.list_signals(filters={"event_id__in": list(followed)}))
        for event_id, answer in _answers(list(followed)):
            row = followed[event_id]
            if row.answers.get(answer.model) != answer:
                row.answers[answer.model] = answer
                self._listener.on_answer(row, answer)
        for signal in signals:
            row = followed[signal.event_id]
            row.status = SignalStatus(signal.status)
            if signal.terminal_at is not None:
                row.took_ms = (signal.terminal_at - signal.received_at).total_seconds() * 1000
                self._listener.on_end(row)


def _answers(event_ids: Sequence[UUID]) -> list[tuple[UUID, Answer]]:
    """Return what has been said of the signals, the last word of each judge, the jury's last."""
    latest: dict[tuple[UUID, str], Answer] = {}
    decisions = Decision.objects.filter(event_id__in=event_ids).order_by("revision")
    for row in decisions:
        latest[row.event_id, row.model] = Answer(
            model=row.model,
            decision=row.decision,
            confidence=row.confidence,
            revision=row.revision,
        )
    silent = Evaluation.objects.filter(
        signal__event_id__in=event_ids, rerun=None, status=EvaluationStatus.ABSTAINED
    ).select_related("signal")
    for each in silent:
        latest[each.signal.event_id, each.model] = Answer(
            model=each.model, cause=each.outcome, reason=each.reason
        )
    found = [(event_id, answer) for (event_id, _), answer in latest.items()]
    return sorted(found, key=lambda item: (item[1].model == JURY, item[1].model))


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What a demo came to."""

    signals: int
    ended: dict[str, int]
    answers: dict[str, dict[str, int]]
    median_ms: float | None


def tally(rows: Sequence[Row]) -> Tally:
    """Return the counts of a demo."""
    answers: dict[str, Counter[str]] = {}
    for row in rows:
        for answer in row.answers.values():
            words = answers.setdefault(answer.model, Counter())
            words[answer.decision or f"abstained: {answer.cause}"] += 1
    times = sorted(row.took_ms for row in rows if row.took_ms is not None)
    return Tally(
        signals=len(rows),
        ended=dict(sorted(Counter(str(row.status) for row in rows).items())),
        answers={model: dict(sorted(words.items())) for model, words in sorted(answers.items())},
        median_ms=times[len(times) // 2] if times else None,
    )
