"""The HTTP door of signals: submitting them and asking after them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import IO, Any, ClassVar
from uuid import UUID

from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from access.auth import identity_of, scope
from access.types import Scope
from pipeline import queries as pipeline
from pipeline.parsing import ReasonBody, parse_query, read_cursor, time_text, write_cursor
from pipeline.types import FieldError, InvalidRequest, LensError, NotFound
from signals import queries, services
from signals.models import Signal
from signals.parsing import BATCH_BODY_MAX_BYTES, SignalBody, load_json, parse_signal
from signals.serializers import (
    BatchAnswer,
    SignalBatch,
    SignalPage,
    SignalQuery,
    SignalReceipt,
    SignalStanding,
    SignalSummary,
    ValidationAnswer,
    signal_json,
)
from signals.types import InvalidSignal, Receipt, SignalStatus, Submission

BATCH_MAX = 500
KEY_TEXT = re.compile(r"[\x21-\x7e]{1,255}", re.ASCII)
STAGE_OF = {
    SignalStatus.ENQUEUED: "enrich",
    SignalStatus.ENRICHED: "evaluate",
    SignalStatus.EVALUATED: "publish",
}

EXAMPLE = OpenApiExample(
    "Open a long",
    request_only=True,
    value={
        "event_type": "OPEN_SIGNAL",
        "symbol": "BTC",
        "signal_direction": "long",
        "entry_price": 42000.00,
        "size": 0.1,
        "liquidation_price": 38000.00,
        "ts_utc": "2026-01-15T10:30:00Z",
        "source": "strategy_alpha",
    },
)
EXAMPLE_CLOSE = OpenApiExample(
    "Close it",
    request_only=True,
    value={**EXAMPLE.value, "event_type": "CLOSE_SIGNAL", "signal_direction": "close_long"},
)
EXAMPLE_BATCH = OpenApiExample(
    "Two at once", request_only=True, value={"signals": [EXAMPLE.value, EXAMPLE_CLOSE.value]}
)
ACCEPTED = OpenApiExample(
    "Accepted",
    response_only=True,
    status_codes=["201"],
    value={
        "event_id": "5e0c0d5a-5f0e-4c9a-9b52-0c1c9f7f2f4b",
        "status": "ENQUEUED",
        "received_at": "2026-01-15T10:30:00.412000Z",
    },
)
IDEMPOTENCY = [
    OpenApiParameter(
        name,
        OpenApiTypes.STR,
        OpenApiParameter.HEADER,
        description="Same key and body: the first answer again. Same key, other body: 422.",
    )
    for name in ("Idempotency-Key", "X-Idempotency-Key")
]


class StrictJson(BaseParser):
    """Reads JSON without losing digits, doubled keys or depth."""

    media_type = "application/json"
    max_bytes: ClassVar[int] = 64 * 1024

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Any = None,
    ) -> Any:
        del media_type, parser_context
        return load_json(stream.read(self.max_bytes + 1), max_bytes=self.max_bytes)


class StrictBatchJson(StrictJson):
    """The same for batches."""

    max_bytes = BATCH_BODY_MAX_BYTES


class SignalsView(APIView):
    """``/signals``: submit one, list many."""

    parser_classes = [StrictJson]

    def get_permissions(self) -> list[Any]:
        wanted = Scope.SIGNALS_WRITE if self.request.method == "POST" else Scope.SIGNALS_READ
        return [scope(wanted)()]

    @extend_schema(
        operation_id="submit_signal",
        tags=["signals"],
        summary="Submit one signal",
        description="Answers only after the signal is stored for good.",
        request=SignalBody,
        responses={201: SignalReceipt},
        parameters=IDEMPOTENCY,
        examples=[EXAMPLE, EXAMPLE_CLOSE, ACCEPTED],
    )
    def post(self, request: Request) -> Response:
        now, owner = timezone.now(), identity_of(request).owner
        try:
            key = _given_key(request.headers)
            submission = read_submission(request.data, key=key, owner=owner, now=now)
        except InvalidSignal as error:
            services.note_complaint(owner=owner, error=error, now=now)
            raise
        services.refuse_when_overloaded(now=now)
        [answer] = services.submit_signals(submissions=[submission], now=now)
        if not isinstance(answer, Receipt):
            raise answer
        return Response(receipt_json(answer), status=201, headers=receipt_headers(answer))

    @extend_schema(
        operation_id="list_signals",
        tags=["signals"],
        summary="List signals, newest first",
        parameters=[SignalQuery],  # type: ignore[list-item]  # pydantic: unknown to the stubs
        responses=SignalPage,
    )
    def get(self, request: Request) -> Response:
        query = parse_query(SignalQuery, request.query_params)
        lookups = query.lookups()
        if query.cursor:
            lookups["id__lt"] = read_cursor(query.cursor)
        rows = list(queries.list_signals(filters=lookups)[: query.limit + 1])
        more = len(rows) > query.limit
        page = rows[: query.limit]
        cursor = write_cursor(page[-1].id) if more else None
        return Response({"items": [signal_json(row) for row in page], "next_cursor": cursor})


class BatchView(APIView):
    """``/signals/batch``: submit up to 500 at once."""

    parser_classes = [StrictBatchJson]
    permission_classes = [scope(Scope.SIGNALS_WRITE)]

    @extend_schema(
        operation_id="submit_signals",
        tags=["signals"],
        summary="Submit up to 500 signals",
        description="Each item is answered by itself; good items are stored although others fail.",
        request=SignalBatch,
        responses=BatchAnswer,
        parameters=IDEMPOTENCY,
        examples=[EXAMPLE_BATCH],
    )
    def post(self, request: Request) -> Response:
        now = timezone.now()
        items = _batch_items(request.data)
        services.refuse_when_overloaded(now=now)
        key = _idempotency_key(_given_key(request.headers))
        results: list[dict[str, Any]] = [{} for _ in items]
        accepted: list[tuple[int, Submission]] = []
        for index, item in enumerate(items):
            try:
                draft = parse_signal(item, now=now)
            except LensError as error:
                results[index] = _refusal(index, error)
            else:
                item_key = f"{key}#{index}" if key else None
                submission = Submission(
                    draft=draft,
                    owner=identity_of(request).owner,
                    idempotency_key=item_key,
                    body_sha256=_digest(item),
                )
                accepted.append((index, submission))
        answers = services.submit_signals(submissions=[made for _, made in accepted], now=now)
        for (index, _), answer in zip(accepted, answers, strict=True):
            results[index] = _item_answer(index, answer)
        good = sum(result["status"] == 201 for result in results)
        return Response({"accepted": good, "refused": len(items) - good, "results": results})


class ValidateView(APIView):
    """``/signals/validate``: check a signal without storing it."""

    parser_classes = [StrictJson]
    permission_classes = [scope(Scope.SIGNALS_WRITE)]

    @extend_schema(
        operation_id="validate_signal",
        tags=["signals"],
        summary="Check a signal without storing it",
        request=SignalBody,
        responses=ValidationAnswer,
        examples=[EXAMPLE],
    )
    def post(self, request: Request) -> Response:
        draft = parse_signal(request.data, now=timezone.now())
        shown = {
            name: _shown(getattr(draft, name))
            for name in draft.__dataclass_fields__
            if getattr(draft, name) not in (None, "", {})
        }
        return Response({"valid": True, "signal": shown})


class CancelView(APIView):
    """``/signals/{event_id}/cancel``: stop a signal that is under way."""

    permission_classes = [scope(Scope.OPS)]
    parser_classes = [StrictJson]

    @extend_schema(
        operation_id="cancel_signal",
        tags=["signals"],
        summary="Stop a signal that is under way",
        description="Nothing more is judged or published of it. Cancelling it again changes"
        " nothing; a signal that has come to another end is refused with 409.",
        request=ReasonBody,
        responses=SignalSummary,
        examples=[
            OpenApiExample("Why", request_only=True, value={"reason": "sent by mistake"}),
        ],
    )
    def post(self, request: Request, event_id: UUID) -> Response:
        body = parse_query(ReasonBody, request.data if isinstance(request.data, dict) else {})
        signal = services.cancel(
            event_id=event_id,
            actor=identity_of(request).actor,
            reason=body.reason,
            now=timezone.now(),
        )
        return Response(signal_json(signal))


class SignalStatusView(APIView):
    """``/signals/{event_id}/status``: where one signal stands."""

    permission_classes = [scope(Scope.SIGNALS_READ)]

    @extend_schema(
        operation_id="get_signal_status",
        tags=["signals"],
        summary="Where one signal stands",
        responses=SignalStanding,
    )
    def get(self, request: Request, event_id: UUID) -> Response:
        del request
        signal = find_signal(event_id)
        end = signal.terminal_at or timezone.now()
        return Response(
            {
                "event_id": str(signal.event_id),
                "status": signal.status,
                "stage": STAGE_OF.get(SignalStatus(signal.status)),
                "run": signal.run,
                "reason": signal.reason,
                "received_at": time_text(signal.received_at),
                "duration_ms": round((end - signal.received_at).total_seconds() * 1000),
            }
        )


def find_signal(event_id: UUID) -> Signal:
    """Return the signal.

    :raises NotFound: when there is none of that id.
    """
    signal = queries.get_signal(event_id=event_id)
    if signal is None:
        raise NotFound(f"there is no signal {event_id}")
    return signal


def timeline_json(signal: Signal) -> list[dict[str, Any]]:
    """Return the signal's timeline as clients see it."""
    return [
        {
            "status": event.verb,
            "timestamp": time_text(event.at),
            "offset_ms": round((event.at - signal.received_at).total_seconds() * 1000),
            "run": event.run,
            "details": event.details,
        }
        for event in pipeline.list_timeline(trace=signal.event_id)
    ]


def read_submission(value: Any, *, key: str | None, owner: str, now: datetime) -> Submission:
    """Return what a request to store one signal asks for, under the idempotency key it gave.

    :raises InvalidSignal: naming every field that breaks a rule.
    :raises InvalidRequest: if the key cannot be one.
    """
    return Submission(
        draft=parse_signal(value, now=now),
        owner=owner,
        idempotency_key=_idempotency_key(key),
        body_sha256=_digest(value),
    )


def _given_key(headers: Mapping[str, str]) -> str | None:
    return headers.get("Idempotency-Key", headers.get("X-Idempotency-Key"))


def _idempotency_key(key: str | None) -> str | None:
    if key is None:
        return None
    if not KEY_TEXT.fullmatch(key):
        text = "must be 1 to 255 printable ASCII characters without spaces"
        raise InvalidRequest(text, (FieldError("Idempotency-Key", "invalid", text),))
    return key


def _digest(value: Any) -> str:
    return hashlib.sha256(IN_ORDER.encode(value).encode()).hexdigest()


def _exact_text(value: Any) -> str:
    return str(value.normalize()) if isinstance(value, Decimal) else str(value)


IN_ORDER = json.JSONEncoder(sort_keys=True, default=_exact_text)


def _batch_items(value: Any) -> list[Any]:
    items = value.get("signals") if isinstance(value, dict) and set(value) == {"signals"} else value
    if not isinstance(items, list) or not 1 <= len(items) <= BATCH_MAX:
        text = f'must be {{"signals": [...]}} with 1 to {BATCH_MAX} items'
        raise InvalidRequest(text, (FieldError("signals", "invalid", text),))
    return items


def receipt_headers(receipt: Receipt) -> dict[str, str]:
    """Return the headers that go with a receipt."""
    replayed = {"Idempotency-Replayed": "true"} if receipt.replayed else {}
    return {"Location": f"/api/v1/signals/{receipt.event_id}", **replayed}


def receipt_json(receipt: Receipt) -> dict[str, Any]:
    """Return a receipt as clients see it."""
    return {
        "event_id": str(receipt.event_id),
        "status": "ENQUEUED",
        "received_at": time_text(receipt.received_at),
    }


def _item_answer(index: int, answer: Receipt | LensError) -> dict[str, Any]:
    if isinstance(answer, LensError):
        return _refusal(index, answer)
    return {
        "index": index,
        "status": 201,
        "event_id": str(answer.event_id),
        "received_at": time_text(answer.received_at),
        "replayed": answer.replayed,
    }


def _refusal(index: int, error: LensError) -> dict[str, Any]:
    return {
        "index": index,
        "status": error.http_status,
        "code": error.code,
        "detail": error.detail,
        "errors": [
            {"field": fault.field, "code": fault.code, "message": fault.message}
            for fault in error.errors
        ],
    }


def _shown(value: Any) -> Any:
    if isinstance(value, datetime):
        return time_text(value.astimezone(UTC))
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    return value
