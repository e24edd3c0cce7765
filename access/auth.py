"""The HTTP door's guard: who is asking, whether they may, and whether they ask too often."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, Throttled
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from access import services
from access.budget import BUDGET, Limit, Verdict
from access.parsing import client_address, presented_key
from access.types import Identity, Scope, TooManyWrongKeys, Unauthorized

if TYPE_CHECKING:  # the view module reads the settings that name the classes below
    from rest_framework.views import APIView

READING = frozenset({"GET", "HEAD", "OPTIONS"})
VERDICT = "lens.rate_verdict"
"""Where the verdict stands in the scope of a request that was counted before it got here."""
QUERY_NAMES = frozenset({"api_key", "apikey", "api-key", "x-api-key", "access_token"})
QUERY_HINT = (
    "A key in the URL is not read, because URLs end up in logs. "
    "Send it as X-API-Key or as Authorization: Bearer, and replace the one you sent."
)

GetResponse = Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]


def address_of(request: HttpRequest) -> str:
    """Return the address of the client behind our own proxies."""
    return client_address(
        peer=request.META.get("REMOTE_ADDR", ""),
        forwarded_for=request.META.get("HTTP_X_FORWARDED_FOR", ""),
        trusted_proxies=settings.TRUSTED_PROXY_COUNT,
    )


def key_in(request: HttpRequest) -> str:
    """Return the key that a request carries in its headers, or "" if it carries none."""
    return presented_key(
        api_key=request.META.get("HTTP_X_API_KEY", ""),
        authorization=request.META.get("HTTP_AUTHORIZATION", ""),
    )


class ApiKeyAuthentication(BaseAuthentication):
    """Reads the key from ``X-API-Key`` or ``Authorization: Bearer``; never from the URL.

    Afterwards ``request.auth`` is the :class:`access.types.Identity`; there is no user.
    """

    def authenticate(self, request: Request) -> tuple[AnonymousUser, Identity] | None:
        plain = key_in(request._request)
        if not plain:
            if QUERY_NAMES & {name.lower() for name in request.GET}:
                raise AuthenticationFailed(QUERY_HINT)
            return None
        try:
            identity = services.authenticate(
                plain=plain, address=address_of(request), now=timezone.now()
            )
        except Unauthorized as error:
            raise AuthenticationFailed(error.detail) from None
        except TooManyWrongKeys as error:
            raise Throttled(wait=error.wait_s, detail=error.detail) from None
        return AnonymousUser(), identity

    def authenticate_header(self, request: Request) -> str:
        """Return the challenge that makes a missing key a 401 instead of a 403."""
        del request
        return 'Bearer realm="lens"'


class Refuse(BasePermission):
    """Lets nobody in: what a view gets that names no scope."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        return False


class HasScope(BasePermission):
    """Lets in whose key carries one scope; :func:`scope` names it."""

    wanted: Scope

    def has_permission(self, request: Request, view: APIView) -> bool:
        return isinstance(request.auth, Identity) and request.auth.allows(self.wanted)


@cache
def scope(name: str) -> type[HasScope]:
    """Return the permission class for one scope, for ``permission_classes``.

    :raises ValueError: if there is no such scope.
    """
    wanted = Scope(name)
    message = f"The key lacks the scope {wanted.value}."
    return type(f"Has{wanted.name.title()}", (HasScope,), {"wanted": wanted, "message": message})


class KeyThrottle(BaseThrottle):
    """Counts the calls of each key's owner: writes in one bucket, reads in a larger one.

    A refused call costs nothing. Whoever has no key is no business of this class.
    """

    def __init__(self) -> None:
        self.verdict: Verdict | None = None

    def allow_request(self, request: Request, view: APIView) -> bool:
        if not isinstance(request.auth, Identity):
            return True
        plain = cast("Any", request._request)
        counted: Verdict | None = getattr(plain, "scope", {}).get(VERDICT)
        self.verdict = counted or take_call(identity=request.auth, method=request.method or "")
        plain.rate_verdict = self.verdict
        return self.verdict.allowed

    def wait(self) -> float | None:
        """Return the seconds until a call would pass."""
        return self.verdict.wait_s if self.verdict else None


def identity_of(request: Request) -> Identity:
    """Return who is behind an authenticated request."""
    return cast("Identity", request.auth)


def take_call(*, identity: Identity, method: str) -> Verdict:
    """Take one call from what the owner of a key may still do."""
    [verdict] = take_calls(identity=identity, method=method, calls=1)
    return verdict


def take_calls(*, identity: Identity, method: str, calls: int) -> list[Verdict]:
    """Take so many calls that came together; return what each of them is told, in order."""
    limit = limit_for(identity=identity, method=method)
    now_s = timezone.now().timestamp()
    return BUDGET.take_many(whose=identity.owner, limit=limit, now_s=now_s, calls=calls)


def limit_for(*, identity: Identity, method: str) -> Limit:
    """Return the limit that a call counts against.

    A key with limits of its own has them for writes; its reads keep the house's proportion.
    """
    per_min = identity.rate_per_min or settings.RATE_LIMIT_PER_MIN
    burst = identity.burst or settings.RATE_LIMIT_BURST
    if method not in READING:
        return Limit(name="writes", per_min=per_min, burst=burst)
    rate_ratio = settings.RATE_LIMIT_READS_PER_MIN / settings.RATE_LIMIT_PER_MIN
    burst_ratio = settings.RATE_LIMIT_READS_BURST / settings.RATE_LIMIT_BURST
    return Limit(
        name="reads",
        per_min=max(1, round(per_min * rate_ratio)),
        burst=max(1, round(burst * burst_ratio)),
    )


class RateLimitHeaders:
    """Middleware: tells every caller with a key what is left of its limit."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if self._is_async:
            return self._later(request)
        return _with_headers(request, cast("HttpResponseBase", self.get_response(request)))

    async def _later(self, request: HttpRequest) -> HttpResponseBase:
        answered = cast("Awaitable[HttpResponseBase]", self.get_response(request))
        return _with_headers(request, await answered)


def _with_headers(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    verdict: Verdict | None = getattr(request, "rate_verdict", None)
    if verdict is not None:
        for name, value in verdict.headers().items():
            response.headers.setdefault(name, value)
    return response


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How the API document shows the two ways to send a key."""

    target_class = ApiKeyAuthentication
    name = ["ApiKeyHeader", "BearerKey"]

    def get_security_definition(self, auto_schema: object) -> list[dict[str, str]]:
        del auto_schema
        return [
            {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            {"type": "http", "scheme": "bearer", "bearerFormat": "lens_<env>_<id>_<secret><check>"},
        ]

    def get_security_requirement(self, auto_schema: object) -> list[dict[str, list[str]]]:
        """Return either way alone; one entry that names both would demand both."""
        del auto_schema
        return [{name: []} for name in self.name]
