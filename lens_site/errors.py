"""Domain errors and Django's own, shown as RFC 9457 problem documents under ``/api/``."""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import render
from django.utils.translation import gettext
from django.views.decorators.csrf import csrf_exempt
from rest_framework import exceptions
from rest_framework.response import Response

from pipeline import tracing
from pipeline.types import FieldError, LensError

logger = logging.getLogger(__name__)

PROBLEM_TYPE = "application/problem+json"
TITLES: Mapping[str, str] = {
    "VALIDATION_ERROR": "The request breaks a rule",
    "UNAUTHORIZED": "No valid API key",
    "FORBIDDEN": "The key may not do this",
    "NOT_FOUND": "Nothing here",
    "PARQUET_UNAVAILABLE": "No Parquet here",
    "METHOD_NOT_ALLOWED": "This path does not take that method",
    "IDEMPOTENCY_CONFLICT": "The idempotency key was used with another body",
    "SIGNAL_ENDED": "The signal has come to an end",
    "PAYLOAD_TOO_LARGE": "The body is too large",
    "UNSUPPORTED_MEDIA_TYPE": "The body must be application/json",
    "RATE_LIMITED": "Too many requests",
    "INTERNAL_ERROR": "Something broke on our side",
    "SERVICE_UNAVAILABLE": "Not available at the moment",
}
CODES: Mapping[int, str] = {
    400: "VALIDATION_ERROR",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    406: "VALIDATION_ERROR",
    409: "SIGNAL_ENDED",
    413: "PAYLOAD_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
    422: "IDEMPOTENCY_CONFLICT",
    429: "RATE_LIMITED",
    500: "INTERNAL_ERROR",
    503: "SERVICE_UNAVAILABLE",
}
REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}", re.ASCII)

GetResponse = Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]


class RequestId:
    """Gives every request an id (the client's own if it sent a plain one) and answers with it."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        given = request.headers.get("X-Request-ID", "")
        request.request_id = chosen_request_id(given)  # type: ignore[attr-defined]
        if self._is_async:
            return self._later(request)
        with tracing.request(request_id(request)):
            return self._marked(request, self.get_response(request))

    async def _later(self, request: HttpRequest) -> Any:
        with tracing.request(request_id(request)):
            return self._marked(request, await self.get_response(request))  # type: ignore[misc]

    @staticmethod
    def _marked(request: HttpRequest, response: Any) -> Any:
        response["X-Request-ID"] = request_id(request)
        return response


def chosen_request_id(given: str) -> str:
    """Return the id that a client gave its request, if it is a plain one, or a new one."""
    return given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def request_id(request: HttpRequest) -> str:
    """Return the id of the request."""
    return str(getattr(request, "request_id", ""))


def problem(
    request: HttpRequest,
    *,
    status: int,
    code: str,
    detail: str,
    errors: Iterable[FieldError] = (),
    **extra: Any,
) -> dict[str, Any]:
    """Return the body of one problem document."""
    return {
        "type": f"/docs/errors#{code.lower()}",
        "title": TITLES.get(code, code.replace("_", " ").capitalize()),
        "status": status,
        "detail": detail,
        "instance": request.path,
        "code": code,
        "request_id": request_id(request),
        "errors": [
            {"field": error.field, "code": error.code, "message": error.message} for error in errors
        ],
        **extra,
    }


def problem_response(error: Exception, context: Mapping[str, Any]) -> Response | None:
    """Answer an exception of a REST door; None lets it travel on to Django's 500."""
    request: HttpRequest = context["request"]
    if isinstance(error, LensError):
        return _respond(
            request,
            status=error.http_status,
            code=error.code,
            detail=error.detail,
            errors=error.errors,
            retry_after_s=error.retry_after_s,
        )
    if isinstance(error, exceptions.APIException):
        return _respond(
            request,
            status=error.status_code,
            code=CODES.get(error.status_code, "VALIDATION_ERROR"),
            detail=_detail(error),
            errors=_field_errors(error),
            retry_after_s=getattr(error, "wait", None),
            auth_header=getattr(error, "auth_header", None),
        )
    if isinstance(error, Http404):
        detail = str(error) or "Nothing answers to that id."
        return _respond(request, status=404, code="NOT_FOUND", detail=detail)
    if isinstance(error, PermissionDenied):
        return _respond(request, status=403, code="FORBIDDEN", detail=str(error) or "Not allowed.")
    if isinstance(error, DatabaseError):
        logger.error("database away: %s", error)
        detail = "The database is away; nothing was stored. Send again with the same key."
        return _respond(
            request, status=503, code="SERVICE_UNAVAILABLE", detail=detail, retry_after_s=2.0
        )
    return None


def _respond(
    request: HttpRequest,
    *,
    status: int,
    code: str,
    detail: str,
    errors: Iterable[FieldError] = (),
    retry_after_s: float | None = None,
    auth_header: str | None = None,
) -> Response:
    extra = {} if retry_after_s is None else {"retry_after": round(retry_after_s, 3)}
    body = problem(request, status=status, code=code, detail=detail, errors=errors, **extra)
    response = Response(body, status=status, content_type=PROBLEM_TYPE)
    if retry_after_s is not None:
        response["Retry-After"] = str(max(1, int(retry_after_s + 0.999)))
    if auth_header:
        response["WWW-Authenticate"] = auth_header
    return response


def _detail(error: exceptions.APIException) -> str:
    if isinstance(error, exceptions.NotAuthenticated):
        return "Send an API key as X-API-Key or as Authorization: Bearer."
    if isinstance(error.detail, list | dict):
        return "the request breaks a rule"
    return str(error.detail)


def _field_errors(error: exceptions.APIException) -> list[FieldError]:
    if not isinstance(error.detail, dict):
        return []
    return [
        FieldError(str(field), getattr(fault, "code", "invalid"), str(fault))
        for field, faults in error.detail.items()
        for fault in (faults if isinstance(faults, list) else [faults])
    ]


def plain_problem(request: HttpRequest, *, status: int, code: str, detail: str) -> HttpResponse:
    """Return a problem document as the answer of a view outside the REST framework."""
    return _json(request, status=status, code=code, detail=detail)


@csrf_exempt  # whoever posts to an unknown path is told so, not asked for a cookie
def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Answer an unknown path: a problem document under ``/api/``, a page elsewhere."""
    del exception
    if request.path.startswith("/api"):
        detail = f"There is no {request.path}; the paths are listed at /api/docs."
        return _json(request, status=404, code="NOT_FOUND", detail=detail)
    if getattr(request, "user", None) is None or not request.user.is_authenticated:
        return HttpResponse("Nothing here.", status=404, content_type="text/plain")
    detail = gettext("The address may be mistyped, or what it named has been purged.")
    return render(request, "error.html", {"status": 404, "detail": detail}, status=404)


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer what nobody foresaw, without a word about the inside."""
    if request.path.startswith("/api"):
        detail = f"It is logged under request id {request_id(request)}."
        return _json(request, status=500, code="INTERNAL_ERROR", detail=detail)
    return HttpResponse("Something broke on our side.", status=500, content_type="text/plain")


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Answer a request that Django itself refused."""
    detail = "The server could not read the request."
    if exception is not None and type(exception).__name__ == "RequestDataTooBig":
        return _json(request, status=413, code="PAYLOAD_TOO_LARGE", detail=detail)
    return _json(request, status=400, code="VALIDATION_ERROR", detail=detail)


def _json(request: HttpRequest, *, status: int, code: str, detail: str) -> HttpResponse:
    body = problem(request, status=status, code=code, detail=detail)
    return JsonResponse(body, status=status, content_type=PROBLEM_TYPE)
