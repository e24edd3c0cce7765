"""What pages that change something share: who acts, forms that count once, complaints by field."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.http import HttpRequest, HttpResponseRedirect

from pipeline.types import LensError

ONCE = "forms_to_come"
FORMS_KEPT = 20


def actor_of(request: HttpRequest) -> str:
    """Return how the trail names who sits before the page."""
    return f"user:{request.user.get_username()}"


def once_token(request: HttpRequest) -> str:
    """Return a mark for a form that may be sent once, so that a reload does not act again."""
    token = secrets.token_urlsafe(12)
    request.session[ONCE] = [*request.session.get(ONCE, []), token][-FORMS_KEPT:]
    return token


def is_first_time(request: HttpRequest) -> bool:
    """Say whether the form that came was not sent before, and strike its mark."""
    waiting: list[str] = request.session.get(ONCE, [])
    token = request.POST.get("once", "")
    if token not in waiting:
        return False
    request.session[ONCE] = [each for each in waiting if each != token]
    return True


def back_to(place: str, **said: str) -> HttpResponseRedirect:
    """Lead back to a page of ours, which may say a word about what was done."""
    return HttpResponseRedirect(f"{place}?{urlencode(said)}" if said else place)


def faults_by_field(error: LensError) -> Mapping[str, str]:
    """Return what is wrong, by the first part of the field's name."""
    faults: dict[str, str] = {}
    for fault in error.errors:
        faults.setdefault(fault.field.split(".")[0], fault.message)
    return faults or {"form": error.detail}


def words_of(text: str) -> list[str]:
    """Return the parts of a list that was typed with commas, blanks or lines between."""
    return text.replace(",", " ").split()


def whole_number(text: str) -> Any:
    """Return a typed number, None for nothing, and what is no number as it is."""
    stripped = text.strip()
    return int(stripped) if stripped.isdecimal() and stripped.isascii() else stripped or None


def base_url(request: HttpRequest) -> str:
    """Return the address under which programs reach this desk, without a slash at its end."""
    return settings.PUBLIC_URL or f"{request.scheme}://{request.get_host()}"
