"""The HTTP door of decisions: the list, one decision, and the stream as server-sent events."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast
from uuid import UUID

from django.conf import settings
from django.db import Error as DatabaseAway
from django.db.models import Q, QuerySet
from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from access import services as access
from access.auth import scope
from access.types import Identity, Scope
from access.websocket import RECHECK_S, still_valid
from decisions import queries
from decisions.feed import SEATS, Entry, Feed, FeedStopped, Subscription, feed_here
from decisions.models import Decision
from decisions.parsing import PUSHED, Filters, InvalidFilter, parse_filters
from decisions.serializers import (
    WORDING,
    DecisionAnswer,
    DecisionPage,
    DecisionQuery,
    StreamQuery,
    decision_json,
)
from pipeline.parsing import parse_query
from pipeline.types import FieldError, InvalidRequest, LensError, NotFound
from signals.types import Origin

READABLE = (*PUSHED, Origin.REPLAY.value)
STREAM_BYTES_MAX = 8 * 1024 * 1024
"""After so much a stream ends and the client resumes: daphne would buffer a slow client's whole
backlog, because a Django response cannot see how much of it has left.
"""

RETRY_MS = 1_000

EXAMPLE = OpenApiExample(
    "A model follows",
    response_only=True,
    value={
        "id": "0d4b8f1e-7c56-4a4c-9c0e-1f2c8f0b7a11",
        "seq": 1042,
        "event_id": "5e0c0d5a-5f0e-4c9a-9b52-0c1c9f7f2f4b",
        "symbol": "BTC",
        "event_type": "OPEN_SIGNAL",
        "source": "strategy_alpha",
        "origin": "LIVE",
        "market": None,
        "model": "ensemble",
        "revision": 1,
        "decision": "FOLLOW_ENTER",
        "confidence": 0.78,
        "confidence_raw": 0.78,
        "calibration": None,
        "entry_plan": {"type": "limit", "offset_bps": -5},
        "risk_plan": {"stop_method": "atr", "atr_multiple": 2.0},
        "size_pct": 15.0,
        "reasons": ["ema_bullish_stack", "macd_bullish_cross"],
        "invalidation": None,
        "expires_at": "2026-01-15T10:35:00Z",
        "policy_adjustments": [
            {"field": "size_pct", "rule": "max_position_size_pct", "asked": 40, "allowed": 15}
        ],
        "model_meta": {
            "model_name": "ensemble",
            "model_version": "adaptive-1",
            "latency_ms": 12.5,
            "status": "SUCCESS",
            "tokens_used": None,
            "cost_usd": None,
            "prompt_version": None,
            "prompt_hash": None,
        },
        "jury": None,
        "economics": None,
        "evaluated_at": "2026-01-15T10:30:01.200000Z",
        "published_at": "2026-01-15T10:30:01.350000Z",
    },
)
EVENTS = OpenApiExample(
    "Two decisions",
    response_only=True,
    media_type="text/event-stream",
    value='retry: 1000\n\nid: 1042\ndata: {"type":"decision","seq":1042,…}\n\n'
    'id: 1043\ndata: {"type":"decision","seq":1043,…}\n\n: 1043\nid: 1043\n\n',
)


class TooManyConnections(LensError):
    """The server, or the key, holds as many streams and sockets as it may."""

    code = "RATE_LIMITED"
    http_status = 429
    retry_after_s = 5.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page of the list ends: by number, or by time where replays have no number."""

    order: str
    seq: int = 0
    at: datetime | None = None
    id: UUID | None = None

    def text(self) -> str:
        """Return the place as an opaque mark."""
        key = self.seq if self.order != "t" else f"{self.at and self.at.isoformat()}|{self.id}"
        return base64.urlsafe_b64encode(f"{self.order}{key}".encode()).decode().rstrip("=")


class DecisionsView(APIView):
    """``/decisions``: published decisions."""

    permission_classes = [scope(Scope.DECISIONS_READ)]

    @extend_schema(
        operation_id="list_decisions",
        tags=["decisions"],
        summary="List decisions, newest first, or onwards from a number",
        description="With `after_seq` the list runs upwards from that number, as the stream does:"
        " pass the last `seq` you have seen. Without it the newest come first. Demo and replayed"
        " decisions show only when `origin` asks for them; replays carry no `seq`.",
        parameters=[DecisionQuery],  # type: ignore[list-item]  # pydantic: unknown to the stubs
        responses=DecisionPage,
        examples=[
            OpenApiExample(
                "One page",
                response_only=True,
                value={"items": [EXAMPLE.value], "next_cursor": "ZDEwNDI"},
            )
        ],
    )
    def get(self, request: Request) -> Response:
        query = parse_query(DecisionQuery, request.query_params)
        filters = _filters(query.filters(), origins=READABLE)
        order = _order(filters, after_seq=query.after_seq)
        rows = queries.list_decisions(filters=filters, since=query.since, until=query.until)
        if query.after_seq is not None:
            rows = rows.filter(seq__gt=query.after_seq)
        if query.cursor:
            rows = _beyond(rows, _read_place(query.cursor, order=order))
        found = list(_ordered(rows, order)[: query.limit + 1])
        page = found[: query.limit]
        cursor = _place_of(page[-1], order).text() if len(found) > query.limit else None
        return Response({"items": [decision_json(row) for row in page], "next_cursor": cursor})


class DecisionView(APIView):
    """``/decisions/{id}``: one published decision."""

    permission_classes = [scope(Scope.DECISIONS_READ)]

    @extend_schema(
        operation_id="get_decision",
        tags=["decisions"],
        summary="One decision in full",
        responses=DecisionAnswer,
        examples=[EXAMPLE],
    )
    def get(self, request: Request, decision_id: UUID) -> Response:
        del request
        row = queries.get_decision(decision_id=decision_id)
        if row is None:
            raise NotFound(f"there is no published decision {decision_id}")
        return Response(decision_json(row))


class AnyAccept(BaseContentNegotiation):
    """Answers every ``Accept`` alike: a stream when all is well, a problem document if not."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser:
        return next(iter(parsers))

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        first = next(iter(renderers))
        return first, first.media_type


class StreamView(APIView):
    """``/decisions/stream``: the feed as server-sent events."""

    permission_classes = [scope(Scope.STREAM) | scope(Scope.DECISIONS_READ)]
    content_negotiation_class = AnyAccept
    http_method_names = ["get", "options"]

    @extend_schema(
        operation_id="stream_decisions",
        tags=["decisions"],
        summary="The stream of decisions as Server-Sent Events",
        description="What `/ws/decisions` sends, one event per message, `id` being its `seq`. An"
        " `EventSource` resumes by itself: it sends the last id as `Last-Event-ID`, which goes"
        f" before `after_seq`. The server ends a stream after {STREAM_BYTES_MAX // 2**20} MiB;"
        " clients resume. A comment line every few seconds shows that the line is open.",
        parameters=[
            StreamQuery,  # type: ignore[list-item]  # pydantic: unknown to the stubs
            OpenApiParameter(
                "Last-Event-ID", OpenApiTypes.INT, OpenApiParameter.HEADER, description="resume"
            ),
        ],
        responses={
            (200, "text/event-stream"): OpenApiResponse(OpenApiTypes.STR, "events, without end")
        },
        examples=[EVENTS],
    )
    def get(self, request: Request) -> HttpResponseBase:
        query = parse_query(StreamQuery, request.query_params)
        filters = _filters(query.filters(), origins=PUSHED)
        after_seq = _last_event_id(request)
        identity = cast("Identity", request.auth)
        if SEATS.is_full() or SEATS.is_full_for(identity.key_id):
            raise TooManyConnections("too many streams and sockets are open; close one first")
        access.note_listening(identity=identity, now=timezone.now())
        events = _events(
            identity, filters, after_seq=query.after_seq if after_seq is None else after_seq
        )
        return StreamingHttpResponse(
            events,
            content_type="text/event-stream",
            headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
        )


async def _events(
    identity: Identity, filters: Filters, *, after_seq: int | None
) -> AsyncGenerator[bytes, None]:
    """Send the feed until the client goes, its key ends, or enough has been sent at one go."""
    yield f"retry: {RETRY_MS}\n\n".encode()
    if not SEATS.take():
        return
    feed: Feed | None = None
    is_seated = SEATS.take_for(identity.key_id)
    try:
        if is_seated:
            feed = feed_here(wording=WORDING)
            await feed.join()
            subscription = Subscription(feed, filters=filters, after_seq=after_seq)
            async for chunk in _chunks(subscription, identity):
                yield chunk
    except (FeedStopped, DatabaseAway):
        yield b": the feed is away, resume in a moment\n\n"
    finally:
        if feed is not None:
            feed.leave()
        if is_seated:
            SEATS.leave_for(identity.key_id)
        SEATS.leave()


async def _chunks(subscription: Subscription, identity: Identity) -> AsyncGenerator[bytes, None]:
    sent_bytes = 0
    async with aclosing(_beats(subscription, identity)) as beats:
        async for entry in beats:
            text = "" if entry is None or entry.seq is None else f"id: {entry.seq}\n"
            chunk = (
                f": {subscription.cursor}\nid: {subscription.cursor}\n\n"
                if entry is None
                else f"{text}data: {entry.text}\n\n"
            ).encode()
            yield chunk
            sent_bytes += len(chunk)
            if sent_bytes >= STREAM_BYTES_MAX:
                return


async def _beats(
    subscription: Subscription, identity: Identity
) -> AsyncGenerator[Entry | None, None]:
    """Pass on the subscription's messages, and None whenever it was silent for a while."""
    beat_s = min(settings.WS_HEARTBEAT_S, RECHECK_S)
    loop = asyncio.get_running_loop()
    checked_at = loop.time()
    async with aclosing(subscription.messages()) as messages:
        coming = asyncio.ensure_future(anext(messages))
        try:
            while True:
                await asyncio.wait({coming}, timeout=beat_s)
                if loop.time() - checked_at >= RECHECK_S:
                    checked_at = loop.time()
                    if not await still_valid(identity):
                        return
                if coming.done():
                    yield coming.result()
                    coming = asyncio.ensure_future(anext(messages))
                else:
                    yield None
        finally:
            coming.cancel()
            with suppress(asyncio.CancelledError, FeedStopped, DatabaseAway):
                await coming


def _filters(given: dict[str, Any], *, origins: Sequence[str]) -> Filters:
    return parse_filters(given or None, is_known_model=queries.has_model, origins=origins)


def _last_event_id(request: Request) -> int | None:
    given = request.headers.get("Last-Event-ID", "")
    if not given:
        return None
    if not (given.isascii() and given.isdigit() and len(given) <= 18):
        text = "must be the id of an event of this stream, a whole number"
        raise InvalidFilter(text, (FieldError("Last-Event-ID", "invalid", text),))
    return int(given)


def _order(filters: Filters, *, after_seq: int | None) -> str:
    """Return how the list runs: (u)pwards or (d)ownwards by number, or down by (t)ime."""
    if Origin.REPLAY not in filters.origin:
        return "d" if after_seq is None else "u"
    if after_seq is not None:
        text = "cannot go with origin REPLAY: replayed decisions carry no seq"
        raise InvalidRequest(text, (FieldError("after_seq", "invalid", text),))
    return "t"


def _ordered(rows: QuerySet[Decision], order: str) -> QuerySet[Decision]:
    if order == "t":
        return rows.order_by("-published_at", "-id")
    return rows.order_by("seq" if order == "u" else "-seq")


def _beyond(rows: QuerySet[Decision], place: Place) -> QuerySet[Decision]:
    if place.order == "u":
        return rows.filter(seq__gt=place.seq)
    if place.order == "d":
        return rows.filter(seq__lt=place.seq)
    earlier = Q(published_at__lt=place.at)
    return rows.filter(earlier | Q(published_at=place.at, id__lt=place.id))


def _place_of(row: Decision, order: str) -> Place:
    if order == "t":
        return Place(order, at=row.published_at, id=row.id)
    return Place(order, seq=row.seq or 0)


def _read_place(cursor: str, *, order: str) -> Place:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
        if text[:1] != order:
            raise ValueError(f"a cursor of order {text[:1]!r}")
        if order != "t":
            return Place(order, seq=min(int(text[1:]), 2**63 - 1))
        at, _, row_id = text[1:].partition("|")
        return Place(order, at=datetime.fromisoformat(at), id=UUID(row_id))
    except (binascii.Error, ValueError) as error:
        text = "is not a cursor of this list; take it from next_cursor unchanged"
        raise InvalidRequest(text, (FieldError("cursor", "invalid", text),)) from error
