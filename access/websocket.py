"""The WebSocket door's guard: who opens a socket, and whether they still may keep it.

Best first: a key in a header; a session cookie, from a page of ours; a one-use ticket; a key in
the query. Whoever brings none of them may still send the key as the first message.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any
from urllib.parse import parse_qs

from channels.db import database_sync_to_async
from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest
from django.http.cookie import parse_cookie
from django.http.request import split_domain_port, validate_host
from django.utils import timezone

from access import factors, services
from access.models import User
from access.parsing import DEFAULT_PORTS, client_address, origin, presented_key
from access.types import ForeignOrigin, Identity, IdentityKind, Scope, Unauthorized

RECHECK_S = 5.0
"""How often an open socket asks :func:`still_valid`, so that revoking works within 10 s."""

QUERY_KEY_OFF = "A key in the URL is switched off here; send it in a header or as first message."
VIEWER = frozenset({Scope.SIGNALS_READ, Scope.DECISIONS_READ, Scope.STREAM})

AsgiScope = Mapping[str, Any]


async def identify(asgi_scope: AsgiScope) -> Identity | None:
    """Return who opens the socket, or None if they have not said yet.

    :raises ForeignOrigin: if a page of another site opens it, whatever else it brings.
    :raises Unauthorized: if what was brought is wrong.
    :raises TooManyWrongKeys: if the address has brought too many wrong keys.
    :raises ServiceUnavailable: if a ticket was brought and Redis is away.
    """
    headers = _headers(asgi_scope)
    _check_origin(headers, scheme=asgi_scope.get("scheme", "ws"))
    address = address_of(asgi_scope)
    plain = presented_key(
        api_key=headers.get("x-api-key", ""), authorization=headers.get("authorization", "")
    )
    if plain:
        return await identify_key(plain, address=address)
    person = await _person(headers)
    return person or await _from_query(asgi_scope, address=address)


async def identify_key(plain: str, *, address: str) -> Identity:
    """Return who holds the key ``plain``, as in the first message of a socket.

    :raises Unauthorized: if the key is wrong, revoked, expired or used from a foreign address.
    :raises TooManyWrongKeys: if the address has brought too many wrong keys.
    """
    identity: Identity = await database_sync_to_async(_authenticate)(plain, address)
    return identity


async def still_valid(identity: Identity) -> bool:
    """Say whether ``identity`` may keep its socket, by the rows as they are now."""
    if identity.kind is IdentityKind.SESSION:
        person = await database_sync_to_async(_session_identity)(identity.session_key)
        return person is not None
    good: bool = await database_sync_to_async(services.is_still_good)(
        identity=identity, now=timezone.now()
    )
    return good


def address_of(asgi_scope: AsgiScope) -> str:
    """Return the address of the client behind our own proxies."""
    client = asgi_scope.get("client") or ("", 0)
    return client_address(
        peer=client[0],
        forwarded_for=_headers(asgi_scope).get("x-forwarded-for", ""),
        trusted_proxies=settings.TRUSTED_PROXY_COUNT,
    )


def forget_headers(asgi_scope: AsgiScope) -> None:
    """Let go of what a request brought, the key among it, once it has told who they are.

    A socket stays for days and would keep all of it: the server holds the same list.
    """
    headers = asgi_scope.get("headers")
    if isinstance(headers, list):
        headers.clear()


def _headers(asgi_scope: AsgiScope) -> dict[str, str]:
    """Return the headers by lower-case name; a name that comes twice keeps both, as in HTTP."""
    found: dict[str, str] = {}
    for raw_name, raw_value in asgi_scope.get("headers", ()):
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        glue = "; " if name == "cookie" else ","
        found[name] = f"{found[name]}{glue}{value}" if name in found else value
    return found


def _check_origin(headers: Mapping[str, str], *, scheme: str) -> None:
    text = headers.get("origin")
    if text is None:
        return
    found = origin(text)
    allowed = {origin(known) for known in settings.WS_ALLOWED_ORIGINS} - {None}
    if found not in allowed and not _is_our_own(found, headers.get("host", ""), scheme=scheme):
        raise ForeignOrigin("Pages of another site may not open this socket.")


def _is_our_own(found: tuple[str, str, int] | None, host: str, *, scheme: str) -> bool:
    """Say whether a page's origin is this very server.

    A proxy may have taken TLS off, so an https page over a plain socket is fine; the reverse, a
    page anyone on the network could have forged, is not.
    """
    if found is None or (scheme == "wss" and found[0] != "https"):
        return False
    domain, port = split_domain_port(host)
    if not domain or not validate_host(domain, settings.ALLOWED_HOSTS):
        return False
    ours = (domain.strip("[]"), int(port) if port else DEFAULT_PORTS[found[0]])
    return ours == found[1:]


async def _person(headers: Mapping[str, str]) -> Identity | None:
    """Return who is logged in on one of our pages; without an Origin no cookie counts."""
    cookie = parse_cookie(headers.get("cookie", "")).get(settings.SESSION_COOKIE_NAME)
    if cookie is None or "origin" not in headers:
        return None
    person: Identity | None = await database_sync_to_async(_session_identity)(cookie)
    return person


async def _from_query(asgi_scope: AsgiScope, *, address: str) -> Identity | None:
    query = parse_qs(asgi_scope.get("query_string", b"").decode("latin-1"))
    if "ticket" in query:
        holder: Identity = await database_sync_to_async(_redeem)(query["ticket"][0], address)
        return holder
    if "api_key" not in query:
        return None
    if not settings.WS_ALLOW_QUERY_KEY:
        raise Unauthorized(QUERY_KEY_OFF)
    return await identify_key(query["api_key"][0], address=address)


def _authenticate(plain: str, address: str) -> Identity:
    now = timezone.now()
    identity = services.authenticate(plain=plain, address=address, now=now)
    services.touch_last_used()
    services.note_listening(identity=identity, now=now)
    return identity


def _redeem(ticket: str, address: str) -> Identity:
    now = timezone.now()
    holder = services.redeem_ticket(ticket=ticket, address=address, now=now)
    services.note_listening(identity=holder, now=now)
    return holder


def _session_identity(session_key: str) -> Identity | None:
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
    user = get_user(request)
    if not isinstance(user, User) or _owes_a_proof(user, request.session):
        return None
    return Identity(
        key_id=str(user.pk),
        owner=f"user-{user.pk}",
        name=user.get_username(),
        scopes=_scopes_of(user),
        kind=IdentityKind.SESSION,
        session_key=session_key,
    )


def _owes_a_proof(user: User, session: SessionBase) -> bool:
    mark = session.get(factors.SESSION_MARK)
    return factors.is_needed(user) and not factors.is_shown(user=user, mark=mark)


def _scopes_of(user: User) -> frozenset[Scope]:
    if user.is_superuser:
        return frozenset({Scope.ADMIN})
    return VIEWER | {Scope.OPS} if user.is_staff else VIEWER
