"""The shapes of decisions: what a reader may ask, what is answered, what is sent to sockets."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

import orjson
from django.conf import settings
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from decisions.feed import Wording
from decisions.models import Decision
from decisions.queries import Notice
from pipeline.parsing import LIMIT_DEFAULT, LIMIT_MAX, time_text
from pipeline.types import FieldError

SIMULATED = "SIMULATED"
WORDS_MAX = 2_000

Words = Annotated[
    str,
    Field(min_length=1, max_length=WORDS_MAX, description="one value, or several with commas"),
]


class FilterQuery(BaseModel):
    """Filters that the lists and the stream share."""

    model_config = ConfigDict(extra="forbid")

    model: Words | None = None
    symbol: Words | None = None
    event_type: Words | None = None
    decision: Words | None = None
    source: Words | None = None
    origin: Annotated[
        Words | None, Field(description="LIVE unless given; DEMO and REPLAY on request")
    ] = None
    min_confidence: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    after_seq: Annotated[
        int | None, Field(ge=0, lt=2**63, description="only what was published after this number")
    ] = None

    def filters(self) -> dict[str, Any]:
        """Return the filters in the form that subscribers send."""
        found = self.model_dump(include={"min_confidence"}, exclude_none=True)
        for name in ("model", "symbol", "event_type", "decision", "source", "origin"):
            value = getattr(self, name)
            if value is not None:
                found[name] = [word.strip() for word in value.split(",")]
        return found


class DecisionQuery(FilterQuery):
    """Filters and page of the list of decisions."""

    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    limit: Annotated[int, Field(ge=1, le=LIMIT_MAX)] = LIMIT_DEFAULT
    cursor: Annotated[str, Field(max_length=200)] | None = None


class StreamQuery(FilterQuery):
    """Filters of the stream."""


class ModelMeta(BaseModel):
    """Who decided, how long it took and what it cost."""

    model_config = ConfigDict(extra="allow")

    model_name: str
    model_version: str
    latency_ms: float
    status: str
    tokens_used: int | None
    cost_usd: str | None
    prompt_version: str | None
    prompt_hash: str | None


class PolicyAdjustment(BaseModel):
    """One thing that the policy changed in a model's advice."""

    field: str
    rule: str
    asked: Any
    allowed: Any


class DecisionAnswer(BaseModel):
    """One model's, or the jury's, published advice on one signal.

    ``seq`` is null for replays; ``jury`` is null unless ``model`` is ``jury``; ``market`` says
    SIMULATED when the advice rests on a simulated market, and is null otherwise. ``economics`` is
    the bet behind the advice: ``p`` (calibrated) and ``p_raw`` that following is right, and where
    its levels are known ``break_even``, ``reward_r``, ``cost_r`` and the expected value ``ev_r``.
    """

    id: str
    seq: int | None
    event_id: str
    symbol: str
    event_type: Literal["OPEN_SIGNAL", "CLOSE_SIGNAL"]
    source: str
    origin: Literal["LIVE", "DEMO", "REPLAY"]
    market: Literal["SIMULATED"] | None
    model: str
    revision: int
    decision: Literal["FOLLOW_ENTER", "IGNORE", "FOLLOW_EXIT", "HOLD", "TIGHTEN_STOP"]
    confidence: float
    confidence_raw: float
    calibration: dict[str, Any] | None
    entry_plan: dict[str, Any] | None
    risk_plan: dict[str, Any] | None
    size_pct: float
    reasons: list[str]
    invalidation: str | None
    expires_at: datetime | None
    policy_adjustments: list[PolicyAdjustment]
    model_meta: ModelMeta
    jury: dict[str, Any] | None
    economics: dict[str, Any] | None
    evaluated_at: datetime
    published_at: datetime | None


class DecisionPage(BaseModel):
    """One page of decisions."""

    items: list[DecisionAnswer]
    next_cursor: str | None


def decision_json(row: Decision) -> dict[str, Any]:
    """Return one decision as clients see it."""
    return {
        "id": str(row.id),
        "seq": row.seq,
        "event_id": str(row.event_id),
        "symbol": row.symbol,
        "event_type": row.event_type,
        "source": row.source,
        "origin": row.origin,
        "market": SIMULATED if row.simulated else None,
        "model": row.model,
        "revision": row.revision,
        "decision": row.decision,
        "confidence": row.confidence,
        "confidence_raw": row.confidence_raw,
        "calibration": row.calibration,
        "entry_plan": row.entry_plan,
        "risk_plan": row.risk_plan,
        "size_pct": row.size_pct,
        "reasons": row.reasons,
        "invalidation": row.invalidation,
        "expires_at": time_text(row.expires_at),
        "policy_adjustments": row.policy_adjustments,
        "model_meta": row.model_meta,
        "jury": row.jury,
        "economics": row.economics,
        "evaluated_at": time_text(row.evaluated_at),
        "published_at": time_text(row.published_at),
    }


def decision_message(row: Decision) -> str:
    """Return one published decision as every subscriber is sent it."""
    decision = decision_json(row)
    repeated = ("seq", "event_id", "symbol", "event_type", "model")
    return message_text(
        {
            "type": "decision",
            **{name: decision[name] for name in repeated},
            "decision": decision,
            "published_at": decision["published_at"],
        }
    )


def notice_message(notice: Notice) -> str:
    """Return an abstention or a signal's end as subscribers who asked for it are sent it."""
    named = {"model": notice.model} if notice.model else {}
    return message_text(
        {
            "type": notice.kind,
            "event_id": str(notice.event_id),
            "symbol": notice.symbol,
            "event_type": notice.event_type,
            "source": notice.source,
            "origin": notice.origin,
            **named,
            "status": notice.status,
            "reason": notice.reason,
            "at": time_text(notice.at),
        }
    )


def connected_message(*, last_seq: int, now: datetime) -> str:
    """Return the first message on a socket, once it is known who opened it."""
    return message_text(
        {
            "type": "connected",
            "server_time": time_text(now),
            "last_seq": last_seq,
            "heartbeat_s": settings.WS_HEARTBEAT_S,
        }
    )


def error_message(*, code: str, message: str, errors: Sequence[FieldError] = ()) -> str:
    """Return an answer to what a subscriber should not have sent."""
    named = [{"field": e.field, "code": e.code, "message": e.message} for e in errors]
    return message_text(
        {
            "type": "error",
            "code": code,
            "message": message,
            **({"errors": named} if named else {}),
        }
    )


def message_text(message: dict[str, Any]) -> str:
    """Return a message as JSON text."""
    return orjson.dumps(message).decode()


WORDING = Wording(decision=decision_message, notice=notice_message)
