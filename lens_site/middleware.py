"""What every answer is wrapped in: safe headers, and for people a session that ends in time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from csp.middleware import CSPMiddleware, PolicyParts
from django.conf import settings
from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponseBase
from django.utils.deprecation import MiddlewareMixin

from access.people import SEEN_AT

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
NOT_KEPT = "no-store"
SEEN_WRITTEN_EVERY = timedelta(minutes=1)


class SafeHeaders:
    """Gives every answer the headers that make browsers careful; what a view set stands.

    Programs get the same as people, so an answer of the API that is opened in a browser runs
    nothing there. Runs in both chains and waits for nothing.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        request.get_host()  # refuses a name that is not ours
        if iscoroutinefunction(self):
            return self._later(request)
        return _guarded(request, cast("HttpResponseBase", self.get_response(request)))

    async def _later(self, request: HttpRequest) -> HttpResponseBase:
        answered = cast("Awaitable[HttpResponseBase]", self.get_response(request))
        return _guarded(request, await answered)


def _guarded(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    if request.headers.get("X-API-Key") or request.headers.get("Authorization"):
        response.headers.setdefault("Cache-Control", NOT_KEPT)
    if settings.SECURE_HSTS_SECONDS and request.is_secure():
        lasting = f"max-age={settings.SECURE_HSTS_SECONDS}; includeSubDomains"
        response.headers.setdefault("Strict-Transport-Security", lasting)
    if not response.streaming:
        response.headers.setdefault("Content-Length", str(len(cast("Any", response).content)))
    return response


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
