"""The door of people: how long a sign-in lasts, and what is said to who fails too often."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from axes.signals import user_locked_out
from django.conf import settings
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from access import factors
from access.auth import address_of
from access.models import User
from pipeline.services import record

SEEN_AT = "seen_at"
LOCKED_OUT = (
    "Too many failed sign-ins with this name from this address. Wait {minutes} minutes, then try"
    " again."
)


@receiver(user_logged_in)
def start_session(*, request: HttpRequest, user: User, **_: Any) -> None:
    """Fix when the session ends, whatever is done with it, and note who signed in from where."""
    now = timezone.now()
    request.session.set_expiry(now + timedelta(seconds=settings.SESSION_MAX_S))
    request.session[SEEN_AT] = now.isoformat()
    request.session.pop(factors.SESSION_MARK, None)
    _note("SIGNED_IN", user.get_username(), request)


@receiver(user_logged_out)
def end_session(*, request: HttpRequest, user: User | None, **_: Any) -> None:
    """Note who signed out."""
    if user is not None:
        _note("SIGNED_OUT", user.get_username(), request)


@receiver(user_locked_out)
def note_lock_out(*, request: HttpRequest, username: str | None = None, **_: Any) -> None:
    """Note that a name was shut out for an address."""
    _note("SHUT_OUT", username or "unknown", request)


def locked_out(request: HttpRequest, *_: Any) -> HttpResponse:
    """Answer somebody who is shut out for a while."""
    del request
    said = LOCKED_OUT.format(minutes=-(-settings.LOGIN_PAUSE_S // 60))
    answer = HttpResponse(said, status=429, content_type="text/plain; charset=utf-8")
    answer["Retry-After"] = str(settings.LOGIN_PAUSE_S)
    return answer


def _note(verb: str, name: str, request: HttpRequest) -> None:
    now = timezone.now()
    record(trace=None, verb=verb, actor=f"user:{name}"[:100], at=now, address=address_of(request))
