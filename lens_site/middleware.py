"""What every answer is wrapped in: safe headers, and for people a session that ends in time."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Any, cast
from urllib.parse import urlencode

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from csp.middleware import CSPMiddleware, PolicyParts
from django.conf import settings
from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.utils.deprecation import MiddlewareMixin

from access import factors
from access.auth import address_of
from access.models import User
from access.people import SEEN_AT
from lens_site.errors import request_id
from pipeline.metrics import HTTP_DURATION

access_logger = logging.getLogger("lens.access")

GetResponse = Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]

NOTHING = "default-src 'none'; frame-ancestors 'none'"
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": NOTHING,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": (
        "accelerometer=(), camera=(), geolocation=(), gyroscope=(), magnetometer=(),"
        " microphone=(), payment=(), usb=()"
    ),
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
CODE_PATH, FACTOR_PATH = "/login/code", "/account/second-factor"
OPEN_PATHS = frozenset({"/login", "/logout", "/admin/logout/", "/docs/errors"})
SECRET_PATHS = ("/hooks/", "/welcome")
NOT_KEPT = "no-store"
SEEN_WRITTEN_EVERY = timedelta(minutes=1)


class AccessLog:
    """Measures every request, and writes a line about it when ``ACCESS_LOG`` is on.

    The line tells the path without its query, which may carry a key, and of a webhook only the
    route: its path is a secret.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        started_s = perf_counter()
        if self._is_async:
            return self._later(request, started_s)
        answer = cast("HttpResponseBase", self.get_response(request))
        note_request(request, status=answer.status_code, started_s=started_s)
        return answer

    async def _later(self, request: HttpRequest, started_s: float) -> HttpResponseBase:
        answer = await cast("Awaitable[HttpResponseBase]", self.get_response(request))
        note_request(request, status=answer.status_code, started_s=started_s)
        return answer


def note_request(request: HttpRequest, *, status: int, started_s: float) -> None:
    """Measure a request that has been answered, and write the line about it where wanted."""
    took_s = perf_counter() - started_s
    method = request.method if request.method in METHODS else "OTHER"
    route = request.resolver_match.route if request.resolver_match else "none"
    HTTP_DURATION.labels(method, route, status).observe(took_s)
    if settings.ACCESS_LOG:
        secret = request.path.startswith(SECRET_PATHS)
        seen = {
            "method": method,
            "path": route if secret else request.path,
            "status": status,
            "duration_ms": round(took_s * 1000, 1),
            "address": address_of(request),
            "request_id": request_id(request),
        }
        said = "%(method)s %(path)s %(status)s in %(duration_ms)s ms"
        access_logger.info(said, seen, extra={"fields": seen})


class SafeHeaders:
    """Gives every answer the headers that make browsers careful; what a view set stands.

    Programs get the same as people, so an answer of the API that is opened in a browser runs
    nothing there. Runs in both chains and waits for nothing.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        request.get_host()  # refuses a name that is not ours
        if self._is_async:
            return self._later(request)
        return _guarded(request, cast("HttpResponseBase", self.get_response(request)))

    async def _later(self, request: HttpRequest) -> HttpResponseBase:
        answered = cast("Awaitable[HttpResponseBase]", self.get_response(request))
        return _guarded(request, await answered)


def _guarded(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    has_key = bool(request.headers.get("X-API-Key") or request.headers.get("Authorization"))
    for name, value in safe_headers(has_key=has_key, is_secure=request.is_secure()).items():
        response.headers.setdefault(name, value)
    if not response.streaming:
        response.headers.setdefault("Content-Length", str(len(cast("Any", response).content)))
    return response


def safe_headers(*, has_key: bool, is_secure: bool) -> dict[str, str]:
    """Return the headers of every answer; what was told to the holder of a key is not kept."""
    headers = dict(HEADERS)
    if has_key:
        headers["Cache-Control"] = NOT_KEPT
    if settings.SECURE_HSTS_SECONDS and is_secure:
        lasting = f"max-age={settings.SECURE_HSTS_SECONDS}; includeSubDomains"
        headers["Strict-Transport-Security"] = lasting
    return headers


class ContentPolicy(CSPMiddleware):
    """Says what a page may load; pages of other makers get what ``CSP_EXCEPTIONS`` names."""

    def get_policy_parts(
        self, request: HttpRequest, response: HttpResponseBase, report_only: bool = False
    ) -> PolicyParts:
        parts = super().get_policy_parts(request, response, report_only)
        match = request.resolver_match
        for name in (match.url_name, match.namespace) if match else ():
            exception = settings.CSP_EXCEPTIONS.get(name or "", {})
            parts.replace = {**(parts.replace or {}), **exception}
        return parts


class SecondProof(MiddlewareMixin):
    """Keeps people who owe a second proof from every page, whoever made it, until it is shown."""

    def process_view(self, request: HttpRequest, *_: Any) -> HttpResponse | None:
        user = request.user
        if not isinstance(user, User) or request.path in OPEN_PATHS:
            return None
        mark = request.session.get(factors.SESSION_MARK)
        if mark and factors.is_shown(user=user, mark=mark):
            return None
        if not factors.is_needed(user):
            return None
        place = CODE_PATH if factors.has_factor(user=user) else FACTOR_PATH
        if request.path == place:
            return None
        if request.headers.get("HX-Request"):
            return HttpResponse(status=204, headers={"HX-Redirect": place})
        query = urlencode({"next": request.get_full_path()}) if request.method == "GET" else ""
        return HttpResponseRedirect(f"{place}?{query}".rstrip("?"))


class IdleSessions(MiddlewareMixin):
    """Ends the session of a person who asked for nothing for ``SESSION_IDLE_S``.

    The absolute end is the session's own expiry, which is fixed when a person signs in.
    """

    def process_request(self, request: HttpRequest) -> None:
        if settings.SESSION_COOKIE_NAME not in request.COOKIES:
            return
        seen_at = request.session.get(SEEN_AT)
        now = datetime.now(UTC)
        if seen_at is None:
            return
        idle = now - datetime.fromisoformat(seen_at)
        if idle > timedelta(seconds=settings.SESSION_IDLE_S):
            logout(request)
        elif idle > SEEN_WRITTEN_EVERY:
            request.session[SEEN_AT] = now.isoformat()
