"""The HTTP door of keys and socket tickets."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import IO, Any, cast

from django.utils import timezone
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.exceptions import APIException
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from access import queries, services
from access.auth import address_of, scope
from access.models import ApiKey
from access.serializers import (
    EmptyBody,
    KeyBody,
    KeyList,
    KeyView,
    NewKeyView,
    RotationBody,
    TicketView,
    key_json,
    parse_body,
)
from access.types import Identity, Scope
from pipeline.parsing import time_text
from pipeline.types import InvalidRequest

BODY_MAX_BYTES = 16 * 1024

KEY_EXAMPLE = {
    "id": "k3v9x0ab",
    "name": "strategy alpha",
    "status": "ACTIVE",
    "scopes": ["signals:read", "signals:write"],
    "owner": "k3v9x0ab",
    "addresses": ["10.0.0.0/8"],
    "rate_per_min": None,
    "burst": None,
    "created_at": "2026-01-15T10:30:00.412000Z",
    "expires_at": "2026-07-14T10:30:00.412000Z",
    "revoked_at": None,
    "rotated_from": None,
    "last_used_at": None,
    "last_used_address": None,
}
ISSUE = OpenApiExample(
    "A key for one strategy",
    request_only=True,
    value={
        "name": "strategy alpha",
        "scopes": ["signals:write", "signals:read"],
        "expires_in_days": 180,
        "addresses": ["10.0.0.0/8"],
    },
)
ISSUED = OpenApiExample(
    "The key, shown once",
    response_only=True,
    status_codes=["201"],
    value={**KEY_EXAMPLE, "key": "lens_live_k3v9x0ab_<43 characters><6 characters>"},
)
SHOWN = OpenApiExample("A key", response_only=True, value=KEY_EXAMPLE)
LISTED = OpenApiExample(
    "All keys", response_only=True, value={"items": [KEY_EXAMPLE], "next_cursor": None}
)
ROTATE = OpenApiExample("Both work for a day", request_only=True, value={"overlap_hours": 24})
TICKET = OpenApiExample(
    "A ticket",
    response_only=True,
    status_codes=["201"],
    value={
        "ticket": "q1w2e3r4t5y6u7i8o9p0a1s2d3f4g5h6j7k8l9z0x1c",
        "expires_at": "2026-01-15T10:30:30Z",
    },
)


class BodyTooLarge(APIException):
    """The body is larger than any request of this room can be."""

    status_code = 413
    default_detail = f"At most {BODY_MAX_BYTES} bytes are accepted."


class SmallJson(BaseParser):
    """Reads a small JSON object and refuses doubled names, NaN and bottomless nesting."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: object = None,
    ) -> dict[str, Any]:
        del media_type, parser_context
        body = stream.read(BODY_MAX_BYTES + 1)
        if len(body) > BODY_MAX_BYTES:
            raise BodyTooLarge
        try:
            value = json.loads(
                body.decode("utf-8") or "{}",
                object_pairs_hook=_without_doubles,
                parse_constant=_refuse_constant,
            )
        except (ValueError, RecursionError) as error:
            raise InvalidRequest(f"The body is not JSON as it should be: {error}.") from error
        if not isinstance(value, dict):
            raise InvalidRequest("The body must be a JSON object.")
        return value


class KeysView(APIView):
    """``/keys``: issue one, list all."""

    parser_classes = [SmallJson]
    permission_classes = [scope(Scope.ADMIN)]

    @extend_schema(
        operation_id="issue_key",
        tags=["keys"],
        summary="Issue an API key",
        description="The key itself is in this answer only; nobody can read it again.",
        request=KeyBody,
        responses={201: NewKeyView},
        examples=[ISSUE, ISSUED],
    )
    def post(self, request: Request) -> Response:
        now = timezone.now()
        draft = parse_body(KeyBody, request.data).draft(now=now)
        key, plain = services.issue_key(draft=draft, actor=_actor(request), now=now)
        return _with_secret(key, plain, now=now)

    @extend_schema(
        operation_id="list_keys",
        tags=["keys"],
        summary="List the API keys, newest first",
        responses=KeyList,
        examples=[LISTED],
    )
    def get(self, request: Request) -> Response:
        del request
        now = timezone.now()
        items = [key_json(key, now=now) for key in queries.list_keys()]
        return Response({"items": items, "next_cursor": None})


class KeyDetailView(APIView):
    """``/keys/{key_id}``: show one, revoke one."""

    permission_classes = [scope(Scope.ADMIN)]

    @extend_schema(
        operation_id="get_key",
        tags=["keys"],
        summary="Show one API key",
        responses=KeyView,
        examples=[SHOWN],
    )
    def get(self, request: Request, key_id: str) -> Response:
        del request
        return Response(key_json(queries.get_key(key_id=key_id), now=timezone.now()))

    @extend_schema(
        operation_id="revoke_key",
        tags=["keys"],
        summary="Revoke an API key",
        description="Works within 5 s on every server, within 10 s on open sockets.",
        responses={204: None},
    )
    def delete(self, request: Request, key_id: str) -> Response:
        key = queries.get_key(key_id=key_id)
        services.revoke_key(key=key, actor=_actor(request), now=timezone.now())
        return Response(status=204)


class KeyRotationView(APIView):
    """``/keys/{key_id}/rotate``: replace a key without a gap."""

    parser_classes = [SmallJson]
    permission_classes = [scope(Scope.ADMIN)]

    @extend_schema(
        operation_id="rotate_key",
        tags=["keys"],
        summary="Replace an API key",
        description="Old and new key both work for `overlap_hours`. The new one is shown once.",
        request=RotationBody,
        responses={201: NewKeyView},
        examples=[ROTATE, ISSUED],
    )
    def post(self, request: Request, key_id: str) -> Response:
        now = timezone.now()
        body = parse_body(RotationBody, request.data)
        key, plain = services.rotate_key(
            key=queries.get_key(key_id=key_id),
            actor=_actor(request),
            now=now,
            overlap=timedelta(hours=body.overlap_hours),
        )
        return _with_secret(key, plain, now=now)


class TicketsView(APIView):
    """``/ws-tickets``: a ticket for a browser's socket, which cannot send headers."""

    parser_classes = [SmallJson]
    permission_classes = [scope(Scope.STREAM)]

    @extend_schema(
        operation_id="issue_ws_ticket",
        tags=["stream"],
        summary="Get a ticket for one socket",
        description="Open `/ws/decisions?ticket=...` with it within 30 s, from the same address.",
        request=EmptyBody,
        responses={201: TicketView},
        examples=[OpenApiExample("Nothing to say", request_only=True, value={}), TICKET],
    )
    def post(self, request: Request) -> Response:
        now = timezone.now()
        parse_body(EmptyBody, request.data)
        ticket = services.issue_ticket(
            identity=_identity(request), address=address_of(request), now=now
        )
        body = {"ticket": ticket, "expires_at": time_text(now + services.TICKET_LIFE)}
        return Response(body, status=201, headers={"Cache-Control": "no-store"})


def _identity(request: Request) -> Identity:
    return cast("Identity", request.auth)


def _actor(request: Request) -> str:
    return _identity(request).actor


def _with_secret(key: ApiKey, plain: str, *, now: datetime) -> Response:
    return Response(
        {**key_json(key, now=now), "key": plain},
        status=201,
        headers={"Cache-Control": "no-store", "Location": f"/api/v1/keys/{key.id}"},
    )


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise ValueError("a name stands twice in one object")
    return dict(pairs)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")
