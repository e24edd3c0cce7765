"""The loop that keeps open questions up with the market: candles in, outcomes out.

Candles are asked for once a symbol and only as far back as the oldest open question needs; no
transaction is open meanwhile. Stopping it anywhere is safe.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from decisions.types import LIVE, SIMULATED
from markets.services import (
    BadMarketData,
    MarketDataUnavailable,
    UnknownInstrument,
    market_named,
)
from outcomes import queries, services
from outcomes.appraising import AFTER, BACK
from outcomes.models import Question
from outcomes.queries import Need
from quant.types import TIMEFRAMES, Bars
from signals.models import Replay

logger = logging.getLogger(__name__)

BARS_MAX = 4_000
"""The most candles that are asked for at once; what is older comes with the next look."""

RANGE_BARS = 100
LEVELS_BATCH = 50
RECORDED = "recorded"
NAMES = {seconds: name for name, seconds in TIMEFRAMES.items()}


class Database(Protocol):
    """Calls a function in the thread that owns the database's connection."""

    def run(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Awaitable[Any]:
        """Return what ``work`` returns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one look at all markets came to."""

    ended: int = 0
    behind: int = 0
    faults: int = 0

    def __add__(self, other: Look) -> Look:
        return Look(
            ended=self.ended + other.ended,
            behind=self.behind + other.behind,
            faults=self.faults + other.faults,
        )


class Tracker:
    """Looks at each symbol's market for all questions that are open on it."""

    def __init__(self, *, database: Database, replay: Replay | None = None) -> None:
        self._database = database
        self._replay = replay
        self._slots = asyncio.Semaphore(settings.TRACK_CONCURRENCY)
        self._caught_up: dict[tuple[str, str, int], int] = {}

    async def look(self, *, now: datetime) -> Look:
        """Follow every open question as far as candles go.

        A market on which nothing was behind is looked at again when its next candle has closed.
        """
        await self._set_levels(now=now)
        needs = await self._database.run(
            queries.list_needs, now=now, replay_id=self._replay and self._replay.id
        )
        due = [need for need in needs if self._caught_up.get(_key(need)) != _bars_by(need, now)]
        found = await asyncio.gather(*(self._follow(need, now=now) for need in due))
        for need, look in zip(due, found, strict=True):
            if not (look.behind or look.faults):
                self._caught_up[_key(need)] = _bars_by(need, now)
        return sum(found, Look())

    async def score(self, *, now: datetime) -> int:
        """Score what has ended, replays left out; return how many outcomes it were."""
        done = 0
        for scope in await self._database.run(queries.list_unscored_scopes):
            while taken := await self._database.run(
                services.tally, scope=scope, now=now, limit=settings.TRACK_BATCH
            ):
                done += taken
        return done

    async def learn(self, *, now: datetime) -> None:
        """Learn from the scores of live and of simulated signals, each for their own."""
        for scope in (LIVE, SIMULATED):
            await self._database.run(services.learn_anew, scope=scope, now=now)
        await self._database.run(services.weigh_evidence, now=now)
        await self._database.run(services.send_canaries, now=now)
        await self._database.run(services.judge_canaries, now=now)
        await self._database.run(services.finish_audits, now=now)

    async def appraise(self, *, now: datetime) -> int:
        """Hold what has ended against time and chance; return how many signals it were."""
        needs = await self._database.run(
            queries.list_unappraised_needs,
            until=now - AFTER,
            replay_id=self._replay and self._replay.id,
        )
        return sum([await self._appraise(need, now=now) for need in needs])

    async def _appraise(self, need: Need, *, now: datetime) -> int:
        since = need.since - BACK
        as_of = _until(need, since=since, now=now)
        try:
            bars = await self._candles(need, since=since, as_of=as_of)
        except (
            UnknownInstrument,
            MarketDataUnavailable,
            BadMarketData,
            ImproperlyConfigured,
        ) as error:
            logger.info("no candles to appraise %s by: %s", need.symbol, error)
            return 0
        done: int = await self._database.run(
            services.appraise,
            market=need.market,
            symbol=need.symbol,
            replay_id=need.replay_id,
            bars=bars,
            as_of=as_of,
            now=now,
        )
        return done

    async def _follow(self, need: Need, *, now: datetime) -> Look:
        """Follow one symbol's questions, over as many stretches of candles as it takes."""
        total, since = Look(), need.since
        async with self._slots:
            while since < now:
                as_of = _until(need, since=since, now=now)
                try:
                    bars = await self._candles(need, since=since, as_of=as_of)
                except UnknownInstrument as error:
                    await self._database.run(
                        services.close_unfindable,
                        market=need.market,
                        symbol=need.symbol,
                        replay_id=need.replay_id,
                        reason=str(error),
                        now=now,
                    )
                    return total + Look(faults=1)
                except (MarketDataUnavailable, BadMarketData, ImproperlyConfigured) as error:
                    logger.info("no candles of %s: %s", need.symbol, error)
                    return total + Look(faults=1)
                done = await self._database.run(
                    services.advance,
                    market=need.market,
                    symbol=need.symbol,
                    replay_id=need.replay_id,
                    bars=bars,
                    as_of=as_of,
                    now=now,
                )
                total += Look(ended=done.ended, behind=done.behind)
                since = as_of
        return total

    async def _candles(self, need: Need, *, since: datetime, as_of: datetime) -> Bars:
        count = int((as_of - since).total_seconds()) // need.candle_s + 1
        market = market_named(need.market, recording=self._recording(need.replay_id))
        name = NAMES.get(need.candle_s)
        if name is None:
            raise UnknownInstrument(f"no candles of {need.candle_s} s")
        series = await market.candles(symbol=need.symbol, timeframe=name, count=count, as_of=as_of)
        return series.bars

    def _recording(self, replay_id: UUID | None) -> str | None:
        return self._replay.candles_path if replay_id and self._replay else None

    async def _set_levels(self, *, now: datetime) -> None:
        """Set the levels of questions that nothing was known for when they were asked."""
        waiting = await self._database.run(
            queries.list_without_levels,
            replay_id=self._replay and self._replay.id,
            limit=LEVELS_BATCH,
        )
        for question in waiting:
            await self._set(question, now=now)

    async def _set(self, question: Question, *, now: datetime) -> None:
        bars, fault = None, ""
        try:
            market = market_named(question.market, recording=self._recording(question.replay_id))
            series = await market.candles(
                symbol=question.symbol,
                timeframe=settings.OUTCOME_TIMEFRAME,
                count=RANGE_BARS,
                as_of=question.opens_at,
            )
            bars = series.bars
        except (UnknownInstrument, BadMarketData, ImproperlyConfigured) as error:
            fault = str(error)
        except MarketDataUnavailable as error:
            logger.info("no range of %s yet: %s", question.symbol, error)
            return
        await self._database.run(
            services.set_missing_levels, question=question, bars=bars, fault=fault, now=now
        )


def _key(need: Need) -> tuple[str, str, int]:
    return need.market, need.symbol, need.candle_s


def _bars_by(need: Need, now: datetime) -> int:
    """Return how many candles of such a length have closed by a moment, since 1970."""
    return int(now.timestamp()) // need.candle_s


def _until(need: Need, *, since: datetime, now: datetime) -> datetime:
    """Return up to when candles are asked for at once; a recording is read whole anyway."""
    if need.market == RECORDED:
        return now
    return min(now, since + timedelta(seconds=BARS_MAX * need.candle_s))
