"""The AsyncAPI description of ``/ws/decisions``, built from the shapes of its messages."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, get_args

from django.conf import settings
from django.http import HttpRequest, JsonResponse
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import models_json_schema

from decisions.serializers import DecisionAnswer

REF = "#/components/schemas/{model}"


class Message(BaseModel):
    """One message on the socket; fields beyond these do not occur."""

    model_config = ConfigDict(extra="forbid")


class Auth(Message):
    """Who is speaking; needed only where no header, session or ticket said so."""

    action: Literal["auth"]
    api_key: str


Words = str | list[str]
Kind = Literal["decision", "abstention", "signal_status"]


class WantedFilters(Message):
    """What to hear of; ``origin`` is LIVE unless DEMO is asked for."""

    model: Words | None = None
    symbol: Words | None = None
    event_type: Words | None = None
    decision: Words | None = None
    source: Words | None = None
    origin: Words | None = None
    min_confidence: Annotated[float, Field(ge=0, le=1)] | None = None


class Subscribe(Message):
    """What to hear from now on; replaces the subscription before it.

    ``after_seq`` replays what is stored first.
    """

    action: Literal["subscribe"]
    filters: WantedFilters = Field(
        default_factory=WantedFilters,
        examples=[{"model": "jury", "symbol": ["BTC", "ETH"], "min_confidence": 0.6}],
    )
    after_seq: Annotated[int, Field(ge=0)] | None = None
    types: list[Kind] = ["decision"]


class Unsubscribe(Message):
    """Hear nothing more; the connection stays."""

    action: Literal["unsubscribe"]


class Ping(Message):
    """Ask for a sign of life."""

    action: Literal["ping"]


class Connected(Message):
    """The first message: the key is good; nothing else comes before a subscription."""

    type: Literal["connected"]
    server_time: datetime
    last_seq: int
    heartbeat_s: float


class Subscribed(Message):
    """The subscription stands, with the filters in force."""

    type: Literal["subscribed"]
    filters: dict[str, Any]
    types: list[str]
    last_seq: int


class DecisionMessage(Message):
    """One published decision; ``seq`` rises strictly."""

    type: Literal["decision"]
    seq: int
    event_id: str
    symbol: str
    event_type: str
    model: str
    decision: DecisionAnswer
    published_at: datetime


class Notice(Message):
    """A model's abstention, or a signal that came or ended, for those who asked for it."""

    type: Literal["abstention", "signal_status"]
    event_id: str
    symbol: str
    event_type: str
    source: str
    origin: str
    model: str | None = None
    status: str
    reason: Any
    at: datetime


class Gap(Message):
    """Decisions from ``from`` to ``to`` do not come over the socket; read them over REST."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    type: Literal["gap"]
    first: Annotated[int, Field(alias="from")]
    to: int
    reason: Literal["PURGED", "TOO_MANY", "RESTARTED"]
    rest_url: str


class Pulse(Message):
    """The heartbeat, or the answer to a ping; ``after_seq`` is a safe place to resume from."""

    type: Literal["ping", "pong"]
    server_time: datetime
    head_seq: int | None = None
    after_seq: int | None = None


class FieldFault(Message):
    """What is wrong with one filter."""

    field: str
    code: str
    message: str


class Error(Message):
    """What was sent makes no sense; the subscription stays as it was."""

    type: Literal["error"]
    code: str
    message: str
    errors: list[FieldFault] | None = None


class Goodbye(Message):
    """The server ends the connection; connect again and resume with ``after_seq``."""

    type: Literal["goodbye"]
    code: Literal["SLOW_CLIENT", "FEED_AWAY", "RESTARTING"]
    message: str
    retry_after_s: float | None = None


SENT: tuple[type[Message], ...] = (Auth, Subscribe, Unsubscribe, Ping)
HEARD: tuple[type[Message], ...] = (
    Connected,
    Subscribed,
    DecisionMessage,
    Notice,
    Gap,
    Pulse,
    Error,
    Goodbye,
)
CLOSE_CODES: Mapping[int, str] = {
    1012: "the server restarts; resume",
    1013: "try again later",
    4400: "bad message",
    4401: "no key, or not a good one",
    4403: "the key's scopes do not allow this",
    4404: "no such socket",
    4408: "no key came within the time for it",
    4429: "too many connections, too many messages, or too slow",
}


def description() -> dict[str, Any]:
    """Return the AsyncAPI 3 document."""
    _, schemas = models_json_schema(
        [(model, "validation") for model in (*SENT, *HEARD)], ref_template=REF
    )
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "SigmaPilot Lens decisions",
            "version": settings.VERSION,
            "description": _prose(),
        },
        "defaultContentType": "application/json",
        "channels": {
            "decisions": {
                "address": "/ws/decisions",
                "messages": {
                    model.__name__: {"$ref": f"#/components/messages/{model.__name__}"}
                    for model in (*SENT, *HEARD)
                },
                "bindings": {"ws": {"method": "GET"}},
            }
        },
        "operations": {
            "send": _operation("receive", SENT),
            "hear": _operation("send", HEARD),
        },
        "components": {
            "messages": {
                model.__name__: {
                    "summary": (model.__doc__ or "").strip().splitlines()[0],
                    "payload": {"$ref": REF.format(model=model.__name__)},
                }
                for model in (*SENT, *HEARD)
            },
            "schemas": schemas["$defs"],
            "securitySchemes": {
                "apiKey": {"type": "httpApiKey", "name": "X-API-Key", "in": "header"}
            },
        },
    }


def _operation(action: str, models: tuple[type[Message], ...]) -> dict[str, Any]:
    channel = "#/channels/decisions"
    return {
        "action": action,
        "channel": {"$ref": channel},
        "messages": [{"$ref": f"{channel}/messages/{model.__name__}"} for model in models],
    }


def _prose() -> str:
    codes = "; ".join(f"{code}: {meaning}" for code, meaning in CLOSE_CODES.items())
    return (
        f"Message types to subscribe to: {', '.join(get_args(Kind))}. Close codes: {codes}."
        " Recommendations only; Lens places no trades."
    )


def document(request: HttpRequest) -> JsonResponse:
    """Answer with the AsyncAPI document."""
    del request
    return JsonResponse(description())
