"""The WebSocket door of decisions: ``/ws/decisions``.

One consumer serves one client. It owns no channel of the channel layer and no queue, only a
place in the feed. A client that is behind is led up to the present by a task; one that has caught
up has none: the feed calls, and each text, made once for everybody, is handed to the server at
once. Who cannot take it at once is behind again. So memory is bounded like this:

* On daphne, whose sends return at once however slow the client is, the consumer registers
  itself as the producer of the transport: above 64 KiB unsent it stops until they have left. A
  client that never reads thus costs 64 KiB, one message and what the kernel buffers. It is let
  go after ``STUCK_S``, or earlier with more than ``WS_BUFFER_MESSAGES`` waiting for it.
* On servers whose ``send`` waits for the client (uvicorn), that wait does the same.
* On a server that does neither, nothing here can see what is unsent: only the server's own
  ping limit ends a client that does not read.

Answers to a client's own messages are not held back by this, but are bounded in number by
``WS_MAX_MESSAGES_PER_S`` and by the strikes that close the socket; whoever sends without
reading is stopped by the same ``STUCK_S``.

A client that only reads need not answer anything: the ping is there for it to notice silence.
Its ``after_seq`` is the place from which this client may resume; ``head_seq`` the last number
published.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import aclosing, suppress
from datetime import datetime
from secrets import SystemRandom
from typing import Any

import orjson
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.db import Error as DatabaseAway
from django.utils import timezone

from access.types import Identity, Scope
from access.websocket import (
    RECHECK_S,
    address_of,
    forget_headers,
    identify,
    identify_key,
    still_valid,
)
from decisions import queries
from decisions.feed import (
    SEATS,
    Entry,
    Feed,
    FeedStopped,
    Subscription,
    feed_here,
    in_database,
)
from decisions.parsing import InvalidFilter, parse_after_seq, parse_filters, parse_types
from decisions.serializers import (
    WORDING,
    connected_message,
    error_message,
    message_text,
)
from decisions.sockets import Rest, Send, begin, rounds_here, valve_of
from pipeline.parsing import time_text
from pipeline.types import FieldError, LensError

logger = logging.getLogger(__name__)

BAD_MESSAGE, NO_KEY, NO_SCOPE, NO_PATH, AUTH_TIMEOUT = 4400, 4401, 4403, 4404, 4408
TOO_MANY = 4429
RESTARTING, TRY_LATER = 1012, 1013
CLOSE_CODES: Mapping[str, int] = {
    "UNAUTHORIZED": NO_KEY,
    "FORBIDDEN": NO_SCOPE,
    "RATE_LIMITED": TOO_MANY,
}
SUBSCRIBE_FIELDS = frozenset({"action", "filters", "after_seq", "types"})
UNKNOWN_ACTIONS_MAX = 10
RATE_STRIKES_MAX = 10
RETRY_SPREAD_S = 5.0
FAREWELL_S = 1.0

Receive = Callable[[], Awaitable[dict[str, Any]]]

_checks: dict[tuple[str, str], asyncio.Task[bool]] = {}
_chores: set[asyncio.Task[None]] = set()


class Allowance:
    """How many messages a client may still send this second."""

    __slots__ = ("_at", "_left")

    def __init__(self) -> None:
        self._left = float(settings.WS_MAX_MESSAGES_PER_S)
        self._at = asyncio.get_running_loop().time()

    def take(self) -> bool:
        """Use up one message; False when none is left."""
        rate = float(settings.WS_MAX_MESSAGES_PER_S)
        now = asyncio.get_running_loop().time()
        self._left = min(rate, self._left + (now - self._at) * rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class DecisionsConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]
    """One client of the decisions feed."""

    channel_layer_alias = None
    recheck_s = RECHECK_S
    tick_s = 2.0
    slow_s = 1.0
    stuck_s = 60.0

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self._identity: Identity | None = None
        self._feed: Feed | None = None
        self._subscription: Subscription | None = None
        self._delivery: asyncio.Task[None] | None = None
        self._anonymous: asyncio.TimerHandle | None = None
        self._main: asyncio.Task[Any] | None = None
        self._is_seated = False
        self._has_ended = False
        self._sending = asyncio.Lock()
        self._blocked_since: float | None = None
        self._unknown_actions = 0
        self._rate_strikes = 0

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        self._main = asyncio.current_task()
        try:
            await super().__call__(scope, receive, send)
        except asyncio.CancelledError:
            if self._has_ended:
                return
            retry_after_s = round(SystemRandom().uniform(0, RETRY_SPREAD_S), 1)
            await self._farewell(
                RESTARTING,
                "RESTARTING",
                "the server stops; connect again and resume with after_seq",
                retry_after_s=retry_after_s,
            )
            raise
        finally:
            self._release()

    # --- coming and going -------------------------------------------------------------------

    async def connect(self) -> None:
        await self.accept()
        self._valve = valve_of(self.base_send)
        self._allowance = Allowance()
        if not SEATS.take():
            await self._refuse(TOO_MANY, "TOO_MANY_CONNECTIONS", "this server is full")
            return
        self._is_seated = True
        self._anonymous = asyncio.get_running_loop().call_later(
            settings.WS_AUTH_TIMEOUT_S, self._turn_away
        )
        await self._let_in(identify(self.scope))

    async def disconnect(self, code: int) -> None:
        self._has_ended = True

    async def _let_in(self, identifying: Awaitable[Identity | None]) -> None:
        try:
            identity = await identifying
            if identity is not None:
                await self._admit(identity)
        except LensError as error:
            await self._refuse(CLOSE_CODES.get(error.code, TRY_LATER), error.code, error.detail)
        except (FeedStopped, DatabaseAway) as error:
            logger.warning("socket not opened: %s", error)
            await self._refuse(TRY_LATER, "SERVICE_UNAVAILABLE", "try again in a moment")

    async def _admit(self, identity: Identity) -> None:
        if not (identity.allows(Scope.STREAM) or identity.allows(Scope.DECISIONS_READ)):
            text = f"the key needs the scope {Scope.STREAM} or {Scope.DECISIONS_READ}"
            await self._refuse(NO_SCOPE, "FORBIDDEN", text)
            return
        if not SEATS.take_for(identity.key_id):
            text = f"the key holds {settings.WS_MAX_CONNECTIONS_PER_KEY} connections already"
            await self._refuse(TOO_MANY, "TOO_MANY_CONNECTIONS", text)
            return
        self._identity = identity
        self._feed = feed_here(wording=WORDING)
        await self._feed.join()
        if self._anonymous is not None:
            self._anonymous.cancel()
        forget_headers(self.scope)
        self._join_rounds()
        await self._say(connected_message(last_seq=self._feed.head, now=timezone.now()))

    def _turn_away(self) -> None:
        """Close a socket that has not said in time who it is."""
        self._begin(self._refuse(AUTH_TIMEOUT, "UNAUTHORIZED", "no key came in time"))

    def _join_rounds(self) -> None:
        """Be looked at from now on, for the heartbeat, the key, and whether the client keeps up."""
        now = asyncio.get_running_loop().time()
        self._next_ping, self._next_check = now + settings.WS_HEARTBEAT_S, now + self.recheck_s
        rounds_here().join(self._look, every_s=self._look_every_s)

    async def _refuse(self, close_code: int, code: str, message: str) -> None:
        """Say what is wrong and close."""
        await self._end(close_code, error_message(code=code, message=message))

    async def _farewell(self, close_code: int, code: str, message: str, **more: float) -> None:
        """Say goodbye to a client that did nothing wrong and may resume."""
        text = message_text({"type": "goodbye", "code": code, "message": message, **more})
        await self._end(close_code, text)

    async def _end(self, close_code: int, last_words: str) -> None:
        if self._has_ended:
            return
        self._has_ended = True
        self._stop_delivery()
        try:
            async with asyncio.timeout(FAREWELL_S):
                await self._say(last_words)
                await self.close(close_code)
        except TimeoutError:
            if self._main is not None:
                self._main.cancel()

    def _release(self) -> None:
        """Give back everything that this connection held."""
        self._has_ended = True
        self._stop_delivery()
        if self._anonymous is not None:
            self._anonymous.cancel()
        rounds_here().leave(self._look)
        if self._feed is not None:
            self._feed.leave()
        if self._identity is not None:
            SEATS.leave_for(self._identity.key_id)
        if self._is_seated:
            SEATS.leave()

    # --- what the client says ---------------------------------------------------------------

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if self._has_ended:
            return
        size = len(text_data.encode()) if text_data is not None else len(bytes_data or b"")
        if size > settings.WS_MAX_MESSAGE_BYTES:
            text = f"a message may have {settings.WS_MAX_MESSAGE_BYTES} bytes"
            await self._refuse(BAD_MESSAGE, "MESSAGE_TOO_LARGE", text)
        elif not self._allowance.take():
            await self._strike()
        elif text_data is None:
            await self._complain("BAD_MESSAGE", "send JSON as a text message")
        else:
            await self._understand(text_data)

    async def _strike(self) -> None:
        self._rate_strikes += 1
        text = f"at most {settings.WS_MAX_MESSAGES_PER_S} messages a second are read"
        if self._rate_strikes >= RATE_STRIKES_MAX:
            await self._refuse(TOO_MANY, "RATE_LIMITED", text)
        else:
            await self._complain("RATE_LIMITED", text)

    async def _understand(self, text: str) -> None:
        try:
            message = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            await self._complain("MALFORMED_JSON", f"not JSON: {error}")
            return
        if not isinstance(message, dict):
            await self._complain("BAD_MESSAGE", "a message must be a JSON object")
            return
        action = message.get("action", message.get("type"))
        if self._identity is None and action != "auth":
            await self._complain("UNAUTHORIZED", 'send {"action": "auth", "api_key": ...} first')
            return
        answers = {
            "auth": self._authenticate,
            "subscribe": self._subscribe,
            "unsubscribe": self._unsubscribe,
            "ping": self._answer_ping,
            "pong": self._hear_pong,
        }
        answer = answers.get(action) if isinstance(action, str) else None
        await (answer(message) if answer is not None else self._puzzle(action))

    async def _puzzle(self, action: object) -> None:
        self._unknown_actions += 1
        text = f"no such action: {str(action)[:40]!r}; there are auth, subscribe, unsubscribe, ping"
        if self._unknown_actions >= UNKNOWN_ACTIONS_MAX:
            await self._refuse(BAD_MESSAGE, "UNKNOWN_ACTION", text)
        else:
            await self._complain("UNKNOWN_ACTION", text)

    async def _authenticate(self, message: dict[str, Any]) -> None:
        plain = message.get("api_key")
        if self._identity is not None:
            await self._complain("ALREADY_AUTHENTICATED", "this socket is open already")
        elif not isinstance(plain, str):
            await self._refuse(NO_KEY, "UNAUTHORIZED", "api_key must be the key as text")
        else:
            await self._let_in(identify_key(plain, address=address_of(self.scope)))

    async def _subscribe(self, message: dict[str, Any]) -> None:
        """Begin, or change what is wanted.

        Without ``after_seq`` a running subscription goes on from its own place.
        """
        feed = self._feed
        if feed is None:
            return
        try:
            _check_fields(message)
            after_seq = parse_after_seq(message.get("after_seq"))
            types = parse_types(message.get("types"))
            filters = await in_database(
                parse_filters, message.get("filters"), is_known_model=queries.has_model
            )
        except InvalidFilter as error:
            text = error_message(code="INVALID_FILTER", message=error.detail, errors=error.errors)
            await self._say(text)
            return
        async with self._sending:
            if after_seq is None and self._subscription is not None:
                after_seq = self._subscription.cursor
            self._stop_delivery()
            subscription = Subscription(feed, filters=filters, types=types, after_seq=after_seq)
            await self._say(
                message_text(
                    {
                        "type": "subscribed",
                        "filters": filters.shown,
                        "types": sorted(types),
                        "last_seq": feed.head,
                    }
                )
            )
            self._subscription = subscription
            feed.follow(self._hear_news)
            self._lead_up(subscription)

    async def _unsubscribe(self, message: dict[str, Any]) -> None:
        """End the subscription, without an answer; a ping's pong tells that it has ended."""
        del message
        async with self._sending:
            self._stop_delivery()

    async def _answer_ping(self, message: dict[str, Any]) -> None:
        del message
        await self._say(self._pulse("pong", now=timezone.now()))

    async def _hear_pong(self, message: dict[str, Any]) -> None:
        """Take an answer to the heartbeat; none is owed."""

    # --- what the client is told ------------------------------------------------------------

    def _hear_news(self) -> None:
        """Pass on what is new at once; from where the client has to be waited for, by a task.

        Edges: after an error that nobody foresaw the message is still due, with the next news;
        a client that never takes it is let go like one that does not read.
        """
        subscription = self._subscription
        if subscription is None or self._delivery is not None:
            return
        news = subscription.news()
        for entry in news:
            try:
                rest = begin(self._pass_on(entry))
            except OSError:  # the client has left, as the server is about to say
                return
            if rest is not None:
                self._lead_up(subscription, rest, news)
                return
        if subscription.is_behind:
            self._lead_up(subscription)

    def _lead_up(
        self, subscription: Subscription, rest: Rest | None = None, news: Iterable[Entry] = ()
    ) -> None:
        self._delivery = self._begin(self._deliver(subscription, rest, news))

    async def _deliver(
        self, subscription: Subscription, rest: Rest | None, news: Iterable[Entry]
    ) -> None:
        """Finish what was begun, then hand over everything that waits for this client."""
        try:
            if rest is not None:
                await rest
            for entry in news:
                await self._pass_on(entry)
            async with aclosing(subscription.backlog()) as backlog:
                async for entry in backlog:
                    await self._pass_on(entry)
        except (FeedStopped, DatabaseAway) as error:
            logger.warning("subscription ended: %s", error)
            await self._farewell(
                TRY_LATER, "FEED_AWAY", "connect again in a moment and resume with after_seq"
            )
            return
        except OSError:  # the client has left
            return
        self._delivery = None
        self._hear_news()

    async def _pass_on(self, entry: Entry) -> None:
        self._blocked_since = asyncio.get_running_loop().time()
        await self._valve.opened()
        async with self._sending:
            await self._say(entry.text)
        self._blocked_since = None

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        _chores.add(task)
        task.add_done_callback(self._check_end)
        return task

    def _check_end(self, task: asyncio.Task[None]) -> None:
        _chores.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a socket's work broke down; its client reconnects", exc_info=error)
            if self._main is not None:
                self._main.cancel()

    def _stop_delivery(self) -> None:
        """End the subscription; under ``_sending`` it is never in the middle of a message."""
        if self._feed is not None:
            self._feed.unfollow(self._hear_news)
        if self._delivery is not None and self._delivery is not asyncio.current_task():
            self._delivery.cancel()
        if self._subscription is not None:
            self._subscription.close()
        self._subscription = self._delivery = self._blocked_since = None

    def _look_every_s(self) -> float:
        return min(self.tick_s, self.recheck_s, float(settings.WS_HEARTBEAT_S))

    def _look(self, now: float) -> None:
        """Let go who cannot keep up; keep the heart beating and the key in view."""
        if self._has_ended:
            return
        if self._is_too_slow(now):
            text = "too far behind; connect again and resume with after_seq"
            self._begin(self._farewell(TOO_MANY, "SLOW_CLIENT", text))
            return
        if now >= self._next_check:
            self._next_check = now + self.recheck_s
            self._begin(self._recheck())
        if now >= self._next_ping:
            self._next_ping = now + settings.WS_HEARTBEAT_S
            self._begin(self._say(self._pulse("ping", now=timezone.now())))

    def _is_too_slow(self, now: float) -> bool:
        subscription, feed = self._subscription, self._feed
        blocked_since = self._blocked_since or self._valve.shut_since
        if blocked_since is None:
            return False
        if now - blocked_since >= self.stuck_s:
            return True
        if subscription is None or feed is None or not subscription.is_live:
            return False
        limit = settings.WS_BUFFER_MESSAGES
        waiting = feed.count_behind(subscription, limit=limit + 1)
        return now - blocked_since >= self.slow_s and waiting > limit

    async def _recheck(self) -> None:
        identity = self._identity
        with suppress(DatabaseAway):
            if identity and not await _holds_still(identity, shared_s=self.recheck_s / 2):
                await self._refuse(NO_KEY, "UNAUTHORIZED", "the key no longer opens this socket")

    def _pulse(self, kind: str, *, now: datetime) -> str:
        message: dict[str, Any] = {"type": kind, "server_time": time_text(now)}
        if self._feed is not None:
            message["head_seq"] = self._feed.head
        if self._subscription is not None:
            message["after_seq"] = self._subscription.cursor
        return message_text(message)

    async def _complain(self, code: str, message: str) -> None:
        """Say what was wrong with a message and leave everything as it was."""
        await self._say(error_message(code=code, message=message))

    async def _say(self, text: str) -> None:
        await self.base_send({"type": "websocket.send", "text": text})


class UnknownPath(AsyncWebsocketConsumer):  # type: ignore[misc]
    """Any other path: accepted, so that the code reaches the client, and closed."""

    channel_layer_alias = None

    async def connect(self) -> None:
        await self.accept()
        await self.close(NO_PATH)


def _check_fields(message: Mapping[str, Any]) -> None:
    unknown = sorted(set(message) - SUBSCRIBE_FIELDS)
    if unknown:
        text = f"is no field of subscribe; there are {', '.join(sorted(SUBSCRIBE_FIELDS))}"
        faults = tuple(FieldError(name, "unknown_field", text) for name in unknown)
        raise InvalidFilter(f"{', '.join(unknown)} {text}", faults)


async def _holds_still(identity: Identity, *, shared_s: float) -> bool:
    """Say whether the identity may keep its sockets; asked once for all sockets of one key."""
    name = (identity.actor, identity.session_key)
    check = _checks.get(name)
    if check is None:
        loop = asyncio.get_running_loop()
        check = _checks[name] = loop.create_task(still_valid(identity))
        loop.call_later(shared_s, _checks.pop, name, None)
    return await asyncio.shield(check)
