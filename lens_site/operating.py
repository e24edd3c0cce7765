"""Doors for operators: dead letters, and the switches that halt parts of the house."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from django.urls import path
from drf_spectacular.utils import OpenApiExample, extend_schema
from pydantic import BaseModel, ConfigDict, Field, model_validator
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from access.auth import identity_of, scope
from access.types import Scope
from pipeline import queries, services
from pipeline.models import DeadLetter, Switch
from pipeline.parsing import (
    LIMIT_DEFAULT,
    LIMIT_MAX,
    ReasonBody,
    decimal_text,
    parse_query,
    time_text,
)
from pipeline.types import REASON_MAX_CHARS, NotFound
from signals.api import StrictJson


class LetterAnswer(BaseModel):
    """Work that failed for good."""

    id: str
    event_id: str
    stage: str
    subject: str
    run: int
    status: Literal["OPEN", "RETRYING", "RESOLVED"]
    code: str
    reason: str
    fingerprint: str
    attempts: int
    retry_count: int
    created_at: str
    resolved_at: str | None
    resolved_by: str
    note: str


class LetterPage(BaseModel):
    """Dead letters, newest first."""

    items: list[LetterAnswer]


class LetterQuery(BaseModel):
    """Filters of the list of dead letters."""

    model_config = ConfigDict(extra="forbid")

    status: Literal["OPEN", "RETRYING", "RESOLVED"] | None = None
    stage: Literal["enrich", "evaluate", "jury"] | None = None
    fingerprint: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")] | None = None
    limit: Annotated[int, Field(ge=1, le=LIMIT_MAX)] = LIMIT_DEFAULT


class NoteBody(BaseModel):
    """Why an operator does this."""

    model_config = ConfigDict(extra="forbid")

    note: Annotated[str, Field(min_length=1, max_length=1000)]


class LettersView(APIView):
    """``/dlq``: what failed for good."""

    permission_classes = [scope(Scope.OPS)]

    @extend_schema(
        operation_id="list_dead_letters",
        tags=["dead letters"],
        summary="List dead letters, newest first",
        parameters=[LetterQuery],  # type: ignore[list-item]  # pydantic: unknown to the stubs
        responses=LetterPage,
    )
    def get(self, request: Request) -> Response:
        query = parse_query(LetterQuery, request.query_params)
        filters = query.model_dump(exclude_none=True, exclude={"limit"})
        rows = queries.list_dead_letters(filters=filters)[: query.limit]
        return Response({"items": [_letter_json(row) for row in rows]})


class LetterView(APIView):
    """``/dlq/{id}``: one dead letter."""

    permission_classes = [scope(Scope.OPS)]

    @extend_schema(
        operation_id="get_dead_letter",
        tags=["dead letters"],
        summary="One dead letter",
        responses=LetterAnswer,
    )
    def get(self, request: Request, letter_id: UUID) -> Response:
        del request
        return Response(_letter_json(_find_letter(letter_id)))


class RetryView(APIView):
    """``/dlq/{id}/retry``: run the signal again, as a new run."""

    permission_classes = [scope(Scope.OPS)]

    @extend_schema(
        operation_id="retry_dead_letter",
        tags=["dead letters"],
        summary="Run the signal again, as a new run",
        request=None,
        responses=LetterAnswer,
    )
    def post(self, request: Request, letter_id: UUID) -> Response:
        letter = _find_letter(letter_id)
        services.retry_letter(letter=letter, actor=identity_of(request).name, now=datetime.now(UTC))
        return Response(_letter_json(_find_letter(letter_id)))


class RetryFilter(BaseModel):
    """Which open dead letters to run again; at least one condition must be given."""

    model_config = ConfigDict(extra="forbid")

    ids: Annotated[list[UUID], Field(min_length=1, max_length=services.RETRY_AT_ONCE)] | None = None
    fingerprint: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")] | None = None
    stage: Literal["enrich", "evaluate", "jury"] | None = None
    code: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    preview: bool = False
    reason: Annotated[str, Field(max_length=REASON_MAX_CHARS)] = ""

    @model_validator(mode="after")
    def _has_a_condition(self) -> Self:
        if not self.letters_wanted():
            raise ValueError("give at least one of ids, fingerprint, stage and code")
        return self

    def letters_wanted(self) -> dict[str, Any]:
        """Return the conditions as column look-ups."""
        given = self.model_dump(exclude_none=True, include={"fingerprint", "stage", "code"})
        return given | ({"id__in": self.ids} if self.ids else {})


class RetryAnswer(BaseModel):
    """What a retry comes to, or came to.

    `stale` letters belong to signals whose validity has passed: retried, they end as EXPIRED.
    `expected_cost_usd` is by what the models cost lately; `unpriced` names those of whom nobody
    can tell. `left` are more than one call takes up: call again.
    """

    letters: int
    not_open: int
    stale: int
    expected_cost_usd: str
    unpriced: list[str]
    left: int
    retried: int


class RetryManyView(APIView):
    """``/dlq/retry``: run many signals again."""

    permission_classes = [scope(Scope.OPS)]
    parser_classes = [StrictJson]

    @extend_schema(
        operation_id="retry_dead_letters",
        tags=["dead letters"],
        summary="Run the signals of many dead letters again, or tell what that would come to",
        description="With `preview` nothing is run. A letter that is not open is left alone, so"
        " repeating a call starts nothing twice.",
        request=RetryFilter,
        responses=RetryAnswer,
        examples=[
            OpenApiExample(
                "What would it cost?",
                request_only=True,
                value={"fingerprint": "0f3a9c5e7b1d2486", "preview": True},
            )
        ],
    )
    def post(self, request: Request) -> Response:
        body = parse_query(RetryFilter, request.data if isinstance(request.data, dict) else {})
        letters, now = queries.list_dead_letters(filters=body.letters_wanted()), datetime.now(UTC)
        told = services.preview_retry(letters=letters, now=now)
        retried = 0
        if not body.preview:
            retried = services.retry_letters(
                letters=letters, actor=identity_of(request).name, now=now, reason=body.reason
            )
        return Response(
            {
                "letters": told.letters,
                "not_open": told.not_open,
                "stale": told.stale,
                "expected_cost_usd": decimal_text(told.cost.usd),
                "unpriced": list(told.cost.unpriced),
                "left": told.left,
                "retried": retried,
            }
        )


class GroupAnswer(BaseModel):
    """Open dead letters that are alike; `reason` is the latest one's."""

    fingerprint: str
    stage: str
    code: str
    reason: str
    count: int
    first_at: str
    last_at: str
    still_happening: bool


class GroupList(BaseModel):
    """The groups, the largest first."""

    items: list[GroupAnswer]


class GroupsView(APIView):
    """``/dlq/groups``: what open dead letters have in common."""

    permission_classes = [scope(Scope.OPS)]

    @extend_schema(
        operation_id="list_dead_letter_groups",
        tags=["dead letters"],
        summary="Show the open dead letters by what they died of",
        responses=GroupList,
    )
    def get(self, request: Request) -> Response:
        del request
        now = datetime.now(UTC)
        return Response({"items": [_group_json(each, now=now) for each in queries.group_letters()]})


def _group_json(group: queries.LetterGroup, *, now: datetime) -> dict[str, Any]:
    return {
        "fingerprint": group.fingerprint,
        "stage": group.stage,
        "code": group.code,
        "reason": group.reason,
        "count": group.count,
        "first_at": time_text(group.first_at),
        "last_at": time_text(group.last_at),
        "still_happening": group.is_still_happening(now=now),
    }


class ResolveView(APIView):
    """``/dlq/{id}/resolve``: close it without running it again."""

    permission_classes = [scope(Scope.OPS)]
    parser_classes = [StrictJson]

    @extend_schema(
        operation_id="resolve_dead_letter",
        tags=["dead letters"],
        summary="Close a dead letter without running it again",
        request=NoteBody,
        responses=LetterAnswer,
        examples=[
            OpenApiExample(
                "Settled by hand", request_only=True, value={"note": "posted again by its sender"}
            )
        ],
    )
    def post(self, request: Request, letter_id: UUID) -> Response:
        body = parse_query(NoteBody, request.data if isinstance(request.data, dict) else {})
        letter = _find_letter(letter_id)
        services.resolve_letter(
            letter=letter, actor=identity_of(request).name, note=body.note, at=datetime.now(UTC)
        )
        return Response(_letter_json(_find_letter(letter_id)))


def _find_letter(letter_id: UUID) -> DeadLetter:
    letter = queries.get_dead_letter(letter_id=letter_id)
    if letter is None:
        raise NotFound(f"there is no dead letter {letter_id}")
    return letter


def _letter_json(letter: DeadLetter) -> dict[str, Any]:
    return {
        "id": str(letter.id),
        "event_id": str(letter.trace),
        "stage": letter.stage,
        "subject": str(letter.subject),
        "run": letter.run,
        "status": letter.status,
        "code": letter.code,
        "reason": letter.reason,
        "fingerprint": letter.fingerprint,
        "attempts": letter.attempts,
        "retry_count": letter.retry_count,
        "created_at": time_text(letter.created_at),
        "resolved_at": time_text(letter.resolved_at),
        "resolved_by": letter.resolved_by,
        "note": letter.note,
    }


class SwitchAnswer(BaseModel):
    """Whether one part of the house is halted; who halted or resumed it last, when and why."""

    name: Literal["intake", "publishing"]
    paused: bool
    reason: str
    actor: str
    since: str | None


class SwitchList(BaseModel):
    """Every switch."""

    items: list[SwitchAnswer]


WHY = OpenApiExample("Why", request_only=True, value={"reason": "the venue is under maintenance"})


class SwitchesView(APIView):
    """``/switches``: what is halted."""

    permission_classes = [scope(Scope.OPS)]

    @extend_schema(
        operation_id="list_switches",
        tags=["switches"],
        summary="Show whether intake and publishing are paused, by whom and why",
        responses=SwitchList,
    )
    def get(self, request: Request) -> Response:
        del request
        return Response({"items": [_switch_json(row) for row in queries.list_switches()]})


class PauseView(APIView):
    """``/switches/{name}/pause``: halt a part of the house."""

    permission_classes = [scope(Scope.OPS)]
    parser_classes = [StrictJson]

    @extend_schema(
        operation_id="pause_switch",
        tags=["switches"],
        summary="Pause intake or publishing",
        description="`intake`: signals are still accepted and stored, and none is taken up."
        " `publishing`: decisions are still made, and wait for their numbers. Pausing what is"
        " paused changes nothing.",
        request=ReasonBody,
        responses=SwitchAnswer,
        examples=[WHY],
    )
    def post(self, request: Request, name: str) -> Response:
        row = services.pause(
            name=name,
            actor=identity_of(request).actor,
            reason=_reason(request),
            now=datetime.now(UTC),
        )
        return Response(_switch_json(row))


class ResumeView(APIView):
    """``/switches/{name}/resume``: let it go on."""

    permission_classes = [scope(Scope.OPS)]
    parser_classes = [StrictJson]

    @extend_schema(
        operation_id="resume_switch",
        tags=["switches"],
        summary="Resume intake or publishing where it was halted",
        request=ReasonBody,
        responses=SwitchAnswer,
        examples=[WHY],
    )
    def post(self, request: Request, name: str) -> Response:
        row = services.resume(
            name=name,
            actor=identity_of(request).actor,
            reason=_reason(request),
            now=datetime.now(UTC),
        )
        return Response(_switch_json(row))


def _reason(request: Request) -> str:
    return parse_query(ReasonBody, request.data if isinstance(request.data, dict) else {}).reason


def _switch_json(row: Switch) -> dict[str, Any]:
    return {
        "name": row.name,
        "paused": row.is_paused,
        "reason": row.reason,
        "actor": row.actor,
        "since": time_text(row.since),
    }


urlpatterns = [
    path("dlq", LettersView.as_view()),
    path("dlq/groups", GroupsView.as_view()),
    path("dlq/retry", RetryManyView.as_view()),
    path("dlq/<uuid:letter_id>", LetterView.as_view()),
    path("dlq/<uuid:letter_id>/retry", RetryView.as_view()),
    path("dlq/<uuid:letter_id>/resolve", ResolveView.as_view()),
    path("switches", SwitchesView.as_view()),
    path("switches/<slug:name>/pause", PauseView.as_view()),
    path("switches/<slug:name>/resume", ResumeView.as_view()),
]
