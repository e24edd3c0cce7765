"""The feed of one web process: published decisions, read once, handed to every subscriber.

The database is the only buffer. A subscription is a place in the numbered row of decisions:
:meth:`Subscription.backlog` leads up to the present, over stored decisions page by page while
they are old and over the feed's short memory once they are recent; :meth:`Subscription.news`
takes what has come since, without waiting. Both walk on from the same place, so there is no
queue a subscriber could overflow and no moment between replay and live in which something could
fall out or come twice.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from bisect import bisect_right
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, suppress
from contextvars import Context
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from operator import attrgetter
from typing import Any, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

import orjson
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import Error as DatabaseAway
from django.db import close_old_connections

from decisions import push, queries
from decisions.models import Decision
from decisions.parsing import DECISION, Filters
from decisions.queries import Notice
from pipeline.metrics import FANOUT_DURATION

logger = logging.getLogger(__name__)

REMEMBERED = 2_000
"""Decisions kept in memory; who is further behind reads the database."""

TAIL_PAGE = 500
REPLAY_PAGE = 200
LIVE_PAGE = 100
REPLAYS_AT_ONCE = 8
START_S = 5.0
TRAIL_PAGE = 2_000
TRAIL_OVERLAP = 100
"""Trail lines looked at again: one with a lower id may be committed after its neighbour."""

P = ParamSpec("P")
T = TypeVar("T")


class FeedStopped(Exception):
    """The feed has broken down; whoever listened connects again and resumes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One message, ready to be sent, with what filters look at.

    ``seq`` is the place after which a reader may resume; None for messages without a place.
    """

    text: str
    kind: str
    seq: int | None
    symbol: str = ""
    event_type: str = ""
    source: str = ""
    origin: str = ""
    model: str = ""
    decision: str = ""
    confidence: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """How rows become message texts; the door that opens the feed brings it."""

    decision: Callable[[Decision], str]
    notice: Callable[[Notice], str]


class Seats:
    """How many connections this process holds, in all and by key."""

    def __init__(self) -> None:
        self._taken = 0
        self._by_key: Counter[str] = Counter()

    @property
    def taken(self) -> int:
        """How many connections the process holds."""
        return self._taken

    def is_full(self) -> bool:
        """Say whether the process holds as many connections as it may."""
        return self._taken >= settings.WS_MAX_CONNECTIONS

    def is_full_for(self, key_id: str) -> bool:
        """Say whether the key holds as many connections as it may."""
        return self._by_key[key_id] >= settings.WS_MAX_CONNECTIONS_PER_KEY

    def take(self) -> bool:
        """Take one of the process's places; False when there is none."""
        if self.is_full():
            return False
        self._taken += 1
        return True

    def take_for(self, key_id: str) -> bool:
        """Take one of the key's places; False when there is none."""
        if self.is_full_for(key_id):
            return False
        self._by_key[key_id] += 1
        return True

    def leave(self) -> None:
        """Give a place of the process back."""
        self._taken -= 1

    def leave_for(self, key_id: str) -> None:
        """Give a place of the key back."""
        self._by_key[key_id] -= 1
        if not self._by_key[key_id]:
            del self._by_key[key_id]


SEATS = Seats()


class Feed:
    """Reads what is published, once for all subscribers of this process and event loop.

    It runs while somebody is in it. ``head`` is the last number read; every stored decision
    after ``base`` up to ``head`` is in memory.
    """

    def __init__(self, *, wording: Wording) -> None:
        self.head = 0
        self.base = 0
        self.notice_head = 0
        self._replays = asyncio.Semaphore(REPLAYS_AT_ONCE)
        self._wording = wording
        self._entries: list[Entry] = []
        self._notices: list[Entry] = []
        self._notice_readers = 0
        self._trail_start = 0
        self._trail_id = 0
        self._trail_seen: set[int] = set()
        self._members = 0
        self._stopped = False
        self._task: asyncio.Task[None] | None = None
        self._started = asyncio.Event()
        self._rung = asyncio.Event()
        self._moved = asyncio.Event()
        self._followers: dict[Callable[[], None], None] = {}
        self._reading = asyncio.Lock()

    async def join(self) -> None:
        """Enter the feed; the first to enter starts it. Returns once ``head`` is known.

        Whoever has entered leaves again, whatever came of it.
        :raises FeedStopped: when the database cannot be read within a moment.
        """
        self._members += 1
        if self._task is None:
            # An own context: the feed outlives the request that happened to start it.
            self._task = asyncio.get_running_loop().create_task(self._run(), context=Context())
            self._task.add_done_callback(self._ended)
        try:
            async with asyncio.timeout(START_S):
                await self._started.wait()
        except TimeoutError as error:
            raise FeedStopped("published decisions cannot be read at the moment") from error

    def leave(self) -> None:
        """Leave the feed; the last to leave stops it."""
        self._members -= 1
        if self._members == 0 and self._task is not None:
            self._stopped = True
            self._task.cancel()

    @property
    def is_stopped(self) -> bool:
        """Whether this feed has ended and another must be opened."""
        return self._stopped

    async def refresh(self) -> None:
        """Read what has been published by now."""
        async with self._reading:
            await self._read_decisions()

    def after(self, seq: int, *, limit: int) -> Sequence[Entry]:
        """Return the next remembered decisions after ``seq``, which lies at ``base`` or later."""
        start = bisect_right(self._entries, seq, key=attrgetter("seq"))
        return self._entries[start : start + limit]

    def has(self, seq: int) -> bool:
        """Say whether the decision of this number is remembered."""
        found = self.after(seq - 1, limit=1)
        return bool(found) and found[0].seq == seq

    async def replay(self, *, after_seq: int, upto: int, filters: Filters) -> list[Entry]:
        """Return the next page of stored decisions; few at once, so that the tail stays quick."""
        async with self._replays:
            return await in_database(
                self._load, after_seq=after_seq, upto=upto, limit=REPLAY_PAGE, filters=filters
            )

    def notices_after(self, number: int) -> Sequence[Entry]:
        """Return the remembered notices after the ``number``-th."""
        missed = self.notice_head - number
        return self._notices[-missed:] if missed > 0 else ()

    def count_behind(self, subscription: Subscription, *, limit: int) -> int:
        """Return how many messages wait for this subscriber, counting to ``limit``."""
        cursor = subscription.cursor
        if cursor < self.base:
            return limit
        start = bisect_right(self._entries, cursor, key=attrgetter("seq"))
        waiting = (
            entry for entry in self._entries[start:] if subscription.filters.passes_decision(entry)
        )
        return sum(1 for _ in islice(waiting, limit))

    async def moved(self, *, seq: int, notice: int) -> None:
        """Wait until there is a decision after ``seq`` or a notice after the ``notice``-th.

        :raises FeedStopped: if the feed broke down.
        """
        while self.head <= seq and self.notice_head <= notice:
            if self._stopped:
                raise FeedStopped("the feed has stopped")
            await self._moved.wait()

    def follow(self, on_news: Callable[[], None]) -> None:
        """Have ``on_news`` called, in the feed's event loop, whenever there is something new."""
        self._followers[on_news] = None

    def unfollow(self, on_news: Callable[[], None]) -> None:
        """Have it called no more."""
        self._followers.pop(on_news, None)

    async def start_notices(self) -> None:
        """Follow abstentions and ends of signals too, while anybody asks for them."""
        self._notice_readers += 1
        if self._notice_readers == 1:
            self._trail_id = self._trail_start = await in_database(queries.latest_trail_id)
            self._trail_seen = set()

    def stop_notices(self) -> None:
        """Take back one :meth:`start_notices`."""
        self._notice_readers -= 1

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(push.listen(on_bell=self._rung.set))
            tasks.create_task(self._follow())

    async def _follow(self) -> None:
        while True:
            try:
                async with self._reading:
                    await self._read()
            except DatabaseAway as error:
                logger.warning("published decisions not read, looking again: %s", error)
            with suppress(TimeoutError):
                async with asyncio.timeout(settings.WS_POLL_S):
                    await self._rung.wait()
            self._rung.clear()

    async def _read(self) -> None:
        if not self._started.is_set():
            await self._start()
        await self._read_decisions()
        if self._notice_readers:
            await self._read_notices()

    async def _start(self) -> None:
        """Remember the last decisions: after a restart most subscribers are just behind them."""
        head = await in_database(queries.get_head)
        self.base = max(0, head - TAIL_PAGE)
        self._entries = await in_database(
            self._load, after_seq=self.base, upto=head, limit=TAIL_PAGE
        )
        self.head = head
        self._started.set()

    async def _read_decisions(self) -> None:
        while True:
            fresh = await in_database(self._load_news, after_seq=self.head, limit=TAIL_PAGE)
            if fresh:
                self._remember(fresh)
            if len(fresh) < TAIL_PAGE:
                return

    def _load(
        self, *, after_seq: int, limit: int, upto: int | None = None, filters: Filters | None = None
    ) -> list[Entry]:
        rows = queries.list_published(after_seq=after_seq, limit=limit, upto=upto, filters=filters)
        return [self._entry(row) for row in rows]

    def _load_news(self, *, after_seq: int, limit: int) -> list[Entry]:
        rows = queries.list_published(after_seq=after_seq, limit=limit)
        now = datetime.now(UTC)
        for row in rows:
            FANOUT_DURATION.observe((now - (row.published_at or now)).total_seconds())
        return [self._entry(row) for row in rows]

    def _remember(self, fresh: list[Entry]) -> None:
        self._entries += fresh
        excess = len(self._entries) - REMEMBERED
        if excess > 0:
            self.base = self._entries[excess - 1].seq or 0
            del self._entries[:excess]
        self.head = fresh[-1].seq or self.head
        self._wake()

    async def _read_notices(self) -> None:
        after_id = max(self._trail_start, self._trail_id - TRAIL_OVERLAP)
        found, last = await in_database(queries.list_notices, after_id=after_id, limit=TRAIL_PAGE)
        fresh = [(line, notice) for line, notice in found if line not in self._trail_seen]
        self._trail_id = max(self._trail_id, last)
        self._trail_seen = {line for line, _ in found}
        if fresh:
            self._notices += [self._notice_entry(notice) for _, notice in fresh]
            del self._notices[:-REMEMBERED]
            self.notice_head += len(fresh)
            self._wake()

    def _wake(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()
        loop = asyncio.get_running_loop()
        for on_news in tuple(self._followers):
            loop.call_soon(on_news)  # by itself: an error of one stops no other

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._stopped = True
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("the feed broke down; subscribers reconnect and resume", exc_info=error)
        self._wake()

    def _entry(self, row: Decision) -> Entry:
        return Entry(
            text=self._wording.decision(row),
            kind=DECISION,
            seq=row.seq,
            symbol=row.symbol,
            event_type=row.event_type,
            source=row.source,
            origin=row.origin,
            model=row.model,
            decision=row.decision,
            confidence=row.confidence,
        )

    def _notice_entry(self, notice: Notice) -> Entry:
        return Entry(
            text=self._wording.notice(notice),
            kind=notice.kind,
            seq=None,
            symbol=notice.symbol,
            event_type=notice.event_type,
            source=notice.source,
            origin=notice.origin,
            model=notice.model,
        )


class Subscription:
    """One subscriber's place in the feed, and what it wants of it.

    ``cursor`` is the number up to which everything wanted has been handed over. ``is_live``
    turns true once the subscriber has caught up with the feed.
    """

    __slots__ = (
        "_feed",
        "_has_opened",
        "_notice",
        "_resumes",
        "cursor",
        "filters",
        "is_live",
        "types",
    )

    def __init__(
        self,
        feed: Feed,
        *,
        filters: Filters,
        types: frozenset[str] = frozenset({DECISION}),
        after_seq: int | None = None,
    ) -> None:
        self.filters = filters
        self.types = types
        self.cursor = feed.head if after_seq is None else after_seq
        self.is_live = False
        self._feed = feed
        self._has_opened = False
        self._resumes = after_seq is not None
        self._notice = feed.notice_head

    async def messages(self) -> AsyncGenerator[Entry, None]:
        """Hand over every wanted message in order, without end.

        Asking for the next message says that the last one was sent.
        :raises FeedStopped: if the feed broke down.
        """
        try:
            while True:
                async with aclosing(self.backlog()) as backlog:
                    async for entry in backlog:
                        yield entry
                await self._feed.moved(
                    seq=self.cursor if DECISION in self.types else sys.maxsize,
                    notice=self._notice if self._wants_notices else sys.maxsize,
                )
        finally:
            self.close()

    async def backlog(self) -> AsyncGenerator[Entry, None]:
        """Hand over every wanted message that waits, and end once there is none.

        Asking for the next message says that the last one was sent.
        Edges: a place before the oldest stored decision, too far back to replay, or beyond the
        last number gives a ``gap`` first.
        :raises FeedStopped: if the feed broke down.
        """
        if not self._has_opened:
            await self._open()
            for gap in await self._gaps():
                yield gap
                self.cursor = gap.seq or 0
        while self.is_behind:
            if self._feed.is_stopped:
                raise FeedStopped("the feed has stopped")
            if self.cursor < self._feed.base:
                entries, upto = await self._stored_decisions()
                for entry in entries:
                    yield entry
                    self.cursor = entry.seq or self.cursor
                self.cursor = max(self.cursor, upto)
            else:
                for entry in self.news():
                    yield entry
            await asyncio.sleep(0)  # others have a turn
        self.is_live = True

    def news(self) -> Iterator[Entry]:
        """Hand over the next wanted messages that are remembered, without waiting for any.

        Asking for the next message says that the last one was sent.
        """
        entries, upto = self._remembered_decisions()
        for entry in entries:
            yield entry
            self.cursor = entry.seq or self.cursor
        self.cursor = max(self.cursor, upto)
        if self._wants_notices:
            yield from self._news_of_notices()

    @property
    def is_behind(self) -> bool:
        """Whether anything may wait for this subscriber, be it the word that the feed has ended."""
        feed = self._feed
        return feed.is_stopped or self.cursor < feed.head or self._is_behind_in_notices

    def close(self) -> None:
        """Ask for nothing more."""
        if self._has_opened and self._wants_notices:
            self._feed.stop_notices()
        self._has_opened = False

    async def _open(self) -> None:
        """Have the feed follow what this subscriber wants."""
        self._has_opened = True
        if self._wants_notices:
            await self._feed.start_notices()

    @property
    def _wants_notices(self) -> bool:
        return bool(self.types - {DECISION})

    async def _gaps(self) -> list[Entry]:
        feed, place = self._feed, self.cursor
        if DECISION not in self.types or not self._resumes:
            return []
        if place > feed.head:
            await feed.refresh()
        if place > feed.head:
            return [_gap(1, feed.head, reason="RESTARTED")]
        found = []
        if place < feed.head and not feed.has(place + 1):
            oldest = await in_database(queries.get_oldest_seq)
            floor = feed.head if oldest is None else oldest - 1
            if place < floor:
                found.append(_gap(place + 1, floor, reason="PURGED"))
                place = floor
        floor = feed.head - settings.WS_REPLAY_MAX
        if place < floor:
            found.append(_gap(place + 1, floor, reason="TOO_MANY"))
        return found

    async def _stored_decisions(self) -> tuple[Sequence[Entry], int]:
        """Return the next wanted decisions, and the number up to which they are all of them."""
        upto = self._feed.base
        if DECISION not in self.types:
            return (), upto
        stored = await self._feed.replay(after_seq=self.cursor, upto=upto, filters=self.filters)
        return stored, (stored[-1].seq or 0) if len(stored) == REPLAY_PAGE else upto

    def _remembered_decisions(self) -> tuple[Sequence[Entry], int]:
        """Return the same of what the feed remembers."""
        feed = self._feed
        if DECISION not in self.types:
            return (), feed.head
        if self.cursor < feed.base:
            return (), self.cursor
        page = feed.after(self.cursor, limit=LIVE_PAGE)
        wanted = [entry for entry in page if self.filters.passes_decision(entry)]
        return wanted, (page[-1].seq or 0) if page else feed.head

    @property
    def _is_behind_in_notices(self) -> bool:
        return self._wants_notices and self._notice < self._feed.notice_head

    def _news_of_notices(self) -> Iterator[Entry]:
        fresh = self._feed.notices_after(self._notice)
        self._notice = self._feed.notice_head - len(fresh)
        for entry in fresh:
            if entry.kind in self.types and self.filters.passes(entry):
                yield entry
            self._notice += 1


_feeds: WeakKeyDictionary[asyncio.AbstractEventLoop, Feed] = WeakKeyDictionary()


def feed_here(*, wording: Wording) -> Feed:
    """Return the one feed of this event loop, a new one if the last has ended."""
    loop = asyncio.get_running_loop()
    feed = _feeds.get(loop)
    if feed is None or feed.is_stopped:
        feed = _feeds[loop] = Feed(wording=wording)
    return feed


async def in_database(read: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return what ``read`` returns, run where blocking does no harm."""

    def fresh() -> T:
        close_old_connections()
        try:
            return read(*args, **kwargs)
        finally:
            close_old_connections()

    return await sync_to_async(fresh)()


def _gap(first: int, last: int, *, reason: str) -> Entry:
    message: dict[str, Any] = {
        "type": "gap",
        "from": first,
        "to": last,
        "reason": reason,
        "rest_url": f"/api/v1/decisions?after_seq={first - 1}",
    }
    return Entry(text=orjson.dumps(message).decode(), kind="gap", seq=last)
